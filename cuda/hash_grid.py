"""Multi-resolution hash grid: positions to features, differentiable twice, over one pooled table."""

from array import array
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda import levels as layout
from neural.cuda.autograd import Function
from neural.cuda.gradients import WORD_ROWS, GradientBuffer
from neural.cuda.levels import MAX_DIMS, row_length
from neural.cuda.native import lib, threads
from neural.cuda.reference import hash_grid as reference
from neural.cuda.tensor_cache import TensorCache

Interpolation = Literal["nearest", "linear", "smoothstep"]
Outside = Literal["wrap", "clamp", "zero"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "linear", "smoothstep")
OUTSIDES: tuple[Outside, ...] = ("wrap", "clamp", "zero")
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def hash_grid(
    positions: Float[Tensor, "N D"],
    table: Float[Tensor, "E F"],
    levels: Int[Tensor, "T L W"],
    *,
    working_copy: Float[Tensor, "E F"] | None = None,
    segments: Int[Tensor, " T1"] | None = None,
    level_weights: Float[Tensor, " L"] | None = None,
    interpolation: Interpolation = "linear",
    outside: Outside = "clamp",
    accumulate: GradientBuffer | None = None,
) -> Float[Tensor, "N K"]:
    """Looks positions up in every level of a grid and interpolates its features.

    Args:
        positions: Points in [0, 1]^D, D = 1 to 7, float32, in either memory order.
        table: All levels of all sub-tables, float32; F = 1, 2, 4 or 8.
        levels: Their descriptors, int64 on the CPU, as `neural.cuda.levels.describe` makes them.
        working_copy: A float16 or bfloat16 copy of `table` to read from instead; gradients still go to `table`.
        segments: int64 [T + 1] on the CPU: points segments[t] to segments[t + 1] - 1 use sub-table t. None: all use 0.
        level_weights: Factor of each level, float32 on the CPU, not differentiated. A level of weight 0 gives zeros and
            costs nothing, forward and backward.
        interpolation: `linear`, `smoothstep` (continuous gradients), or `nearest` (the cell's own entry).
        outside: Beyond [0, 1]: `clamp` to the faces, features `zero`, or `wrap` as tiny-cuda-nn does.
        accumulate: Adds the table's gradient into this buffer and gives autograd none: the training loop's way,
            without a temporary of the table's size.

    Returns:
        Features, float32, K = L F, a transposed view of a [K, N] buffer. Differentiable with respect to positions and
        table; the gradients are differentiable again (eikonal losses).

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or name.

    Source: Mueller et al. 2022, arXiv:2201.05989, section 3.
    """
    _check(positions, table, levels, working_copy, segments, level_weights, interpolation, outside)
    if accumulate is not None:
        _check_buffer(accumulate, table)
    codes = INTERPOLATIONS.index(interpolation), OUTSIDES.index(outside)
    if torch.compiler.is_compiling():
        return torch.ops.neural.hash_grid(positions, table, levels, working_copy, segments, level_weights, *codes)
    grid = _Grid(levels, segments, level_weights, *codes)
    if not (torch.is_grad_enabled() and (positions.requires_grad or table.requires_grad)):
        return _forward(positions, table, working_copy, grid)
    return _HashGrid.apply(positions, table, working_copy, grid, accumulate)


class _Grid(NamedTuple):
    """What all passes share but positions and table, in the order of the reference's arguments."""

    levels: Tensor
    segments: Tensor | None
    level_weights: Tensor | None
    interpolation: int  # index into INTERPOLATIONS
    outside: int  # index into OUTSIDES


class _HashGrid(Function):
    @staticmethod
    def forward(ctx: Any, positions, table, working_copy, grid, into):
        ctx.save_for_backward(positions, table, working_copy)
        ctx.grid, ctx.into = grid, into
        return _forward(positions, table, working_copy, grid)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        positions, table, working_copy = ctx.saved_tensors
        want_positions, want_table = ctx.needs_input_grad[:2]
        if ctx.into is not None and want_table:
            _backward_table(grad, positions, table, ctx.grid, ctx.into)
            want_table = False
        if not (want_positions or want_table):
            return None, None, None, None, None
        if torch.is_grad_enabled() and (grad.requires_grad or positions.requires_grad or table.requires_grad):
            grads = _HashGridBackward.apply(grad, positions, table, want_positions, want_table, ctx.grid)
        else:
            grads = _backward(grad, positions, table, working_copy, want_positions, want_table, ctx.grid)
        return *grads, None, None, None


class _HashGridBackward(Function):
    """(grad, positions, table) -> (grad_positions, grad_table), itself differentiable."""

    @staticmethod
    def forward(ctx: Any, grad, positions, table, want_positions, want_table, grid):
        ctx.save_for_backward(grad, positions, table)
        ctx.grid = grid
        ctx.set_materialize_grads(False)
        return _backward(grad, positions, table, None, want_positions, want_table, grid)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, along_positions: Tensor | None, along_table: Tensor | None):
        grad, positions, table = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        result: list[Tensor | None] = [None, None, None]
        if along_positions is not None:
            result = list(_backward_backward(along_positions, grad, positions, table, wanted, ctx.grid))
        if along_table is not None:  # the table's gradient is linear in grad: <grad, features of along_table>
            along_table = along_table.contiguous()
            if wanted[0]:
                result[0] = _sum(result[0], _forward(positions, along_table, None, ctx.grid))
            if wanted[1]:
                result[1] = _sum(result[1], _backward_positions(grad, positions, along_table, ctx.grid))
        return *result, None, None, None


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def _forward(positions: Tensor, table: Tensor, working_copy: Tensor | None, grid: _Grid) -> Tensor:
    source = table if working_copy is None else working_copy
    if checks.backend(positions) == "reference":
        return reference.forward(positions, source, *grid)
    n = positions.shape[0]
    out = checks.empty_features(n, grid.levels.shape[1] * table.shape[1], positions)
    _run("hash_grid_forward", positions, source, grid, (source,), (out, 1, n), dtype=source.dtype)
    return out


def _backward(
    grad: Tensor, positions: Tensor, table: Tensor, working_copy: Tensor | None, want_positions: bool,
    want_table: bool, grid: _Grid,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    source = table if working_copy is None else working_copy
    grad_positions = _backward_positions(grad, positions, source, grid) if want_positions else None
    return grad_positions, _backward_table(grad, positions, table, grid) if want_table else None


def _backward_table(
    grad: Tensor, positions: Tensor, table: Tensor, grid: _Grid, into: GradientBuffer | None = None
) -> Tensor:
    if checks.backend(positions) == "reference":
        result = reference.backward(grad, positions, table, *grid)[1]
        if into is not None:
            into.add(result)
        return result
    grad_table = torch.zeros_like(table, dtype=torch.float32) if into is None else into.grad
    touched = None if into is None else into.touched
    _run("hash_grid_backward_table", positions, table, grid, checks.rows(grad), (grad_table, touched))
    return grad_table


def _backward_positions(grad: Tensor, positions: Tensor, table: Tensor, grid: _Grid) -> Tensor:
    if checks.backend(positions) == "reference":
        return reference.backward(grad, positions, table, *grid)[0]
    out = torch.empty(positions.shape, dtype=torch.float32, device=positions.device)
    inputs = (table, *checks.rows(grad))
    _run("hash_grid_backward_positions", positions, table, grid, inputs, (out,), dtype=table.dtype, by_level=False)
    return out


def _backward_backward(
    direction: Tensor, grad: Tensor, positions: Tensor, table: Tensor, wanted: tuple[bool, ...], grid: _Grid
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Those wanted of the gradients of <grad_positions, direction> with respect to grad, positions and table."""
    if checks.backend(positions) == "reference":
        return reference.backward_backward(direction, grad, positions, table, *grid)
    n = positions.shape[0]
    grad_grad = checks.empty_features(n, grad.shape[1], grad) if wanted[0] else None
    grad_positions = torch.empty(positions.shape, dtype=torch.float32, device=grad.device) if wanted[1] else None
    grad_table = torch.zeros_like(table) if wanted[2] else None
    inputs = (table, *checks.rows(grad), *checks.rows(direction))
    name = "hash_grid_backward_backward"
    if checks.backend(positions) == "cpu":
        _run(name, positions, table, grid, inputs, (grad_table, grad_grad, 1, n, grad_positions))
    else:  # what belongs to a level goes level by level, sums over levels point by point
        if wanted[0] or wanted[2]:
            _run(name, positions, table, grid, inputs, (grad_table, grad_grad, 1, n, None))
        if wanted[1]:
            _run(name, positions, table, grid, inputs, (None, None, 1, n, grad_positions), by_level=False)
    return grad_grad, grad_positions, grad_table


def _run(
    kernel: str, positions: Tensor, table: Tensor, grid: _Grid, inputs: tuple, outputs: tuple, *,
    dtype: torch.dtype | None = None, by_level: bool = True,
) -> None:  # fmt: skip
    """Runs a kernel of hash_grid.h.

    Where the kernel reads tables of several dtypes `dtype` says which, and the table is the first of `inputs`.
    `by_level`: On a GPU there is a thread for every point and level, otherwise for every point.
    """
    (n, n_dims), n_features = positions.shape, table.shape[1]
    if n == 0:
        return
    levels, segments, level_weights, interpolation, outside = grid
    n_tables, n_levels, _ = levels.shape
    rows = checks.rows(positions)
    if checks.backend(positions) == "cpu":
        if dtype is not None:
            inputs = (inputs[0], _DTYPES.index(dtype), *inputs[1:])
        whole = array("q", (0, n))  # segment bounds of one sub-table for all points
        bounds = whole.buffer_info()[0] if segments is None else segments.data_ptr()
        shape = (n_tables, n_levels, n_dims, n_features, level_weights, interpolation, outside)
        args = (*rows, *inputs, levels, bounds, *shape, *outputs)
        getattr(lib, kernel)(*[a if type(a) is int else 0 if a is None else a.data_ptr() for a in args], threads())
        return
    device = positions.device
    defines = {
        "DIMS": n_dims, "FEATURES": n_features, "INTERPOLATION": interpolation, "OUTSIDE": outside,
        "TABLE_DTYPE": 0 if dtype is None else _DTYPES.index(dtype),
    }  # fmt: skip
    inputs = tuple([_aligned(a) if a is table else a for a in inputs])
    segments_there = None if segments is None else segments.to(device, non_blocking=True)
    weights = None if level_weights is None else _on_device(level_weights, device)
    args = (*rows, *inputs, n, _on_device(levels, device), segments_there, n_tables, n_levels, weights, *outputs)
    jit.launch("hash_grid", kernel, defines, (n, n_levels, 1) if by_level else n, args)


def _on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy of a tensor of the CPU, kept until the tensor dies or changes."""
    if tensor.device == device:
        return tensor
    kept = _copies.get(tensor)
    if kept is None or kept.device != device:
        kept = _copies.put(tensor, tensor.to(device))
    return kept


def _extent(levels: Tensor, n_dims: int) -> int:
    """Entries that the descriptors reach, looked at once per tensor and version.

    Raises:
        TypeError, ValueError: Descriptors that no layout gives.
    """
    kept = _extents.get(levels)
    if kept is not None and kept[0] == n_dims:
        return kept[1]
    checks.require("hash_grid", "levels", levels, ("T", "L", row_length(n_dims)), torch.int64, _CPU)
    if not levels.is_contiguous() or not layout.sound(levels):
        raise ValueError("hash_grid: levels must be contiguous descriptors; make them with levels.describe")
    return _extents.put(levels, (n_dims, int((levels[..., 0] + levels[..., 1]).max())))[1]


_copies: TensorCache[Tensor] = TensorCache()
_extents: TensorCache[tuple[int, int]] = TensorCache()


def _check_buffer(accumulate: GradientBuffer, table: Tensor) -> None:
    checks.require("hash_grid", "accumulate.grad", accumulate.grad, tuple(table.shape), torch.float32, table.device)
    words = -(-table.shape[0] // WORD_ROWS)
    checks.require("hash_grid", "accumulate.touched", accumulate.touched, (words,), torch.int64, table.device)
    if not (accumulate.grad.is_contiguous() and accumulate.touched.is_contiguous()):
        raise ValueError("hash_grid: accumulate must hold contiguous tensors; make it with GradientBuffer.like")


def _aligned(table: Tensor) -> Tensor:
    """The table at an address from which a GPU can read whole entries."""
    return table if table.data_ptr() % 16 == 0 else table.clone()


def _check(positions, table, levels, working_copy, segments, level_weights, interpolation, outside) -> None:
    op = "hash_grid"
    checks.require(op, "table", table, ("E", "F"))
    checks.require(op, "positions", positions, ("N", "D"), device=table.device)
    n_dims, n_features = positions.shape[1], table.shape[1]
    if not 1 <= n_dims <= MAX_DIMS:
        raise ValueError(f"{op}: positions must have 1 to {MAX_DIMS} columns, got {n_dims}")
    if n_features not in (1, 2, 4, 8):
        raise ValueError(f"{op}: table must have 1, 2, 4 or 8 features, got {n_features}")
    if not table.is_contiguous():
        _refuse_strides("table", table)
    cpu = _CPU
    if torch.compiler.is_compiling():
        checks.require(op, "levels", levels, ("T", "L", row_length(n_dims)), torch.int64, cpu)
    elif (extent := _extent(levels, n_dims)) > table.shape[0]:
        raise ValueError(
            f"{op}: levels describe {extent} entries, the table has {table.shape[0]}; pass the table that "
            "levels.describe gave the size of"
        )
    if working_copy is not None:
        _require_dense("working_copy", working_copy, tuple(table.shape), _DTYPES[1:], table.device)
    if level_weights is not None:
        _require_dense("level_weights", level_weights, (levels.shape[1],), torch.float32, cpu)
    if segments is not None:
        _require_dense("segments", segments, (levels.shape[0] + 1,), torch.int64, cpu)
        bounds = segments.tolist()
        if bounds[0] != 0 or bounds[-1] != positions.shape[0] or sorted(bounds) != bounds:
            raise ValueError(f"{op}: segments must rise from 0 to {positions.shape[0]} points, got {bounds}")
    elif levels.shape[0] != 1:
        raise ValueError(f"{op}: {levels.shape[0]} sub-tables need segments, got None; pass int64 [T + 1] offsets")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"{op}: interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    if outside not in OUTSIDES:
        raise ValueError(f"{op}: outside must be one of {', '.join(OUTSIDES)}, got {outside!r}")


def _require_dense(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: Any, device: torch.device) -> None:
    checks.require("hash_grid", name, tensor, shape, dtype, device)
    if not tensor.is_contiguous():
        _refuse_strides(name, tensor)


def _refuse_strides(name: str, tensor: Tensor) -> NoReturn:
    raise ValueError(f"hash_grid: {name} must be contiguous, got strides {tensor.stride()}; call .contiguous()")


_CPU = torch.device("cpu")


# --- torch.library: the same implementations behind torch.ops.neural


def _op_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    positions, table, working_copy = ctx.saved_tensors
    grads = torch.ops.neural.hash_grid_backward(grad, positions, table, working_copy, *ctx.grid)
    return (*grads, *(None,) * 6)


def _op_save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    positions, table, levels, working_copy, *rest = inputs
    ctx.save_for_backward(positions, table, working_copy)
    ctx.grid = (levels, *rest)


library.define(
    "hash_grid",
    "(Tensor positions, Tensor table, Tensor levels, Tensor? working_copy, Tensor? segments, Tensor? level_weights, "
    "int interpolation, int outside) -> Tensor",
    implementation=lambda positions, table, levels, working_copy, *rest: _forward(
        positions, table, working_copy, _Grid(levels, *rest)
    ),
    fake=lambda positions, table, levels, *rest: checks.empty_features(
        positions.shape[0], levels.shape[1] * table.shape[1], positions
    ),
    backward=_op_backward,
    save=_op_save,
)
library.define(
    "hash_grid_backward",
    "(Tensor grad, Tensor positions, Tensor table, Tensor? working_copy, Tensor levels, Tensor? segments, "
    "Tensor? level_weights, int interpolation, int outside) -> (Tensor, Tensor)",
    implementation=lambda grad, positions, table, working_copy, *grid: _backward(
        grad, positions, table, working_copy, True, True, _Grid(*grid)
    ),
    fake=lambda grad, positions, table, *rest: (
        torch.empty(positions.shape, dtype=torch.float32, device=positions.device),
        torch.empty(table.shape, dtype=torch.float32, device=positions.device),
    ),
)
