"""The scene from outside as inline SVG: cameras, box and points, obliquely and from above."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

from neural.report.contents import CameraPlot

Paper = Callable[[np.ndarray], np.ndarray]
"""[N, 3] in the scene -> [N, 2] on the paper."""
SIZE = 420
MARGIN = 22
MAX_POINTS = 1500
_EDGES = ((0, 1), (1, 3), (3, 2), (2, 0), (4, 5), (5, 7), (7, 6), (6, 4), (0, 4), (1, 5), (2, 6), (3, 7))
# (title, angle around the up axis, angle above the ground), degrees
_VIEWPOINTS = (("from the side", 35.0, 24.0), ("from above", 0.0, 90.0))


def stage(plot: CameraPlot) -> str:
    """Two figures of the same things."""
    return "".join(
        f'<figure class="stage"><svg viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="cameras {title}">'
        f"{_drawing(plot, azimuth, elevation)}</svg><figcaption>{title}</figcaption></figure>"
        for title, azimuth, elevation in _VIEWPOINTS
    )


def view_axes(up: Float[np.ndarray, " 3"], azimuth: float, elevation: float) -> Float[np.ndarray, "3 3"]:
    """Rows: right, up (on the paper) and towards the viewer, for a parallel projection."""
    up = up / np.linalg.norm(up)
    axis = np.eye(3)[np.argmin(np.abs(up))]
    east = np.cross(axis, up)
    east /= np.linalg.norm(east)
    north = np.cross(up, east)
    a, e = np.radians([azimuth, elevation])
    right = np.cos(a) * east + np.sin(a) * north
    back = np.cos(e) * (np.sin(a) * east - np.cos(a) * north) + np.sin(e) * up
    return np.stack([right, np.cross(back, right), back])


def _drawing(plot: CameraPlot, azimuth: float, elevation: float) -> str:
    axes = view_axes(plot.up, azimuth, elevation)
    corners = np.array([plot.box[index, range(3)] for index in itertools.product((0, 1), repeat=3)])
    frame = np.concatenate([corners, plot.positions]) @ axes.T
    low, high = frame[:, :2].min(axis=0), frame[:, :2].max(axis=0)
    span = float((high - low).max()) or 1.0
    scale, middle = (SIZE - 2 * MARGIN) / span, (low + high) / 2

    def paper(points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 2"]:
        flat = (np.atleast_2d(points) @ axes.T)[:, :2] - middle
        return np.stack([SIZE / 2 + scale * flat[:, 0], SIZE / 2 - scale * flat[:, 1]], axis=1)

    parts = [*_points(plot, axes, paper)]
    on_paper = paper(corners)
    for a, b in _EDGES:
        (x1, y1), (x2, y2) = on_paper[a], on_paper[b]
        parts.append(f'<line class="box" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    size = 0.035 * span
    for index in np.argsort(plot.positions @ axes[2]):
        parts.append(_camera(plot, int(index), size, paper))
    return "".join(parts)


def _points(plot: CameraPlot, axes: np.ndarray, paper: Paper) -> Iterator[str]:
    """Dots of the sparse points near the box, an even choice of at most `MAX_POINTS`, far ones first."""
    if plot.points is None or len(plot.points) == 0:
        return
    centre, half = plot.box.mean(axis=0), (plot.box[1] - plot.box[0]) / 2
    inside = np.flatnonzero((np.abs(plot.points - centre) <= 1.5 * half).all(axis=1))
    chosen = inside[:: max(1, -(-len(inside) // MAX_POINTS))]
    chosen = chosen[np.argsort(plot.points[chosen] @ axes[2])]
    for index, (x, y) in zip(chosen, paper(plot.points[chosen]) if len(chosen) else (), strict=True):
        fill = "" if plot.colors is None else ' style="fill:#{:02x}{:02x}{:02x}"'.format(*plot.colors[index])
        yield f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="1.5"{fill}/>'


def _camera(plot: CameraPlot, index: int, size: float, paper: Paper) -> str:
    """A little pyramid, open towards what the camera sees."""
    position, forward = plot.positions[index], plot.forwards[index]
    right = np.cross(forward, plot.up)
    length = np.linalg.norm(right)
    right = right / length if length > 1e-6 else np.eye(3)[np.argmin(np.abs(forward))]
    down = np.cross(forward, right)
    image = [position + size * (1.6 * forward + 0.8 * sx * right + 0.6 * sy * down) for sx, sy in _SQUARE]
    tip, *square = paper(np.array([position, *image]))
    rim = "L".join(f"{x:.1f} {y:.1f}" for x, y in square)
    rays = "".join(f"M{tip[0]:.1f} {tip[1]:.1f}L{x:.1f} {y:.1f}" for x, y in square)
    kind = "held-out" if plot.held_out[index] else "train"
    return f'<path class="camera {kind}" d="M{rim}Z{rays}"/>'


_SQUARE = ((-1, -1), (1, -1), (1, 1), (-1, 1))
