"""One channel of float32 as OpenEXR: what compositing programs take depths in.

Source: Academy Software Foundation, "OpenEXR file layout" (single part, scan lines, ZIP of 16 lines).
"""

import struct
import zlib
from typing import IO

import numpy as np
from jaxtyping import Float32

_LINES = 16  # to a block
_FLOAT, _ZIP = 2, 3
_CHANNEL = b"Y"  # the one that readers of grey pictures look for


def write(file: IO[bytes], values: Float32[np.ndarray, "H W"]) -> None:
    """Writes a picture, losslessly.

    Args:
        file: Open for writing bytes.
        values: Row by row from the top, of any range.
    """
    height, width = values.shape
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    head = struct.pack("<ii", 20000630, 2) + b"".join([
        _attribute(b"channels", b"chlist", _CHANNEL + struct.pack("<xiB3xiix", _FLOAT, 0, 1, 1)),
        _attribute(b"compression", b"compression", bytes([_ZIP])),
        _attribute(b"dataWindow", b"box2i", window),
        _attribute(b"displayWindow", b"box2i", window),
        _attribute(b"lineOrder", b"lineOrder", b"\0"),
        _attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1)),
        _attribute(b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0)),
        _attribute(b"screenWindowWidth", b"float", struct.pack("<f", 1)),
        b"\0",
    ])  # fmt: skip
    blocks = [
        struct.pack("<ii", row, len(packed)) + packed
        for row in range(0, height, _LINES)
        for packed in (_packed(values[row : row + _LINES]),)
    ]
    first = len(head) + 8 * len(blocks)
    places = first + np.cumsum([0, *(len(block) for block in blocks[:-1])])
    file.write(head + places.astype("<u8").tobytes())
    for block in blocks:
        file.write(block)


def _attribute(name: bytes, kind: bytes, value: bytes) -> bytes:
    return name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value


def _packed(lines: Float32[np.ndarray, "L W"]) -> bytes:
    """Bytes of even places before those of odd ones, each less the one before, and deflated if that is shorter."""
    plain = np.ascontiguousarray(lines, "<f4").view(np.uint8).reshape(-1)
    parted = np.concatenate([plain[::2], plain[1::2]])
    steps = np.concatenate([parted[:1], parted[1:] - parted[:-1] + np.uint8(128)])
    deflated = zlib.compress(steps.tobytes(), 4)
    return deflated if len(deflated) < len(plain) else plain.tobytes()
