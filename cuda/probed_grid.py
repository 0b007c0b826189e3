"""Hash grid with learned probing: codes choose among neighbouring entries, and are learned by their probabilities."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from neural.cuda import checks, jit, lattice, library
from neural.cuda.autograd import Function
from neural.cuda.gradients import GradientBuffer
from neural.cuda.hash_grid import INTERPOLATIONS, Interpolation
from neural.cuda.lattice_checks import OUTSIDES, Outside, check
from neural.cuda.native import lib, threads
from neural.cuda.reference import probed_grid as reference
from neural.cuda.tensor_cache import TensorCache

MAX_DIMS = 4
MAX_PROBES = 16
_CPU = torch.device("cpu")


def probed_grid(
    positions: Float[Tensor, "N D"],
    table: Float[Tensor, "E F"],
    probabilities: Float[Tensor, "B C P"],
    codes: UInt8[Tensor, "B C"],
    levels: Int[Tensor, "1 L W"],
    *,
    level_weights: Float[Tensor, " L"] | None = None,
    interpolation: Interpolation = "linear",
    outside: Outside = "clamp",
    accumulate: GradientBuffer | None = None,
) -> Float[Tensor, "N K"]:
    """Looks positions up in a hash grid whose hashed levels hold learned codes beside their entries.

    A vertex v of a hashed level of S entries uses entry P (h1(v) mod S / P) + codes[h2(v)]: what a hash chooses is a
    block of P entries, and the code which of them. Values are those of the chosen entry; gradients go to all of a
    block, as if its mean by the probabilities had been looked up, which is how codes are learned.

    Args:
        positions: Points in [0, 1]^D, D = 1 to 4, float32.
        table: All levels, float32; F = 1, 2, 4 or 8.
        probabilities: Of each of P = 2, 4, 8 or 16 codes, for each of C = 2^c places of the codebooks of the last B
            levels, which are the hashed ones; float32. Only backward passes read them.
        codes: The most probable code of each place, below P.
        levels: Descriptors of one sub-table, as `neural.cuda.levels.describe` makes them.
        level_weights: Factor of each level, float32 on the CPU; a level of weight 0 costs nothing.
        interpolation: `linear`, `smoothstep` or `nearest`.
        outside: Beyond [0, 1]: `clamp`, `zero` or `wrap`.
        accumulate: Adds the table's gradient into this buffer and gives autograd none.

    Returns:
        Features, float32, K = L F, a transposed view of a [K, N] buffer. Differentiable with respect to positions,
        table and probabilities; the gradient to positions is differentiable again (eikonal losses), the others are not.

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or name.

    Source: Takikawa et al. 2023, arXiv:2312.17241, section 3.
    """
    op = "probed_grid"
    check(op, positions, table, levels, None, None, level_weights, outside, accumulate)
    if positions.shape[1] > MAX_DIMS:
        raise ValueError(f"{op}: positions must have 1 to {MAX_DIMS} columns, got {positions.shape[1]}")
    checks.require(op, "codes", codes, ("B", "C"), torch.uint8, table.device)
    checks.require(op, "probabilities", probabilities, (*codes.shape, "P"), device=table.device)
    for name, tensor in (("codes", codes), ("probabilities", probabilities)):
        if not tensor.is_contiguous():
            raise ValueError(f"{op}: {name} must be contiguous, got strides {tensor.stride()}; call .contiguous()")
    n_codes, n_probes = probabilities.shape[1:]
    if n_probes not in (2, 4, 8, MAX_PROBES) or n_codes & (n_codes - 1) or not 4 <= n_codes <= 2**24:
        raise ValueError(
            f"{op}: probabilities must have 2, 4, 8 or 16 columns and 4 to 2^24 rows a level, a power of two, "
            f"got {list(probabilities.shape)}"
        )
    if not torch.compiler.is_compiling():
        _check_books(levels, len(codes), n_probes)
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"{op}: interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    grid = _Grid(levels, level_weights, INTERPOLATIONS.index(interpolation), OUTSIDES.index(outside))
    if torch.compiler.is_compiling():
        return torch.ops.neural.probed_grid(positions, table, probabilities, codes, *grid)
    if not (
        torch.is_grad_enabled() and (positions.requires_grad or table.requires_grad or probabilities.requires_grad)
    ):
        return _forward(positions, table, probabilities, codes, grid)
    return _ProbedGrid.apply(positions, table, probabilities, codes, grid, accumulate)


class _Grid(NamedTuple):
    """What all passes share but tensors that are differentiated, in the order of the reference's arguments."""

    levels: Tensor
    level_weights: Tensor | None
    interpolation: int  # index into INTERPOLATIONS
    outside: int  # index into OUTSIDES


class _ProbedGrid(Function):
    @staticmethod
    def forward(ctx: Any, positions, table, probabilities, codes, grid, into):
        ctx.save_for_backward(positions, table, probabilities, codes)
        ctx.grid, ctx.into = grid, into
        return _forward(positions, table, probabilities, codes, grid)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        given: tuple[Any, ...] = (*ctx.saved_tensors, ctx.grid)
        want_positions, want_table, want_probabilities = ctx.needs_input_grad[:3]
        grad_positions = grad_table = grad_probabilities = None
        if want_positions:
            grad_positions = _PositionGradient.apply(grad, *given)
        if want_table or want_probabilities:
            into = ctx.into if want_table else None
            grad_table, grad_probabilities = _backward_table(grad.detach(), *given, into=into)
        return (
            grad_positions,
            grad_table if want_table and ctx.into is None else None,
            grad_probabilities if want_probabilities else None,
            None,
            None,
            None,
        )


class _PositionGradient(Function):
    """(grad, positions, table, probabilities) -> grad_positions, itself differentiable."""

    @staticmethod
    def forward(ctx: Any, grad, positions, table, probabilities, codes, grid):
        ctx.save_for_backward(grad, positions, table, probabilities, codes)
        ctx.grid = grid
        return _backward_positions(grad, positions, table, probabilities, codes, grid)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, direction: Tensor):
        given: tuple[Any, ...] = (*ctx.saved_tensors, ctx.grid)
        return *_backward_backward(direction, *given), None, None


def _forward(positions: Tensor, table: Tensor, probabilities: Tensor, codes: Tensor, grid: _Grid) -> Tensor:
    if checks.backend(positions) == "reference":
        return reference.forward(positions, table, probabilities, codes, *grid)
    n = positions.shape[0]
    out = checks.empty_features(n, grid.levels.shape[1] * table.shape[1], positions)
    _run("forward", positions, (table, codes), probabilities, table, grid, (out, 1, n))
    return out


def _backward_positions(grad, positions, table, probabilities, codes, grid: _Grid) -> Tensor:
    if checks.backend(positions) == "reference":
        return reference.backward(grad, positions, table, probabilities, codes, *grid)[0]
    out = torch.empty(positions.shape, dtype=torch.float32, device=positions.device)
    inputs = (table, codes, *checks.rows(grad))
    _run("backward_positions", positions, inputs, probabilities, table, grid, (out,), by_level=False)
    return out


def _backward_table(
    grad, positions, table, probabilities, codes, grid: _Grid, *, direction: Tensor | None = None,
    into: GradientBuffer | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients to table and probabilities of the features, or of <grad_positions, direction>."""
    if checks.backend(positions) == "reference":
        given = grad, positions, table, probabilities, codes, *grid
        grads = reference.backward(*given) if direction is None else reference.backward_backward(direction, *given)[1:]
        if into is not None:
            into.add(grads[1])
        return grads[1], grads[2]
    grad_table = torch.zeros_like(table) if into is None else into.grad
    grad_probabilities = torch.zeros_like(probabilities)
    along = (None, 0, 0) if direction is None else checks.rows(direction)
    outputs = (grad_table, None if into is None else into.touched, grad_probabilities)
    inputs = (table, probabilities, *checks.rows(grad), *along)
    _run("backward_table", positions, inputs, probabilities, table, grid, outputs)
    return grad_table, grad_probabilities


def _backward_backward(direction, grad, positions, table, probabilities, codes, grid: _Grid) -> tuple[Tensor, ...]:
    """Gradients of <grad_positions, direction> with respect to grad, positions, table and probabilities."""
    given = grad, positions, table, probabilities, codes
    if checks.backend(positions) == "reference":
        return reference.backward_backward(direction, *given, *grid)
    n = positions.shape[0]
    grad_grad = checks.empty_features(n, grad.shape[1], grad)
    grad_positions = torch.empty(positions.shape, dtype=torch.float32, device=positions.device)
    inputs = (table, codes, *checks.rows(grad), *checks.rows(direction))
    outputs = (grad_grad, 1, n, grad_positions)
    _run("backward_backward", positions, inputs, probabilities, table, grid, outputs, by_level=False)
    return grad_grad, grad_positions, *_backward_table(*given, grid, direction=direction)


def _run(
    kernel: str, positions: Tensor, inputs: tuple, probabilities: Tensor, table: Tensor, grid: _Grid, outputs: tuple, *,
    by_level: bool = True,
) -> None:  # fmt: skip
    """Runs a kernel of probed_grid.h. `by_level`: on a GPU there is a thread for every point and level, otherwise for
    every point."""
    (n, n_dims), n_features = positions.shape, table.shape[1]
    if n == 0:
        return
    levels, weights, interpolation, outside = grid
    n_levels, (n_books, n_codes, n_probes) = levels.shape[1], probabilities.shape
    log2_codes, log2_probes = n_codes.bit_length() - 1, n_probes.bit_length() - 1
    rows = checks.rows(positions)
    if checks.backend(positions) == "cpu":
        shape = (n_levels, n_dims, n_features, n_books, log2_codes, log2_probes, weights, interpolation, outside)
        args = (*rows, *inputs, n, levels, *shape, *outputs)
        values = [a if type(a) is int else 0 if a is None else a.data_ptr() for a in args]
        getattr(lib, f"probed_grid_{kernel}")(*values, threads())
        return
    defines = {
        "DIMS": n_dims, "FEATURES": n_features, "INTERPOLATION": interpolation, "OUTSIDE": outside,
        "TABLE_DTYPE": 0, "LOG2_CODES": log2_codes, "LOG2_PROBES": log2_probes,
    }  # fmt: skip
    device = positions.device
    weights = None if weights is None else lattice.on_device(weights, device)
    args = (*rows, *inputs, n, lattice.on_device(levels, device), n_levels, n_books, weights, *outputs)
    jit.launch("probed_grid", f"probed_grid_{kernel}", defines, (n, n_levels, 1) if by_level else n, args)


def _check_books(levels: Tensor, n_books: int, n_probes: int) -> None:
    """Refuses codebooks that do not fit the levels; looked at once per tensor and version."""
    if _checked.get(levels) == (n_books, n_probes):
        return
    hashed = levels[0, :, 2]
    probed = torch.arange(len(hashed)) >= len(hashed) - n_books
    if levels.shape[0] != 1 or not torch.equal(hashed != 0, probed):
        raise ValueError(
            "probed_grid: codes must have a codebook for each hashed level, which are the last ones: "
            f"{int(hashed.sum())} of {len(hashed)} levels are hashed, got {n_books} codebooks"
        )
    if n_books and int(levels[0, -n_books:, 1].min()) < n_probes:
        raise ValueError(
            f"probed_grid: a hashed level must hold {n_probes} entries at least; enlarge log2_hashmap_size"
        )
    _checked.put(levels, (n_books, n_probes))


_checked: TensorCache[tuple[int, int]] = TensorCache()


# --- torch.library: the same implementations behind torch.ops.neural


def _save(ctx: Any, inputs: tuple, output: Any) -> None:
    positions, table, probabilities, codes, *grid = inputs
    ctx.save_for_backward(positions, table, probabilities, codes)
    ctx.grid = grid


def _op_backward(grad, positions, table, probabilities, codes, *grid) -> tuple[Tensor, Tensor, Tensor]:
    given = grad, positions, table, probabilities, codes, _Grid(*grid)
    return _backward_positions(*given), *_backward_table(*given)


library.define(
    "probed_grid",
    "(Tensor positions, Tensor table, Tensor probabilities, Tensor codes, Tensor levels, Tensor? level_weights, "
    "int interpolation, int outside) -> Tensor",
    implementation=lambda positions, table, probabilities, codes, *grid: _forward(
        positions, table, probabilities, codes, _Grid(*grid)
    ),
    fake=lambda positions, table, probabilities, codes, levels, *rest: checks.empty_features(
        positions.shape[0], levels.shape[1] * table.shape[1], positions
    ),
    backward=lambda ctx, grad: (
        *torch.ops.neural.probed_grid_backward(grad, *ctx.saved_tensors, *ctx.grid),
        *(None,) * 5,
    ),
    save=_save,
)
library.define(
    "probed_grid_backward",
    "(Tensor grad, Tensor positions, Tensor table, Tensor probabilities, Tensor codes, Tensor levels, "
    "Tensor? level_weights, int interpolation, int outside) -> (Tensor, Tensor, Tensor)",
    implementation=_op_backward,
    fake=lambda grad, positions, table, probabilities, *rest: (
        torch.empty(positions.shape, dtype=torch.float32, device=positions.device),
        torch.empty_like(table),
        torch.empty_like(probabilities),
    ),
)
