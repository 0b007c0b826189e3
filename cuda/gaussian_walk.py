"""What launches of the walks of gaussian_walk.cuh need: a block per tile, a warp per bucket of pairs."""

import torch
from torch import Tensor

THREADS = 256  # a tile's pixels: one block
BUCKET = 32  # pairs that a warp takes in backward


def all_pixels(offsets: Tensor) -> int:
    """Threads of all tiles."""
    return (len(offsets) - 1) * THREADS


def buckets(offsets: Tensor, gaussians: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First bucket of each tile; tile of each bucket, where there may be more than are needed; empty states."""
    n_tiles = len(offsets) - 1
    counts = (offsets.diff() + (BUCKET - 1)) // BUCKET
    ends = counts.cumsum(0)
    most = len(gaussians) // BUCKET + n_tiles  # no need to wait for the number itself
    tiles = torch.searchsorted(ends, torch.arange(most, device=ends.device), right=True, out_int32=True)
    return ends - counts, tiles, torch.zeros(most, 2, THREADS, dtype=torch.float32, device=ends.device)
