"""Dense and tiled grids: the settings of the hardware paper, and what a lookup interpolates when nothing collides."""

import pytest
import torch

import neural
from neural.encodings.dense_grid import DenseGrid, TiledGrid
from neural.encodings.hash_grid import HashGrid


def resolutions(grid: HashGrid) -> list[int]:
    return grid.levels[0, :, 4].tolist()  # of the second axis


def test_the_defaults_are_the_papers() -> None:
    dense = DenseGrid(2)
    assert resolutions(dense) == [16, 23, 32, 45, 63, 88, 124, 173]
    assert dense.n_output_dims == 16
    tiled = TiledGrid(2)
    assert resolutions(tiled) == [128, 128] and tiled.n_output_dims == 16
    assert tiled.table.numel() == 2 * 8 * 128**2
    # in three dimensions, without making them: 16.3 and 33.6 million parameters
    corners = [-(-(r**3) // 8) * 8 for r in resolutions(dense)]
    assert round(2 * sum(corners) / 1e6, 1) == 16.3
    assert round(2 * 8 * 128**3 / 1e6, 1) == 33.6


@pytest.mark.parametrize("n_dims", [1, 2, 3, 5, 7])
def test_a_dense_grid_reproduces_a_multilinear_function(n_dims: int) -> None:
    """Each corner holds its own value, so a product of affine functions of the coordinates is interpolated exactly."""
    grid = DenseGrid(n_dims, n_levels=1, n_features_per_level=1, base_resolution=3, per_level_scale=1.0)
    slopes = torch.linspace(0.5, 1.5, n_dims)
    places = torch.cartesian_prod(*[torch.arange(3.0)] * n_dims).reshape(-1, n_dims).flip(1)  # first axis fastest
    with torch.no_grad():
        grid.table[: 3**n_dims, 0] = (1 + slopes * (places - 0.5) / 2).prod(1)  # x = (corner - 1/2) / scale
    # the last half cell before the far face reaches for a fourth corner: there tiny-cuda-nn's dense index runs over
    x = 0.75 * torch.rand(200, n_dims, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(grid(x)[:, 0], (1 + slopes * x).prod(1), atol=1e-5, rtol=1e-5)


def test_a_tiled_grid_repeats_its_first_levels_size() -> None:
    grid = TiledGrid(2, n_levels=3, base_resolution=4, n_features_per_level=2, per_level_scale=2.0)
    assert grid.levels[0, :, 1].tolist() == [16, 16, 16]
    assert resolutions(grid) == [4, 8, 16]
    assert grid(torch.rand(9, 2)).shape == (9, 6)


@pytest.mark.parametrize("n_dims", [1, 2, 3, 4, 5, 6, 7])
def test_a_hash_grid_learns_in_any_number_of_dimensions(n_dims: int) -> None:
    grid = HashGrid(n_dims, n_levels=3, base_resolution=2, finest_resolution=8, log2_hashmap_size=10)
    x = torch.rand(64, n_dims, generator=torch.Generator().manual_seed(2))
    target = x.sum(1)
    losses = []
    optimiser = torch.optim.Adam([grid.table], lr=0.05)
    for _ in range(40):
        optimiser.zero_grad()
        loss = (grid(x).sum(1) - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]


def test_one_dimension_needs_no_hash_until_it_is_long() -> None:
    grid = HashGrid(1, n_levels=2, base_resolution=16, finest_resolution=2**12, log2_hashmap_size=10)
    assert grid.levels[0, :, 2].tolist() == [0, 1]
    x = torch.tensor([[0.5 / 15]])  # exactly on the second corner of the first level
    with torch.no_grad():
        grid.table.zero_()
        grid.table[1] = 1.0
    assert grid(x)[0].tolist() == [1.0, 1.0, 0.0, 0.0]


def test_they_are_reached_from_the_package_and_say_when_they_are_too_large() -> None:
    assert neural.DenseGrid is DenseGrid and neural.TiledGrid is TiledGrid
    with pytest.raises(ValueError, match="level 0 of a dense grid would hold 34359738368 entries"):
        DenseGrid(7, base_resolution=32)
    with pytest.raises(ValueError, match="not both"):
        DenseGrid(2, finest_resolution=64, per_level_scale=2.0)
