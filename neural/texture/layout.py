"""Where each triangle of a surface lies in a square of pixels."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from neural.texture.charts import charts, neighbours, pieces
from neural.texture.packing import packed, shapes
from neural.texture.texels import Texels, covered

MARGIN = 2  # pixels around a chart: four between two of them
_ANGLES = 16  # that a chart is turned by, a quarter turn in all, to find the least box
_FULL = 0.85  # part of the square that may be covered: what is tried first
_TRIES = 12
_LAYERS = 8  # rounds of taking apart what lies on top of itself in one chart
_INNER = 1e-3  # least weight of a corner where a triangle counts as lying there


class Layout(NamedTuple):
    """A surface laid out.

    Attributes:
        corners: Of each triangle, in pixels, y down.
        texels: Pixels that they cover, each once.
        n_charts: That the surface is cut into.
    """

    corners: Float64[np.ndarray, "F 3 2"]
    texels: Texels
    n_charts: int


def laid_out(vertices: Float64[np.ndarray, "V 3"], faces: Int64[np.ndarray, "F 3"], side: int) -> Layout:
    """Lays every triangle out, all to one scale but for the slant of its chart, none on top of another.

    Args:
        vertices: Corners.
        faces: Triangles with an area.
        side: Pixels along a side of the square.

    Raises:
        ValueError: So many charts that there is not a pixel for each.
    """
    label, directions, order = charts(vertices, faces)
    flat = _flat(vertices, faces, label, directions)
    beside = neighbours(faces)
    label = _unfolded(label, order, flat, beside, _scale(flat, label, beside, side) / 2)
    scale = _scale(flat, label, beside, side)
    for _ in range(_TRIES):
        corners, texels, sizes = _drawn(flat, label, scale)
        texels = _with_small(texels, corners)
        lying = shapes(label[texels.face], texels.column, texels.row, sizes, MARGIN)
        places, height = packed(lying, side)
        if height <= side:
            shift = (places + MARGIN)[label]
            return Layout(corners + shift[:, None], _once(texels, shift, side), len(sizes))
        scale *= min(0.98, np.sqrt(side / height))
    raise ValueError(f"{label.max() + 1} charts have no place in {side} x {side} pixels")


def _flat(
    vertices: Float64[np.ndarray, "V 3"], faces: Int64[np.ndarray, "F 3"], label: Int64[np.ndarray, "F"],
    directions: Float64[np.ndarray, "C 3"],
) -> Float64[np.ndarray, "F 3 2"]:  # fmt: skip
    """Triangles seen along the direction of their chart, turned so that its box is small and tall."""
    other = np.eye(3)[np.abs(directions).argmin(1)]
    across = np.cross(other, directions)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    down = np.cross(across, directions)  # so that the charts are seen from outside, y down
    points = vertices[faces] - vertices.mean(0)
    seen = np.stack([np.einsum("fkc,fc->fk", points, axis[label]) for axis in (across, down)], axis=-1)
    order = np.argsort(label, kind="stable")
    start = np.searchsorted(label[order], np.arange(len(directions)))
    best = np.full(len(directions), np.inf)
    turn = np.zeros(len(directions))
    for angle in np.arange(_ANGLES) * np.pi / 2 / _ANGLES:
        extent = _extent(_turned(seen, np.full(len(seen), angle))[order], start)
        box = extent.prod(1)
        smaller = box < best * 0.999
        best[smaller] = box[smaller]
        turn[smaller] = angle + np.where(extent[smaller, 0] > extent[smaller, 1], np.pi / 2, 0)
    flat = _turned(seen, turn[label])
    return flat


def _scale(
    flat: Float64[np.ndarray, "F 3 2"], label: Int64[np.ndarray, "F"], beside: Int64[np.ndarray, "F 3"], side: int
) -> float:
    """Pixels to a unit, so that charts and their margins take most of the square, and none is larger than that."""
    edges = np.roll(flat, -1, axis=1) - flat
    area = float(np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).sum() / 2)
    rim = (beside < 0) | (label[beside] != label[:, None])
    around = float(np.linalg.norm(edges, axis=2)[rim].sum()) * MARGIN
    corners = (label.max() + 1) * (2 * MARGIN) ** 2
    most = max(_FULL * side**2 - corners, 0.1 * side**2)
    order = np.argsort(label, kind="stable")
    largest = float(_extent(flat[order], np.searchsorted(label[order], np.arange(label.max() + 1))).max())
    return min((np.sqrt(around**2 + 4 * area * most) - around) / (2 * area), (side - 2 * MARGIN - 2) / largest)


def _turned(points: Float64[np.ndarray, "F 3 2"], angle: Float64[np.ndarray, "F"]) -> Float64[np.ndarray, "F 3 2"]:
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = points[..., 0], points[..., 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)


def _extent(points: Float64[np.ndarray, "F 3 2"], start: Int64[np.ndarray, "C"]) -> Float64[np.ndarray, "C 2"]:
    return np.maximum.reduceat(points.max(1), start) - np.minimum.reduceat(points.min(1), start)


def _drawn(
    flat: Float64[np.ndarray, "F 3 2"], label: Int64[np.ndarray, "F"], scale: float
) -> tuple[Float64[np.ndarray, "F 3 2"], Texels, Int64[np.ndarray, "C 2"]]:
    """Each chart on pixels of its own from 0: corners, what they cover, and widths and heights."""
    order = np.argsort(label, kind="stable")
    start = np.searchsorted(label[order], np.arange(label.max() + 1))
    corners = flat * scale
    corners = corners - np.floor(np.minimum.reduceat(corners.min(1)[order], start))[label][:, None]
    sizes = np.ceil(np.maximum.reduceat(corners.max(1)[order], start)).astype(np.int64)
    return corners, covered(corners), np.maximum(sizes, 1)


def _unfolded(
    label: Int64[np.ndarray, "F"], order: Int64[np.ndarray, "F"], flat: Float64[np.ndarray, "F 3 2"],
    beside: Int64[np.ndarray, "F 3"], scale: float,
) -> Int64[np.ndarray, "F"]:  # fmt: skip
    """Charts in which no triangle lies on one that came before: those that do go to others, until there is none."""
    for layer in range(_LAYERS):
        _, texels, sizes = _drawn(flat, label, scale)
        inner = texels.weights.min(1) > _INNER
        chart, face = label[texels.face[inner]], texels.face[inner]
        pixels = (sizes + 1).prod(1)
        start = np.cumsum(pixels) - pixels
        pixel = start[chart] + texels.row[inner] * (sizes[chart, 0] + 1) + texels.column[inner]
        sequence = np.lexsort((order[face], pixel))
        above = np.flatnonzero(pixel[sequence][1:] == pixel[sequence][:-1]) + 1
        if not len(above):
            break
        top = np.unique(face[sequence[above]])
        label = label.copy()
        if layer == _LAYERS - 1:
            label[top] = label.max() + 1 + np.arange(len(top))
        else:
            label[top] += label.max() + 1
            label = pieces(label, beside)
    return np.unique(label, return_inverse=True)[1]


def _with_small(texels: Texels, corners: Float64[np.ndarray, "F 3 2"]) -> Texels:
    """Triangles that hold no pixel's centre have the pixel of their middle, after all others."""
    face = np.flatnonzero(np.bincount(texels.face, minlength=len(corners)) == 0)
    column, row = corners[face].mean(1).astype(np.int64).T
    more = Texels(column, row, face, np.full((len(face), 3), 1 / 3, np.float32))
    return Texels(*(np.concatenate(pair) for pair in zip(texels, more, strict=True)))


def _once(texels: Texels, shift: Int64[np.ndarray, "F 2"], side: int) -> Texels:
    """In their place in the square; a centre on an edge between two triangles goes to the first."""
    column, row = texels.column + shift[texels.face, 0], texels.row + shift[texels.face, 1]
    _, first = np.unique(row * side + column, return_index=True)
    return Texels(column[first], row[first], texels.face[first], texels.weights[first])
