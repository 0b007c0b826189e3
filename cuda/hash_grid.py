"""Multi-resolution hash grid: positions to features, differentiable twice, over one pooled table."""

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import lattice
from neural.cuda.gradients import GradientBuffer
from neural.cuda.lattice_checks import OUTSIDES, Outside, check
from neural.cuda.reference import hash_grid as reference

Interpolation = Literal["nearest", "linear", "smoothstep"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "linear", "smoothstep")
_OP = lattice.Op("hash_grid", "interpolation", reference, curved=True)


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
    check("hash_grid", positions, table, levels, working_copy, segments, level_weights, outside, accumulate)
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"hash_grid: interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    codes = INTERPOLATIONS.index(interpolation), OUTSIDES.index(outside)
    grid = lattice.Grid(levels, segments, level_weights, *codes)
    return lattice.lookup(_OP, positions, table, working_copy, grid, accumulate)


lattice.define(_OP)
