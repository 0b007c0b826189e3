"""What `neural info` says and draws about a scene."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from neural.arrangement import camera_radius, focus_point, up_direction
from neural.cameras import CAMERA_MODELS
from neural.scenes.scene import Scene

_PANEL = 560  # pixels
_EDGE = 36
_MOST_POINTS = 30_000
_WHITE, _INK, _FAINT = (255, 255, 255), (40, 44, 52), (150, 155, 165)
_BOX, _TRAIN, _TEST = (214, 130, 20), (38, 98, 184), (200, 40, 60)


def describe(scene: Scene) -> str:
    """A page of text: what was found, counts, sizes, lens, frame, box, splits and warnings."""
    cameras = scene.cameras
    sizes = sorted({(w, h) for w, h in cameras.sizes.tolist()})
    shown = ", ".join(f"{w} x {h}" for w, h in sizes[:3]) + (f" and {len(sizes) - 3} more" if len(sizes) > 3 else "")
    fx = cameras.intrinsics[:, 0]
    view = 2 * math.degrees(math.atan(float(cameras.sizes[0, 0] / (2 * fx[0]))))
    low, high = scene.aabb.tolist()
    _, agreement = focus_point(cameras)
    rows = [
        ("scene", scene.name),
        ("images", f"{len(cameras)}, {shown}" + ("" if scene.images is None else _pixels(scene))),
        ("masks", "none" if scene.masks is None else f"{len(scene.masks)}"),
        ("lens", f"{', '.join(CAMERA_MODELS[k] for k in cameras.kinds)}, {view:.1f} degrees wide"),
        ("splits", ", ".join(f"{name} {len(members)}" for name, members in scene.splits.items())),
        ("points", "none" if scene.points is None else f"{len(scene.points)}"),
        ("box", f"{_vector(low)} to {_vector(high)}, {'more' if scene.unbounded else 'nothing'} beyond it"),
        ("cameras", f"radius {camera_radius(cameras):.4g}, {agreement:.0%} look at one point"),
        ("up", f"{_vector(up_direction(cameras).tolist())} (estimated)"),
        (
            "frame",
            "as in the file" if np.allclose(scene.world_to_scene, np.eye(4)) else "differs from the world's",
        ),
        ("unit", "unknown" if scene.metres_per_unit is None else f"{scene.metres_per_unit:g} m"),
    ]
    lines = [f"{key:<9}{value}" for key, value in rows]
    return "\n".join([*lines, *(f"warning: {text}" for text in scene.warnings)])


def draw(scene: Scene, path: Path) -> None:
    """Save a PNG: the scene from above and from the side, with cameras, their views, points and box."""
    up = up_direction(scene.cameras)
    axis = int(np.argmax(np.abs(up)))
    up = np.eye(3)[axis] * np.sign(up[axis])  # the box is upright in the file's axes, so draw along them
    right = np.eye(3)[(axis + 1) % 3]
    ahead = np.cross(up, right)
    canvas = Image.new("RGB", (2 * _PANEL, _PANEL + 30), _WHITE)
    pen = ImageDraw.Draw(canvas)
    for column, (title, basis) in enumerate((("from above", (right, ahead)), ("from the side", (right, up)))):
        canvas.paste(_panel(scene, np.stack(basis)), (column * _PANEL, 0))
        pen.text((column * _PANEL + 12, 10), f"{scene.name}, {title}", _INK, ImageFont.load_default(15))
    legend = (("training cameras", _TRAIN), ("held-out cameras", _TEST), ("scene box", _BOX))
    for i, (text, colour) in enumerate(legend):
        pen.rectangle((14 + 170 * i, _PANEL + 9, 24 + 170 * i, _PANEL + 19), colour)
        pen.text((30 + 170 * i, _PANEL + 6), text, _INK, ImageFont.load_default(13))
    canvas.save(path)


def _panel(scene: Scene, basis: np.ndarray) -> Image.Image:
    """One orthographic view; `basis` holds the world directions of the picture's right and top."""
    origins = scene.cameras.origins.numpy()
    corners = np.stack(np.meshgrid(*scene.aabb.numpy().T, indexing="ij"), axis=-1).reshape(8, 3) @ basis.T
    framed = np.concatenate([origins @ basis.T, corners])
    low, high = framed.min(axis=0), framed.max(axis=0)
    scale = (_PANEL - 2 * _EDGE) / max(float((high - low).max()), 1e-9)

    def place(world: np.ndarray) -> np.ndarray:
        flat = (world @ basis.T - (low + high) / 2) * scale
        return flat * [1, -1] + _PANEL / 2

    pixels = np.full((_PANEL, _PANEL, 3), 255, dtype=np.uint8)
    if scene.points is not None and len(scene.points):
        chosen = slice(None, None, -(-len(scene.points) // _MOST_POINTS))
        spots = np.floor(place(scene.points.xyz[chosen])).clip(-1, _PANEL).astype(np.int64)
        inside = ((spots >= 0) & (spots < _PANEL)).all(axis=1)
        pixels[spots[inside, 1], spots[inside, 0]] = scene.points.rgb[chosen][inside] * 0.8
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    box = place(scene.aabb.numpy())
    pen.rectangle((*box.min(axis=0), *box.max(axis=0)), outline=_BOX, width=2)
    reach = 0.05 * (_PANEL - 2 * _EDGE) / scale  # how far views are drawn, in scene units
    test = set(scene.splits["test"])
    for i, c2w in enumerate(scene.cameras.c2w.numpy()):
        colour = _TEST if i in test else _TRAIN
        centre = place(c2w[:3, 3])
        half = (scene.cameras.sizes[i] / 2 / scene.cameras.intrinsics[i, :2]).numpy()
        rim = [place(c2w[:3, 3] + reach * c2w[:3, :3] @ [sx * half[0], sy * half[1], 1]) for sx, sy in _CORNERS]
        for a, b in zip(rim, rim[1:] + rim[:1], strict=True):
            pen.line((*a, *b), colour)
            pen.line((*centre, *a), colour)
        pen.ellipse((*(centre - 2), *(centre + 2)), colour)
    length = 10 ** math.floor(math.log10((high - low).max() / 3))
    x, y = _PANEL - _EDGE, _PANEL - 14
    pen.line((x - length * scale, y, x, y), _FAINT, 2)
    pen.text((x - length * scale, y - 18), f"{length:g}", _FAINT, ImageFont.load_default(12))
    return image


_CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def _pixels(scene: Scene) -> str:
    assert scene.images is not None
    kind = {3: "RGB", 4: "RGBA", 1: "grey"}[scene.images.channels]
    return f", {kind}, {scene.images.nbytes / 1e6:.0f} MB decoded"


def _vector(values: list[float]) -> str:
    return "[" + " ".join(f"{value:.3g}" for value in values) + "]"
