"""From photographs to cameras by whatever works: the fast way first, then slower and more patient ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neural.scenes.photographs.sfm import pairs, stages
from neural.scenes.photographs.sfm.connected import largest_piece
from neural.scenes.photographs.sfm.pairs import Pairing
from neural.scenes.photographs.sfm.stages import Model, Stages

ENOUGH = 0.95  # of the photographs: no other way is tried
_ALL_PAIRS = 400  # photographs up to which a retry compares all with all


@dataclass(frozen=True)
class Outcome:
    """What has come of it.

    Attributes:
        model: The largest that was found; None if there is none.
        way: By which it was found.
        features: The files that its observations count in, one per photograph.
        reasons: Index of a photograph that has no pose, and why, as far as can be told.
    """

    model: Model | None
    way: str
    features: list[Path | None]
    reasons: dict[int, str]


@dataclass(frozen=True)
class _Rung:
    kind: Literal["global", "incremental"]
    pairing: Pairing
    patient: bool

    def __str__(self) -> str:
        return f"{self.pairing} matching, {self.kind} mapping" + (", finer features" if self.patient else "")


def climb(
    run: Stages,
    pairing: Pairing,
    mapping: Literal["auto", "global", "incremental"],
    places: Sequence[tuple[float, float]],
    *,
    patient: bool = True,
) -> Outcome:
    """Tries one way after the other until nearly all photographs have a pose; the best of all counts.

    Args:
        run: Of the photographs.
        pairing: Which are compared at first.
        mapping: "auto": all poses at once, then one after the other.
        patient: Whether there is a second way.
        places: Metres east and north of each photograph, NaN where unknown.
    """
    n = len(run.inputs.photographs)
    wider: Pairing = "exhaustive" if n <= _ALL_PAIRS else pairing
    kinds: list[Literal["global", "incremental"]] = ["global", "incremental"] if mapping == "auto" else [mapping]
    rungs = [*(_Rung(kind, pairing, False) for kind in kinds), _Rung("incremental", wider, True)]
    if not patient:
        rungs = rungs[:1]
    best, way, used = None, rungs[0], list[Path | None]()
    partners: dict[int, list[int]] = {}
    files: list[Path | None] = []
    for rung in rungs:
        files = run.extract(stages.FINER if rung.patient else stages.SIFT)
        chosen = pairs.made(rung.pairing, n, places)
        matches, partners = run.match(files, chosen)
        settings: dict[str, Any] = stages.LENIENT if rung.patient else stages.CAREFUL
        model = run.map(matches, chosen, rung.kind, settings)
        piece = None if model is None else largest_piece(model)
        if piece is not None and (best is None or len(piece.indices) > len(best.indices)):
            best, way, used = piece, rung, files
        torn = piece is not model and rung.kind == "global" and len(kinds) > 1  # the other way takes a minute
        if best is not None and len(best.indices) >= (n if torn else ENOUGH * n):
            break
    posed = set() if best is None else set(best.indices.tolist())
    reasons = {i: _reason(run, i, _count(files[i]), partners.get(i, []), posed) for i in range(n) if i not in posed}
    return Outcome(best, str(way), used, reasons)


def _count(file: Path | None) -> int:
    if file is None:
        return 0
    with np.load(file) as arrays:
        return len(arrays["places"])


def _reason(run: Stages, index: int, n_features: int, partners: Sequence[int], posed: set[int]) -> str:
    """Why a photograph has no pose, in words that help to take a better one."""
    if index in run.failed:
        return run.failed[index]
    if n_features < 100:
        return f"only {n_features} features: blurred, dark or without texture"
    if not partners:
        return "shows nothing that another photograph shows: too little overlap, or other things"
    linked = sum(other in posed for other in partners)
    if not linked:
        return f"overlaps only with {len(partners)} photographs that have no pose either"
    return f"overlaps with {linked} of the others, but too little to place it"
