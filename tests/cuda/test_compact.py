"""Visibility and compaction: the kept samples are those that composite gives weight, and nothing else changes."""

import pytest
import torch
from torch import Tensor

from neural.cuda.compact import compact, visible_samples
from neural.cuda.composite import composite
from neural.cuda.reference import composite as reference


def _scene(n_rays: int = 60, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """densities, t_starts, t_ends, packed_info, ray_indices, features [S, 5]."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 70, (n_rays,), generator=generator)
    n = int(counts.sum())
    packed_info = torch.stack([counts.cumsum(0) - counts, counts], 1)
    t_starts = torch.cat([1 + 0.05 * torch.arange(int(c)) for c in counts])
    densities = torch.rand(n, generator=generator) * 40
    features = torch.randn(5, n, generator=generator).T
    return densities, t_starts, t_starts + 0.05, packed_info, torch.repeat_interleave(counts), features


@pytest.mark.parametrize(("early_stop", "min_alpha"), [(0.0, 0.0), (1e-2, 0.0), (1e-4, 0.3), (2.0, 0.0)])
def test_visible_samples_match_the_padded_form(early_stop: float, min_alpha: float, isa: str) -> None:
    scene = _scene()[:4]
    expected = reference.visible(*scene, early_stop, min_alpha)
    got = visible_samples(*scene, early_stop=early_stop, min_alpha=min_alpha)
    assert torch.equal(got.packed_info, expected[0])
    assert torch.equal(got.indices, expected[1])


def test_compositing_the_kept_samples_gives_the_same_pixels(isa: str) -> None:
    densities, t_starts, t_ends, packed_info, ray_indices, features = _scene()
    whole = composite(densities, features, t_starts, t_ends, packed_info, early_stop=1e-2)
    seen = visible_samples(densities, t_starts, t_ends, packed_info, early_stop=1e-2)
    assert 0 < len(seen.indices) < len(densities) // 2
    columns = torch.cat([densities[None], features.T]).T
    kept = compact(seen.indices, t_starts, t_ends, ray_indices, columns)
    part = composite(
        kept.features[:, 0], kept.features[:, 1:], kept.t_starts, kept.t_ends, seen.packed_info, early_stop=1e-2
    )
    for a, b in zip(part[:3], whole[:3], strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(part.weights, whole.weights[seen.indices])


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.95, 1.0])
def test_compact_gathers_and_its_gradient_scatters(keep: float, transposed: bool, isa: str) -> None:
    _, t_starts, t_ends, _, ray_indices, features = _scene(300)
    generator = torch.Generator().manual_seed(1)
    indices = (torch.rand(len(t_starts), generator=generator) < keep).nonzero().flatten()
    leaf = (features if transposed else features.contiguous()).requires_grad_()
    kept = compact(indices, t_starts, t_ends, ray_indices, leaf)
    assert torch.equal(kept.t_starts, t_starts[indices])
    assert torch.equal(kept.t_ends, t_ends[indices])
    assert torch.equal(kept.ray_indices, ray_indices[indices])
    assert torch.equal(kept.features, features[indices])
    upstream = torch.randn(kept.features.shape, generator=generator)
    kept.features.backward(upstream)
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, torch.zeros_like(features).index_copy(0, indices, upstream))


def test_second_derivatives_pass_through() -> None:
    _, t_starts, t_ends, _, ray_indices, features = _scene(3)
    leaf = features.detach().requires_grad_()
    indices = torch.arange(0, len(t_starts), 2)
    out = compact(indices, t_starts, t_ends, ray_indices, leaf).features
    (first,) = torch.autograd.grad(out.pow(3).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf)
    expected = torch.zeros_like(features)
    expected[indices] = 6 * features[indices]
    torch.testing.assert_close(second, expected)


def test_wrong_arguments_say_what_to_do() -> None:
    _, t_starts, t_ends, _, ray_indices, features = _scene(5)
    with pytest.raises(TypeError, match="ray_indices must be int64, got int32"):
        compact(torch.arange(3), t_starts, t_ends, ray_indices.int(), features)
    with pytest.raises(ValueError, match=r"indices must ascend .* visible_samples"):
        compact(torch.tensor([0, len(t_starts)]), t_starts, t_ends, ray_indices, features)
    with pytest.raises(ValueError, match="indices must ascend"):
        compact(torch.tensor([4, 2]), t_starts, t_ends, ray_indices, features)
