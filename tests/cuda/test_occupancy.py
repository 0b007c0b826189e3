"""The occupancy kernels against plain torch, for every instruction set and any number of threads."""

import math

import pytest
import torch

from neural.cuda import occupancy
from neural.cuda.reference import occupancy as reference
from tests.threads import same_bits

BOX = {"resolution": 16, "centre": (0.5, -1.0, 2.0), "half_extent": 1.5}


def _thickness(n_cascades: int = 3, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    values = torch.rand(n_cascades, 16**3, generator=g)
    values[torch.rand(n_cascades, 16**3, generator=g) < 0.3] = -1.0
    return values


def test_points_match_the_reference_and_lie_in_their_cells(isa: str) -> None:
    cells = torch.randperm(3 * 16**3, generator=torch.Generator().manual_seed(1))[:5000]
    points = occupancy.cell_points(cells, seed=-9, step=7, **BOX)
    torch.testing.assert_close(points, reference.points(cells, -9, 7, **BOX), atol=1e-5, rtol=0)
    cascade, cell = reference.coordinates(cells, 16)
    unit = (points - torch.tensor(BOX["centre"])) / (3.0 * 2.0 ** cascade[:, None]) + 0.5
    inside = unit * 16 - cell
    assert float(inside.min()) > -1e-4 and float(inside.max()) < 1 + 1e-4
    assert abs(float(inside.mean()) - 0.5) < 0.02


def test_a_cell_has_the_same_point_in_any_selection() -> None:
    cells = torch.arange(3 * 16**3)
    every = occupancy.cell_points(cells, seed=3, step=4, **BOX)
    some = occupancy.cell_points(cells[5::7], seed=3, step=4, **BOX)
    assert torch.equal(some, every[5::7])
    assert not torch.equal(every, occupancy.cell_points(cells, seed=3, step=5, **BOX))


@pytest.mark.parametrize("selection", ["all", "draws"])
def test_update_matches_the_reference(selection: str, isa: str) -> None:
    mine, theirs = _thickness(), _thickness()
    g = torch.Generator().manual_seed(2)
    cells = None if selection == "all" else torch.randint(0, mine.numel(), (3000,), generator=g)  # with repeats
    values = torch.rand(mine.numel() if cells is None else 3000, generator=g)
    values[::100] = math.nan
    occupancy.update(mine, cells, values, 0.95)
    reference.update(theirs, cells, values, 0.95)
    assert torch.equal(mine, theirs)
    assert torch.equal(mine < 0, _thickness() < 0)
    assert not torch.equal(mine, _thickness())


@pytest.mark.parametrize("n_cascades", [1, 4])
@pytest.mark.parametrize("limit", [0.5, 0.999])
def test_bits_match_the_reference(n_cascades: int, limit: float, isa: str) -> None:
    thickness = _thickness(n_cascades)
    bits = occupancy.pack(thickness, torch.tensor(limit))
    assert torch.equal(bits, reference.pack(thickness, torch.tensor(limit), 16))
    assert 0 < int(bits[0].count_nonzero()) <= 512


def test_a_cell_at_the_threshold_is_empty(isa: str) -> None:
    thickness = torch.zeros(1, 16**3)
    thickness[0, :3] = torch.tensor([0.25, 0.5, 0.75])
    assert occupancy.pack(thickness, torch.tensor(0.5))[0, :2].tolist() == [0b100, 0]
    assert not occupancy.pack(torch.zeros(1, 16**3), torch.tensor(0.0)).any()


def test_a_coarse_cell_is_occupied_where_a_fine_one_is() -> None:
    thickness = torch.zeros(3, 16**3)
    thickness[0, 0] = 1.0  # the corner cell of cascade 0: cell (4, 4, 4) of cascade 1, (6, 6, 6) of cascade 2
    bits = occupancy.pack(thickness, torch.tensor(0.5))
    expected = torch.zeros(3, 512, dtype=torch.uint8)
    expected[0, 0] = 1
    expected[1, 7 * 64 // 8] = 1  # Morton code of (4, 4, 4) is 7 * 4^3
    expected[2, (7 * 64 + 7 * 8) // 8] = 1  # (6, 6, 6) is 7 * 4^3 + 7 * 2^3
    assert torch.equal(bits, expected)


def test_mean_leaves_out_the_negative_and_does_not_depend_on_threads() -> None:
    thickness = torch.cat([_thickness(3, s) for s in range(5)])
    (mean,) = same_bits(lambda: [occupancy.mean(thickness)])
    torch.testing.assert_close(mean, reference.mean(thickness), atol=0, rtol=1e-6)
    assert float(occupancy.mean(torch.full((1, 4096), -1.0))) == 0.0
    half = torch.arange(4096).remainder(2).float()[None]  # cells of zero thickness are seen: they count
    assert float(occupancy.mean(half)) == 0.5


def test_wrong_arguments_say_what_to_do() -> None:
    thickness = _thickness()
    with pytest.raises(TypeError, match="cells must be int64, got int32"):
        occupancy.update(thickness, torch.zeros(4, dtype=torch.int32), torch.zeros(4), 0.9)
    with pytest.raises(ValueError, match=r"values must be \[4\], got \[5\]"):
        occupancy.update(thickness, torch.zeros(4, dtype=torch.int64), torch.zeros(5), 0.9)
    with pytest.raises(ValueError, match="must be contiguous, because it is written in place"):
        occupancy.update(thickness[:, ::2], None, torch.zeros(3 * 2048), 0.9)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], got 1.5"):
        occupancy.update(thickness, None, torch.zeros(thickness.numel()), 1.5)
    with pytest.raises(ValueError, match="resolution must be a power of two from 16 to 1024, got 10"):
        occupancy.pack(torch.zeros(1, 1000), torch.tensor(0.0))
