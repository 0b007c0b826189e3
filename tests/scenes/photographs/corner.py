"""Photographs of a place that is known exactly: a corner of three textured planes, seen by pinhole cameras."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from neural.poses import look_at

WIDTH, HEIGHT, FOCAL = 400, 300, 380.0
ORIGIN = (46.5, 7.25, 600.0)  # latitude, longitude, height of the corner
_METRES_PER_DEGREE = 111_132.0, 110_574.0  # only used together with the library's own conversion to check it roughly
_PLANES = (  # a point, and the two axes of the texture; normals point into the room
    ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    ((0.0, 6.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    ((-4.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
)


@dataclass(frozen=True)
class Shot:
    """A photograph and where it was taken: east, north, up in metres from `ORIGIN`."""

    pixels: np.ndarray
    c2w: np.ndarray


def textures() -> list[np.ndarray]:
    """Noise with detail at every size, one per plane."""
    generator = np.random.default_rng(5)
    made = []
    for _ in _PLANES:
        total = np.zeros((1024, 1024))
        for octave in range(3, 10):
            small = generator.random((1 << octave, 1 << octave)).astype(np.float32)
            grown = Image.fromarray(small).resize((1024, 1024), Image.Resampling.BICUBIC)
            total += np.asarray(grown) * 0.75**octave
        low, high = np.quantile(total, [0.01, 0.99])
        made.append(np.clip((total - low) / (high - low), 0, 1))
    return made


def shots(n: int = 8) -> list[Shot]:
    """Views from an arc in front of the corner."""
    painted = textures()
    taken = []
    for angle in np.linspace(-0.5, 0.6, n):
        centre = np.array([1.0 + 6 * math.sin(angle), 6 - 8 * math.cos(angle), 2.0 + 0.6 * math.sin(5 * angle)])
        c2w = look_at(centre, np.array([-0.8, 4.2, 1.0]), np.array([0.0, 0.0, 1.0]))
        taken.append(Shot(_rendered(c2w, painted), c2w))
    return taken


def _rendered(c2w: np.ndarray, painted: Sequence[np.ndarray]) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    local = np.stack([(columns - WIDTH / 2) / FOCAL, (rows - HEIGHT / 2) / FOCAL, np.ones_like(rows)], axis=-1)
    directions, eye = local @ c2w[:3, :3].T, c2w[:3, 3]
    nearest = np.full(rows.shape, np.inf)
    value = np.full(rows.shape, 0.5)
    for (point, x, y), texture in zip(_PLANES, painted, strict=True):
        normal = np.cross(x, y)
        t = ((np.array(point) - eye) @ normal) / (directions @ normal)
        where = (eye + t[..., None] * directions) - np.array(point)
        u, v = ((where @ np.array(axis)) * 100 % 1023 for axis in (x, y))
        column, row = u.astype(int), v.astype(int)
        a, b = u - column, v - row
        sampled = (
            texture[row, column] * (1 - a) * (1 - b) + texture[row, column + 1] * a * (1 - b)
            + texture[row + 1, column] * (1 - a) * b + texture[row + 1, column + 1] * a * b
        )  # fmt: skip
        closer = (t > 0) & (t < nearest)
        nearest, value = np.where(closer, t, nearest), np.where(closer, sampled, value)
    grey = (value * 235 + 10).astype(np.uint8)
    return np.stack([grey, grey[..., ::1], (value * 180 + 30).astype(np.uint8)], axis=-1)


def save(shot: Shot, path: Path, *, orientation: int = 1, gps: bool = True) -> None:
    """A JPEG with EXIF: the camera's name, focal length, orientation and place.

    Args:
        shot: What is saved.
        path: The file.
        orientation: 6: as a camera held upright stores it, lying on its side, and says so.
        gps: Whether to say where.
    """
    assert orientation in (1, 6)
    pixels = shot.pixels if orientation == 1 else np.rot90(shot.pixels, 1)  # to be turned clockwise to be upright
    image = Image.fromarray(np.ascontiguousarray(pixels))
    exif = Image.Exif()
    exif[271], exif[272], exif[274] = "Maker", "Model 1", orientation
    exif.get_ifd(0x8769).update({37386: 38.0, 40962: image.width, 40963: image.height, 41486: 100.0, 41488: 4})
    exif.get_ifd(0x8769)[41486] = 10.0  # ten pixels a millimetre
    if gps:
        place = degrees(shot.c2w[:3, 3])
        exif.get_ifd(0x8825).update(
            {1: "N", 2: _dms(place[0]), 3: "E", 4: _dms(place[1]), 5: b"\x00", 6: float(place[2])}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95, exif=exif)


def degrees(local: np.ndarray) -> np.ndarray:
    """Latitude, longitude, height of a place near the origin, by Newton on the library's conversion from them."""
    from neural.scenes.photographs.georeference import Origin

    origin = Origin(*ORIGIN)
    place = np.array(ORIGIN)
    steps = np.array([1e-6, 1e-6, 1e-1])
    for _ in range(5):
        here = origin.enu(place[None])[0]
        jacobian = np.stack(
            [(origin.enu((place + step)[None])[0] - here) / step.sum() for step in np.diag(steps)], axis=1
        )
        place = place + np.linalg.solve(jacobian, local - here)
    return place


def _dms(value: float) -> tuple[float, float, float]:
    whole = int(value)
    minutes = (value - whole) * 60
    return float(whole), float(int(minutes)), (minutes - int(minutes)) * 60


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and shift that take points to others, least squares (Umeyama 1991)."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, values, vt = np.linalg.svd(b.T @ a)
    signs = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ signs @ vt
    scale = float((values * np.diag(signs)).sum() / (a**2).sum())
    return scale, rotation, target.mean(axis=0) - scale * rotation @ source.mean(axis=0)
