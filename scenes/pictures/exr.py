"""OpenEXR of scan lines: half, float or uint channels, uncompressed, RLE, ZIPS or ZIP. Values are linear light.

Source: "OpenEXR File Layout", openexr.com: magic and version, header attributes, offset table, chunks of scan lines.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.pictures.source import Header, Source

_MAGIC = b"\x76\x2f\x31\x01"
_TILED, _DEEP, _MULTIPART = 0x200, 0x800, 0x1000
_TYPES: dict[int, np.dtype] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_LINES = {0: 1, 1: 1, 2: 1, 3: 16}  # compression -> scan lines of a chunk: none, RLE, ZIPS, ZIP
_NAMES = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
_COLOURS = (("R", "G", "B"), ("Y",))


@dataclass(frozen=True)
class _Layout:
    width: int
    height: int
    top: int
    compression: int
    channels: tuple[tuple[str, np.dtype], ...]  # as they lie in a line: by name
    wanted: tuple[str, ...]
    chunks: int  # where the offset table begins


def source(path: Path) -> Source:
    """An EXR file.

    Raises:
        SceneFormatError: Damaged, tiled, or in a compression that is not read.
    """
    layout = _layout(path)
    header = Header(path, layout.width, layout.height, len(layout.wanted), "float32", linear=True)

    def fill(out: np.ndarray) -> None:
        try:
            _fill(path, layout, out)
        except (struct.error, zlib.error, ValueError, IndexError) as error:
            raise SceneFormatError(
                path, f"damaged or truncated EXR ({error}); copy it again from its source"
            ) from error

    return Source(header, fill)


def _layout(path: Path) -> _Layout:
    with open(path, "rb") as file:
        head = file.read(1 << 20)
    if head[:4] != _MAGIC:
        raise SceneFormatError(path, "not an OpenEXR file (wrong magic number)")
    version = struct.unpack("<I", head[4:8])[0]
    if version & (_TILED | _DEEP | _MULTIPART):
        raise SceneFormatError(path, "tiled, deep or multi-part EXR is not read; save it as plain scan lines")
    try:
        found, end = _attributes(head)
        compression = found["compression"][0]
        left, top, right, bottom = struct.unpack("<4i", found["dataWindow"])
        channels = tuple(_channels(found["channels"]))
    except (KeyError, ValueError, IndexError, struct.error) as error:
        raise SceneFormatError(path, f"EXR header cannot be read ({error}); copy it again from its source") from error
    if compression not in _LINES:
        name = _NAMES[compression] if compression < len(_NAMES) else str(compression)
        raise SceneFormatError(path, f"EXR compression {name} is not read; save it with ZIP")
    names = [name for name, _ in channels]
    colours = next((kind for kind in _COLOURS if set(kind) <= set(names)), None)
    if colours is None:
        raise SceneFormatError(path, f"EXR channels are {', '.join(names)}; R, G, B or Y are needed")
    wanted = (*colours, "A") if "A" in names else colours
    return _Layout(right - left + 1, bottom - top + 1, top, compression, channels, wanted, end)


def _attributes(head: bytes) -> tuple[dict[str, bytes], int]:
    """Name and value of each attribute, and where the header ends."""
    found, at = {}, 8
    while head[at] != 0:
        stop = head.index(b"\0", at)
        name = head[at:stop].decode("latin-1")
        at = head.index(b"\0", stop + 1) + 1
        (size,) = struct.unpack_from("<i", head, at)
        if size < 0:
            raise ValueError(f"{name} of {size} bytes")
        found[name] = head[at + 4 : at + 4 + size]
        at += 4 + size
    return found, at + 1


def _channels(value: bytes) -> Iterator[tuple[str, np.dtype]]:
    at = 0
    while value[at] != 0:
        stop = value.index(b"\0", at)
        kind, _, across, down = struct.unpack_from("<iB3xii", value, stop + 1)
        if across != 1 or down != 1:
            raise ValueError("subsampled channels")
        yield value[at:stop].decode("latin-1"), _TYPES[kind]
        at = stop + 17


def _fill(path: Path, layout: _Layout, out: np.ndarray) -> None:
    lines = _LINES[layout.compression]
    n_chunks = -(-layout.height // lines)
    line_bytes = sum(layout.width * kind.itemsize for _, kind in layout.channels)
    with open(path, "rb") as file:
        file.seek(layout.chunks)
        offsets = np.frombuffer(file.read(8 * n_chunks), "<u8")
        if len(offsets) != n_chunks:
            raise ValueError("the offset table is cut off")
        for offset in offsets.tolist():
            file.seek(offset)
            first, size = struct.unpack("<ii", file.read(8))
            first -= layout.top
            if not 0 <= first < layout.height or not 0 < size <= 2 * lines * line_bytes + 64:
                raise ValueError(f"a chunk of {size} bytes at line {first}")
            rows = min(lines, layout.height - first)
            raw = _unpacked(file.read(size), layout.compression, rows * line_bytes)
            _place(raw, layout, out[first : first + rows])


def _place(raw: bytes, layout: _Layout, out: np.ndarray) -> None:
    """Lines of a chunk; within one all values of a channel lie together."""
    at = 0
    for row in out:
        for name, kind in layout.channels:
            values = np.frombuffer(raw, kind, layout.width, at)
            if name in layout.wanted:
                row[:, layout.wanted.index(name)] = values
            at += layout.width * kind.itemsize


def _unpacked(packed: bytes, compression: int, n_bytes: int) -> bytes:
    if compression == 0 or len(packed) == n_bytes:  # a chunk that does not shrink is stored as it is
        plain = packed
    else:
        plain = _run_lengths(packed, n_bytes) if compression == 1 else zlib.decompressobj().decompress(packed, n_bytes)
        if len(plain) == n_bytes:
            plain = _restored(plain)
    if len(plain) != n_bytes:
        raise ValueError(f"a chunk of {len(plain)} bytes, {n_bytes} expected")
    return plain


def _restored(data: bytes) -> bytes:
    """Undoes the differences between bytes, then their separation into even and odd places."""
    delta = np.frombuffer(data, np.uint8).astype(np.int64)
    delta[1:] -= 128
    summed = (np.cumsum(delta) & 255).astype(np.uint8)
    half = (len(summed) + 1) // 2
    woven = np.empty_like(summed)
    woven[0::2], woven[1::2] = summed[:half], summed[half:]
    return woven.tobytes()


def _run_lengths(packed: bytes, n_bytes: int) -> bytes:
    """A count below 0: so many bytes follow as they are; from 0 up: the next byte, once more than that."""
    out, at = bytearray(), 0
    while at < len(packed) and len(out) <= n_bytes:
        count = packed[at] - 256 if packed[at] > 127 else packed[at]
        if count < 0:
            out += packed[at + 1 : at + 1 - count]
            at += 1 - count
        else:
            out += packed[at + 1 : at + 2] * (count + 1)
            at += 2
    return bytes(out)
