"""Multi-resolution hash grid: positions to features, differentiable twice, over one pooled table."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.gradients import GradientBuffer
from neural.cuda.levels import MAX_DIMS, row_length
from neural.cuda.native import lib, threads
from neural.cuda.reference import hash_grid as reference

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
    options = (segments, level_weights, INTERPOLATIONS.index(interpolation), OUTSIDES.index(outside))
    if torch.compiler.is_compiling():
        return torch.ops.neural.hash_grid(positions, table, levels, working_copy, *options)
    return _HashGrid.apply(positions, table, levels, working_copy, *options, accumulate)


class _HashGrid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, positions, table, levels, working_copy, segments, level_weights, interpolation, outside, into
    ):
        ctx.save_for_backward(positions, table, working_copy)
        ctx.grid = (levels, segments, level_weights, interpolation, outside)
        ctx.into = into
        return _forward(positions, table, levels, working_copy, segments, level_weights, interpolation, outside)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        positions, table, working_copy = ctx.saved_tensors
        want_positions, want_table = ctx.needs_input_grad[:2]
        nothing = (None,) * 7
        if ctx.into is not None and want_table:
            _backward_table(grad, positions, table, *ctx.grid, into=ctx.into)
            want_table = False
        if not (want_positions or want_table):
            return None, None, *nothing
        if torch.is_grad_enabled() and (grad.requires_grad or positions.requires_grad or table.requires_grad):
            grads = _HashGridBackward.apply(grad, positions, table, want_positions, want_table, *ctx.grid)
            return *grads, *nothing
        return *_backward(grad, positions, table, working_copy, want_positions, want_table, *ctx.grid), *nothing


class _HashGridBackward(torch.autograd.Function):
    """(grad, positions, table) -> (grad_positions, grad_table), itself differentiable."""

    @staticmethod
    def forward(ctx: Any, grad, positions, table, want_positions, want_table, *grid):
        ctx.save_for_backward(grad, positions, table)
        ctx.grid = grid
        ctx.set_materialize_grads(False)
        return _backward(grad, positions, table, None, want_positions, want_table, *grid)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, along_positions: Tensor | None, along_table: Tensor | None):  # type: ignore[override]
        grad, positions, table = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        result: list[Tensor | None] = [None, None, None]
        if along_positions is not None:
            result = list(_backward_backward(along_positions, grad, positions, table, *wanted, *ctx.grid))
        if along_table is not None:  # the table's gradient is linear in grad: <grad, features of along_table>
            along_table = along_table.contiguous()
            if wanted[0]:
                result[0] = _sum(result[0], _forward(positions, along_table, ctx.grid[0], None, *ctx.grid[1:]))
            if wanted[1]:
                result[1] = _sum(result[1], _backward(grad, positions, along_table, None, True, False, *ctx.grid)[0])
        return *result, None, None, *(None,) * len(ctx.grid)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def _forward(positions, table, levels, working_copy, segments, level_weights, interpolation, outside) -> Tensor:
    source = table if working_copy is None else working_copy
    if checks.backend(positions) == "reference":
        return reference.forward(positions, source, levels, segments, level_weights, interpolation, outside)
    n, k = positions.shape[0], levels.shape[1] * table.shape[1]
    out = checks.empty_features(n, k, positions)
    if n == 0:
        return out
    x, xn, xk = checks.rows(positions)
    if checks.backend(positions) == "cpu":
        bounds = _segments(segments, n)
        lib.hash_grid_forward(
            x.data_ptr(), xn, xk, source.data_ptr(), _DTYPES.index(source.dtype), *_shape(levels, bounds, x, table),
            _pointer(level_weights), interpolation, outside, out.data_ptr(), 1, n, threads(),
        )  # fmt: skip
    else:
        cuda_args = _cuda_grid(levels, segments, level_weights, n, positions.device)
        jit.launch(
            "hash_grid", "hash_grid_forward",
            _defines(positions, table, interpolation, outside, source.dtype), (n, levels.shape[1], 1),
            (x, xn, xk, source, *cuda_args, out, 1, n),
        )  # fmt: skip
    return out


def _backward(
    grad,
    positions,
    table,
    working_copy,
    want_positions,
    want_table,
    levels,
    segments,
    level_weights,
    interpolation,
    outside,
) -> tuple[Tensor | None, Tensor | None]:
    grid = (levels, segments, level_weights, interpolation, outside)
    source = table if working_copy is None else working_copy
    grad_positions = _backward_positions(grad, positions, source, *grid) if want_positions else None
    grad_table = _backward_table(grad, positions, table, *grid) if want_table else None
    return grad_positions, grad_table


def _backward_table(
    grad, positions, table, levels, segments, level_weights, interpolation, outside, into: GradientBuffer | None = None
) -> Tensor:
    if checks.backend(positions) == "reference":
        result = reference.backward(grad, positions, table, levels, segments, level_weights, interpolation, outside)[1]
        if into is not None:
            into.add(result)
        return result
    n = positions.shape[0]
    grad_table = torch.zeros_like(table, dtype=torch.float32) if into is None else into.grad
    if n == 0:
        return grad_table
    touched = None if into is None else into.touched
    x, xn, xk = checks.rows(positions)
    g, gn, gk = checks.rows(grad)
    if checks.backend(positions) == "cpu":
        bounds = _segments(segments, n)
        lib.hash_grid_backward_table(
            x.data_ptr(), xn, xk, g.data_ptr(), gn, gk, *_shape(levels, bounds, x, table),
            _pointer(level_weights), interpolation, outside, grad_table.data_ptr(), _pointer(touched), threads(),
        )  # fmt: skip
    else:
        cuda_args = _cuda_grid(levels, segments, level_weights, n, positions.device)
        jit.launch(
            "hash_grid", "hash_grid_backward_table",
            _defines(positions, table, interpolation, outside), (n, levels.shape[1], 1),
            (x, xn, xk, g, gn, gk, *cuda_args, grad_table, touched),
        )  # fmt: skip
    return grad_table


def _backward_positions(grad, positions, table, levels, segments, level_weights, interpolation, outside) -> Tensor:
    if checks.backend(positions) == "reference":
        return reference.backward(grad, positions, table, levels, segments, level_weights, interpolation, outside)[0]
    n = positions.shape[0]
    grad_positions = torch.empty(positions.shape, dtype=torch.float32, device=positions.device)
    if n == 0:
        return grad_positions
    x, xn, xk = checks.rows(positions)
    g, gn, gk = checks.rows(grad)
    if checks.backend(positions) == "cpu":
        bounds = _segments(segments, n)
        lib.hash_grid_backward_positions(
            x.data_ptr(), xn, xk, table.data_ptr(), _DTYPES.index(table.dtype), g.data_ptr(), gn, gk,
            *_shape(levels, bounds, x, table), _pointer(level_weights), interpolation, outside,
            grad_positions.data_ptr(), threads(),
        )  # fmt: skip
    else:
        cuda_args = _cuda_grid(levels, segments, level_weights, n, positions.device)
        jit.launch(
            "hash_grid", "hash_grid_backward_positions",
            _defines(positions, table, interpolation, outside, table.dtype), n,
            (x, xn, xk, table, g, gn, gk, *cuda_args, grad_positions),
        )  # fmt: skip
    return grad_positions


def _backward_backward(
    direction, grad, positions, table, want_grad, want_positions, want_table,
    levels, segments, level_weights, interpolation, outside,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of <grad_positions, direction> with respect to grad, positions and table."""
    grid = (levels, segments, level_weights, interpolation, outside)
    if checks.backend(positions) == "reference":
        return reference.backward_backward(direction, grad, positions, table, *grid)
    n = positions.shape[0]
    grad_grad = checks.empty_features(n, grad.shape[1], grad) if want_grad else None
    grad_positions = torch.empty(positions.shape, dtype=torch.float32, device=grad.device) if want_positions else None
    grad_table = torch.zeros_like(table) if want_table else None
    if n == 0:
        return grad_grad, grad_positions, grad_table
    x, xn, xk = checks.rows(positions)
    g, gn, gk = checks.rows(grad)
    v, vn, vk = checks.rows(direction)
    if checks.backend(positions) == "cpu":
        bounds = _segments(segments, n)
        lib.hash_grid_backward_backward(
            x.data_ptr(), xn, xk, table.data_ptr(), g.data_ptr(), gn, gk, v.data_ptr(), vn, vk,
            *_shape(levels, bounds, x, table), _pointer(level_weights), interpolation, outside,
            _pointer(grad_table), _pointer(grad_grad), 1, n, _pointer(grad_positions), threads(),
        )  # fmt: skip
    else:
        cuda_args = _cuda_grid(levels, segments, level_weights, n, positions.device)
        jit.launch(
            "hash_grid", "hash_grid_backward_backward",
            _defines(positions, table, interpolation, outside), n,
            (x, xn, xk, table, g, gn, gk, v, vn, vk, *cuda_args, grad_table, grad_grad, 1, n, grad_positions),
        )  # fmt: skip
    return grad_grad, grad_positions, grad_table


def _shape(levels: Tensor, bounds: Tensor, positions: Tensor, table: Tensor) -> tuple[int, ...]:
    return (
        levels.data_ptr(), bounds.data_ptr(), levels.shape[0], levels.shape[1], positions.shape[1], table.shape[1],
    )  # fmt: skip


def _cuda_grid(levels, segments, level_weights, n: int, device: torch.device) -> tuple[Any, ...]:
    """Descriptors, segment bounds, their counts and level weights, on the GPU."""
    weights = None if level_weights is None else level_weights.to(device, non_blocking=True)
    bounds = _segments(segments, n).to(device, non_blocking=True)
    return levels.to(device, non_blocking=True), bounds, levels.shape[0], levels.shape[1], weights


def _defines(positions, table, interpolation, outside, dtype=torch.float32) -> dict[str, int]:
    return {
        "DIMS": positions.shape[1], "FEATURES": table.shape[1], "INTERPOLATION": interpolation, "OUTSIDE": outside,
        "TABLE_DTYPE": _DTYPES.index(dtype),
    }  # fmt: skip


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _segments(segments: Tensor | None, n: int) -> Tensor:
    return torch.tensor([0, n], dtype=torch.int64) if segments is None else segments


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
        raise ValueError(f"{op}: table must be contiguous, got strides {table.stride()}; call .contiguous()")
    cpu = _CPU
    checks.require(op, "levels", levels, ("T", "L", row_length(n_dims)), torch.int64, cpu)
    if working_copy is not None:
        checks.require(op, "working_copy", working_copy, tuple(table.shape), _DTYPES[1:], table.device)
    if segments is not None:
        checks.require(op, "segments", segments, (levels.shape[0] + 1,), torch.int64, cpu)
        bounds = segments.tolist()
        if bounds[0] != 0 or bounds[-1] != positions.shape[0] or sorted(bounds) != bounds:
            raise ValueError(f"{op}: segments must rise from 0 to {positions.shape[0]} points, got {bounds}")
    elif levels.shape[0] != 1:
        raise ValueError(f"{op}: {levels.shape[0]} sub-tables need segments, got None; pass int64 [T + 1] offsets")
    if level_weights is not None:
        checks.require(op, "level_weights", level_weights, (levels.shape[1],), torch.float32, cpu)
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"{op}: interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    if outside not in OUTSIDES:
        raise ValueError(f"{op}: outside must be one of {', '.join(OUTSIDES)}, got {outside!r}")


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
    implementation=_forward,
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
        grad, positions, table, working_copy, True, True, *grid
    ),
    fake=lambda grad, positions, table, *rest: (
        torch.empty(positions.shape, dtype=torch.float32, device=positions.device),
        torch.empty(table.shape, dtype=torch.float32, device=positions.device),
    ),
)
