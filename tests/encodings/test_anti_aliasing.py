"""Anti-aliased grids: the blend of a grid's own features, samples with a frustum's moments, decay of small levels."""

import math

import pytest
import torch
from torch import Tensor

from neural.cuda import levels as layout
from neural.cuda.gradients import GradientBuffer
from neural.encodings.anti_aliasing import AntiAliased, frustum_samples, hash_decay
from neural.encodings.dense_grid import DenseGrid
from neural.encodings.hash_grid import HashGrid
from neural.encodings.simplex import Simplex


def small(**options: object) -> HashGrid:
    return HashGrid(
        3, **{"n_levels": 4, "base_resolution": 5, "finest_resolution": 64, "log2_hashmap_size": 10, **options}
    )  # type: ignore[arg-type]


def samples(n: int = 20, m: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n * m, 3, generator=generator), torch.rand(n * m, generator=generator) * 0.1


@pytest.mark.parametrize(
    "make",
    [
        small,
        lambda: DenseGrid(3, n_levels=4, base_resolution=5, per_level_scale=1.5),
        lambda: Simplex(3, n_levels=4, base_resolution=5, finest_resolution=64, log2_hashmap_size=10),
    ],
    ids=["hash", "dense", "simplex"],
)
def test_features_are_the_mean_of_the_samples_weighted_by_level(make) -> None:
    grid = make()
    x, widths = samples()
    cells = layout.scales(grid.levels)[0, :, 0].tolist()
    weights = torch.stack([torch.erf(1 / (8 * widths**2 * n**2).sqrt()) for n in cells], 1)
    expected = (grid(x).reshape(20, 6, 4, 2) * weights.reshape(20, 6, 4, 1)).mean(1).flatten(1)
    torch.testing.assert_close(AntiAliased(grid)(x, widths), expected, atol=1e-9, rtol=1e-4)


def test_without_width_one_sample_is_the_grid_itself() -> None:
    grid = small()
    x, _ = samples()
    torch.testing.assert_close(AntiAliased(grid, n_samples=1)(x, torch.zeros(len(x))), grid(x))


def test_it_trains_table_positions_and_widths() -> None:
    grid = small()
    x, widths = (v.requires_grad_() for v in samples())
    AntiAliased(grid)(x, widths).square().sum().backward()
    for leaf in (grid.table, x, widths):
        assert leaf.grad is not None and leaf.grad.isfinite().all() and leaf.grad.any()


def test_wide_cones_are_smooth_where_points_flicker() -> None:
    """A field of noise, seen through cones much wider than its cells, hardly changes from one place to the next."""
    grid = small(base_resolution=64)
    torch.nn.init.normal_(grid.table, generator=torch.Generator().manual_seed(0))
    x, _ = samples(200)
    narrow, wide = (AntiAliased(grid)(x, torch.full((1200,), w)).detach().std() for w in (1e-5, 0.5))
    assert float(wide) < 0.05 * float(narrow)


def test_scale_features_tell_how_much_is_faded() -> None:
    grid = small()
    aliased = AntiAliased(grid, scale_features=True)
    x, _ = samples()
    sharp, faded = (aliased(x, torch.full((120,), w)) for w in (0.0, 1e3))
    assert sharp.shape == (20, aliased.n_output_dims) == (20, 12)
    sizes = [(1e-8 + grid.table[r[0] : r[0] + r[1]].double().square().mean()).sqrt() for r in grid.levels[0].tolist()]
    torch.testing.assert_close(sharp[0, 8:].double(), torch.stack(sizes))
    torch.testing.assert_close(faded[0, 8:].double(), -torch.stack(sizes), atol=1e-6, rtol=1e-2)


def frustum_moments(t0: float, t1: float, radius: float) -> tuple[float, float, float]:
    """Mean and variance along the axis, variance across it, of a uniform conical frustum."""
    t = torch.linspace(t0, t1, 400_001, dtype=torch.float64)
    density = t**2 / (t**2).sum()
    mean = float((density * t).sum())
    return mean, float((density * (t - mean) ** 2).sum()), float((density * (radius * t) ** 2).sum()) / 4


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("span", [(1.0, 1.5), (0.0, 2.0), (10.0, 10.01)])
def test_samples_have_the_moments_of_the_frustum(span: tuple[float, float], turned: bool) -> None:
    n, radius = 4, 0.1
    d = torch.nn.functional.normalize(
        torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=1
    )
    o = torch.ones(n, 3, dtype=torch.float64)
    t0, t1 = (torch.full((n,), t, dtype=torch.float64) for t in span)
    turns = torch.linspace(0, 5, n) if turned else None
    points, widths = frustum_samples(o, d, torch.full((n,), radius, dtype=torch.float64), t0, t1, turns=turns)
    away = points.reshape(n, 6, 3) - o[:, None]
    along = (away * d[:, None]).sum(-1)
    across = away - along[..., None] * d[:, None]
    mean, variance, spread = frustum_moments(*span, radius)
    torch.testing.assert_close(along.mean(1), torch.full((n,), mean).double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(along.var(1, correction=0), torch.full((n,), variance).double(), rtol=1e-3, atol=0)
    torch.testing.assert_close(
        across.square().sum(-1).mean(1) / 2, torch.full((n,), spread).double(), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(widths.reshape(n, 6), 0.5 * radius * along / math.sqrt(2))
    torch.testing.assert_close(across.square().sum(-1).sqrt(), radius * along / math.sqrt(2))


def test_patterns_alternate_unless_they_are_turned() -> None:
    same = (torch.zeros(2, 3), torch.tensor([[0.0, 0, 1]] * 2), torch.ones(2), torch.ones(2), 2 * torch.ones(2))
    one, other = frustum_samples(*same)[0].reshape(2, 6, 3)
    assert not torch.isclose(one[:, :2], other[:, :2]).all(1).any()
    one, other = frustum_samples(*same, turns=torch.zeros(2))[0].reshape(2, 6, 3)
    assert torch.equal(one, other)


def test_the_decay_is_the_mean_over_levels_and_reaches_the_buffer() -> None:
    grid = small()
    expected = torch.stack([grid.table[r[0] : r[0] + r[1]].square().mean() for r in grid.levels[0].tolist()]).mean()
    torch.testing.assert_close(hash_decay(grid), expected)
    (gradient,) = torch.autograd.grad(expected, grid.table)
    hash_decay(grid).backward()
    torch.testing.assert_close(grid.table.grad, gradient)
    grid.gradients, grid.table.grad = GradientBuffer.like(grid.table), None
    (3 * hash_decay(grid)).backward()
    assert grid.table.grad is None
    torch.testing.assert_close(grid.gradients.grad, 3 * gradient)
    bits = torch.stack([(grid.gradients.touched >> b) & 1 for b in range(64)], 1).flatten()
    n_blocks = -(-len(grid.table) // 64)
    assert bits[:n_blocks].all() and not bits[n_blocks:].any()


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"n_samples must be at least 1 and resolutions 4 positive values, got 0"):
        AntiAliased(small(), n_samples=0)
    with pytest.raises(ValueError, match="120 samples are not n_samples = 7 of each point"):
        AntiAliased(small(), n_samples=7)(*samples())
