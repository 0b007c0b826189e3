"""Several scenes as one: in the frame of the first, with its unit, and each part of space once if that is wanted."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt64

from neural.edit.cells import occupied, spacing
from neural.gaussians.model import Gaussians
from neural.gaussians.similarity import transformed
from neural.scenes.files.gaussians.axes import change
from neural.scenes.files.gaussians.record import SplatRecord, joined

Overlap = Literal["keep", "twins", "first"]
_COMPARED = ("means", "quats", "log_scales", "opacity_logits", "sh0")  # what twins have in common
_REACH = 4.0  # spacings of neighbours: side of the cells that say where a scene is


@torch.no_grad()
def merge(scenes: Sequence[Gaussians], *, overlap: Overlap = "keep", cell: float | None = None) -> Gaussians:
    """One scene of several; those of a lower SH degree get zeros for the rest.

    Frames are those of the files: axes, offsets, and metres per unit where files say them, are brought to those of the
    first.

    Args:
        scenes: One or more; they stay as they are.
        overlap: What to do where they lie over each other. "keep": nothing. "twins": of Gaussians that are equal to the
            last bit, such as those of two crops of one scene, the first stays. "first": where a scene has Gaussians,
            those of later ones are left out, as for two trainings of neighbouring blocks.
        cell: For "first": side of the cells in which a scene counts as being, scene units; by default four times the
            median distance of neighbours in the first scene.

    Raises:
        ValueError: No scene; scenes in different CRSs, or of different kinds (antialiased, 2D or not).
    """
    if not scenes:
        raise ValueError("merge: give at least one scene")
    records = [_placed(scene, scenes[0]) for scene in scenes]
    if overlap == "first":
        records = _each_place_once(records, cell)
    record = joined(records)
    if overlap == "twins":
        record = record.taken(_first_of_equals(record))
    return Gaussians.from_record(record)


def _placed(scene: Gaussians, first: Gaussians) -> SplatRecord:
    """The scene with the axes, the unit and the offset of the first."""
    own, wanted = scene.placement, first.placement
    if own.crs is not None and wanted.crs is not None and own.crs != wanted.crs:
        raise ValueError(f"merge: scenes in {wanted.crs} and in {own.crs}; bring them to one CRS first")
    scale = 1.0
    if own.metres_per_unit is not None and wanted.metres_per_unit is not None:
        scale = own.metres_per_unit / wanted.metres_per_unit
    matrix = np.eye(4)
    matrix[:3, :3] = scale * change((own.axes, wanted.axes))
    matrix[:3, 3] = matrix[:3, :3] @ own.offset - wanted.offset
    if not np.array_equal(matrix, np.eye(4)):
        scene = transformed(scene, matrix)
    return replace(scene.to_record(), placement=wanted)


def _each_place_once(records: list[SplatRecord], cell: float | None) -> list[SplatRecord]:
    """Every scene without what lies where an earlier one is; scenes of which nothing is left go."""
    if cell is None:
        cell = _REACH * spacing(torch.from_numpy(records[0].means))
    if not 0 < cell < np.inf:
        raise ValueError(f"merge: the side of cells must be positive and finite, got {cell}; give one as cell")
    left = records[:1]
    for record in records[1:]:
        taken = np.zeros(len(record), dtype=bool)
        for earlier in left:
            taken |= occupied(earlier.means, record.means, cell)
        rows = np.flatnonzero(~taken)
        if len(rows):
            left.append(record.taken(rows))
    return left


def _first_of_equals(record: SplatRecord) -> Int64[np.ndarray, "M"]:
    """Rows without those that an earlier row is equal to, in order."""
    words = np.concatenate([_bits(getattr(record, name)) for name in _COMPARED], axis=1)
    _, first, group = np.unique(_hashes(words), return_index=True, return_inverse=True)
    original = first[group.reshape(-1)]  # of equal hashes the first row
    twin: Bool[np.ndarray, N] = (original < np.arange(len(words))) & (words == words[original]).all(axis=1)
    return np.flatnonzero(~twin)


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint32)


def _hashes(words: np.ndarray) -> UInt64[np.ndarray, "N"]:
    """Of each row, by multiply and add; equal rows have equal hashes, others hardly ever."""
    hashes = np.zeros(len(words), dtype=np.uint64)
    for column in words.T:
        hashes = (hashes ^ column) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return hashes
