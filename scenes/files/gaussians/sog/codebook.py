"""The 256 numbers that stand best for many: what bytes of an image stand for."""

import numpy as np
from jaxtyping import Float32, UInt8

_ENTRIES = 256
_BINS = 4096  # of equally many values, for the density
_ROUNDS = 100


def codebook(values: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "256"]:
    """Ascending numbers of small mean squared distance to the values.

    They begin where, of a density p, entries of the density p^(1/3) lie, and go to the means of their values in turns.
    Source: Panter and Dite 1951; Lloyd 1982, "Least squares quantization in PCM".
    """
    ordered = np.sort(values, axis=None).astype(np.float64)
    distinct = ordered[np.concatenate([[True], np.diff(ordered) > 0])]
    if len(distinct) <= _ENTRIES:
        return np.pad(distinct, (0, _ENTRIES - len(distinct)), mode="edge").astype(np.float32)
    edges = ordered[np.linspace(0, len(ordered) - 1, _BINS + 1).astype(np.int64)]
    mass = np.concatenate([[0.0], np.cumsum(np.diff(edges) ** (2 / 3))])
    entries = np.interp((np.arange(_ENTRIES) + 0.5) / _ENTRIES * mass[-1], mass, edges)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    for _ in range(_ROUNDS):
        cuts = np.concatenate([[0], np.searchsorted(ordered, _between(entries)), [len(ordered)]])
        counts = np.diff(cuts)
        moved = np.where(counts > 0, np.diff(sums[cuts]) / counts.clip(1, None), entries)
        if np.array_equal(moved, entries):
            break
        entries = np.sort(moved)
    return entries.astype(np.float32)


def nearest(entries: Float32[np.ndarray, "256"], values: Float32[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Which entry each value is nearest to."""
    return np.searchsorted(_between(entries), values).astype(np.uint8)


def _between(entries: np.ndarray) -> np.ndarray:
    return (entries[1:] + entries[:-1]) / 2
