"""What the ops over levels of a pooled table share: autograd, and how their kernels are called.

An op has a forward kernel and three backward kernels of its name (see hash_grid.h, simplex.h), which take their
arguments in one order, and a reference module with `forward`, `backward` and `backward_backward`.
"""

from array import array
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.gradients import GradientBuffer
from neural.cuda.lattice_checks import DTYPES
from neural.cuda.native import lib, threads
from neural.cuda.tensor_cache import TensorCache


@dataclass(frozen=True, eq=False)
class Op:
    """One encoding's op.

    Attributes:
        name: Stem of its kernels, and its name in messages.
        form: What `Grid.form` chooses among, in capitals a define of the CUDA kernels.
        reference: Its plain-torch module.
        curved: Whether the gradient to positions changes with the position. Where it does not, the second-order
            kernel has no such output.
    """

    name: str
    form: str
    reference: ModuleType
    curved: bool


class Grid(NamedTuple):
    """What all passes share but positions and table, in the order of the references' arguments."""

    levels: Tensor
    segments: Tensor | None
    level_weights: Tensor | None
    form: int  # an interpolation, or a lattice
    outside: int  # index into OUTSIDES


def lookup(
    op: Op, positions: Tensor, table: Tensor, working_copy: Tensor | None, grid: Grid, into: GradientBuffer | None
) -> Tensor:
    """The features of all levels; arguments must have passed `lattice_checks.check`."""
    if torch.compiler.is_compiling():
        levels, *rest = grid
        return getattr(torch.ops.neural, op.name)(positions, table, levels, working_copy, *rest)
    if not (torch.is_grad_enabled() and (positions.requires_grad or table.requires_grad)):
        return _forward(op, positions, table, working_copy, grid)
    return _Lookup.apply(positions, table, working_copy, op, grid, into)


class _Lookup(Function):
    @staticmethod
    def forward(ctx: Any, positions, table, working_copy, op, grid, into):
        ctx.save_for_backward(positions, table, working_copy)
        ctx.op, ctx.grid, ctx.into = op, grid, into
        return _forward(op, positions, table, working_copy, grid)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        positions, table, working_copy = ctx.saved_tensors
        want_positions, want_table = ctx.needs_input_grad[:2]
        if ctx.into is not None and want_table:
            _backward_table(ctx.op, grad, positions, table, ctx.grid, ctx.into)
            want_table = False
        if not (want_positions or want_table):
            return None, None, None, None, None, None
        if torch.is_grad_enabled() and (grad.requires_grad or positions.requires_grad or table.requires_grad):
            grads = _Backward.apply(grad, positions, table, want_positions, want_table, ctx.op, ctx.grid)
        else:
            grads = _backward(ctx.op, grad, positions, table, working_copy, want_positions, want_table, ctx.grid)
        return *grads, None, None, None, None


class _Backward(Function):
    """(grad, positions, table) -> (grad_positions, grad_table), itself differentiable."""

    @staticmethod
    def forward(ctx: Any, grad, positions, table, want_positions, want_table, op, grid):
        ctx.save_for_backward(grad, positions, table)
        ctx.op, ctx.grid = op, grid
        ctx.set_materialize_grads(False)
        return _backward(op, grad, positions, table, None, want_positions, want_table, grid)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, along_positions: Tensor | None, along_table: Tensor | None):
        grad, positions, table = ctx.saved_tensors
        op, grid = ctx.op, ctx.grid
        wanted = ctx.needs_input_grad[:3]
        result: list[Tensor | None] = [None, None, None]
        if along_positions is not None:
            result = list(_backward_backward(op, along_positions, grad, positions, table, wanted, grid))
        if along_table is not None:  # the table's gradient is linear in grad: <grad, features of along_table>
            along_table = along_table.contiguous()
            if wanted[0]:
                result[0] = _sum(result[0], _forward(op, positions, along_table, None, grid))
            if wanted[1]:
                result[1] = _sum(result[1], _backward_positions(op, grad, positions, along_table, grid))
        return *result, None, None, None, None


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def _forward(op: Op, positions: Tensor, table: Tensor, working_copy: Tensor | None, grid: Grid) -> Tensor:
    source = table if working_copy is None else working_copy
    if checks.backend(positions) == "reference":
        return op.reference.forward(positions, source, *grid)
    n = positions.shape[0]
    out = checks.empty_features(n, grid.levels.shape[1] * table.shape[1], positions)
    _run(op, "forward", positions, source, grid, (source,), (out, 1, n), dtype=source.dtype)
    return out


def _backward(
    op: Op, grad: Tensor, positions: Tensor, table: Tensor, working_copy: Tensor | None, want_positions: bool,
    want_table: bool, grid: Grid,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    source = table if working_copy is None else working_copy
    grad_positions = _backward_positions(op, grad, positions, source, grid) if want_positions else None
    return grad_positions, _backward_table(op, grad, positions, table, grid) if want_table else None


def _backward_table(
    op: Op, grad: Tensor, positions: Tensor, table: Tensor, grid: Grid, into: GradientBuffer | None = None
) -> Tensor:
    if checks.backend(positions) == "reference":
        result = op.reference.backward(grad, positions, table, *grid)[1]
        if into is not None:
            into.add(result)
        return result
    grad_table = torch.zeros_like(table, dtype=torch.float32) if into is None else into.grad
    touched = None if into is None else into.touched
    _run(op, "backward_table", positions, table, grid, checks.rows(grad), (grad_table, touched))
    return grad_table


def _backward_positions(op: Op, grad: Tensor, positions: Tensor, table: Tensor, grid: Grid) -> Tensor:
    if checks.backend(positions) == "reference":
        return op.reference.backward(grad, positions, table, *grid)[0]
    out = torch.empty(positions.shape, dtype=torch.float32, device=positions.device)
    inputs = (table, *checks.rows(grad))
    _run(op, "backward_positions", positions, table, grid, inputs, (out,), dtype=table.dtype, by_level=False)
    return out


def _backward_backward(
    op: Op, direction: Tensor, grad: Tensor, positions: Tensor, table: Tensor, wanted: tuple[bool, ...], grid: Grid
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Those wanted of the gradients of <grad_positions, direction> with respect to grad, positions and table."""
    if checks.backend(positions) == "reference":
        return op.reference.backward_backward(direction, grad, positions, table, *grid)
    n = positions.shape[0]
    grad_grad = checks.empty_features(n, grad.shape[1], grad) if wanted[0] else None
    grad_table = torch.zeros_like(table) if wanted[2] else None
    inputs = (table, *checks.rows(grad), *checks.rows(direction))
    name = "backward_backward"
    if not op.curved:
        if wanted[0] or wanted[2]:
            _run(op, name, positions, table, grid, inputs, (grad_table, grad_grad, 1, n))
        return grad_grad, torch.zeros_like(positions) if wanted[1] else None, grad_table
    grad_positions = torch.empty(positions.shape, dtype=torch.float32, device=grad.device) if wanted[1] else None
    if checks.backend(positions) == "cpu":
        _run(op, name, positions, table, grid, inputs, (grad_table, grad_grad, 1, n, grad_positions))
    else:  # what belongs to a level goes level by level, sums over levels point by point
        if wanted[0] or wanted[2]:
            _run(op, name, positions, table, grid, inputs, (grad_table, grad_grad, 1, n, None))
        if wanted[1]:
            _run(op, name, positions, table, grid, inputs, (None, None, 1, n, grad_positions), by_level=False)
    return grad_grad, grad_positions, grad_table


def _run(
    op: Op, kernel: str, positions: Tensor, table: Tensor, grid: Grid, inputs: tuple, outputs: tuple, *,
    dtype: torch.dtype | None = None, by_level: bool = True,
) -> None:  # fmt: skip
    """Runs one of an op's kernels.

    Where the kernel reads tables of several dtypes `dtype` says which, and the table is the first of `inputs`.
    `by_level`: On a GPU there is a thread for every point and level, otherwise for every point.
    """
    (n, n_dims), n_features = positions.shape, table.shape[1]
    if n == 0:
        return
    kernel = f"{op.name}_{kernel}"
    levels, segments, level_weights, form, outside = grid
    n_tables, n_levels, _ = levels.shape
    rows = checks.rows(positions)
    if checks.backend(positions) == "cpu":
        if dtype is not None:
            inputs = (inputs[0], DTYPES.index(dtype), *inputs[1:])
        whole = array("q", (0, n))  # segment bounds of one sub-table for all points
        bounds = whole.buffer_info()[0] if segments is None else segments.data_ptr()
        shape = (n_tables, n_levels, n_dims, n_features, level_weights, form, outside)
        args = (*rows, *inputs, levels, bounds, *shape, *outputs)
        getattr(lib, kernel)(*[a if type(a) is int else 0 if a is None else a.data_ptr() for a in args], threads())
        return
    device = positions.device
    defines = {
        "DIMS": n_dims, "FEATURES": n_features, op.form.upper(): form, "OUTSIDE": outside,
        "TABLE_DTYPE": 0 if dtype is None else DTYPES.index(dtype),
    }  # fmt: skip
    inputs = tuple([_aligned(a) if a is table else a for a in inputs])
    segments_there = None if segments is None else segments.to(device, non_blocking=True)
    weights = None if level_weights is None else on_device(level_weights, device)
    args = (*rows, *inputs, n, on_device(levels, device), segments_there, n_tables, n_levels, weights, *outputs)
    jit.launch(op.name, kernel, defines, (n, n_levels, 1) if by_level else n, args)


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy of a tensor of the CPU, kept until the tensor dies or changes."""
    if tensor.device == device:
        return tensor
    kept = _copies.get(tensor)
    if kept is None or kept.device != device:
        kept = _copies.put(tensor, tensor.to(device))
    return kept


def _aligned(table: Tensor) -> Tensor:
    """The table at an address from which a GPU can read whole entries."""
    return table if table.data_ptr() % 16 == 0 else table.clone()


_copies: TensorCache[Tensor] = TensorCache()


def define(op: Op) -> None:
    """The op's `torch.library` face: NAME and NAME_backward behind torch.ops.neural, the same implementations."""

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        positions, table, working_copy = ctx.saved_tensors
        grads = getattr(torch.ops.neural, op.name + "_backward")(grad, positions, table, working_copy, *ctx.grid)
        return (*grads, *(None,) * 6)

    def save(ctx: Any, inputs: tuple, output: Tensor) -> None:
        positions, table, levels, working_copy, *rest = inputs
        ctx.save_for_backward(positions, table, working_copy)
        ctx.grid = (levels, *rest)

    library.define(
        op.name,
        "(Tensor positions, Tensor table, Tensor levels, Tensor? working_copy, Tensor? segments, "
        f"Tensor? level_weights, int {op.form}, int outside) -> Tensor",
        implementation=lambda positions, table, levels, working_copy, *rest: _forward(
            op, positions, table, working_copy, Grid(levels, *rest)
        ),
        fake=lambda positions, table, levels, *rest: checks.empty_features(
            positions.shape[0], levels.shape[1] * table.shape[1], positions
        ),
        backward=backward,
        save=save,
    )
    library.define(
        op.name + "_backward",
        "(Tensor grad, Tensor positions, Tensor table, Tensor? working_copy, Tensor levels, Tensor? segments, "
        f"Tensor? level_weights, int {op.form}, int outside) -> (Tensor, Tensor)",
        implementation=lambda grad, positions, table, working_copy, *grid: _backward(
            op, grad, positions, table, working_copy, True, True, Grid(*grid)
        ),
        fake=lambda grad, positions, table, *rest: (
            torch.empty(positions.shape, dtype=torch.float32, device=positions.device),
            torch.empty(table.shape, dtype=torch.float32, device=positions.device),
        ),
    )
