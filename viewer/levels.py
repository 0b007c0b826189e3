"""A scene as the files that a page shows: levels inside it as `.spz`, or a folder of streamed SOG beside it."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from neural.gaussians.decimate import decimated
from neural.scenes.files.gaussians.placement import Placement
from neural.scenes.files.gaussians.record import SplatRecord
from neural.scenes.files.gaussians.sog import leftovers, streamed_sog
from neural.scenes.files.gaussians.spz import spz
from neural.viewer.outlook import Outlook

COARSE = 16_000  # Gaussians of the level that is drawn first
_AT_ONCE = COARSE * 5 // 4  # up to which there is no coarser level


def inside(record: SplatRecord) -> list[SplatRecord]:
    """Coarse to fine: what is drawn while the rest arrives, and the scene."""
    return [record] if len(record) <= _AT_ONCE else [decimated(record, COARSE), record]


def halved(record: SplatRecord) -> list[SplatRecord]:
    """Fine to coarse: the scene and half as many Gaussians each time, as streamed SOG holds them."""
    levels = [record]
    while len(levels[-1]) > _AT_ONCE:
        levels.append(decimated(levels[-1], -(-len(levels[-1]) // 2)))
    return levels


def as_spz(record: SplatRecord, found: Outlook) -> bytes:
    """A level in the page's frame: RUB axes, the scene's centre at the origin, scaled."""
    means = (record.means.astype(np.float64) - found.centre) * found.scale
    log_scales = record.log_scales + np.float32(np.log(found.scale))
    placed = replace(record, means=means.astype(np.float32), log_scales=log_scales, placement=Placement())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "level.spz"
        spz.write(path, placed)
        return path.read_bytes()


def write_streamed(folder: Path, levels: list[SplatRecord], found: Outlook) -> None:
    """Writes levels, fine to coarse, as streamed SOG in the scene's axes, the scene's centre at the origin."""
    folder.mkdir(exist_ok=True)
    moved = [replace(level, means=(level.means - found.centre).astype(np.float32)) for level in levels]
    streamed_sog.write(folder / streamed_sog.NAME, moved)


def remove_streamed(folder: Path) -> None:
    """What `write_streamed` wrote there for a page that has nothing beside it any more."""
    leftovers.remove(folder / streamed_sog.NAME)
