"""The hash grid as a module: what its arguments build, level by level."""

import pytest
import torch

import neural
from neural.cuda import levels as layout
from neural.cuda.gradients import GradientBuffer
from neural.encodings.hash_grid import INIT_RANGE, HashGrid


def small(**options: object) -> HashGrid:
    return HashGrid(3, **{"n_levels": 4, "log2_hashmap_size": 10, "base_resolution": 4, **options})


def resolutions(grid: HashGrid) -> list[list[int]]:
    return layout.resolutions(grid.levels)[0].tolist()


def points(n: int = 60, n_dims: int = 3) -> torch.Tensor:
    return torch.rand(n, n_dims, generator=torch.Generator().manual_seed(4))


def test_it_is_reached_as_neural_hash_grid() -> None:
    assert neural.HashGrid is HashGrid


def test_resolutions_grow_to_the_finest() -> None:
    assert resolutions(small(finest_resolution=32)) == [[4] * 3, [8] * 3, [16] * 3, [32] * 3]
    assert resolutions(small(per_level_scale=2.0)) == resolutions(small(finest_resolution=32)) == resolutions(small())


def test_each_axis_may_have_its_own() -> None:
    grid = HashGrid(2, n_levels=3, log2_hashmap_size=12, base_resolution=(4, 8), finest_resolution=(16, 8))
    assert resolutions(grid) == [[4, 8], [8, 8], [16, 8]]
    x = points(50, 2)
    features = grid(x)
    same = HashGrid(2, n_levels=3, log2_hashmap_size=12, base_resolution=(4, 8), per_level_scale=(2.0, 1.0))
    assert torch.equal(features, same(x))


def test_one_level_is_the_base() -> None:
    assert resolutions(small(n_levels=1, finest_resolution=512)) == [[4] * 3]


@pytest.mark.parametrize("n_levels", [0, 1, 3, 4, 9])
def test_levels_beyond_the_highest_give_zeros_and_get_no_gradient(n_levels: int) -> None:
    grid = small()
    x = points()
    full = grid(x).detach()
    grid.set_max_level(n_levels)
    features = grid(x)
    width = min(n_levels, 4) * grid.n_features_per_level
    assert torch.equal(features[:, :width], full[:, :width])
    assert not features[:, width:].any()
    features.sum().backward()
    first = grid.levels[0, n_levels, 0] if n_levels < 4 else len(grid.table)
    assert not grid.table.grad[first:].any()
    assert grid.table.grad[:first].any() == (n_levels > 0)
    grid.set_max_level(None)
    assert torch.equal(grid(x), full)


def test_the_seed_makes_the_values_small_and_uniform() -> None:
    one, same, other = small(seed=1), small(seed=1), small(seed=2)
    assert torch.equal(one.table, same.table)
    assert not torch.equal(one.table, other.table)
    values = one.table.detach() / INIT_RANGE
    assert float(values.abs().max()) <= 1
    assert float(values.mean()) == pytest.approx(0, abs=0.05)
    assert float(values.var()) == pytest.approx(1 / 3, rel=0.05)


def test_building_one_leaves_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    small()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_buffer_takes_the_gradient_only_where_there_is_one() -> None:
    grid, plain = small(), small()
    grid.gradients = GradientBuffer.like(grid.table)
    x = points()
    grid(x).square().sum().backward()
    plain(x).square().sum().backward()
    assert grid.table.grad is None
    torch.testing.assert_close(grid.gradients.grad, plain.table.grad)
    with torch.no_grad():
        assert torch.equal(grid(x), plain(x))


def test_sub_tables_serve_their_segments() -> None:
    grid = small(n_tables=2)
    x = points(30)
    features = grid(x, torch.tensor([0, 12, 30]))
    swapped = grid(x, torch.tensor([0, 0, 30]))
    assert torch.equal(features[12:], swapped[12:])
    assert not torch.equal(features[:12], swapped[:12])


def test_it_says_what_it_is() -> None:
    text = repr(small(finest_resolution=32))
    for part in ("3, levels=4, features=2", "resolution [4, 4, 4] to [32, 32, 32]", "2 hashed", "parameters, linear"):
        assert part in text
    assert str(sum(p.numel() for p in small(finest_resolution=32).parameters())) in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finest_resolution": 64, "per_level_scale": 2.0}, "not both"),
        ({"n_features_per_level": 3}, "1, 2, 4 or 8"),
        ({"base_resolution": (4, 4)}, "3 values"),
        ({"n_levels": 0}, "level"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)
