"""The hash grid that one would write in plain torch, in its two forms: what `hash_grid` is held against.

Each level is a parameter of its own, because a slice of one table has a gradient of the whole table's size. Indices
are int32, whose products wrap as the hash wants.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding

PRIMES = (1, 2654435761 - 2**32, 805459861)  # as int32


class TorchHashGrid:
    """Linear interpolation, hashed levels of a power of two entries.

    Args:
        tables: The levels' entries [E, F].
        scales: Per level, corners per axis - 1 before rounding up.
        resolutions: Per level, corners per axis.
        n_dims: 2 or 3.
    """

    def __init__(
        self, tables: Sequence[Tensor], scales: Sequence[float], resolutions: Sequence[int], n_dims: int = 3
    ) -> None:
        self.tables = [table.clone().requires_grad_() for table in tables]
        self.scales = scales
        self.resolutions = resolutions
        self.n_dims = n_dims
        self.corners = torch.tensor(list(itertools.product((0, 1), repeat=n_dims)), dtype=torch.int32)

    def vectorised(self, x: Tensor) -> Tensor:
        """All corners of a level at once: [N, 2^D] indices, one lookup."""
        levels = []
        for table, scale, resolution in zip(self.tables, self.scales, self.resolutions, strict=True):
            cell, f = _split(x, scale)
            index = _index(cell[:, None, :] + self.corners, table.shape[0], resolution)
            weights = torch.where(self.corners.bool(), f[:, None, :], 1 - f[:, None, :]).prod(-1)
            levels.append((embedding(index, table) * weights[..., None]).sum(1))
        return torch.cat(levels, -1)

    def per_corner(self, x: Tensor) -> Tensor:
        """One corner after the other: small temporaries, a lookup each."""
        levels = []
        for table, scale, resolution in zip(self.tables, self.scales, self.resolutions, strict=True):
            cell, f = _split(x, scale)
            axes = [((1 - f[:, d]), f[:, d]) for d in range(self.n_dims)]
            total: Tensor | float = 0.0
            for number, corner in enumerate(itertools.product((0, 1), repeat=self.n_dims)):
                index = _index(cell + self.corners[number], table.shape[0], resolution)
                weight = axes[0][corner[0]]
                for axis, side in zip(axes[1:], corner[1:], strict=True):
                    weight = weight * axis[side]
                total = total + embedding(index, table) * weight[:, None]
            levels.append(total)
        return torch.cat(levels, -1)

    def clear(self) -> None:
        """Drops the gradients, so that the next backward pass allocates them as ours does."""
        for table in self.tables:
            table.grad = None


def _split(x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    scaled = x * scale + 0.5
    cell = scaled.floor()
    return cell.to(torch.int32), scaled - cell


def _index(corner: Tensor, size: int, resolution: int) -> Tensor:
    n_dims = corner.shape[-1]
    if resolution**n_dims <= size:
        key = corner[..., 0]
        for axis in range(1, n_dims):
            key = key + corner[..., axis] * resolution**axis
        return key % size  # the last corner of the last cell may lie beyond the box
    key = corner[..., 0]
    for axis in range(1, n_dims):
        key = key ^ (corner[..., axis] * PRIMES[axis])
    return key & (size - 1)
