"""Small tables on lattices of simplices for tests, and points that lie clear of every face."""

import torch
from torch import Tensor

from neural.cuda import simplex_levels
from neural.cuda.simplex import Lattice

TOLERANCE = {"value": 4e-6, "table": 3e-5, "positions": 2e-3}


def small_levels(
    n_dims: int, n_features: int, lattice: Lattice = "skewed", *, n_levels: int = 4, base: float = 3,
    scale: float = 1.7, log2: int = 9, n_tables: int = 1,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Small descriptors (dense and hashed levels mixed where the box is small) and a random table."""
    rows, entries = simplex_levels.describe(
        n_dims, n_levels=n_levels, base_resolution=[base] * n_dims, per_level_scale=[scale] * n_dims,
        log2_hashmap_size=log2, lattice=lattice, n_tables=n_tables, seed=5,
    )  # fmt: skip
    return rows, torch.rand(entries, n_features, generator=torch.Generator().manual_seed(0)) * 2 - 1


def coordinates(x: Tensor, rows: Tensor, lattice: Lattice) -> Tensor:
    """Lattice coordinates of points in every level, float64 [N, L, D]."""
    n_dims = x.shape[1]
    scales, shifts = (
        part.to(torch.int32).view(torch.float32).double() for part in rows[0, :, 4 + n_dims :].chunk(2, -1)
    )
    p = x[:, None].double() * scales + shifts
    return p @ simplex_levels.matrix(n_dims, lattice).T


def clear_positions(n: int, n_dims: int, rows: Tensor, lattice: Lattice, low=0.0, high=1.0, margin=1e-3) -> Tensor:
    """Random points at least `margin` from every face of a simplex, so that fp32 and fp64 agree on it."""
    generator = torch.Generator().manual_seed(1)
    points = torch.empty(0, n_dims)
    while len(points) < n:
        x = torch.rand(40 * n, n_dims, generator=generator) * (high - low) + low
        q = coordinates(x, rows, lattice)
        q = torch.cat([q, torch.zeros_like(q[..., :1])], -1)
        between = (q[..., :, None] - q[..., None, :]).abs()
        far = (between - between.round()).abs() + torch.eye(n_dims + 1)
        points = torch.cat([points, x[(far > margin).all(-1).all(-1).all(-1)]])
    return points[:n].contiguous()


def normal(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
