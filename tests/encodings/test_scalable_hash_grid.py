"""The scalable hash grid: its cells are hash grids of their own, growth keeps what was there, faces are continuous."""

import pytest
import torch
from torch import Tensor

from neural import memory
from neural.cuda.gradients import GradientBuffer
from neural.cuda.reference import cell_blend as reference_blend
from neural.cuda.reference import cell_sort as reference_sort
from neural.cuda.reference import hash_grid as reference_grid
from neural.encodings.hash_grid import HashGrid
from neural.encodings.scalable_hash_grid import ScalableHashGrid
from neural.errors import TooLarge

SMALL = {"n_levels": 3, "log2_hashmap_size": 8, "finest_resolution": 40}


def _grid(**options) -> ScalableHashGrid:
    return ScalableHashGrid(**{"n_dims": 3, "cell_size": 2.0, **SMALL, **options})


def _points(n: int = 400, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 6 * torch.rand(n, 3, generator=generator) - torch.tensor([3.0, 3.0, 1.0])


def _fill(grid: HashGrid) -> None:
    """Values that can be told apart, where initial ones are all near zero."""
    with torch.no_grad():
        grid.table.copy_(torch.randn(grid.table.shape, generator=torch.Generator().manual_seed(3)))


def test_every_cell_is_a_hash_grid_of_its_own() -> None:
    grid, x = _grid(), _points()
    assert grid.grow(x) == 16
    assert grid.grow(x) == 0
    _fill(grid)
    features = grid(x)
    single = HashGrid(3, **SMALL)
    rows = grid.entries_per_cell
    for c, cell in enumerate(grid.cells.tolist()):
        inside = ((x[:, :2] / 2).floor().long() == torch.tensor(cell)).all(1)
        local = torch.cat([x[inside][:, :2] / 2 - torch.tensor(cell), (x[inside][:, 2:] + 1) / 2], 1)
        with torch.no_grad():
            single.table.copy_(grid.table[c * rows : (c + 1) * rows])
        torch.testing.assert_close(features[inside], single(local), atol=2e-4, rtol=1e-4)
        assert bool(inside.any())


def _expected(grid: ScalableHashGrid, x: Tensor) -> Tensor:
    """The whole grid in plain torch."""
    split = sum(1 << axis for axis in grid.axes)
    local, segments, places, _ = reference_sort.sort(x, grid.cells, grid.frame, split, grid.overlap, False)
    features = reference_grid.forward(local, grid.table.cpu(), grid.levels, segments, None, 1, 1)
    if grid.overlap == 0:
        return reference_blend.forward(features, places, None)
    return reference_blend.forward(features, places, grid._weights(x, places))


def _compare_with_plain_torch(overlap: float, device: torch.device) -> None:
    grid, x = _grid(overlap=overlap), _points(200)
    grid.to(device).grow(x[:150].to(device))  # some points have no cell
    _fill(grid)
    upstream = torch.randn(200, grid.n_output_dims, generator=torch.Generator().manual_seed(1))
    results = []
    for ours in (True, False):
        place = device if ours else torch.device("cpu")
        leaf = x.to(place).requires_grad_()
        out = grid(leaf) if ours else _expected(grid, leaf)
        results.append(
            (out.cpu(), *(g.cpu() for g in torch.autograd.grad(out, (leaf, grid.table), upstream.to(place))))
        )
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, atol=2e-3, rtol=1e-3)
        assert expected.abs().max().item() > 0.1


@pytest.mark.parametrize("overlap", [0.0, 0.2])
def test_matches_plain_torch_in_value_and_gradients(overlap: float) -> None:
    _compare_with_plain_torch(overlap, torch.device("cpu"))


@pytest.mark.parametrize("overlap", [0.0, 0.2])
def test_the_cuda_path_matches_plain_torch(overlap: float, cuda_device: torch.device) -> None:
    _compare_with_plain_torch(overlap, cuda_device)


def test_growth_keeps_every_old_row_and_is_in_place() -> None:
    grid = _grid(precision="float16")
    grid.grow(torch.zeros(1, 3))
    grid.gradients = GradientBuffer.like(grid.table)
    _fill(grid)
    grid.refresh()
    table, copy, buffer, before = grid.table, grid.working_copy, grid.gradients, grid.table.detach().clone()
    x = torch.tensor([[0.3, 0.2, 0.1]])
    features = grid(x).detach()
    grid(x).sum().backward()
    added, bits = buffer.grad.clone(), buffer.touched.clone()
    assert grid.grow(_points()) > 0
    assert grid.table is table and grid.working_copy is copy and grid.gradients is buffer
    assert torch.equal(grid.table[: len(before)], before)
    assert torch.equal(buffer.grad[: len(before)], added) and torch.equal(buffer.touched[: len(bits)], bits)
    assert torch.equal(grid(x), features)  # float16 of the same values
    assert torch.equal(grid.working_copy, grid.table.half())
    grid(_points()).sum().backward()
    assert float(buffer.grad[len(before) :].abs().max()) > 0


def test_initial_values_depend_on_the_cell_and_not_on_when_it_was_made() -> None:
    early, late = _grid(), _grid()
    x = _points()
    early.grow(x)
    late.grow(x[:1])
    late.grow(x)
    order = [early.cells.tolist().index(row) for row in late.cells.tolist()]
    shape = (len(early.cells), early.entries_per_cell, 2)
    assert torch.equal(early.table.detach().reshape(shape)[order], late.table.detach().reshape(shape))
    assert order != sorted(order)
    assert torch.equal(early(x), late(x))


@pytest.mark.parametrize("overlap", [0.0, 0.15])
def test_gradients_are_those_of_finite_differences(overlap: float) -> None:
    grid, x = _grid(overlap=overlap, interpolation="smoothstep"), _points(60)
    grid.grow(x)
    _fill(grid)
    upstream = torch.randn(60, grid.n_output_dims, generator=torch.Generator().manual_seed(1))
    leaf = x.clone().requires_grad_()
    (grid(leaf) * upstream).sum().backward()
    step = 2e-3
    agree = 0
    for axis in range(3):
        moved = torch.zeros(3)
        moved[axis] = step
        slope = ((grid(x + moved) - grid(x - moved)) * upstream).sum(1) / (2 * step)
        error = (slope - leaf.grad[:, axis]).abs() / (1 + leaf.grad[:, axis].abs())
        agree += int((error < 0.05).sum())
    assert agree > 0.9 * 180  # the others straddle a face of some lattice


def test_second_order_gradients_reach_the_table() -> None:
    """An eikonal loss: the squared length of the gradient, against a step along the table's gradient."""
    grid, x = _grid(overlap=0.1, interpolation="smoothstep"), _points(50).requires_grad_()
    grid.grow(x)
    _fill(grid)

    def eikonal() -> Tensor:
        (slope,) = torch.autograd.grad(grid(x).sum(), x, create_graph=True)
        return slope.square().mean()

    (gradient,) = torch.autograd.grad(eikonal(), grid.table)
    direction = gradient / gradient.norm()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            grid.table.add_(direction, alpha=0.01 * sign)
        values.append(eikonal().item())
        with torch.no_grad():
            grid.table.sub_(direction, alpha=0.01 * sign)
    assert (values[0] - values[1]) / 0.02 == pytest.approx(float(gradient.norm()), rel=1e-2)


@pytest.mark.parametrize("axes", ["ground", "all"])
def test_features_are_continuous_across_faces_with_overlap(axes: str) -> None:
    """On a line through many cells the largest change per step shrinks with the step; without overlap it does not."""
    jumps = {}
    for overlap in (0.0, 0.1):
        grid = _grid(overlap=overlap, axes=axes, **{"log2_hashmap_size": 12})
        t = torch.linspace(-2.9, 2.9, 40_001)
        line = torch.stack([t, 0.7 * t + 0.013, 0.1 + 0.3 * t], 1)
        grid.grow(line)
        _fill(grid)
        for every in (1, 8):
            jumps[overlap, every] = grid(line[::every]).detach().diff(dim=0).abs().max().item()
    assert jumps[0.1, 1] < 0.2 * jumps[0.1, 8]
    assert jumps[0.0, 1] > 0.7 * jumps[0.0, 8]
    assert jumps[0.1, 1] < 0.1 * jumps[0.0, 1]


def test_weights_of_neighbours_sum_to_one() -> None:
    """Tables of ones give ones everywhere, near corners too."""
    grid, x = _grid(overlap=0.2, axes="all"), _points(3000)
    grid.grow(x)
    with torch.no_grad():
        grid.table.fill_(1.0)
    torch.testing.assert_close(grid(x), torch.ones(3000, grid.n_output_dims), atol=2e-6, rtol=0)


def test_making_a_neighbour_moves_features_by_its_initial_values_only() -> None:
    grid = _grid(overlap=0.2)
    grid.grow(torch.tensor([[1.0, 1.0, 0.0]]))
    _fill(grid)
    near_face = torch.tensor([[1.95, 1.0, 0.2], [0.1, 0.05, -0.3]])
    before = grid(near_face).detach()
    assert grid.grow(torch.tensor([[3.0, 1.0, 0.0], [-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])) == 4
    torch.testing.assert_close(grid(near_face), before, atol=1e-4, rtol=0)
    assert float(before.abs().min()) > 1e-3


@pytest.mark.parametrize("overlap", [0.0, 0.2])
def test_points_without_a_cell(overlap: float) -> None:
    inside, outside = torch.tensor([[1.0, 1.0, 0.1]]), torch.tensor([[7.0, 1.2, 0.1], [float("nan"), 0, 0]])
    grid = _grid(overlap=overlap)
    assert torch.equal(grid(inside), torch.zeros(1, grid.n_output_dims))  # no cell at all
    grid.grow(inside)
    _fill(grid)
    assert torch.equal(grid(outside), torch.zeros(2, grid.n_output_dims))
    nearest = _grid(overlap=overlap, missing="nearest")
    assert torch.equal(nearest(outside), torch.zeros(2, grid.n_output_dims))
    nearest.grow(inside)
    nearest.load_state_dict(grid.state_dict())
    torch.testing.assert_close(nearest(outside[:1]), nearest(torch.tensor([[7.0 - 0.5, 1.2, 0.1]])))
    if overlap == 0.0:
        face = nearest(torch.tensor([[2.0 - 1e-6, 1.2, 0.1]]))
        torch.testing.assert_close(nearest(outside[:1]), face, atol=1e-4, rtol=0)
    assert nearest(outside[:1]).abs().max().item() > 0.01


def test_state_goes_into_a_fresh_grid() -> None:
    grid, x = _grid(precision="bfloat16"), _points()
    grid.grow(x)
    _fill(grid)
    fresh = _grid(precision="bfloat16")
    fresh.load_state_dict(grid.state_dict())
    assert torch.equal(fresh.cells, grid.cells)
    assert torch.equal(fresh(x), grid(x))
    grid.load_state_dict(_grid(precision="bfloat16").state_dict())  # and fewer cells into one with more
    assert len(grid.cells) == 0 and grid.table.shape[0] == 0
    state = fresh.state_dict()
    del state["cells"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "cells"'):
        _grid().load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"cells must be int64 \[cells, 2\], got \[1, 3\]"):
        _grid().load_state_dict({**state, "cells": torch.zeros(1, 3, dtype=torch.int64)})


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, where it goes on after a break of its graph
def test_it_compiles() -> None:
    grid, x = _grid(overlap=0.2), _points(60).requires_grad_()
    grid.grow(x)
    _fill(grid)
    compiled = torch.compile(grid, backend="aot_eager")
    results = []
    for call in (compiled, grid):
        out = call(x)
        results.append((out, *torch.autograd.grad(out.square().sum(), (x, grid.table))))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


def test_growth_is_bounded_and_says_what_it_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = _grid(max_cells=4)
    grid.grow(torch.zeros(1, 3))
    table = grid.table.detach().clone()
    with pytest.raises(
        TooLarge, match=r"15 more cells would make 16 \(0\.\d MB each in training\), and max_cells is 4"
    ):
        grid.grow(_points())
    large = _grid()
    monkeypatch.setattr(memory, "available", lambda device: 100_000)
    with pytest.raises(TooLarge, match=r"16 more cells .* need 0\.00 GB, and 0\.00 GB are free on cpu: make log2"):
        large.grow(_points())
    assert len(grid.cells) == 1 and torch.equal(grid.table, table) and len(large.cells) == 0


def test_a_graph_that_still_lives_does_not_stop_growth() -> None:
    """The loss of the last step is alive in most loops while the grid grows; torch keeps the old shape with it."""
    grid, x = _grid(), _points()
    grid.grow(x[:1])
    loss = grid(x).square().sum()
    loss.backward()
    grid.grow(x)
    again = grid(x).square().sum()
    again.backward()
    assert grid.table.grad.shape == grid.table.shape
    assert loss.grad_fn is not None


def test_axes_that_are_not_cut_have_their_extent() -> None:
    grid = _grid(extent=(-4.0, 12.0))
    x = torch.tensor([[0.5, 0.5, -4.0], [0.5, 0.5, -9.0], [0.5, 0.5, 12.0], [0.5, 0.5, 4.0]])
    grid.grow(x)
    _fill(grid)
    single = HashGrid(3, **SMALL)
    with torch.no_grad():
        single.table.copy_(grid.table)
    local = torch.tensor([[0.25, 0.25, 0.0], [0.25, 0.25, 0.0], [0.25, 0.25, 1.0], [0.25, 0.25, 0.5]])
    torch.testing.assert_close(grid(x), single(local), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell_size": 0.0}, "cell_size must be positive"),
        ({"cell_size": (1.0,)}, r"cell_size must be one finite value or 2"),
        ({"axes": "sky"}, "axes must be 'ground', 'all'"),
        ({"axes": (0, 3)}, "ascending axes of 3"),
        ({"n_dims": 5, "axes": "all"}, "axes must be 1 to 3 ascending axes of 5"),
        ({"extent": (1.0, 1.0)}, r"extent must be \(low, high\)"),
        ({"overlap": 0.5}, r"overlap must be from 0 to below 0\.5"),
        ({"missing": "wrap"}, "missing must be"),
        ({"max_cells": 0}, "max_cells must be at least 1"),
        ({"n_levels": 0}, "n_levels must be 1 to 64"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _grid(**options)


def test_level_weights_act_as_in_a_hash_grid() -> None:
    grid, x = _grid(), _points()
    grid.grow(x)
    _fill(grid)
    whole = grid(x)
    grid.set_max_level(1)
    part = grid(x)
    assert torch.equal(part[:, :2], whole[:, :2]) and not part[:, 2:].any() and bool(whole[:, 2:].any())
