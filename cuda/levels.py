"""Level descriptors of a grid: where each level lies in the pooled table, how large and how fine it is.

One row of int64 per (sub-table, level): offset and size in entries, 1 if hashed, resolution of each axis, scale of each
axis (the bits of a float32). Sizes and indexing are tiny-cuda-nn's, so that its parameters can be read.
"""

import math
import struct
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

MAX_DIMS = 7
MAX_LEVEL_SIZE = 2**29  # kernels address the features of one level with 32 bits, those of the table with 64
Kind = Literal["hash", "dense", "tiled"]
KINDS: tuple[Kind, ...] = ("hash", "dense", "tiled")


def row_length(n_dims: int) -> int:
    """Columns of a descriptor row."""
    return 3 + 2 * n_dims


def describe(
    n_dims: int,
    *,
    n_levels: int,
    base_resolution: Sequence[int],
    per_level_scale: Sequence[float],
    log2_hashmap_size: int,
    kind: Kind = "hash",
    n_tables: int = 1,
) -> tuple[Int[Tensor, "T L W"], int]:
    """Lays out all levels of all sub-tables.

    Level l has scale_l = base * per_level_scale^l - 1 and resolution ceil(scale_l) + 1 per axis. A `dense` level holds
    every corner; a `hash` level at most 2^log2_hashmap_size entries, shared by hashing where the corners are more; a
    `tiled` level at most the first level's corners, repeated over the box. Sizes are rounded up to 8 entries.

    Args:
        n_dims: 1 to 7.
        n_levels: Number of levels.
        base_resolution: Corners per axis of the first level, one value per axis.
        per_level_scale: Growth from level to level, one value per axis.
        log2_hashmap_size: Bound on a hashed level's entries.
        kind: What happens where a level's corners are more than that.
        n_tables: Number of equal sub-tables, one after the other.

    Returns:
        The descriptors and the number of entries of the whole table.

    Raises:
        ValueError: A value out of range, or a level of 2^29 entries or more.
    """
    _check(n_dims, n_levels, base_resolution, per_level_scale, log2_hashmap_size, kind)
    rows, offset = [], 0
    for _ in range(n_tables):
        for level in range(n_levels):
            scales = [_float32(b * s**level - 1.0) for b, s in zip(base_resolution, per_level_scale, strict=True)]
            resolutions = [math.ceil(scale) + 1 for scale in scales]
            corners = math.prod(resolutions)
            size = -(-corners // 8) * 8
            if kind == "hash":
                size = min(size, 2**log2_hashmap_size)
            elif kind == "tiled":
                size = min(size, -(-math.prod(base_resolution) // 8) * 8)
            if size >= MAX_LEVEL_SIZE:
                raise ValueError(
                    f"level {level} of a {kind} grid would hold {size} entries (resolution {resolutions}); keep it "
                    "below 2^29 with fewer levels, a smaller per_level_scale, or kind='hash'"
                )
            hashed = kind == "hash" and corners > size
            bits = [struct.unpack("<I", struct.pack("<f", scale))[0] for scale in scales]
            rows.append([offset, size, int(hashed), *resolutions, *bits])
            offset += size
    return torch.tensor(rows, dtype=torch.int64).reshape(n_tables, n_levels, row_length(n_dims)), offset


def _float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def _check(n_dims, n_levels, base_resolution, per_level_scale, log2_hashmap_size, kind) -> None:
    if not 1 <= n_dims <= MAX_DIMS:
        raise ValueError(f"n_dims must be 1 to {MAX_DIMS}, got {n_dims}")
    if not 1 <= n_levels <= 64:
        raise ValueError(f"n_levels must be 1 to 64, got {n_levels}")
    if len(base_resolution) != n_dims or any(not 1 <= b < 2**24 for b in base_resolution):
        raise ValueError(f"base_resolution must be {n_dims} values from 1 to 2^24 - 1, got {list(base_resolution)}")
    if len(per_level_scale) != n_dims or any(not 1.0 <= s <= 1024.0 for s in per_level_scale):
        raise ValueError(f"per_level_scale must be {n_dims} values from 1 to 1024, got {list(per_level_scale)}")
    if not 3 <= log2_hashmap_size <= 28:
        raise ValueError(f"log2_hashmap_size must be 3 to 28, got {log2_hashmap_size}")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
