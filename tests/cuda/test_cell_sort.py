"""Grouping points by cell against brute force, on the CPU in every instruction set and down the CUDA path."""

from itertools import pairwise

import pytest
import torch

from neural.cuda.cell_sort import absent_cells, cell_sort
from neural.cuda.reference import cell_sort as reference
from tests.threads import same_bits

CELLS = torch.tensor([[0, 0], [-1, 2], [1, 0], [0, 1], [5, -3]])
FRAME = torch.tensor(
    [[0.25, -1.0, 0.5], [0.5, 1 / 3, 0.25]]
)  # cells of 2 x 3 from (0.25, 0.5), on axes 0 and 2 or 0 and 1


def _points(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 8 * torch.randn(3, n, generator=generator).T


def _equal(got, expected) -> None:
    local, segments, places, order = expected
    assert torch.equal(got.segments, segments)
    assert torch.equal(got.places.cpu(), places)
    assert torch.equal(got.order.cpu(), order)
    torch.testing.assert_close(got.local.cpu(), local, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("split", [(0,), (0, 1), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize(("margin", "nearest"), [(0.0, False), (0.0, True), (0.2, False), (0.2, True)])
@pytest.mark.parametrize("n", [0, 1, 700])
def test_is_what_comparing_with_every_cell_gives(split, margin: float, nearest: bool, n: int, isa: str) -> None:
    cells = torch.cat([CELLS, CELLS[:, :1] + 1], 1)[:, : len(split)]
    cells = torch.unique(cells, dim=0).flip(0)
    x = _points(n)
    bits = sum(1 << axis for axis in split)
    expected = reference.sort(x, cells, FRAME, bits, margin, nearest)
    for order in (x, x.contiguous()):
        _equal(cell_sort(order, cells, FRAME, split=split, margin=margin, nearest=nearest), expected)


@pytest.mark.parametrize(("margin", "nearest"), [(0.0, False), (0.2, True)])
def test_the_cuda_path_gives_the_same(margin: float, nearest: bool, cuda_device: torch.device) -> None:
    x = _points(300)
    expected = reference.sort(x, CELLS, FRAME, 3, margin, nearest)
    _equal(cell_sort(x.to(cuda_device), CELLS, FRAME, split=(0, 1), margin=margin, nearest=nearest), expected)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    x = _points(70_000)  # several chunks
    assert len(same_bits(lambda: cell_sort(x, CELLS, FRAME, split=(0, 1), margin=0.1)).order) > 1000


def test_the_order_within_a_cell_is_that_of_the_points() -> None:
    pairs = cell_sort(_points(5000), CELLS, FRAME, split=(0, 1))
    bounds = pairs.segments.tolist()
    for first, last in pairwise(bounds):
        assert torch.equal(pairs.order[first:last], pairs.order[first:last].sort().values)


def test_a_point_on_a_face_belongs_to_the_cell_that_begins_there() -> None:
    cells = torch.tensor([[0], [1]])
    frame = torch.tensor([[0.0], [1.0]])
    at = torch.tensor([[1.0], [0.0], [2.0], [-1e-3], [float("nan")], [float("inf")], [1e30]])
    pairs = cell_sort(at, cells, frame, split=(0,))
    assert pairs.places[:, 0].tolist() == [1, 0, -1, -1, -1, -1, -1]
    assert pairs.local[:, 0].tolist() == [0.0, 0.0]


def test_reach_stretches_over_the_neighbours() -> None:
    """With a margin of 0.25 the ends of a cell's [0, 1] are a quarter of a cell beyond its faces."""
    cells = torch.tensor([[0], [1]])
    pairs = cell_sort(torch.tensor([[0.5], [0.9]]), cells, torch.tensor([[0.0], [1.0]]), split=(0,), margin=0.25)
    assert pairs.places.tolist() == [[0, -1], [1, 2]]
    torch.testing.assert_close(pairs.local[:, 0], torch.tensor([0.5, 1.15 / 1.5, 0.15 / 1.5]))


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_gradients_reach_the_points(margin: float) -> None:
    x = _points(300).requires_grad_()
    pairs = cell_sort(x, CELLS, FRAME, split=(0, 1), margin=margin)
    upstream = torch.randn(pairs.local.shape, generator=torch.Generator().manual_seed(1))
    (got,) = torch.autograd.grad(pairs.local, x, upstream)
    slope = FRAME[1] / torch.tensor([1 + 2 * margin, 1 + 2 * margin, 1.0])
    expected = torch.zeros(300, 3).index_add_(0, pairs.order.long() // pairs.places.shape[1], upstream * slope)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_absent_cells_are_those_that_points_lack(margin: float) -> None:
    x = _points(200)
    fresh = absent_cells(x, CELLS, FRAME, split=(0, 1), margin=margin)
    both = torch.cat([CELLS, fresh])
    assert len(torch.unique(both, dim=0)) == len(both) > len(CELLS)
    assert len(absent_cells(x, both, FRAME, split=(0, 1), margin=margin)) == 0
    every = cell_sort(x, both, FRAME, split=(0, 1), margin=margin).segments.diff()
    assert bool((every[len(CELLS) :] > 0).all())  # none that no point needs


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_points_that_no_cell_can_hold_are_refused(value: float) -> None:
    x = _points(10)
    x[3, 1] = value
    with pytest.raises(ValueError, match="not finite or more than"):
        absent_cells(x, CELLS, FRAME, split=(0, 1))


def test_wrong_settings_say_what_to_do() -> None:
    x = _points(4)
    with pytest.raises(ValueError, match=r"split must be 1 to 3 ascending axes of 3, got \[1, 0\]"):
        cell_sort(x, CELLS, FRAME, split=(1, 0))
    with pytest.raises(ValueError, match=r"margin must be from 0 to below 0\.5"):
        cell_sort(x, CELLS, FRAME, split=(0, 1), margin=0.5)
    with pytest.raises(ValueError, match=r"all be different, got \[0, 0\] twice"):
        cell_sort(x, torch.zeros(2, 2, dtype=torch.int64), FRAME, split=(0, 1))
    with pytest.raises(ValueError, match=r"within 2\^20 of 0"):
        cell_sort(x, torch.full((1, 2), 2**20), FRAME, split=(0, 1))
