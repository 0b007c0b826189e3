"""Simplex encoding: positions to features over the simplices of a lattice, differentiable twice, one pooled table."""

from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import lattice as shared
from neural.cuda.gradients import GradientBuffer
from neural.cuda.lattice_checks import OUTSIDES, Outside, check
from neural.cuda.reference import simplex as reference
from neural.cuda.simplex_levels import LATTICES, Lattice

_OP = shared.Op("simplex", "lattice", reference, curved=False)


def simplex(
    positions: Float[Tensor, "N D"],
    table: Float[Tensor, "E F"],
    levels: Int[Tensor, "T L W"],
    *,
    lattice: Lattice = "skewed",
    working_copy: Float[Tensor, "E F"] | None = None,
    segments: Int[Tensor, " T1"] | None = None,
    level_weights: Float[Tensor, " L"] | None = None,
    outside: Outside = "clamp",
    accumulate: GradientBuffer | None = None,
) -> Float[Tensor, "N K"]:
    """Interpolates features between the D + 1 vertices of the simplex that a position lies in, in every level.

    A position's p = x scale + shift becomes q, where vertices have whole coordinates: q = p + F sum(p) with
    F = (sqrt(D + 1) - 1) / D if `skewed`, q = p if `kuhn`, and for the `permutohedral` lattice the elevation of
    Adams et al. in coordinates of the lattice. Unit cells of q are cut into simplices by the order of the fractions,
    whose differences are the weights.

    Args:
        positions: Points in [0, 1]^D, D = 1 to 7, float32, in either memory order.
        table: All levels of all sub-tables, float32; F = 1, 2, 4 or 8.
        levels: Their descriptors, int64 on the CPU, as `neural.cuda.simplex_levels.describe` makes them.
        lattice: As above; the one that `levels` was made for.
        working_copy: A float16 or bfloat16 copy of `table` to read from instead; gradients still go to `table`.
        segments: int64 [T + 1] on the CPU: points segments[t] to segments[t + 1] - 1 use sub-table t. None: all use 0.
        level_weights: Factor of each level, float32 on the CPU, not differentiated. A level of weight 0 gives zeros and
            costs nothing, forward and backward.
        outside: Beyond [0, 1]: `clamp` to the faces, features `zero`, or `wrap`: keys are taken modulo a level's size.
        accumulate: Adds the table's gradient into this buffer and gives autograd none.

    Returns:
        Features, float32, K = L F, a transposed view of a [K, N] buffer. Differentiable with respect to positions and
        table. The gradient to positions is constant within a simplex: it is differentiable again with respect to the
        table and to the upstream gradient, and its derivative by positions is zero.

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or name.

    Source: Wen and Yang 2023, arXiv:2311.15439; Rosu and Behnke 2023, arXiv:2211.12562 (permutohedral).
    """
    check("simplex", positions, table, levels, working_copy, segments, level_weights, outside, accumulate)
    if lattice not in LATTICES:
        raise ValueError(f"simplex: lattice must be one of {', '.join(LATTICES)}, got {lattice!r}")
    grid = shared.Grid(levels, segments, level_weights, LATTICES.index(lattice), OUTSIDES.index(outside))
    return shared.lookup(_OP, positions, table, working_copy, grid, accumulate)


shared.define(_OP)
