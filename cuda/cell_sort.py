"""Groups points by the cells of a scalable grid, so that one call looks all cells up.

sorted = cell_sort(positions, coordinates, frame, split=(0, 1))
features = hash_grid(sorted.local, table, levels, segments=sorted.segments)      # in the order of cells
features = cell_blend(features, sorted.places, sorted.order)                     # in the order of points
"""

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.cell_blend import cell_blend
from neural.cuda.levels import MAX_DIMS
from neural.cuda.native import lib, threads
from neural.cuda.reference import cell_sort as reference
from neural.cuda.tensor_cache import TensorCache

MAX_SPLIT = 3  # axes that are cut into cells
FARTHEST = 2**20 - 4  # cells from the origin along an axis
_KEY_BITS, _OFFSET = 21, 1 << 20
_MIX = 0x9E3779B97F4A7C15


class CellOrder(NamedTuple):
    """Points grouped by cell. A pair is a point and one of its cells; entry e = S point + slot numbers them all.

    Attributes:
        local: Where each pair lies in its cell, [0, 1]^D, a transposed view of a [D, P] buffer; differentiable.
        segments: int64 on the CPU: the pairs segments[c] .. segments[c + 1] - 1 lie in cell c.
        places: int32, the pair of each entry; -1 where there is none.
        order: int32, the entry of each pair; ascending within a cell.
    """

    local: Float[Tensor, "P D"]
    segments: Int[Tensor, "C1"]
    places: Int[Tensor, "N S"]
    order: Int[Tensor, "P"]


def cell_sort(
    positions: Float[Tensor, "N D"],
    coordinates: Int[Tensor, "C A"],
    frame: Float[Tensor, "2 D"],
    *,
    split: Sequence[int],
    margin: float = 0.0,
    nearest: bool = False,
) -> CellOrder:
    """Finds every point's cells and sorts by them, stably: the same bits for any number of threads.

    Args:
        positions: Any points, in either memory order.
        coordinates: Cells, int64 on the CPU: (floor of) (x - frame[0]) frame[1] along each split axis; all different.
        frame: Where the box of cell 0 begins on each axis, and 1 / its length; on the CPU.
        split: Axes that are cut into cells, ascending, 1 to 3 of them. Of others the box of cell 0 is all there is.
        margin: How far a cell reaches beyond its faces, in cells, below 0.5. With 0 a point has S = 1 slot, otherwise
            2^A: its own cell and those within reach, bit a of the slot for the neighbour along split axis a.
        nearest: Points without any existing cell go to the nearest one, where they lie outside of [0, 1].

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or range.
    """
    op = "cell_sort"
    checks.require(op, "positions", positions, ("N", "D"))
    n_dims = positions.shape[1]
    axes = tuple(split)
    bits = _checked.get((axes, n_dims)) or _bits(axes, n_dims)
    if positions.is_meta:
        raise ValueError(f"{op}: positions must hold data, got a meta tensor; how many pairs there are depends on it")
    checks.require(op, "coordinates", coordinates, ("C", bits.bit_count()), torch.int64, _CPU)
    checks.require(op, "frame", frame, (2, n_dims), torch.float32, _CPU)
    if not 0.0 <= margin < 0.5:
        raise ValueError(f"{op}: margin must be from 0 to below 0.5 cells, got {margin}")
    if positions.shape[0] << bits.bit_count() >= 2**31:
        raise ValueError(f"{op}: {positions.shape[0]} points are too many for one call; cut the batch")
    coordinates, frame = coordinates.contiguous(), frame.contiguous()
    if torch.compiler.is_compiling():
        return CellOrder(*torch.ops.neural.cell_sort(positions, coordinates, frame, bits, margin, nearest))
    if not (torch.is_grad_enabled() and positions.requires_grad):
        return CellOrder(*_sort(positions, coordinates, frame, bits, margin, nearest))
    return CellOrder(*_CellSort.apply(positions, coordinates, frame, bits, margin, nearest))


def absent_cells(
    positions: Float[Tensor, "N D"],
    coordinates: Int[Tensor, "C A"],
    frame: Float[Tensor, "2 D"],
    *,
    split: Sequence[int],
    margin: float = 0.0,
) -> Int[Tensor, "M A"]:
    """Coordinates of the cells that points need and that do not exist, sorted; arguments as of `cell_sort`.

    Raises:
        ValueError: A point is not finite, or farther away than 2^20 - 4 cells.
    """
    bits, positions = _bits(tuple(split), positions.shape[1]), positions.detach()
    coordinates, frame = coordinates.contiguous(), frame.contiguous()
    lacks = (_find(positions, coordinates, frame, bits, margin, False)[0] == reference.ABSENT).any(1)
    if not bool(lacks.any()):
        return coordinates.new_empty((0, len(split)))
    points = positions[lacks][:, list(split)]
    rows = frame.to(points)[:, list(split)]
    scaled = (points - rows[0]) * rows[1]
    if bool((~(scaled.abs() < FARTHEST)).any()):
        raise ValueError(
            f"a point is not finite or more than {FARTHEST} cells away from the origin: drop such points, or make "
            "cells larger"
        )
    cell = scaled.floor()
    offset = scaled - cell
    step = torch.where(offset < margin, -1, torch.where(offset > 1 - margin, 1, 0))
    needed = []
    for slot in range(1 << len(split) if margin > 0 else 1):
        chosen = torch.tensor([(slot >> a) & 1 for a in range(len(split))], device=points.device)
        needed.append(cell.long() + step * chosen)
    have = {tuple(row) for row in coordinates.tolist()}
    rows_needed = torch.unique(torch.cat(needed).cpu(), dim=0).tolist()
    return torch.tensor([row for row in rows_needed if tuple(row) not in have], dtype=torch.int64)


def _bits(split: tuple[int, ...], n_dims: int) -> int:
    """The split axes as bits."""
    if not 1 <= n_dims <= MAX_DIMS:
        raise ValueError(f"cell_sort: positions must have 1 to {MAX_DIMS} columns, got {n_dims}")
    if not 1 <= len(split) <= MAX_SPLIT or sorted({*split}) != [*split] or split[0] < 0 or split[-1] >= n_dims:
        raise ValueError(f"cell_sort: split must be 1 to {MAX_SPLIT} ascending axes of {n_dims}, got {list(split)}")
    return _checked.setdefault((split, n_dims), sum([1 << axis for axis in split]))


class _CellSort(Function):
    @staticmethod
    def forward(ctx: Any, positions, coordinates, frame, split, margin, nearest):
        local, segments, places, order = _sort(positions, coordinates, frame, split, margin, nearest)
        ctx.save_for_backward(places, order, frame)
        ctx.rule = split, margin
        ctx.mark_non_differentiable(segments, places, order)
        return local, segments, places, order

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any):
        places, order, frame = ctx.saved_tensors
        return cell_blend(grad, places, order) * _slope(frame, *ctx.rule).to(grad.device), *(None,) * 5


def _slope(frame: Tensor, split: int, margin: float) -> Tensor:
    """How fast the local position moves with the point, per axis."""
    reach = [1 + 2 * margin if (split >> d) & 1 else 1.0 for d in range(frame.shape[1])]
    return frame[1] / torch.tensor(reach, dtype=frame.dtype, device=frame.device)


def _sort(
    positions: Tensor, coordinates: Tensor, frame: Tensor, split: int, margin: float, nearest: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if checks.backend(positions) == "reference":
        return reference.sort(positions, coordinates, frame, split, margin, nearest)
    (n, n_dims), n_cells = positions.shape, coordinates.shape[0]
    found, n_pairs, segments, starts = _find(positions, coordinates, frame, split, margin, nearest)
    slots = found.shape[1]
    source, sn, sk = checks.rows(positions)
    if checks.backend(positions) == "cpu":
        order = torch.empty(n_pairs, dtype=torch.int32)
        local = checks.empty_features(n_pairs, n_dims, positions)
        lib.cell_sort_place(
            source.data_ptr(), sn, sk, n, n_dims, frame.data_ptr(), split, margin, coordinates.data_ptr(), n_cells,
            found.data_ptr(), slots, starts.buffer_info()[0], n_pairs, found.data_ptr(), order.data_ptr(),
            local.data_ptr(), threads(),
        )  # fmt: skip
        return local, segments, found, order  # its places take the place of the cells
    cells = found.flatten()
    by_cell = torch.sort(torch.where(cells < 0, n_cells, cells), stable=True)
    segments = torch.searchsorted(by_cell.values, torch.arange(n_cells + 1, device=cells.device)).cpu()
    n_pairs = int(segments[-1])
    order = by_cell.indices[:n_pairs].int()
    places, local = torch.full_like(found, -1), checks.empty_features(n_pairs, n_dims, positions)
    jit.launch(
        "cell_sort", "cell_sort_place", {"DIMS": n_dims}, n_pairs,
        (source, sn, sk, _there(frame, positions), split, margin, _there(coordinates, positions), n_cells, found,
         slots, order, n_pairs, places, local),
    )  # fmt: skip
    return local, segments, places, order


def _find(
    positions: Tensor, coordinates: Tensor, frame: Tensor, split: int, margin: float, nearest: bool
) -> tuple[Tensor, int, Tensor, array]:
    """Cell of every entry [N, S]; on a CPU also the number of pairs, segments, and where chunks begin in them."""
    (n, n_dims), n_cells = positions.shape, coordinates.shape[0]
    slots = 1 << split.bit_count() if margin > 0 else 1
    if checks.backend(positions) == "reference":
        found = reference.find(positions, coordinates, frame, split, margin, nearest)
        return found, 0, found, array("q")
    keys, values = _hash_table(coordinates)
    found = torch.empty((n, slots), dtype=torch.int32, device=positions.device)
    source, sn, sk = checks.rows(positions)
    if checks.backend(positions) == "cpu":
        starts = array("q", bytes(8 * (-(-n // lib.cell_sort_chunk()) * n_cells + 1)))
        segments = torch.empty(n_cells + 1, dtype=torch.int64)
        n_pairs = lib.cell_sort_find(
            source.data_ptr(), sn, sk, n, n_dims, frame.data_ptr(), split, margin, keys.data_ptr(), values.data_ptr(),
            keys.shape[0], coordinates.data_ptr(), n_cells, int(nearest), found.data_ptr(),
            starts.buffer_info()[0], segments.data_ptr(), threads(),
        )  # fmt: skip
        return found, n_pairs, segments, starts
    jit.launch(
        "cell_sort", "cell_sort_find", {"DIMS": n_dims}, n,
        (source, sn, sk, n, _there(frame, positions), split, margin, _there(keys, positions), _there(values, positions),
         keys.shape[0], _there(coordinates, positions), n_cells, int(nearest), slots, found),
    )  # fmt: skip
    return found, 0, found, array("q")


def _hash_table(coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values as cell_sort.cuh looks them up, made once per tensor of coordinates."""
    kept = _tables.get(coordinates)
    if kept is not None:
        return kept
    n_slots = max(16, 1 << (4 * coordinates.shape[0]).bit_length())
    keys, values = np.full(n_slots, -1, np.int64), np.full(n_slots, reference.ABSENT, np.int32)
    for cell, row in enumerate(coordinates.tolist()):
        key = 0
        for c in row:
            if not -_OFFSET <= c < _OFFSET:
                raise ValueError(f"cell_sort: coordinates must lie within 2^20 of 0, got {row}")
            key = (key << _KEY_BITS) | (c + _OFFSET)
        slot = (((key * _MIX) & (2**64 - 1)) >> 20) & (n_slots - 1)
        while keys[slot] >= 0:
            if keys[slot] == key:
                raise ValueError(f"cell_sort: coordinates must all be different, got {row} twice")
            slot = (slot + 1) & (n_slots - 1)
        keys[slot], values[slot] = key, cell
    return _tables.put(coordinates, (torch.from_numpy(keys), torch.from_numpy(values)))


def _there(tensor: Tensor, like: Tensor) -> Tensor:
    """A contiguous copy on the device of `like`, kept until the tensor dies or changes."""
    if tensor.device == like.device and tensor.is_contiguous():
        return tensor
    kept = _copies.get(tensor)
    if kept is None or kept.device != like.device:
        kept = _copies.put(tensor, tensor.to(like.device).contiguous())
    return kept


_checked: dict[tuple[tuple[int, ...], int], int] = {}  # split axes and dimensions that were sound, to bits
_tables: TensorCache[tuple[Tensor, Tensor]] = TensorCache()
_copies: TensorCache[Tensor] = TensorCache()
_CPU = torch.device("cpu")


def _fake(positions: Tensor, coordinates: Tensor, frame: Tensor, split: int, margin: float, nearest: bool):
    n_pairs = torch.library.get_ctx().new_dynamic_size()
    slots = 1 << split.bit_count() if margin > 0 else 1
    return (
        positions.new_empty((positions.shape[1], n_pairs)).T,
        coordinates.new_empty(coordinates.shape[0] + 1),
        positions.new_empty((positions.shape[0], slots), dtype=torch.int32),
        positions.new_empty(n_pairs, dtype=torch.int32),
    )


def _op_save(ctx: Any, inputs: tuple, output: tuple) -> None:
    ctx.save_for_backward(output[2], output[3], inputs[2])
    ctx.rule = inputs[3:5]


def _op_backward(ctx: Any, grad: Tensor, *_: Any):
    places, order, frame = ctx.saved_tensors
    moved = torch.ops.neural.cell_blend(grad, places, order, None)
    return moved * _slope(frame, *ctx.rule).to(grad.device), *(None,) * 5


library.define(
    "cell_sort",
    "(Tensor positions, Tensor coordinates, Tensor frame, int split, float margin, bool nearest)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    implementation=_sort,
    fake=_fake,
    backward=_op_backward,
    save=_op_save,
)
