"""Small hash grids for tests, and points that lie clear of the faces of their cells."""

import torch
from torch import Tensor

from neural.cuda import levels as layout
from neural.cuda.hash_grid import INTERPOLATIONS, OUTSIDES

TOLERANCE = {"value": 2e-6, "table": 2e-5, "positions": 2e-3}


def small_levels(
    n_dims: int, n_features: int, kind: str = "hash", *, n_levels: int = 4, base: int = 3, scale: float = 1.7,
    log2: int = 9, n_tables: int = 1,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Small descriptors (dense and hashed levels mixed) and a random table."""
    rows, entries = layout.describe(
        n_dims, n_levels=n_levels, base_resolution=[base] * n_dims, per_level_scale=[scale] * n_dims,
        log2_hashmap_size=log2, kind=kind, n_tables=n_tables,
    )  # fmt: skip
    return rows, torch.rand(entries, n_features, generator=torch.Generator().manual_seed(0)) * 2 - 1


def clear_positions(n: int, n_dims: int, rows: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Random points at least a thousandth of a cell from every face, so that fp32 and fp64 agree on the cell."""
    generator = torch.Generator().manual_seed(1)
    points = torch.empty(0, n_dims)
    scales = layout.scales(rows)[0].double()
    while len(points) < n:
        x = torch.rand(4 * n, n_dims, generator=generator) * (high - low) + low
        p = x[:, None].double().clamp(low, high) * scales + 0.5
        far = ((p - p.round()).abs() > 1e-3).all(-1).all(-1)
        points = torch.cat([points, x[far]])
    return points[:n].contiguous()


def codes(interpolation: str, outside: str) -> tuple[int, int]:
    """As kernels and the reference have them."""
    return INTERPOLATIONS.index(interpolation), OUTSIDES.index(outside)
