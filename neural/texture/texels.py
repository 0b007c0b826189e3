"""Triangles in a plane to the pixels whose centres they hold."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

_AT_ONCE = 1 << 20  # rows and pixels
_EDGE = 1e-5  # of a triangle's height: centres on an edge belong to both its triangles


class Texels(NamedTuple):
    """Pixels that triangles cover.

    Attributes:
        column: From the left.
        row: From the top.
        face: The triangle.
        weights: Of its corners; their sum is 1.
    """

    column: Int64[np.ndarray, "T"]
    row: Int64[np.ndarray, "T"]
    face: Int64[np.ndarray, "T"]
    weights: Float[np.ndarray, "T 3"]


def covered(corners: Float64[np.ndarray, "F 3 2"]) -> Texels:
    """Every pixel centre (at half numbers) that lies in a triangle; one of several triangles comes several times.

    Row by row, so that it takes as long as there are rows and pixels, however long and thin the triangles are.

    Args:
        corners: In pixels, x to the right and y down.
    """
    top = np.ceil(corners[..., 1].min(1) - 0.5).astype(np.int64)
    rows = np.maximum(np.floor(corners[..., 1].max(1) - 0.5).astype(np.int64) - top + 1, 0)
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    rows[area == 0] = 0
    area = np.where(area == 0, 1, area)
    ends = np.cumsum(rows + np.abs(area))
    parts, first = [], 0
    while first < len(corners):
        begin = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, begin + _AT_ONCE, side="right")), first + 1)
        part = slice(first, last)
        found = _among(corners[part], area[part], top[part], rows[part])
        parts.append(found._replace(face=found.face + first))
        first = last
    return Texels(*(np.concatenate([part[i] for part in parts]) for i in range(4)))


def _among(
    corners: Float64[np.ndarray, "F 3 2"], area: Float64[np.ndarray, "F"], top: Int64[np.ndarray, "F"],
    rows: Int64[np.ndarray, "F"],
) -> Texels:  # fmt: skip
    """A weight is affine in the place; where all three are positive is an interval of each row."""
    left = np.floor(corners[..., 0].min(1)).astype(np.int64)
    origin = np.stack([left, top], axis=1) + 0.5
    face = np.repeat(np.arange(len(rows)), rows)
    down = _counted(rows)
    low, high = np.full(len(face), -np.inf), np.full(len(face), np.inf)
    slopes, values = [], []
    for i in range(3):
        start, end = corners[:, (i + 1) % 3] - origin, corners[:, (i + 2) % 3] - origin
        side = (end - start) / area[:, None]
        slope, value = (
            -side[face, 1],
            (side[:, 1] * start[:, 0] - side[:, 0] * start[:, 1])[face] + side[face, 0] * down,
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            zero = -(value + _EDGE) / slope
        low, high = np.where(slope > 0, np.fmax(low, zero), low), np.where(slope < 0, np.fmin(high, zero), high)
        high = np.where((slope == 0) & (value < -_EDGE), -np.inf, high)
        slopes.append(slope)
        values.append(value)
    some = np.flatnonzero(np.ceil(low) <= np.floor(high))
    begin = np.ceil(low[some]).astype(np.int64)
    widths = np.floor(high[some]).astype(np.int64) - begin + 1
    span = np.repeat(some, widths)
    along = np.repeat(begin, widths) + _counted(widths)
    weights = np.stack([slopes[i][span] * along + values[i][span] for i in range(3)], axis=1)
    return Texels(left[face[span]] + along, (top[face] + down)[span], face[span], weights.astype(np.float32))


def _counted(times: Int64[np.ndarray, "N"]) -> Int64[np.ndarray, "M"]:
    """0, 1, ... for each of them, so many numbers."""
    return np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
