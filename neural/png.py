"""PNG of any size, written row by row: a picture of gigapixels need not fit into memory."""

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from neural import atomic

_KINDS = {1: 0, 3: 2}  # channels -> colour type
_LARGEST = 2**31 - 1  # pixels of a side, by the format


def write(path: str | Path, width: int, height: int, bands: Iterable[UInt8[np.ndarray, "h W C"]]) -> Path:
    """Writes bands of rows from the top as they come; the file appears under its name when it is whole.

    Args:
        path: The file.
        width: Pixels.
        height: Of all bands together.
        bands: sRGB or grey, all with as many channels.

    Raises:
        ValueError: Bands that do not make up the picture.

    Source: PNG specification, third edition, sections 5 and 9: rows with the filter "up".
    """
    if not (1 <= width <= _LARGEST and 1 <= height <= _LARGEST):
        raise ValueError(f"png: a side must be 1 to {_LARGEST} pixels, got {width} x {height}")
    packer = zlib.compressobj(6)
    written, above = 0, None
    with atomic.replacing(path) as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for band in bands:
            if band.dtype != np.uint8 or band.ndim != 3 or band.shape[1] != width or band.shape[2] not in _KINDS:
                raise ValueError(f"png: a band must be uint8 [h, {width}, 1 or 3], got {band.dtype} {list(band.shape)}")
            if above is None:
                kind = _KINDS[band.shape[2]]
                file.write(_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)))
                above = np.zeros((1, width, band.shape[2]), np.uint8)
            lines = np.empty((len(band), 1 + width * band.shape[2]), np.uint8)
            lines[:, 0] = 2
            lines[:, 1:] = (band - np.concatenate([above, band[:-1]])).reshape(len(band), -1)
            above = band[-1:]
            written += len(band)
            if data := packer.compress(lines.tobytes()):
                file.write(_chunk(b"IDAT", data))
        if written != height:
            raise ValueError(f"png: {written} rows came, {height} were expected")
        file.write(_chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b""))
    return Path(path)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
