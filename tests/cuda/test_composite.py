"""Packed compositing against the padded plain-torch form, in value and gradient, for every instruction set."""

from typing import Any

import pytest
import torch
from torch import Tensor

from neural.cuda import native
from neural.cuda.composite import composite
from neural.cuda.reference import composite as reference
from tests.threads import same_bits

COUNTS = (0, 1, 3, 16, 17, 40, 0, 130, 5, 64)  # empty rays, parts of vectors, whole vectors, long rays


def _scene(channels: int, *, density: float = 6.0, counts: tuple[int, ...] = COUNTS, seed: int = 0) -> list[Any]:
    """densities, colors, t_starts, t_ends (float64) and packed_info of rays that sample gaps and all."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(counts)
    densities = torch.rand(n, generator=generator, dtype=torch.float64) * density
    colors = torch.randn(n, channels, generator=generator, dtype=torch.float64)
    t_starts = torch.cat([2.0 + torch.arange(c, dtype=torch.float64) * 0.05 for c in counts])
    t_ends = t_starts + 0.02 + 0.03 * torch.rand(n, generator=generator, dtype=torch.float64)
    sizes = torch.tensor(counts)
    return [densities, colors, t_starts, t_ends, torch.stack([sizes.cumsum(0) - sizes, sizes], 1)]


def _single(scene: list[Any]) -> list[Any]:
    return [x.float() if x.dtype == torch.float64 else x for x in scene]


def _upstream(outputs: tuple[Tensor, ...], seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(o.shape, generator=generator, dtype=torch.float64) for o in outputs]


@pytest.mark.parametrize("channels", [1, 3, 4, 16])
@pytest.mark.parametrize(("density", "early_stop"), [(6.0, 0.0), (6.0, 1e-2), (300.0, 1e-4)])
def test_values_and_gradients_match_the_padded_form(channels: int, density: float, early_stop: float, isa: str) -> None:
    scene = _scene(channels, density=density)
    expected = reference.forward(*scene, early_stop)
    grads = _upstream(expected)
    expected_grads = reference.backward(*scene, early_stop, tuple(grads))
    for order in (lambda t: t.contiguous(), lambda t: t.T.contiguous().T):
        single = _single(scene)
        single[0].requires_grad_()
        single[1] = order(single[1]).requires_grad_()
        got = composite(*single, early_stop=early_stop)
        for actual, wanted in zip(got, expected, strict=True):
            torch.testing.assert_close(actual.double(), wanted, atol=2e-6, rtol=2e-5)
        torch.autograd.backward(got, [g.float() for g in grads])
        torch.testing.assert_close(single[0].grad.double(), expected_grads[0], atol=2e-6, rtol=2e-5)
        torch.testing.assert_close(single[1].grad.double(), expected_grads[1], atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("channels", [2, 16])
def test_rows_of_any_number_of_channels_equal_columns(channels: int, isa: str) -> None:
    """Colours row by row are read lane by lane: never more of them than a vector has, however long the ray."""
    n = 1000
    g = torch.Generator().manual_seed(8)
    densities, colors = torch.rand(n, generator=g), torch.rand(n, channels, generator=g)
    edges = torch.arange(n + 1) * 0.01
    packed_info = torch.tensor([[0, n - 7], [n - 7, 7]])
    results = [
        composite(densities, order, edges[:-1], edges[1:], packed_info)[0]
        for order in (colors.contiguous(), colors.T.contiguous().T)
    ]
    assert torch.equal(*results)
    weights = composite(densities, colors, edges[:-1], edges[1:], packed_info)[3]
    torch.testing.assert_close(results[0][0], (weights[: n - 7, None] * colors[: n - 7]).sum(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("which", range(4))
def test_each_output_alone_sends_its_gradient(which: int) -> None:
    scene = _scene(3)
    grads: list[Tensor | None] = [None] * 4
    grads[which] = _upstream(reference.forward(*scene, 1e-4))[which]
    expected = reference.backward(*scene, 1e-4, tuple(grads))
    single = _single(scene)
    single[0].requires_grad_()
    single[1].requires_grad_()
    composite(*single)[which].backward(grads[which].float())
    torch.testing.assert_close(single[0].grad.double(), expected[0], atol=2e-6, rtol=2e-5)
    actual = single[1].grad if single[1].grad is not None else torch.zeros_like(single[1])
    torch.testing.assert_close(actual.double(), expected[1], atol=2e-6, rtol=2e-5)


def test_the_gradient_agrees_with_finite_differences_of_the_reference() -> None:
    scene = _scene(2, counts=(3, 0, 7))

    def run(densities: Tensor, colors: Tensor) -> tuple[Tensor, ...]:
        return reference.forward(densities, colors, *scene[2:], 0.0)

    assert torch.autograd.gradcheck(run, (scene[0].requires_grad_(), scene[1].requires_grad_()))


def test_samples_behind_the_stop_have_no_weight_and_no_gradient(isa: str) -> None:
    densities = torch.full((50,), 40.0, requires_grad=True)  # T falls by e^-0.8 a sample: below 0.1 behind three
    t_starts = torch.arange(50) * 0.02
    result = composite(densities, torch.ones(50, 3), t_starts, t_starts + 0.02, torch.tensor([[0, 50]]), early_stop=0.1)
    assert int((result.weights > 0).sum()) == 3
    (result.weights.sum() + result.rgb.sum()).backward()
    assert densities.grad is not None
    assert torch.equal(densities.grad[3:], torch.zeros(47))
    torch.testing.assert_close(result.alpha, 1 - torch.exp(torch.tensor([-2.4])))


def test_thin_matter_keeps_its_digits(isa: str) -> None:
    result = composite(
        torch.tensor([1e-6]), torch.ones(1, 1), torch.zeros(1), torch.full((1,), 0.01), torch.tensor([[0, 1]])
    )
    torch.testing.assert_close(result.alpha, torch.tensor([1e-8]), rtol=1e-6, atol=0)


def test_results_are_equal_for_any_number_of_threads() -> None:
    scene = _single(_scene(3, counts=COUNTS * 40))

    def run():
        leaves = scene[0].clone().requires_grad_(), scene[1].clone().requires_grad_()
        result = composite(*leaves, *scene[2:])
        (result.rgb.square().sum() + result.weights.square().sum()).backward()
        return [*(r.detach() for r in result), leaves[0].grad, leaves[1].grad]

    same_bits(run)


def test_samples_that_no_ray_owns_stay_zero() -> None:
    scene = _single(_scene(3, counts=(4, 5)))
    scene[4] = scene[4][1:]  # the first ray's samples are padding now
    leaf = scene[0].requires_grad_()
    result = composite(*scene)
    result.rgb.sum().backward()
    assert torch.equal(result.weights[:4], torch.zeros(4))
    assert leaf.grad is not None and torch.equal(leaf.grad[:4], torch.zeros(4))
    assert (result.weights[4:] > 0).all()


def test_a_poisoned_density_is_seen_in_its_ray_only(isa: str) -> None:
    scene = _single(_scene(3, counts=(20, 20)))
    clean = composite(*scene)
    scene[0][30] = float("nan")
    poisoned = composite(*scene)
    assert torch.isnan(poisoned.rgb[1]).all()
    assert torch.equal(poisoned.rgb[0], clean.rgb[0])


def test_no_rays_and_no_samples() -> None:
    scene = _single(_scene(3, counts=(0, 0)))
    result = composite(*scene)
    assert torch.equal(result.rgb, torch.zeros(2, 3))
    assert torch.equal(result.alpha, torch.zeros(2))
    scene[4] = scene[4][:0]
    assert composite(*scene).rgb.shape == (0, 3)


def test_compiles_as_one_graph() -> None:
    scene = _single(_scene(3))
    compiled = torch.compile(lambda *a: tuple(composite(*a)), fullgraph=True, backend="aot_eager")
    for a, b in zip(compiled(*scene), composite(*scene), strict=True):
        assert torch.equal(a, b)


def test_wrong_arguments_say_what_to_do() -> None:
    scene = _single(_scene(3, counts=(4, 5)))
    with pytest.raises(ValueError, match=r"colors must be \[9, C\], got \[3, 9\]; transpose"):
        composite(scene[0], scene[1].T, *scene[2:])
    with pytest.raises(TypeError, match="packed_info must be int64"):
        composite(*scene[:4], scene[4].int())
    with pytest.raises(ValueError, match=r"packed_info\[1\] is \(start 4, count 6\): outside the 9 samples"):
        composite(*scene[:4], torch.tensor([[0, 4], [4, 6]]))
    with pytest.raises(ValueError, match="before the end of an earlier ray's"):
        composite(*scene[:4], torch.tensor([[0, 4], [3, 5]]))


def test_native_check_finds_overflowing_ranges() -> None:
    huge = torch.tensor([[0, 2], [2**62, 2**62]])
    assert native.lib.packed_info_check(huge.data_ptr(), 2, 10) == -2
