"""Metric maps: a position to where each of three elementary grids has it, with first and second derivatives."""

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks
from neural.cuda.axis_map import AxisMap
from neural.cuda.reference import metric_maps as reference

Metrics = Literal["signal", "radiance"]
METRICS: tuple[Metrics, ...] = get_args(Metrics)  # position = code, the enum of metric_maps.cuh


def metric_maps(positions: Float[Tensor, "N D"], metrics: Metrics = "signal") -> Float[Tensor, "M D"]:
    """Positions in the three metrics, coordinate by coordinate.

    `signal` (images, distances), with p = 2 x - 1: x; (sin p / sin 1 + 1) / 2; (arcsin p / pi + 1/2) / 2, which is half
    as long. `radiance`: x; sin x; cos x. The published form of `signal` has the second and the third lower by 1, which
    kept hash keys apart; here levels have keys of their own. Ours too: arcsin follows its tangent where
    |p| > 1 - 2^-12, so that its slope is at most 45, and beyond [0, 1] every map stays at the face.

    Args:
        positions: Points in [0, 1]^D, float32, in either memory order.
        metrics: `signal` or `radiance`.

    Returns:
        M = 3 N points, all of the first metric, then of the second and the third: a transposed view of a [D, 3 N]
        buffer. Differentiable twice.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or name.

    Source: MetricGrids, Wang et al. 2025, arXiv:2503.10000.
    """
    checks.require("metric_maps", "positions", positions, ("N", "D"))
    if metrics not in METRICS:
        raise ValueError(f"metric_maps: metrics must be one of {', '.join(METRICS)}, got {metrics!r}")
    return _MAP(positions, METRICS.index(metrics))


_MAP = AxisMap("metric_maps", ("kind",), lambda n, dims, kind: (3 * n, dims), reference)
