"""A picture of cameras and points: from above and from the side, at one scale."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64
from PIL import Image, ImageDraw, ImageFont

from neural import atomic
from neural.overview.contents import UNUSED, Overview
from neural.report.stage import view_axes

SPLIT_COLORS = {"train": (30, 96, 196), "test": (208, 38, 60), "val": (24, 140, 84)}
_OTHER = (110, 90, 160)
_PAPER, _PANEL, _INK, _SOFT, _BOX = (255, 255, 255), (241, 242, 244), (32, 36, 44), (104, 110, 122), (214, 130, 20)
_AXES = ((200, 40, 40), (40, 140, 50), (50, 80, 210))  # x y z
_SIDE, _EDGE, _GAP = 620, 34, 14  # of a panel, its margin, between panels; pixels
_HEAD, _FOOT = 62, 58
_FINE = 2  # pixels drawn for each pixel shown, per side
_MOST_POINTS = 400_000
_RIM = ((-1, -1), (1, -1), (1, 1), (-1, 1))
_EDGES = ((0, 1), (1, 3), (3, 2), (2, 0), (4, 5), (5, 7), (7, 6), (6, 4), (0, 4), (1, 5), (2, 6), (3, 7))


def draw(overview: Overview, path: str | Path) -> None:
    """Writes a PNG.

    Raises:
        OSError: The disk refuses.
    """
    image = picture(overview)
    with atomic.replacing(path) as file:
        image.save(file, "PNG")


def picture(overview: Overview) -> Image.Image:
    """Both views, a legend, a scale bar, the axes of the file, and what is known of the frame."""
    views = directions(overview)
    points, colors = overview.some_points(_MOST_POINTS)
    middle, span = framing(overview, points)
    length = camera_length(overview, span)
    width = 2 * _SIDE + 3 * _GAP
    canvas = Image.new("RGB", (width, _HEAD + _SIDE + _FOOT), _PAPER)
    for column, (title, axes) in enumerate(views.items()):
        panel = _Panel(axes, middle, span)
        panel.points(points, colors)
        if overview.box is not None:
            panel.box(overview.box)
        panel.cameras(overview, length)
        panel.gizmo()
        panel.scale_bar(overview.metres_per_unit)
        at = _GAP + column * (_SIDE + _GAP)
        canvas.paste(panel.shown(title), (at, _HEAD))
    pen = ImageDraw.Draw(canvas)
    pen.text((_GAP, 10), overview.title, _INK, _font(20))
    _legend(pen, overview)
    for row, note in enumerate(overview.notes):
        pen.text((_GAP, _HEAD + _SIDE + 10 + 20 * row), note, _SOFT, _font(14))
    return canvas


def directions(overview: Overview) -> dict[str, Float64[np.ndarray, "3 3"]]:
    """Name of a view -> right, up on the paper, towards the viewer; both have the same right.

    That is an axis of the file where up is one; else what is above is drawn with its long side across.
    """
    up = overview.up
    if np.abs(up).max() == 1:
        right = np.eye(3)[0 if up[0] == 0 else 1]
    else:
        right, _, up = view_axes(up, 0.0, 90.0)
        ahead = np.cross(up, right)
        around = overview.c2w[:, :3, 3] if len(overview.c2w) > 2 else overview.some_points(20_000)[0]
        if len(around) > 2:
            flat = (around - around.mean(axis=0)) @ np.stack([right, ahead], axis=1)
            across = np.linalg.eigh(flat.T @ flat)[1][:, -1]
            right = across[0] * right + across[1] * ahead
    return {
        "from above": np.stack([right, np.cross(up, right), up]),
        "from the side": np.stack([right, up, np.cross(right, up)]),
    }


def framing(overview: Overview, points: Float64[np.ndarray, "P 3"]) -> tuple[Float64[np.ndarray, "3"], float]:
    """Middle of what is shown, and the length that a panel's side stands for.

    All cameras, and most of the points, as far as they are no further away than all else is wide.
    """
    axes = directions(overview)["from above"]
    near = [overview.c2w[:, :3, 3] @ axes.T]
    if overview.box is not None and not len(points):
        near.append(_corners(overview.box) @ axes.T)
    low, high = (
        (extreme(np.concatenate(near), axis=0) for extreme in (np.min, np.max))
        if sum(map(len, near))
        else (np.full(3, np.inf), np.full(3, -np.inf))
    )
    if len(points):
        most_low, half_low, half_high, most_high = np.quantile(points @ axes.T, [0.01, 0.25, 0.75, 0.99], axis=0)
        if np.isfinite(low).all():
            reach = max(float((high - low).max()), 2 * float((half_high - half_low).max()))
            most_low, most_high = np.maximum(most_low, low - reach), np.minimum(most_high, high + reach)
        low, high = np.minimum(low, most_low), np.maximum(high, most_high)
    if not np.isfinite(low).all():
        return np.zeros(3), 1.0
    span = float((high - low).max())
    return axes.T @ ((low + high) / 2), (span if span > 0 else 1.0)


def camera_length(overview: Overview, span: float) -> float:
    """How long frusta are drawn: small beside the scene, and beside the way to the next camera."""
    places = overview.c2w[:, :3, 3]
    if len(places) < 2:
        return 0.06 * span
    some = places[np.linspace(0, len(places) - 1, min(len(places), 400)).astype(int)]
    apart = np.linalg.norm(some[:, None] - some, axis=2)
    np.fill_diagonal(apart, np.inf)
    return float(np.clip(1.2 * np.median(apart.min(axis=1)), 0.018 * span, 0.06 * span))


def frustum(c2w: Float64[np.ndarray, "4 4"], half: Float64[np.ndarray, "2"], length: float) -> np.ndarray:
    """[5, 3]: the optical centre, then the corners of the image; wide lenses end nearer."""
    depth = length / max(1.0, float(np.linalg.norm(half)))
    rim = [c2w[:3, 3] + depth * c2w[:3, :3] @ [x * half[0], y * half[1], 1.0] for x, y in _RIM]
    return np.stack([c2w[:3, 3], *rim])


class _Panel:
    """One view by parallel projection."""

    def __init__(self, axes: Float64[np.ndarray, "3 3"], middle: Float64[np.ndarray, "3"], span: float) -> None:
        self.axes, self.middle = axes, middle
        self.size = _SIDE * _FINE
        self.scale = (_SIDE - 2 * _EDGE) * _FINE / span
        self.image = Image.new("RGB", (self.size, self.size), _PANEL)
        self.pen = ImageDraw.Draw(self.image)

    def place(self, world: Float[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 2"]:
        """Places on the panel."""
        flat = (world - self.middle) @ self.axes[:2].T * self.scale
        return flat * [1, -1] + self.size / 2

    def points(self, points: Float64[np.ndarray, "P 3"], colors: np.ndarray) -> None:
        """Dots, far ones first; larger where there are few."""
        if not len(points):
            return
        order = np.argsort((points - self.middle) @ self.axes[2], kind="stable")
        spots = np.floor(self.place(points[order])).clip(-9, self.size + 9).astype(np.int64)
        shade = (colors[order] * 0.9).astype(np.uint8)
        pixels = np.asarray(self.image).copy()
        dot = round(min(5, max(2, 2 * math.sqrt(60_000 / len(points)))))
        for dy in range(dot):
            for dx in range(dot):
                x, y = spots[:, 0] + dx - dot // 2, spots[:, 1] + dy - dot // 2
                inside = (x >= 0) & (x < self.size) & (y >= 0) & (y < self.size)
                pixels[y[inside], x[inside]] = shade[inside]
        self.image = Image.fromarray(pixels)
        self.pen = ImageDraw.Draw(self.image)

    def box(self, box: Float64[np.ndarray, "2 3"]) -> None:
        """Its twelve edges."""
        corners = self.place(_corners(box))
        for a, b in _EDGES:
            self.pen.line((*corners[a], *corners[b]), _BOX, _FINE)

    def cameras(self, overview: Overview, length: float) -> None:
        """Small frusta, far ones first, held-out ones above all."""
        nearness = (overview.c2w[:, :3, 3] - self.middle) @ self.axes[2]
        later = np.array([split != "train" for split in overview.splits], dtype=bool)
        for i in np.lexsort([nearness, later]):
            color = SPLIT_COLORS.get(overview.splits[i], _OTHER)
            tip, *rim = self.place(frustum(overview.c2w[i], overview.half_views[i], length))
            for a, b in zip(rim, rim[1:] + rim[:1], strict=True):
                self.pen.line((*a, *b), color, _FINE)
                self.pen.line((*tip, *a), color, _FINE)
            top = np.mean(rim[:2], axis=0)  # a tick where the picture's top is
            self.pen.line((*top, *(top + 0.25 * (top - np.mean(rim, axis=0)))), color, 2 * _FINE)
            self.pen.ellipse((*(tip - 2 * _FINE), *(tip + 2 * _FINE)), color)

    def gizmo(self) -> None:
        """The axes of the file, bottom left."""
        centre, length = np.array([62.0, _SIDE - 62.0]) * _FINE, 34 * _FINE
        for axis in np.argsort(self.axes[2]):  # those that point away first
            end = centre + self.axes[:2, axis] * [1, -1] * length
            short = np.linalg.norm(end - centre) < 0.15 * length
            if short:
                self.pen.ellipse((*(centre - 4 * _FINE), *(centre + 4 * _FINE)), _AXES[axis])
            else:
                self.pen.line((*centre, *end), _AXES[axis], 2 * _FINE)
            off = np.array([-14, -14]) * _FINE if short else (end - centre) / np.linalg.norm(end - centre) * 11 * _FINE
            self.pen.text(tuple((centre if short else end) + off), "xyz"[axis], _AXES[axis], _font(15 * _FINE), "mm")

    def scale_bar(self, metres_per_unit: float | None) -> None:
        """A round length, bottom right."""
        unit = metres_per_unit or 1.0
        length = round_length(0.3 * (_SIDE - 2 * _EDGE) * _FINE / self.scale * unit)
        pixels = length / unit * self.scale
        x, y = self.size - _EDGE * _FINE, self.size - 28 * _FINE
        room = 9 * _FINE
        self.pen.rectangle((x - pixels - room, y - 3 * room, x + room, y + room), _PANEL)
        self.pen.line((x - pixels, y, x, y), _INK, 2 * _FINE)
        for end in (x - pixels, x):
            self.pen.line((end, y - 5 * _FINE, end, y + 5 * _FINE), _INK, 2 * _FINE)
        name = "m" if metres_per_unit is not None else "unit" if length == 1 else "units"
        self.pen.text((x - pixels / 2, y - 8 * _FINE), f"{length:g} {name}", _INK, _font(14 * _FINE), "mb")

    def shown(self, title: str) -> Image.Image:
        """The panel at its size."""
        self.pen.text((14 * _FINE, 12 * _FINE), title, _SOFT, _font(15 * _FINE))
        return self.image.resize((_SIDE, _SIDE), Image.Resampling.BOX)


def round_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, 20 ... that is not above `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9))


def _legend(pen: ImageDraw.ImageDraw, overview: Overview) -> None:
    """What colours stand for, with counts."""
    names = {"train": "training", "test": "held out", "val": "validation"}
    entries = []
    for split in sorted(set(overview.splits), key=lambda name: [*names, name].index(name)):
        count = overview.splits.count(split)
        entries.append(
            (f"{count} camera{'s' * (count != 1)}, {names.get(split, split)}", SPLIT_COLORS.get(split, _OTHER))
        )
    if overview.n_points:
        what = "points" if len(overview.splits) else "Gaussians"
        entries.append((f"{overview.n_points:,} {what}", (120, 128, 140)))
    if overview.box is not None:
        entries.append(("scene box", _BOX))
    left_out = sum(photograph.split == UNUSED for photograph in overview.photographs)
    if left_out:
        entries.append((f"{left_out} photograph{'s' * (left_out != 1)} without a camera", (0, 0, 0)))
    x = float(_GAP)
    for text, color in entries:
        pen.rectangle((x, 40, x + 11, 51), color)
        pen.text((x + 17, 37), text, _INK, _font(14))
        x += 17 + pen.textlength(text, _font(14)) + 24


def _corners(box: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, "8 3"]:
    return np.stack(np.meshgrid(*box.T, indexing="ij"), axis=-1).reshape(8, 3)


def _font(size: float) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    return ImageFont.load_default(size)
