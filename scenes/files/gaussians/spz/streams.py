"""Streams of bytes as SPZ packs them: gzip of several threads, and Zstandard; unpacked no further than asked for."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from neural.errors import BackendUnavailable, SceneFormatError

PART = 1 << 20  # bytes that one thread compresses at a time
_LEVEL = 12  # of Zstandard: what others write


def gunzip(path: Path, data: bytes, most: int) -> bytes:
    """At most so many bytes of a gzip stream of one member or several, checked where it ends before."""
    parts, left = [], most
    while data and left:
        member = zlib.decompressobj(31)
        try:
            parts.append(member.decompress(data, left))
        except zlib.error as error:
            raise SceneFormatError(path, f"is a damaged gzip stream ({error}); copy it again") from None
        left -= len(parts[-1])
        if not member.eof:
            if left:
                raise SceneFormatError(path, "is a gzip stream without its end; it is truncated, copy it again")
            break
        data = member.unused_data
    return b"".join(parts)


def gzip(data: bytes) -> list[bytes]:
    """One gzip member whose parts are compressed by several threads."""
    starts = range(0, len(data), PART)

    def deflate(start: int) -> bytes:
        part = zlib.compressobj(6, zlib.DEFLATED, -15, 9)
        last = start == starts[-1]
        return part.compress(data[start : start + PART]) + part.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH)

    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(deflate, starts))
    end = struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return [b"\x1f\x8b\x08\0\0\0\0\0\0\xff", *parts, end]


def zstd(path: Path, data: bytes) -> bytes:
    """One Zstandard frame.

    Raises:
        BackendUnavailable: zstandard is not there.
    """
    return _zstandard(path).ZstdCompressor(level=_LEVEL).compress(data)


def unzstd(path: Path, data: bytes, size: int) -> bytes:
    """What a Zstandard stream holds, which must be so many bytes.

    Raises:
        SceneFormatError: Damaged, or of another size.
        BackendUnavailable: zstandard is not there.
    """
    zstandard = _zstandard(path)
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as stream:
            raw = stream.read(size + 1)
    except zstandard.ZstdError as error:
        raise SceneFormatError(path, f"has a damaged stream ({error}); copy it again") from None
    if len(raw) != size:
        raise SceneFormatError(path, f"has a stream of {len(raw)} bytes or more, expected {size}; it is damaged")
    return raw


def _zstandard(path: Path) -> ModuleType:
    try:
        import zstandard
    except ImportError as error:
        raise BackendUnavailable(
            f"{path}: SPZ of version 4 needs zstandard: pip install 'neural[splats]', or write it as version 3"
        ) from error
    return zstandard
