"""Triangles in a plane to the pixels whose centres they hold."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

_CANDIDATES = 1 << 22  # pixels that are tried at once
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

    Args:
        corners: In pixels, x to the right and y down; no triangle without area.
    """
    low = np.ceil(corners.min(1) - 0.5).astype(np.int64)
    extent = np.maximum(np.floor(corners.max(1) - 0.5).astype(np.int64) - low + 1, 0)
    count = extent.prod(1)
    ends = np.cumsum(count)
    parts, first = [], 0
    while first < len(corners):
        begin = int(ends[first - 1]) if first else 0
        last = max(int(np.searchsorted(ends, begin + _CANDIDATES, side="right")), first + 1)
        parts.append(_among(corners, low, extent, count, first, last))
        first = last
    return Texels(*(np.concatenate([part[i] for part in parts]) for i in range(4)))


def _among(
    corners: Float64[np.ndarray, "F 3 2"], low: Int64[np.ndarray, "F 2"], extent: Int64[np.ndarray, "F 2"],
    count: Int64[np.ndarray, "F"], first: int, last: int,
) -> Texels:  # fmt: skip
    """Weights are affine in the place of a pixel in the box of its triangle, which float32 holds well enough."""
    a, b, c = (corners[first:last, i] - low[first:last] - 0.5 for i in range(3))
    area = _cross(b - a, c - a)
    times, n = count[first:last], int(count[first:last].sum())
    face = np.repeat(np.arange(first, last, dtype=np.int32), times)
    place = np.arange(n, dtype=np.int32) - np.repeat((np.cumsum(times) - times).astype(np.int32), times)
    down, along = np.divmod(place, np.repeat(extent[first:last, 0].astype(np.int32), times))
    weights = np.empty((n, 3), np.float32)
    for i, (start, end) in enumerate(((b, c), (c, a))):
        side = (end - start) / area[:, None]
        constant = side[:, 1] * start[:, 0] - side[:, 0] * start[:, 1]
        x, y, one = (np.repeat(part.astype(np.float32), times) for part in (-side[:, 1], side[:, 0], constant))
        weights[:, i] = x * along + y * down + one
    weights[:, 2] = 1 - weights[:, 0] - weights[:, 1]
    inside = np.flatnonzero((weights[:, 0] >= -_EDGE) & (weights[:, 1] >= -_EDGE) & (weights[:, 2] >= -_EDGE))
    face = face[inside].astype(np.int64)
    return Texels(low[face, 0] + along[inside], low[face, 1] + down[inside], face, weights[inside])


def _cross(a: Float64[np.ndarray, "N 2"], b: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, "N"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
