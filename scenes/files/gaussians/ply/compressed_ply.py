"""SuperSplat's `.compressed.ply`: four 32-bit words a Gaussian, and boxes of 256 of them that the words are parts of.

Element `chunk`, one for 256 Gaussians in Morton order: least and most of positions, log scales and colours (old files:
no colours, which then lie from 0 to 1). Element `vertex`, from the highest bits on: packed_position and packed_scale
x y z of 11, 10 and 11 bits; packed_rotation 2 bits for the largest of w x y z and 10 for each of the others;
packed_color r g b and opacity of 8. Element `sh` where colours depend on the view: f_rest_0.. of 8 bits, red first.

Steps: 1/2047 (y: 1/1023) of the chunk's box in positions and log scales, 1/255 of it in colours, 1/255 of opacities,
sqrt(2)/1023 of rotations, 1/32 of harmonics, from -4 to 4.
Source: github playcanvas/splat-transform, `compressed-chunk.ts` and `decompress-ply.ts`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

from neural.errors import SceneFormatError
from neural.morton import morton_order
from neural.scenes.files import ply
from neural.scenes.files.gaussians import packing
from neural.scenes.files.gaussians.axes import Axes, flipped
from neural.scenes.files.gaussians.ply.comments import AXES, said, written
from neural.scenes.files.gaussians.record import SH_C0, SH_COUNTS, SplatRecord

_CHUNK = 256
_BOUNDS = (("", "xyz"), ("scale_", "xyz"), ("", "rgb"))
_WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_POINT, _COLOR, _ROTATION = (11, 10, 11), (8, 8, 8, 8), (2, 10, 10, 10)  # bits, the highest first
_MOST_LOG_SCALE = 20.0  # what others write at most, and its negative at least
_FARTHEST_SH = 4.0


def read(path: Path, *, axes: Axes | None = None) -> SplatRecord:
    """A scene, in the order of the file; opacities of 0 or 1 are taken a quarter of a step inside.

    Args:
        path: The file.
        axes: Its own, whatever it says.

    Raises:
        SceneFormatError: Something missing, damaged, not finite, or of sizes that disagree.
    """
    layout = ply.read_layout(path)
    rows, chunks = (_element(path, layout, name) for name in ("vertex", "chunk"))
    n = len(rows)
    _require(path, rows, _WORDS, "<u4")
    _require(path, chunks, [name for prefix, axes in _BOUNDS[:2] for name in _names(prefix, axes)], "<f4")
    if len(chunks) != -(-n // _CHUNK):
        raise SceneFormatError(
            path, f"has {len(chunks)} chunks of {_CHUNK} for {n} Gaussians, expected {-(-n // _CHUNK)}; it is damaged"
        )
    position, rotation, scale, color = (rows[name].astype(np.int64) for name in _WORDS)
    red_to_blue = _split(color, _COLOR)
    colors = red_to_blue[:, :3] / 255
    if "min_r" in (chunks.dtype.names or ()):
        _require(path, chunks, _names(*_BOUNDS[2]), "<f4")
        colors = _within(path, chunks, _BOUNDS[2], colors)
    with np.errstate(over="ignore"):  # what is beyond fp32 becomes infinite, and is refused
        sh0 = ((colors - 0.5) / SH_C0).astype(np.float32)
    parts = _split(rotation, _ROTATION)
    header = said(path)
    try:
        record = SplatRecord(
            means=_within(path, chunks, _BOUNDS[0], _fractions(position)).astype(np.float32),
            quats=packing.from_smallest_three(
                parts[:, 0], ((parts[:, 1:] / 1023 - 0.5) * np.sqrt(2)).astype(np.float32)
            ),
            log_scales=_within(path, chunks, _BOUNDS[1], _fractions(scale)).astype(np.float32),
            opacity_logits=packing.logits(red_to_blue[:, 3].astype(np.uint8)),
            sh0=sh0,
            shN=_harmonics(path, layout, n),
            antialiased=header.antialiased,
            surfels=header.surfels,
            placement=header.placement,
        )
        return flipped(record, (axes or header.axes, "RDF"))
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None


def write(path: Path, record: SplatRecord, *, axes: Axes = AXES) -> None:
    """Write a scene in Morton order, to a temporary name first; scales stay within e^-20 to e^20 units.

    Args:
        path: The file.
        record: In RDF axes.
        axes: Of the file.
    """
    record = flipped(record, ("RDF", axes))
    order = morton_order(torch.from_numpy(record.means)).numpy()
    n_chunks = -(-len(order) // _CHUNK)
    filled = np.concatenate([order, np.repeat(order[-1:], n_chunks * _CHUNK - len(order))])
    colors = record.sh0[filled].astype(np.float64) * SH_C0 + 0.5
    scales = record.log_scales[filled].clip(-_MOST_LOG_SCALE, _MOST_LOG_SCALE)
    chunks = np.empty(n_chunks, dtype=[(name, "<f4") for bounds in _BOUNDS for name in _names(*bounds)])
    position, scale, color = (
        _parts(chunks, bounds, values)[: len(order)]
        for bounds, values in zip(_BOUNDS, (record.means[filled], scales, colors), strict=True)
    )
    largest, others = packing.smallest_three(record.quats[order])
    alpha = packing.opacities(record.opacity_logits[order])
    rows = np.empty(len(order), dtype=[(name, "<u4") for name in _WORDS])
    rows["packed_position"], rows["packed_scale"] = _join(position, _POINT), _join(scale, _POINT)
    rows["packed_rotation"] = _join(others * np.sqrt(0.5) + 0.5, _ROTATION[1:]) | largest << 30
    rows["packed_color"] = _join(np.concatenate([color, alpha[:, None]], axis=1), _COLOR)
    elements = {"chunk": chunks, "vertex": rows}
    if record.sh_degree:
        rest = record.shN[order].transpose(0, 2, 1).reshape(len(order), -1) / (2 * _FARTHEST_SH) + 0.5
        steps = np.floor(rest * 256).clip(0, 255).astype(np.uint8)
        elements["sh"] = steps.view([(f"f_rest_{i}", "u1") for i in range(steps.shape[1])])[:, 0]
    ply.write_elements(path, elements, comments=written(record, axes))


def _names(prefix: str, axes: str) -> list[str]:
    return [f"{end}_{prefix}{axis}" for end in ("min", "max") for axis in axes]


def _element(path: Path, layout: dict[str, tuple[int, tuple[str, ...]]], name: str) -> np.ndarray:
    if name not in layout:
        raise SceneFormatError(path, f"has elements {', '.join(layout)}, expected chunk and vertex of a compressed PLY")
    return ply.read(path, name)


def _require(path: Path, rows: np.ndarray, names: tuple[str, ...] | list[str], kind: str) -> None:
    found: Mapping[str, tuple] = rows.dtype.fields or {}
    wrong = [name for name in names if name not in found or found[name][0].newbyteorder("<") != np.dtype(kind)]
    if wrong:
        raise SceneFormatError(path, f"lacks properties {', '.join(wrong)} of type {kind}; it is no compressed PLY")


def _bounds(chunks: np.ndarray, bounds: tuple[str, str]) -> Float[np.ndarray, "2 chunks 3"]:
    with np.errstate(invalid="ignore"):  # some that are no numbers say so when they are converted
        table = np.stack([chunks[name] for name in _names(*bounds)], axis=-1).astype(np.float64)
    return table.reshape(-1, 2, 3).transpose(1, 0, 2)


def _within(
    path: Path, chunks: np.ndarray, bounds: tuple[str, str], fractions: Float[np.ndarray, "N 3"]
) -> Float[np.ndarray, "N 3"]:
    """Where the fractions lie between the bounds of their chunks."""
    low, high = _bounds(chunks, bounds)
    strange = ~(np.isfinite(low) & np.isfinite(high)).all(axis=1)
    if strange.any():
        raise SceneFormatError(path, f"chunk {int(strange.argmax())} has bounds that are not finite; it is damaged")
    low, high = (np.repeat(side, _CHUNK, axis=0)[: len(fractions)] for side in (low, high))
    return low * (1 - fractions) + high * fractions


def _parts(chunks: np.ndarray, bounds: tuple[str, str], values: Float[np.ndarray, "M 3"]) -> Float[np.ndarray, "M 3"]:
    """Writes the bounds of each chunk, and gives the fractions of the way between them."""
    grouped = values.reshape(-1, _CHUNK, 3)
    ends = np.concatenate([grouped.min(axis=1), grouped.max(axis=1)], axis=1).astype(np.float32)
    for i, name in enumerate(_names(*bounds)):
        chunks[name] = ends[:, i]
    low, high = ends[:, None, :3].astype(np.float64), ends[:, None, 3:].astype(np.float64)
    return ((grouped - low) / np.where(high > low, high - low, 1)).clip(0, 1).reshape(-1, 3)


def _join(fractions: Float[np.ndarray, "N K"], bits: tuple[int, ...]) -> Int64[np.ndarray, "N"]:
    """Fractions of 0 to 1 in so many bits each, side by side."""
    word = np.zeros(len(fractions), dtype=np.int64)
    for column, width in zip(fractions.T, bits, strict=True):
        word = word << width | packing.rounded(column * ((1 << width) - 1), (1 << width) - 1)
    return word


def _split(words: Int64[np.ndarray, "N"], bits: tuple[int, ...]) -> Int64[np.ndarray, "N K"]:
    """The whole numbers of so many bits each that lie side by side."""
    shifts = np.cumsum(bits[::-1])[::-1] - np.array(bits)
    return words[:, None] >> shifts & (1 << np.array(bits)) - 1


def _fractions(words: Int64[np.ndarray, "N"]) -> Float[np.ndarray, "N 3"]:
    return _split(words, _POINT) / ((1 << np.array(_POINT)) - 1)


def _harmonics(path: Path, layout: dict[str, tuple[int, tuple[str, ...]]], n: int) -> Float32[np.ndarray, "N K 3"]:
    if "sh" not in layout:
        return np.zeros((n, 0, 3), dtype=np.float32)
    rows = _element(path, layout, "sh")
    columns = len(rows.dtype.names or ())
    k = columns // 3
    names = [f"f_rest_{i}" for i in range(3 * k)]
    _require(path, rows, names, "u1")
    if len(rows) != n or k not in SH_COUNTS or columns != 3 * k:
        raise SceneFormatError(
            path,
            f"has {len(rows)} rows of {columns} harmonics for {n} Gaussians, expected as many of 9, "
            "24 or 45; it is damaged",
        )
    values = (np.arange(256, dtype=np.float32) + np.float32(0.5)) / 256
    values[[0, 255]] = 0, 1
    table = ((values - np.float32(0.5)) * (2 * _FARTHEST_SH))[np.stack([rows[name] for name in names], axis=-1)]
    return np.ascontiguousarray(table.reshape(n, 3, k).transpose(0, 2, 1))
