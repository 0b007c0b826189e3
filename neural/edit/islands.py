"""Small groups of Gaussians apart from everything else."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64

from neural.edit.cells import around, keys, require_countable, spacing
from neural.edit.criterion import Found, at_least
from neural.gaussians.model import Gaussians

_REACH = 6.0  # spacings of neighbours


@dataclass(frozen=True)
class Islands:
    """Groups of few Gaussians with nothing within one to two cells of them.

    Args:
        fewer: Groups of less than so many go.
        cell: Side of the cells, scene units; by default six times the median distance of neighbours.
    """

    fewer: int = 30
    cell: float | None = None
    name = "islands"

    def find(self, gaussians: Gaussians) -> Found:
        """See `Criterion`."""
        at_least("islands: the smallest group", self.fewer, 2, math.inf)
        cell = _REACH * spacing(gaussians.means) if self.cell is None else self.cell
        if not 0 < cell < math.inf:
            raise ValueError(f"islands: the side of cells must be positive and finite, got {cell:g}; give one")
        means = gaussians.means.detach().cpu().numpy()
        low = means.min(axis=0).astype(np.float64) - 2 * cell
        require_countable(low, means.max(axis=0).astype(np.float64), cell)
        cells, of_each, counts = np.unique(keys(means, low, cell), return_inverse=True, return_counts=True)
        group = components(cells)
        sizes = np.bincount(group, weights=counts)
        small = sizes[group] < self.fewer
        rows = torch.from_numpy(small[of_each.reshape(-1)]).to(gaussians.means.device)
        n_groups = int((sizes[np.unique(group)] < self.fewer).sum())
        return Found(rows, f"{n_groups:,} groups of fewer than {self.fewer} in cells of {cell:.3g}")


def components(cells: Int64[np.ndarray, "K"]) -> Int64[np.ndarray, "K"]:
    """For each cell the first of those that it is joined with through neighbours; cells as `cells.keys`, sorted.

    Labels run down the graph: every cell takes the least of its neighbours' labels, and of its label's label, until
    nothing changes.
    """
    ends = []
    for step in around()[around() > 0]:
        at = np.minimum(np.searchsorted(cells, cells + step), len(cells) - 1)
        hit = np.flatnonzero(cells[at] == cells + step)
        ends.append(np.stack([hit, at[hit]]))
    first, second = np.concatenate(ends, axis=1)
    labels = np.arange(len(cells))
    while len(first):
        least = np.minimum(labels[first], labels[second])
        before = labels.copy()
        np.minimum.at(labels, before[first], least)  # of the cells that the labels name, so that whole groups join
        np.minimum.at(labels, before[second], least)
        while not np.array_equal(labels, labels[labels]):
            labels = labels[labels]
        if np.array_equal(labels, before):
            break
        apart = labels[first] != labels[second]
        first, second = first[apart], second[apart]
    return labels
