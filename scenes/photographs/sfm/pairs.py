"""Which photographs are compared with which: all of a few, neighbours in time of a video, neighbours on the ground."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

Pairing = Literal["exhaustive", "sequential", "spatial"]

EXHAUSTIVE_UP_TO = 100  # photographs; their 4950 pairs take a few minutes on two cores
SEQUENTIAL = 10  # neighbours to either side ...
_SEQUENTIAL_FAR = 8  # ... and those 2^k frames away up to this k, so that a slow camera closes its gaps
_LOOPS = 6  # frames spread over a video that every frame near them is compared with, to find a way that closes
SPATIAL = 24  # nearest on the ground ...
_SPATIAL_FROM = 60  # ... of more photographs than this
_TILE = 12  # photographs a side


def choose(n: int, *, video: bool, placed: int) -> Pairing:
    """How to pair `n` photographs, of which `placed` say where they were taken."""
    if video:
        return "sequential" if n > 40 else "exhaustive"
    if n > _SPATIAL_FROM and placed >= 0.9 * n:
        return "spatial"
    return "exhaustive" if n <= EXHAUSTIVE_UP_TO else "sequential"


def exhaustive(n: int) -> list[tuple[int, int]]:
    """Every pair, tile by tile, so that what is prepared of a photograph serves several pairs at once."""
    return sorted(
        ((a, b) for b in range(n) for a in range(b)),
        key=lambda pair: (pair[1] // _TILE - pair[0] // _TILE, pair[0] // _TILE, pair),
    )


def sequential(n: int) -> list[tuple[int, int]]:
    """Neighbours in the order of names, near ones all and far ones thinned; and a few frames with the whole."""
    gaps = [*range(1, SEQUENTIAL + 1), *(1 << k for k in range(4, _SEQUENTIAL_FAR + 1))]
    pairs = {(a, a + gap): None for gap in gaps for a in range(n - gap)}
    landmarks = sorted({round(k * (n - 1) / max(1, _LOOPS * math.isqrt(n) - 1)) for k in range(_LOOPS * math.isqrt(n))})
    for position, a in enumerate(landmarks):
        for b in landmarks[position + 1 :]:
            pairs[(a, b)] = None
    return list(pairs)


def spatial(places: Float64[np.ndarray, "N 2"]) -> list[tuple[int, int]]:
    """Each with its nearest on the ground and its neighbours by name, since places err.

    Args:
        places: Metres east and north; NaN where unknown, which is then compared by name alone.
    """
    n = len(places)
    pairs = dict.fromkeys((a, a + gap) for gap in range(1, 4) for a in range(n - gap))
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    for a in known.tolist():
        distances = np.linalg.norm(places[known] - places[a], axis=1)
        for b in known[np.argsort(distances, kind="stable")[: SPATIAL + 1]].tolist():
            if a != b:
                pairs[(min(a, b), max(a, b))] = None
    for a in sorted(set(range(n)) - set(known.tolist())):
        for b in range(max(0, a - SEQUENTIAL), min(n, a + SEQUENTIAL + 1)):
            if a != b:
                pairs[(min(a, b), max(a, b))] = None
    return list(pairs)


def made(kind: Pairing, n: int, places: Sequence[tuple[float, float]] | None = None) -> list[tuple[int, int]]:
    """The pairs of one kind."""
    if kind == "exhaustive":
        return exhaustive(n)
    if kind == "spatial" and places is not None:
        return spatial(np.asarray(places, dtype=np.float64))
    return sequential(n)
