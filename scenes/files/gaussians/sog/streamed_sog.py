"""PlayCanvas' streamed SOG: a scene in levels of detail and chunks, of which a viewer loads what it needs.

A folder with `lod-meta.json` and a SOG folder (pictures and a `meta.json` of their own) for each chunk:

    lod-meta.json          the index, below; read it first
    0_0/ 0_1/ ...          level 0, the finest; chunk 0, 1, ...
    1_0/ ...               level 1, about half as many Gaussians in all; and so on to the coarsest, one chunk

For a viewer: `tree` is a binary tree of boxes. Its leaves share out all of space among themselves, and a leaf holds, in
`lods`, where its Gaussians are for each level that has some there: `{"file": i, "offset": o, "count": c}` are rows o to
o + c of the SOG in `filenames[i]` (a path beside the index). Exactly one level of each leaf is drawn at a time: begin
with the coarsest (`lodLevels - 1`) of all leaves, which is one small file, then load finer files for the leaves that
are near or large on the screen. `bound` holds the Gaussians of all levels, one standard deviation around each. All
chunks and boxes have the same axes: RDF, y down. `asset` says metres, CRS and offset where they are known.

`version` 1, `count` (of all levels), `counts` (of each), `lodLevels`, `filenames`, `tree`: `{"bound": {"min", "max"},
"children": [left, right]}` or `{"bound", "lods": {"0": ..., "1": ...}}`.
Source: PlayCanvas, "The Streamed SOG Format", version 1, as splat-transform writes it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64

from neural import atomic
from neural.atomic import replacing
from neural.errors import SceneFormatError
from neural.morton import morton_order
from neural.poses import rotation_from_quat
from neural.scenes.files.gaussians import guarded, placement
from neural.scenes.files.gaussians.axes import Axes, flipped
from neural.scenes.files.gaussians.record import SplatRecord, joined
from neural.scenes.files.gaussians.sog import leftovers, sog
from neural.scenes.files.gaussians.sog.files import META

NAME = "lod-meta.json"
AXES: Axes = "RDF"
CHUNK = 1 << 17  # Gaussians of a file and of a leaf, about
_MOST_META = 1 << 26  # bytes
_MOST_FILES, _MOST_DEPTH, _MOST_LEVELS = 1 << 16, 64, 32


def write(
    path: Path, levels: Sequence[SplatRecord], *, axes: Axes = AXES, chunk: int = CHUNK, extent: float | None = None
) -> None:
    """Write chunks, and the index when all of them are there; then chunks go that only an index before it named.

    Args:
        path: The `lod-meta.json` of a folder that exists.
        levels: The scene in RDF axes, the finest first, and the same in ever fewer Gaussians.
        axes: Of the files; viewers take RDF for granted.
        chunk: Gaussians that a leaf holds of all levels at most, and a file about.
        extent: Longest side of a leaf, units; without it 16 metres where the scene says what a metre is, else an
            eighth of the longest side of the box that 98 % of the Gaussians are in.

    Raises:
        ValueError: No level, or levels of different kinds.
    """
    if not levels:
        raise ValueError("streamed_sog: expected one level or more, the finest first")
    whole = flipped(joined(levels), ("RDF", axes))
    level = np.repeat(np.arange(len(levels)), [len(record) for record in levels])
    plan = _Plan(whole, level, chunk, extent or _usual_extent(whole, axes))
    tree = plan.node(np.arange(len(whole)))
    filenames = [f"{part.level}_{part.number}/{META}" for part in plan.files]
    counts = [len(record) for record in levels]
    asset = {"generator": "neural", **placement.described(whole.placement, axes, AXES)}
    head: dict[str, Any] = {"version": 1, "asset": asset, "count": sum(counts), "counts": counts}
    head |= {"lodLevels": len(levels), "filenames": filenames, "tree": tree}
    with leftovers.replaced(path):
        for name, part in zip(filenames, plan.files, strict=True):
            rows = np.concatenate(part.rows)
            folder = path.parent / Path(name).parent
            folder.mkdir(exist_ok=True)
            for file, data in sog.packed(whole.taken(rows), axes, order=np.arange(len(rows))).items():
                with replacing(folder / file) as out:
                    out.write(data)
        atomic.write_text(path, json.dumps(head, separators=(",", ":"), allow_nan=False))


def read(path: Path, *, axes: Axes | None = None, level: int = 0) -> SplatRecord:
    """One level of the scene, leaf by leaf; of leaves that do not have it, the next coarser or else finer one.

    Args:
        path: The `lod-meta.json`.
        axes: Its own, whatever it says.
        level: 0 is the finest.

    Raises:
        SceneFormatError: The index or a file that it names is damaged, missing or lies elsewhere.
        ValueError: A level below 0.
    """
    if level < 0:
        raise ValueError(f"level must be 0, the finest, or more, got {level}")
    content = _index(path)
    names = content.get("filenames")
    if not isinstance(names, list) or not 0 < len(names) <= _MOST_FILES or not all(isinstance(n, str) for n in names):
        raise SceneFormatError(path, f"filenames: expected a list of 1 to {_MOST_FILES} names")
    if len(set(names)) < len(names):
        raise SceneFormatError(path, "filenames: the same chunk is there twice; it is damaged or hostile")
    asset = content.get("asset")
    place, said = placement.understood(path, asset if isinstance(asset, dict) else {}, AXES)
    spans: dict[int, list[tuple[int, int]]] = {}
    for lods in _leaves(path, content.get("tree"), 0):
        file, offset, count = _span(path, lods, level, len(names))
        spans.setdefault(file, []).append((offset, count))
    if not any(count for wanted in spans.values() for _, count in wanted):
        raise SceneFormatError(path, "has a tree without Gaussians; write it again")
    records = []
    for file, listed in sorted(spans.items()):
        wanted = [(offset, count) for offset, count in listed if count]
        if not wanted:
            continue
        record = sog.read(_beside(path, names[file]), axes="RDF")
        end = max(offset + count for offset, count in wanted)
        if end > len(record) or sum(count for _, count in wanted) > len(record):
            raise SceneFormatError(path, f"asks for rows to {end} of {names[file]}, which has {len(record)}")
        records.append(record.taken(np.concatenate([np.arange(o, o + c) for o, c in sorted(wanted)])))
    try:
        whole = joined(records)
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None
    turned = SplatRecord(
        whole.means, whole.quats, whole.log_scales, whole.opacity_logits, whole.sh0, whole.shN, whole.antialiased,
        whole.surfels, place,
    )  # fmt: skip
    return flipped(turned, (axes or said, "RDF"))


@dataclass
class _File:
    level: int
    number: int
    rows: list[Int64[np.ndarray, "M"]] = field(default_factory=list)
    count: int = 0


class _Plan:
    """Which Gaussians go to which leaf and file: space is halved at the median of the longest side of what is there."""

    def __init__(self, record: SplatRecord, level: Int64[np.ndarray, "N"], chunk: int, extent: float) -> None:
        self._means, self._level, self._chunk, self._extent = record.means, level, chunk, extent
        half = _half_extents(record)
        self._low, self._high = record.means - half, record.means + half
        self.files: list[_File] = []
        self._open: dict[int, int] = {}

    def node(self, rows: Int64[np.ndarray, "M"]) -> dict[str, Any]:
        """What the index says of some Gaussians."""
        means = self._means[rows]
        sides = np.ptp(means, axis=0)
        bound = {"min": _rounded(self._low[rows].min(axis=0)), "max": _rounded(self._high[rows].max(axis=0))}
        if len(rows) > 1 and (len(rows) > self._chunk or sides.max() > self._extent) and sides.max() > 0:
            axis = int(sides.argmax())
            order = np.argpartition(means[:, axis], len(rows) // 2)
            halves = rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]
            return {"bound": bound, "children": [self.node(half) for half in halves]}
        lods = {}
        for level in np.unique(self._level[rows]).tolist():
            own = rows[self._level[rows] == level]
            own = own[morton_order(torch.from_numpy(self._means[own])).numpy()]
            lods[str(level)] = self._placed(level, own)
        return {"bound": bound, "lods": lods}

    def _placed(self, level: int, rows: Int64[np.ndarray, "M"]) -> dict[str, int]:
        number = self._open.get(level)
        if number is None or self.files[number].count >= self._chunk:
            before = sum(file.level == level for file in self.files)
            number = self._open[level] = len(self.files)
            self.files.append(_File(level, before))
        file = self.files[number]
        said = {"file": number, "offset": file.count, "count": len(rows)}
        file.rows.append(rows)
        file.count += len(rows)
        return said


def _half_extents(record: SplatRecord) -> Float32[np.ndarray, "N 3"]:
    """Half sides of the boxes around ellipsoids of one standard deviation."""
    unit = record.quats / np.linalg.norm(record.quats.astype(np.float64), axis=1, keepdims=True)
    axes = rotation_from_quat(unit) * np.exp(record.log_scales)[:, None, :]
    return np.sqrt((axes**2).sum(axis=2)).astype(np.float32)


def _usual_extent(record: SplatRecord, axes: Axes) -> float:
    if record.placement.metres_per_unit is not None:
        return 16 / record.placement.metres_per_unit
    low, high = np.quantile(record.means, [0.01, 0.99], axis=0)
    return max(float((high - low).max()) / 8, 1e-6)


def _rounded(corner: Float32[np.ndarray, "3"]) -> list[float]:
    return [float(f"{x:.7g}") for x in corner.tolist()]


def _index(path: Path) -> dict[str, Any]:
    content = guarded.read_index(path, _MOST_META)
    if content.get("version", 1) != 1:
        raise SceneFormatError(path, "is no streamed SOG of version 1; write it again")
    return content


def _leaves(path: Path, root: Any, depth: int) -> list[dict[str, Any]]:
    """The `lods` of all leaves, left to right."""
    found: list[dict[str, Any]] = []
    waiting = [(root, depth)]
    while waiting:
        node, depth = waiting.pop()
        if not isinstance(node, dict) or depth > _MOST_DEPTH:
            raise SceneFormatError(path, f"has a tree with a node {str(node)[:30]!r} at depth {depth}; it is damaged")
        children, lods = node.get("children"), node.get("lods")
        if isinstance(children, list):
            waiting += [(child, depth + 1) for child in reversed(children)]
        elif isinstance(lods, dict):
            if lods:
                found.append(lods)
        else:
            raise SceneFormatError(path, "has a node of the tree with neither children nor lods; it is damaged")
    return found


def _span(path: Path, lods: dict[str, Any], level: int, n_files: int) -> tuple[int, int, int]:
    """File, offset and count of a leaf's level."""
    numbers = sorted(int(name) for name in lods if name.isascii() and name.isdigit() and len(name) < 3)
    if not numbers or numbers[-1] >= _MOST_LEVELS or len(numbers) != len(lods):
        raise SceneFormatError(path, f"has a leaf with levels {str(list(lods))[:40]}, expected numbers from 0")
    chosen = next((number for number in numbers if number >= level), numbers[-1])
    span = lods.get(str(chosen))
    values: list[Any] = [span.get(name) for name in ("file", "offset", "count")] if isinstance(span, dict) else []
    if len(values) != 3 or not all(type(v) is int and 0 <= v < 1 << 40 for v in values) or values[0] >= n_files:
        raise SceneFormatError(
            path, f"has a leaf with {str(span)[:60]}, expected file, offset and count; it is damaged"
        )
    return values[0], values[1], values[2]


def _beside(path: Path, name: str) -> Path:
    """A chunk's `meta.json`, one folder down or beside the index."""
    parts = name.split("/")
    if len(parts) > 2 or parts[-1] != META or not all(guarded.PLAIN_NAME.fullmatch(part) for part in parts):
        raise SceneFormatError(path, f"names the chunk {name[:60]!r}, expected FOLDER/{META}; it is damaged or hostile")
    return path.parent.joinpath(*parts)
