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
    """3D, linear interpolation, hashed levels of a power of two entries.

    Args:
        tables: The levels' entries [E, F].
        scales: Per level, corners per axis - 1 before rounding up.
        resolutions: Per level, corners per axis.
    """

    def __init__(self, tables: Sequence[Tensor], scales: Sequence[float], resolutions: Sequence[int]) -> None:
        self.tables = [table.clone().requires_grad_() for table in tables]
        self.scales = scales
        self.resolutions = resolutions
        self.corners = torch.tensor(list(itertools.product((0, 1), repeat=3)), dtype=torch.int32)

    def vectorised(self, x: Tensor) -> Tensor:
        """All eight corners of a level at once: [N, 8] indices, one lookup."""
        levels = []
        for table, scale, resolution in zip(self.tables, self.scales, self.resolutions, strict=True):
            cell, f = _split(x, scale)
            index = _index(cell[:, None, :] + self.corners, table.shape[0], resolution)
            weights = torch.where(self.corners.bool(), f[:, None, :], 1 - f[:, None, :]).prod(-1)
            levels.append((embedding(index, table) * weights[..., None]).sum(1))
        return torch.cat(levels, -1)

    def per_corner(self, x: Tensor) -> Tensor:
        """One corner after the other: small temporaries, eight lookups."""
        levels = []
        for table, scale, resolution in zip(self.tables, self.scales, self.resolutions, strict=True):
            cell, f = _split(x, scale)
            axes = [((1 - f[:, d]), f[:, d]) for d in range(3)]
            total: Tensor | float = 0.0
            for i, j, k in itertools.product((0, 1), repeat=3):
                index = _index(cell + self.corners[4 * i + 2 * j + k], table.shape[0], resolution)
                total = total + embedding(index, table) * (axes[0][i] * axes[1][j] * axes[2][k])[:, None]
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
    if resolution**3 <= size:
        key = corner[..., 0] + corner[..., 1] * resolution + corner[..., 2] * resolution**2
        return key % size  # the last corner of the last cell may lie beyond the box
    key = corner[..., 0] ^ (corner[..., 1] * PRIMES[1]) ^ (corner[..., 2] * PRIMES[2])
    return key & (size - 1)
