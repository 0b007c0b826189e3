"""Formats for the tests of readers: known cameras and points, pixels by each format's own formula, and damage."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from neural.cameras import Cameras
from neural.poses import look_at
from neural.scenes.load import load
from neural.scenes.scene import Scene
from tests.damage import damaged_by_chance, refused

WIDTH, HEIGHT = 40, 30
N = 9
POINTS = np.random.default_rng(11).uniform(-0.7, 0.7, (25, 3))  # about the origin, seen by all cameras
FX, FY, CX, CY = 45.0, 46.0, 19.0, 16.0
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # from OpenCV's camera axes to OpenGL's
NAMES = tuple(f"view_{i:02d}.png" for i in range(N))


def poses(centre: np.ndarray | None = None) -> np.ndarray:
    """Nine c2w with OpenCV axes, on an uneven ring about the origin, each turned about its axis."""
    turns = np.linspace(0, 2 * np.pi, N, endpoint=False)
    origins = np.stack([4 * np.cos(turns), 4 * np.sin(turns), 1 + 0.5 * np.sin(3 * turns)], axis=1)
    c2w = np.stack([look_at(o, np.zeros(3), np.array([0, 0, 1.0])) for o in origins])
    for i, pose in enumerate(c2w):  # rolled, so that no two axes can be confused
        c, s = np.cos(0.2 + 0.1 * i), np.sin(0.2 + 0.1 * i)
        pose[:3, :3] = pose[:3, :3] @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    if centre is not None:
        c2w[:, :3, 3] += centre
    return c2w


def write_images(folder: Path, names: tuple[str, ...] = NAMES, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", size, (i, 2 * i, 3 * i)).save(folder / name)


def write_masks(folder: Path, names: tuple[str, ...] = NAMES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        mask[:, i:] = 255
        Image.fromarray(mask).save(folder / name)


def camera_points(c2w: np.ndarray, points: np.ndarray = POINTS) -> np.ndarray:
    """Points in OpenCV camera axes, by nothing but the definition of a pose."""
    return (points - c2w[:3, 3]) @ c2w[:3, :3]


def pixels() -> list[np.ndarray]:
    """Where the points are seen by K [R | t]."""
    local = [camera_points(c2w) for c2w in poses()]
    return [np.stack([FX * p[:, 0] / p[:, 2] + CX, FY * p[:, 1] / p[:, 2] + CY], axis=1) for p in local]


def opengl_pixels() -> list[np.ndarray]:
    """The same from poses whose y axis is up and whose z axis leads back: u = cx + fx x / -z, v = cy - fy y / -z."""
    result = []
    for c2w in poses():
        x, y, z = ((POINTS - c2w[:3, 3]) @ (c2w @ OPENGL)[:3, :3]).T
        result.append(np.stack([CX + FX * x / -z, CY - FY * y / -z], axis=1))
    return result


def assert_projects(
    cameras: Cameras, expected: np.ndarray, points: np.ndarray = POINTS, tolerance: float = 1e-6
) -> None:
    """The reader's cameras see the points at the pixels (counted from the corner) that the format's formula gives."""
    assert len(cameras) == len(expected)
    for i, pixels in enumerate(expected):
        got, depth = cameras.project(torch.from_numpy(points), i)
        assert (depth > 0).all()
        np.testing.assert_allclose(got.numpy(), pixels, atol=tolerance)
        assert np.ptp(pixels, axis=0).min() > 2  # spread over the image, so that they say something


def fuzz(root: Path, files: list[Path], rounds: int = 60) -> int:
    """Damage one file after the other; each time the capture is read or refused by name, and by no other error.

    Returns:
        How often it was refused.
    """
    count = 0
    assert len(load(root).cameras) > 0
    for file in files:
        whole = file.read_bytes()
        for seed in range(rounds):
            file.write_bytes(damaged_by_chance(whole, seed))
            count += refused(load, root, _sound)
        file.write_bytes(whole)
    assert len(load(root).cameras) > 0
    return count


STRANGE = (
    None,
    True,
    -1,
    0,
    10**400,
    1e308,
    -1e-308,
    "x",
    "",
    "\0",
    [],
    [[]],
    {},
    {"a": 1},
    [1, "a"],
    [[1, 2], [3]],
    2**63,
)


def strange_fields(root: Path, file: Path) -> int:
    """Put strange values in the place of every field of a JSON file in turn (of like ones, of the first two).

    Returns:
        How often the capture was refused.
    """
    whole = file.read_text()
    count = 0
    for n, path in enumerate(_places(json.loads(whole), ())):
        for value in STRANGE[n % 3 :: 3]:
            document = json.loads(whole)
            at = document
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = value
            file.write_text(json.dumps(document))
            count += refused(load, root, _sound)
    file.write_text(whole)
    assert len(load(root).cameras) > 0
    return count


def _sound(scene: Scene) -> bool:
    return bool(np.isfinite(scene.cameras.c2w.numpy()).all())


def _places(value: object, path: tuple) -> Iterator[tuple]:
    """All fields; of lists, and of objects that list many things by name, the first two."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, child in items if isinstance(value, dict) and len(items) < 20 else items[:2]:
        yield (*path, key)
        yield from _places(child, (*path, key))
