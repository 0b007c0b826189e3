"""COLMAP's text files: `#` begins a comment; fields are separated by spaces; an image takes two lines."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.formats.colmap_records import Camera, Image, Points3D, usable_lens

_Record = TypeVar("_Record")


def read_cameras(path: Path) -> dict[int, Camera]:
    """Cameras by id: CAMERA_ID MODEL WIDTH HEIGHT PARAMS..."""

    def parse(words: list[str]) -> tuple[int, Camera]:
        lens = usable_lens(path, words[1])
        if len(words) != 4 + lens.n_params:
            raise ValueError(f"{lens.name} has {lens.n_params} parameters, found {len(words) - 4}")
        return int(words[0]), Camera(lens, (_size(words[2]), _size(words[3])), np.array(words[4:], np.float64))

    return dict(_parse(path, number, line.split(), parse) for number, line in _lines(path) if line)


def read_images(path: Path) -> list[Image]:
    """IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then X Y POINT3D_ID ... on a line that may be empty."""
    lines = list(_lines(path))
    images = []
    i = 0
    while i < len(lines):
        number, line = lines[i]
        i += 1
        if not line:  # between images; right after one it is that image's list of features
            continue
        features = lines[i][1].split() if i < len(lines) else []
        i += 1

        def parse(words: list[str], features: list[str] = features) -> Image:
            if len(features) % 3:
                raise ValueError(f"the next line has {len(features)} fields, not triples X Y POINT3D_ID")
            pose = np.array(words[1:8], np.float64)
            table = np.array(features, np.float64).reshape(-1, 3)
            ids = np.array([int(word) for word in features[2::3]], np.int64)
            return Image(words[9], pose[:4], pose[4:], int(words[8]), table[:, :2], ids)

        images.append(_parse(path, number, line.split(maxsplit=9), parse))
    return images


def read_points(path: Path) -> Points3D:
    """POINT3D_ID X Y Z R G B ERROR TRACK..."""

    def parse(words: list[str]) -> tuple[int, list[float], list[int]]:
        return int(words[0]), [float(w) for w in words[1:4]], [int(words[k]) for k in (4, 5, 6)]

    rows = [_parse(path, number, line.split(maxsplit=8), parse) for number, line in _lines(path) if line]
    try:
        ids = np.array([row[0] for row in rows], np.int64)
        rgb = np.array([row[2] for row in rows], np.int64).reshape(-1, 3)
    except OverflowError:
        raise SceneFormatError(path, "a point id or colour exceeds 64 bits; the file is damaged") from None
    xyz = np.array([row[1] for row in rows], np.float64).reshape(-1, 3)
    return Points3D(ids, xyz, rgb.clip(0, 255).astype(np.uint8))


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines without comments."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise SceneFormatError(path, f"cannot be read: {error.strerror}") from error
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return [(number, line) for number, line in lines if not line.startswith("#")]


def _parse(path: Path, number: int, words: list[str], parse: Callable[[list[str]], _Record]) -> _Record:
    try:
        return parse(words)
    except (ValueError, IndexError, OverflowError) as error:
        raise SceneFormatError(path, f"line {number}: {error}; the file is damaged, export it again") from error


def _size(word: str) -> int:
    return min(int(word), 2**62)
