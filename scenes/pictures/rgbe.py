"""Radiance pictures (.hdr): three mantissas and a shared exponent per pixel, run-length coded. Linear light.

Source: Ward 1991, "Real Pixels", Graphics Gems II; the run-length scheme as in Radiance's `color.c`.
"""

import re
from pathlib import Path

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.pictures.source import Header, Source

SUFFIXES = (".hdr", ".pic", ".rgbe")
_SIZE = re.compile(rb"-Y (\d+) \+X (\d+)\n")


def source(path: Path) -> Source:
    """A Radiance picture with rows from the top.

    Raises:
        SceneFormatError: Damaged, or in another order or format.
    """
    with open(path, "rb") as file:
        head = file.read(1 << 16)
    size = _SIZE.search(head)
    if not head.startswith(b"#?") or size is None or b"32-bit_rle_xyze" in head[: size.start()]:
        raise SceneFormatError(path, "not a Radiance picture of RGBE values with rows from the top; convert it to EXR")
    height, width = int(size[1]), int(size[2])
    header = Header(path, width, height, 3, "float32", linear=True, memory=path.stat().st_size)
    start = size.end()

    def fill(out: np.ndarray) -> None:
        data = np.fromfile(path, np.uint8)[start:]
        try:
            _fill(data, out)
        except (ValueError, IndexError) as error:
            raise SceneFormatError(
                path, f"damaged or truncated picture ({error}); copy it again from its source"
            ) from error

    return Source(header, fill)


def _fill(data: np.ndarray, out: np.ndarray) -> None:
    height, width, _ = out.shape
    at = 0
    for row in range(height):
        coded = 8 <= width < 32768 and data[at] == 2 and data[at + 1] == 2 and data[at + 2] < 128
        if coded:
            if int(data[at + 2]) << 8 | int(data[at + 3]) != width:
                raise ValueError(f"row {row} is not {width} pixels long")
            planes, at = _row(data, at + 4, width)
        else:
            planes = data[at : at + 4 * width].reshape(width, 4).T
            at += 4 * width
        scale = np.where(planes[3] > 0, np.ldexp(1.0, planes[3].astype(np.int32) - 136), 0.0)
        out[row] = (planes[:3] * scale).T


def _row(data: np.ndarray, at: int, width: int) -> tuple[np.ndarray, int]:
    """Four planes of a row, each of runs (count above 128) and of bytes as they are."""
    planes = np.empty((4, width), np.uint8)
    for plane in planes:
        done = 0
        while done < width:
            count = int(data[at])
            run = count > 128
            count -= 128 * run
            if not 0 < count <= width - done:
                raise ValueError("a run beyond its row")
            plane[done : done + count] = data[at + 1] if run else data[at + 1 : at + 1 + count]
            at += 2 if run else 1 + count
            done += count
    return planes, at
