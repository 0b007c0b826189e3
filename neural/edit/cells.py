"""Where Gaussians are, in cells of a grid that knows only those that are not empty."""

import numpy as np
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural.edit.near import near_distances

_MOST_CELLS = 1 << 20  # along an axis, so that three numbers fit into one of 63 bits


def spacing(means: Float[Tensor, "N 3"]) -> float:
    """Median over Gaussians of the mean distance to three that are near; infinite for fewer than two."""
    return float(near_distances(means, 3).median())


def keys(points: Float[np.ndarray, "N 3"], low: Float[np.ndarray, "3"], cell: float) -> Int64[np.ndarray, "N"]:
    """The number of each point's cell; cells that lie side by side along z have numbers side by side.

    Points outside of the grid, 2^20 cells along each axis from `low` on, have those of its border.
    """
    steps = np.floor((points.astype(np.float64) - low) / cell).clip(0, _MOST_CELLS - 1).astype(np.int64)
    return (steps[:, 0] * _MOST_CELLS + steps[:, 1]) * _MOST_CELLS + steps[:, 2]


def around() -> Int64[np.ndarray, "27"]:
    """What to add to a cell's number for itself and those beside it; cells at the border of the grid stay empty."""
    steps = np.arange(-1, 2, dtype=np.int64)
    return ((steps[:, None, None] * _MOST_CELLS + steps[:, None]) * _MOST_CELLS + steps).reshape(-1)


def occupied(scene: Float[np.ndarray, "N 3"], points: Float[np.ndarray, "M 3"], cell: float) -> Bool[np.ndarray, "M"]:
    """Which points lie in a cell of the scene's centres, or in one beside it.

    Raises:
        ValueError: More cells along an axis than can be counted.
    """
    low, high = scene.min(axis=0).astype(np.float64) - 2 * cell, scene.max(axis=0).astype(np.float64)
    require_countable(low, high, cell)
    known = np.unique(keys(scene, low, cell))
    asked, group = np.unique(keys(points, low, cell), return_inverse=True)
    near = np.zeros(len(asked), dtype=bool)
    for step in around():
        near |= contains(known, asked + step)
    return near[group.reshape(-1)]


def contains(known: Int64[np.ndarray, "K"], asked: Int64[np.ndarray, "M"]) -> Bool[np.ndarray, "M"]:
    """Which numbers are among the known ones, which are sorted."""
    return known[np.minimum(np.searchsorted(known, asked), len(known) - 1)] == asked


def require_countable(low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"], cell: float) -> None:
    """Raises ValueError where there are more cells along an axis than can be counted."""
    if float((high - low).max()) / cell > _MOST_CELLS - 4:
        raise ValueError(
            f"cells of {cell:g} units are too many along a scene of {float((high - low).max()):g}; make them larger, "
            "or crop what lies far out first"
        )
