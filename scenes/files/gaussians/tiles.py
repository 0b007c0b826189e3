"""A scene in several files: cubes of one side, each about an origin of its own, and an index of them.

The index, `<name>.tiles.json`: `format` "neural-tiles", `version` 1, `side`, `count`, what is known of the placement,
and `tiles`: for each its `file` beside the index, `count`, `offset` (added to the positions in the file gives those of
the whole) and `box` [2, 3] of the positions in the file. Everything is in the axes of the files.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neural import atomic
from neural.errors import SceneFormatError
from neural.scenes.files.gaussians import formats, guarded, placement
from neural.scenes.files.gaussians.axes import Axes, change, flipped
from neural.scenes.files.gaussians.record import Placement, SplatRecord, joined

_FORMAT, _VERSION = "neural-tiles", 1
_MOST_TILES = 4096
_MOST_BYTES = 1 << 24  # of an index


def write(path: Path, record: SplatRecord, side: float, *, axes: Axes | None = None, **options: Any) -> Path:
    """Write `<stem>_<i>_<j>_<k><ending>` for each cube with Gaussians in it, then the index.

    Args:
        path: Says the folder, the stem and by its ending the format of the tiles.
        record: In RDF axes.
        side: Of the cubes, which are counted from the record's origin.
        axes: Of the files; the format's own without them.
        options: See `formats.write`.

    Returns:
        The index.

    Raises:
        ValueError: A side that is not positive, or too many tiles.
    """
    if not 0 < side < np.inf:
        raise ValueError(f"tiles: the side must be positive and finite, got {side}")
    named = axes or formats.module(path).AXES
    turned = flipped(record, ("RDF", named))
    cells = np.floor(turned.means.astype(np.float64) / side).astype(np.int64)
    unique, labels = np.unique(cells, axis=0, return_inverse=True)
    if len(unique) > _MOST_TILES:
        raise ValueError(
            f"tiles: {len(unique)} tiles of {side:g} units, expected at most {_MOST_TILES}; make them larger"
        )
    ending = next(ending for ending in formats.ENDINGS if path.name.lower().endswith(ending))
    stem = path.name[: -len(ending)]
    order = np.argsort(labels.reshape(-1), kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(labels.reshape(-1)))[:-1])
    listed = []
    for cell, rows in zip(unique, parts, strict=True):
        middle = (cell + 0.5) * side
        part = turned.taken(rows)
        means = (part.means.astype(np.float64) - middle).astype(np.float32)
        offset = np.array(record.placement.offset) @ change(("RDF", named)).T + middle
        place = replace(record.placement, offset=tuple(offset.tolist()))
        name = f"{stem}_{cell[0]}_{cell[1]}_{cell[2]}{ending}"
        tile = replace(part, means=means, placement=place)
        formats.write(path.with_name(name), flipped(tile, (named, "RDF")), axes=named, **options)
        box = [means.min(axis=0).tolist(), means.max(axis=0).tolist()]
        listed.append({"file": name, "count": len(rows), "offset": offset.tolist(), "box": box})
    index = path.with_name(stem + formats.TILES)
    said = placement.described(replace(record.placement, offset=(0.0, 0.0, 0.0)), named, "")
    head = {"format": _FORMAT, "version": _VERSION, "side": side, "count": len(record), **said}
    atomic.write_json(index, head | {"tiles": listed})
    return index


def read(path: Path, *, axes: Axes | None = None) -> SplatRecord:
    """All tiles of an index as one scene about one of their origins, which is its offset.

    Raises:
        SceneFormatError: The index or a tile is damaged, missing, or lies elsewhere than beside the index.
    """
    content = _index(path)
    place, named = placement.understood(path, {"axes": axes or "RDF", **content}, "RDF")
    named = axes or named
    listed = content.get("tiles")
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST_TILES:
        raise SceneFormatError(path, f"tiles: expected a list of 1 to {_MOST_TILES}")
    offsets = [placement.understood(path, _tile(path, tile), named)[0].offset for tile in listed]
    first = np.array(offsets[0])
    records = []
    for tile, offset in zip(listed, offsets, strict=True):
        name = tile.get("file")
        if not guarded.is_name(name) or name.endswith(formats.TILES):
            raise SceneFormatError(path, f"names the file {str(name)[:60]!r}, expected a plain name beside the index")
        found = flipped(formats.read(path.with_name(name), axes=named), ("RDF", named))
        means = (found.means + (np.array(offset) - first)).astype(np.float32)
        records.append(replace(found, means=means, placement=Placement()))
    try:
        whole = replace(joined(records), placement=replace(place, offset=offsets[0]))
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None
    return flipped(whole, (named, "RDF"))


def files(path: Path) -> list[Path]:
    """The files that an index names.

    Raises:
        SceneFormatError: No such index.
    """
    listed = _index(path).get("tiles")
    names = [_tile(path, tile).get("file") for tile in listed] if isinstance(listed, list) else []
    return [path.with_name(name) for name in names if guarded.is_name(name)]


def _index(path: Path) -> dict[str, Any]:
    content = guarded.read_index(path, _MOST_BYTES)
    if content.get("format") != _FORMAT or content.get("version") != _VERSION:
        raise SceneFormatError(path, f'expected "format": "{_FORMAT}", "version": {_VERSION}; write the tiles again')
    return content


def _tile(path: Path, tile: Any) -> dict[str, Any]:
    if not isinstance(tile, dict):
        raise SceneFormatError(path, f"tiles: expected objects, got {str(tile)[:40]!r}")
    return tile
