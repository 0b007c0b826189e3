"""Niantic's `.spz`: a header and six streams of fixed-point numbers; versions 2 to 4.

Streams, one after the other: positions (3 x 24 bits, signed, so many bits behind the point as the header says),
opacities (8), colours (3 x 8), scales (3 x 8), rotations (version 2: x y z of 8 bits, then: the three smallest
components of 10 bits), harmonics (8 each, colour channels innermost). Versions 2 and 3 are one gzip stream; version 4
has a plain header and compresses each stream with Zstandard. Axes are RUB.

Steps: 2^-12 of positions (finer or coarser where the scene needs it), 1/255 of opacities, 1/(0.15 x 255) of sh0,
1/16 of log scales, 1/511 of sqrt(1/2) in rotations (version 2: 1/127.5), 1/16 of harmonics of degree 1 and 1/8 above.
Source: github nianticlabs/spz, README and `load-spz.cc`.
"""

import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from neural.atomic import replacing
from neural.errors import SceneFormatError
from neural.scenes.files.gaussians import guarded, packing
from neural.scenes.files.gaussians.axes import Axes, flipped
from neural.scenes.files.gaussians.record import SH_COUNTS, SplatRecord
from neural.scenes.files.gaussians.spz import streams as streams_of

_MAGIC = b"NGSP"
_HEADER = struct.Struct("<4sIIBBBB")  # magic, version, Gaussians, degree, fractional bits, flags, streams
_STREAM = struct.Struct("<QQ")  # bytes compressed, bytes raw
_TABLE_AFTER = 32  # bytes of version 4's header, in which the place of the table of streams is at 16
_ANTIALIASED, _EXTENDED = 1, 2  # flags
_EXTENSION = struct.Struct("<II")  # type, bytes
_AXES_EXTENSION = 0xADBE0003
AXES: Axes = "RUB"
_AXES: tuple[Axes, ...] = (  # the extension's values, from 1
    "LDB", "RDB", "LUB", "RUB", "LDF", "RDF", "LUF", "RUF", "LBD", "RBD", "LBU", "RBU", "LFD", "RFD", "LFU", "RFU",
)  # fmt: skip
_MOST_EXTENSIONS = 1 << 16  # bytes
_BITS, _MOST_BITS = 12, 23  # behind the point: what others write, and all but the sign
_COLOR_STEPS, _SCALE_STEPS, _LOWEST_SCALE, _SH_STEPS = 0.15 * 255, 16, -10, 128


@dataclass(frozen=True)
class _Header:
    version: int
    n: int
    degree: int
    bits: int
    flags: int
    streams: int

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each stream."""
        each = {"positions": 9, "opacities": 1, "colors": 3, "scales": 3, "rotations": 3 if self.version == 2 else 4}
        return {name: self.n * size for name, size in {**each, "harmonics": 3 * SH_COUNTS[self.degree]}.items()}


def read(path: Path, *, axes: Axes | None = None) -> SplatRecord:
    """A scene in the axes of other formats, RDF; opacities of 0 or 1 are taken a quarter of a step inside.

    Args:
        path: The file.
        axes: Its own, whatever it says: there are writers that leave them as they were (`RDF`).

    Raises:
        SceneFormatError: Damaged, of another version, of degree 4, or sizes that disagree.
        BackendUnavailable: Version 4 without zstandard.
    """
    data = guarded.read_bytes(path)
    if data[:4] == _MAGIC:
        header, extensions, streams = _plain(path, data)
    elif data[:2] == b"\x1f\x8b":
        header, extensions, streams = _gzipped(path, data)
    else:
        raise SceneFormatError(path, "not an SPZ file (it starts neither as a gzip stream nor with 'NGSP')")
    said = _extension(path, extensions, _AXES_EXTENSION) if header.flags & _EXTENDED else None
    if said is not None and axes is None:
        code = int.from_bytes(said, "little")
        if len(said) != 4 or not 0 <= code <= len(_AXES):
            raise SceneFormatError(path, f"has axes number {code}, expected 1 to {len(_AXES)}; convert it to RUB")
        axes = _AXES[code - 1] if code else AXES
    return flipped(_record(path, header, streams), (axes or AXES, "RDF"))


def write(
    path: Path,
    record: SplatRecord,
    *,
    version: Literal[2, 3, 4] = 3,
    axes: Axes = AXES,
    sh_bits: tuple[int, int] = (5, 4),
    fractional_bits: int | None = None,
) -> None:
    """Write Gaussians in their order, to a temporary name first.

    Args:
        path: The file.
        record: In RDF axes.
        version: 3 unless a reader knows only 2, whose rotations are coarser; 4 is quicker to read, by few so far.
        axes: Of the file. Version 4 says others than RUB, which readers take for granted; 2 and 3 cannot.
        sh_bits: Bits kept of harmonics of degree 1, and of those above, 1 to 8.
        fractional_bits: Of positions. Without it 12 as others write, or (ours) as many as make the step an eighth of
            the median scale, or as few as the farthest position needs.

    Raises:
        ValueError: A position beyond what the bits hold, or an option out of its range.
        BackendUnavailable: Version 4 without zstandard.
    """
    if version not in (2, 3, 4) or not all(1 <= b <= 8 for b in sh_bits):
        raise ValueError(f"spz: version must be 2, 3 or 4 and sh_bits 1 to 8, got {version} and {sh_bits}")
    turned = flipped(record, ("RDF", axes))
    bits = _fractional_bits(turned) if fractional_bits is None else fractional_bits
    places = np.rint(turned.means.astype(np.float64) * 2.0**bits)
    if np.abs(places).max() >= 1 << 23:
        raise ValueError(
            f"spz: positions reach {np.abs(turned.means).max():g} units, and {bits} fractional bits hold less than "
            f"{(1 << 23) / 2**bits:g}; write tiles with offsets of their own (tile=, --tile)"
        )
    positions = np.ascontiguousarray(places.astype("<i4")[..., None].view(np.uint8)[..., :3])
    streams = [
        positions,
        packing.bytes_of(packing.opacities(turned.opacity_logits) * 255),
        packing.bytes_of(turned.sh0 * np.float32(_COLOR_STEPS) + np.float32(127.5)),
        packing.bytes_of((turned.log_scales - np.float32(_LOWEST_SCALE)) * _SCALE_STEPS),
        _pack_xyz(turned.quats) if version == 2 else _pack_smallest_three(turned.quats),
        _pack_harmonics(turned.shN, sh_bits),
    ]
    flags = _ANTIALIASED if record.antialiased else 0
    fields = record.sh_degree, bits, flags
    whole = [stream.tobytes() for stream in streams if stream.size]
    packed = (
        _version_4(path, len(record), fields, axes, whole)
        if version == 4
        else streams_of.gzip(b"".join([_HEADER.pack(_MAGIC, version, len(record), *fields, 0), *whole]))
    )
    with replacing(path) as file:
        for part in packed:
            file.write(part)


def _version_4(path: Path, n: int, fields: tuple[int, int, int], axes: Axes, streams: list[bytes]) -> list[bytes]:
    """Header, extension, table and streams, each compressed alone."""
    degree, bits, flags = fields
    extension = b""
    if axes != AXES:
        if axes not in _AXES:
            raise ValueError(f"spz: axes must be one of {', '.join(_AXES)}, got {axes}")
        extension = _EXTENSION.pack(_AXES_EXTENSION, 4) + struct.pack("<I", _AXES.index(axes) + 1)
        flags |= _EXTENDED
    with ThreadPoolExecutor() as pool:
        packed = list(pool.map(lambda stream: streams_of.zstd(path, stream), streams))
    head = _HEADER.pack(_MAGIC, 4, n, degree, bits, flags, len(streams))
    place = struct.pack("<I12x", _TABLE_AFTER + len(extension))
    table = b"".join(_STREAM.pack(len(a), len(b)) for a, b in zip(packed, streams, strict=True))
    return [head, place, extension, table, *packed]


def _record(path: Path, header: _Header, streams: dict[str, UInt8[np.ndarray, "M"]]) -> SplatRecord:
    n = header.n
    places = np.zeros((n, 3, 4), dtype=np.uint8)
    places[..., 1:] = streams["positions"].reshape(n, 3, 3)
    rotations = streams["rotations"].reshape(n, -1)
    harmonics = np.arange(-_SH_STEPS, _SH_STEPS, dtype=np.float32) / _SH_STEPS
    try:
        return SplatRecord(
            means=(places.view("<i4")[..., 0] >> 8).astype(np.float32) * np.float32(2.0**-header.bits),
            quats=_unpack_xyz(rotations) if header.version == 2 else _unpack_smallest_three(rotations),
            log_scales=streams["scales"].reshape(n, 3).astype(np.float32) / _SCALE_STEPS + _LOWEST_SCALE,
            opacity_logits=packing.logits(streams["opacities"]),
            sh0=(streams["colors"].reshape(n, 3).astype(np.float32) - np.float32(127.5)) / np.float32(_COLOR_STEPS),
            shN=harmonics[streams["harmonics"]].reshape(n, -1, 3),
            antialiased=bool(header.flags & _ANTIALIASED),
        )
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None


def _gzipped(path: Path, data: bytes) -> tuple[_Header, bytes, dict[str, UInt8[np.ndarray, "M"]]]:
    """Header, extensions and streams of versions 2 and 3."""
    header = _header(path, streams_of.gunzip(path, data, _HEADER.size))
    if header.version == 4:
        raise SceneFormatError(path, "is a gzip stream that says version 4, which has none; write it again")
    sizes = header.sizes
    end = _HEADER.size + sum(sizes.values())
    guarded.refuse_bomb(path, end, len(data))
    raw = streams_of.gunzip(path, data, end + _MOST_EXTENSIONS + 1)
    if len(raw) < end:
        raise SceneFormatError(
            path, f"claims {header.n} Gaussians, {end} bytes, but holds {len(raw)}; it is truncated, copy it again"
        )
    if len(raw) > (end + _MOST_EXTENSIONS if header.flags & _EXTENDED else end):
        raise SceneFormatError(path, f"goes on behind the {header.n} Gaussians that it claims; write it again")
    streams, start = {}, _HEADER.size
    for name, size in sizes.items():
        streams[name] = np.frombuffer(raw, np.uint8, size, start)
        start += size
    return header, raw[end:], streams


def _plain(path: Path, data: bytes) -> tuple[_Header, bytes, dict[str, UInt8[np.ndarray, "M"]]]:
    """Header, extensions and streams of version 4."""
    header = _header(path, data[: _HEADER.size])
    if header.version != 4:
        raise SceneFormatError(path, f"says version {header.version}, which is a gzip stream, but is none")
    sizes = {name: size for name, size in header.sizes.items() if size}
    table = int.from_bytes(data[16:20], "little")
    start = table + len(sizes) * _STREAM.size
    if header.streams != len(sizes) or not _TABLE_AFTER <= table <= _TABLE_AFTER + _MOST_EXTENSIONS:
        raise SceneFormatError(
            path, f"has {header.streams} streams listed at byte {table}, expected {len(sizes)} from {_TABLE_AFTER} on"
        )
    if len(data) < start:
        raise SceneFormatError(path, "ends before its streams; it is truncated, copy it again")
    guarded.refuse_bomb(path, sum(sizes.values()), len(data))
    streams = {}
    for i, (name, size) in enumerate(sizes.items()):
        packed, raw = _STREAM.unpack_from(data, table + i * _STREAM.size)
        if raw != size or packed > len(data) - start:
            raise SceneFormatError(
                path,
                f"has {raw} bytes of {name}, {packed} of them compressed, expected {size} in the "
                f"{len(data) - start} that are left; it is damaged",
            )
        streams[name] = np.frombuffer(streams_of.unzstd(path, data[start : start + packed], size), np.uint8)
        start += packed
    if start != len(data):
        raise SceneFormatError(path, f"goes on for {len(data) - start} bytes behind its streams; write it again")
    streams.setdefault("harmonics", np.zeros(0, dtype=np.uint8))
    return header, data[_TABLE_AFTER:table], streams


def _header(path: Path, data: bytes) -> _Header:
    if len(data) < _HEADER.size:
        raise SceneFormatError(path, "ends within its header; it is truncated, copy it again")
    magic, version, n, degree, bits, flags, streams = _HEADER.unpack(data)
    if magic != _MAGIC:
        raise SceneFormatError(path, "not an SPZ file (its header does not start with 'NGSP')")
    if version not in (2, 3, 4):
        raise SceneFormatError(path, f"is of version {version}, expected 2, 3 or 4; convert it")
    if degree >= len(SH_COUNTS):
        raise SceneFormatError(path, f"has colours of degree {degree}, expected 0 to 3; write it with fewer harmonics")
    if bits > _MOST_BITS:
        raise SceneFormatError(path, f"has {bits} fractional bits of 24, which leave no room; it is damaged")
    if n == 0:
        raise SceneFormatError(path, "holds no Gaussians; there is nothing to show")
    return _Header(version, n, degree, bits, flags, streams)


def _extension(path: Path, data: bytes, wanted: int) -> bytes | None:
    """What the record of a type holds; records of other types are passed over."""
    found, start = None, 0
    while start < len(data):
        if start + _EXTENSION.size > len(data):
            raise SceneFormatError(path, "ends within an extension; it is truncated, copy it again")
        kind, size = _EXTENSION.unpack_from(data, start)
        start += _EXTENSION.size
        if size > len(data) - start:
            raise SceneFormatError(path, f"has an extension of {size} bytes in {len(data) - start}; it is damaged")
        if kind == wanted:
            found = data[start : start + size]
        start += size
    return found


def _fractional_bits(record: SplatRecord) -> int:
    farthest = float(np.abs(record.means).max())
    room = np.floor(np.log2(((1 << 23) - 1) / max(farthest, 1e-30)))
    needed = np.ceil(3 - float(np.median(record.log_scales)) / np.log(2))
    return int(max(0, min(room, max(_BITS, min(needed, _MOST_BITS)))))


def _pack_smallest_three(quats: Float32[np.ndarray, "N 4"]) -> UInt8[np.ndarray, "N 4"]:
    """2 bits for the largest of x y z w, then sign and 9 bits for each of the others, the last of them lowest."""
    largest, others = packing.smallest_three(np.roll(quats, -1, axis=1))
    steps = packing.rounded(np.abs(others) * (511 * np.sqrt(2)), 511) | (others < 0).astype(np.int64) << 9
    packed = largest << 30 | steps[:, 0] << 20 | steps[:, 1] << 10 | steps[:, 2]
    return packed.astype("<u4")[:, None].view(np.uint8)


def _unpack_smallest_three(data: UInt8[np.ndarray, "N 4"]) -> Float32[np.ndarray, "N 4"]:
    packed = np.ascontiguousarray(data).view("<u4").astype(np.int64)
    steps = packed >> np.array([20, 10, 0])
    others = (steps & 511) * np.where(steps & 512, -1, 1) * np.float32(np.sqrt(0.5) / 511)
    return np.roll(packing.from_smallest_three(packed[:, 0] >> 30, others.astype(np.float32)), 1, axis=1)


def _pack_xyz(quats: Float32[np.ndarray, "N 4"]) -> UInt8[np.ndarray, "N 3"]:
    """Of the rotation whose w is not negative."""
    lengths = np.linalg.norm(quats.astype(np.float64), axis=1, keepdims=True)
    return packing.bytes_of(quats[:, 1:] / (lengths * np.where(quats[:, :1] < 0, -1, 1)) * 127.5 + 127.5)


def _unpack_xyz(data: UInt8[np.ndarray, "N 3"]) -> Float32[np.ndarray, "N 4"]:
    xyz = data.astype(np.float32) / np.float32(127.5) - 1
    return packing.from_smallest_three(np.zeros(len(xyz), dtype=np.int64), xyz)


def _pack_harmonics(shN: Float32[np.ndarray, "N K 3"], bits: tuple[int, int]) -> UInt8[np.ndarray, "N K 3"]:
    """Steps of 1/128 about 128, of which multiples of 2^(8 - bits) are kept so that they compress."""
    kept = np.where(np.arange(shN.shape[1]) < SH_COUNTS[1], bits[0], bits[1])
    buckets = (2.0 ** (8 - kept)).astype(np.float32)[:, None]
    steps = shN * (_SH_STEPS / buckets)
    np.rint(steps, out=steps)
    steps *= buckets
    steps += _SH_STEPS
    return steps.clip(0, 255, out=steps).astype(np.uint8)
