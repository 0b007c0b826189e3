"""Level descriptors of a grid: where each level lies in the pooled table, how large and how fine it is.

One row of int64 per (sub-table, level): offset and size in entries, 1 if hashed, key, then for each axis its
resolution, its scale and its shift (these two as bits of a float32). A position x in [0, 1]^D lies at x scale + shift
among the level's vertices. The key is XORed into hashed ones, so that several sub-tables can share the entries of a
level (rows of neighbouring sub-tables with equal offsets) and still not meet there. Sizes and indexing are
tiny-cuda-nn's, so that its parameters can be read.
"""

import math
import struct
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

MAX_DIMS = 7
MAX_LEVEL_SIZE = 2**29  # kernels address the features of one level with 32 bits, those of the table with 64
Kind = Literal["hash", "dense", "tiled"]
KINDS: tuple[Kind, ...] = ("hash", "dense", "tiled")


def row_length(n_dims: int) -> int:
    """Columns of a descriptor row."""
    return 4 + 3 * n_dims


def row(
    offset: int,
    size: int,
    hashed: bool,
    resolutions: Sequence[int],
    scales: Sequence[float],
    *,
    shifts: Sequence[float] | None = None,
    key: int = 0,
) -> list[int]:
    """One descriptor row.

    Args:
        offset: First entry of the level in the pooled table.
        size: Its entries; a power of two if hashed.
        hashed: Whether vertices share entries by hashing.
        resolutions: Vertices along each axis.
        scales: From [0, 1] to units of vertices, per axis.
        shifts: Added to the scaled position, per axis; half a cell without it, as in tiny-cuda-nn.
        key: XORed into a hashed vertex' key, 0 to 2^32 - 1.
    """
    shifts = [0.5] * len(scales) if shifts is None else shifts
    return [offset, size, int(hashed), key, *resolutions, *map(_bits, scales), *map(_bits, shifts)]


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
    check(n_dims, n_levels, base_resolution, per_level_scale, log2_hashmap_size)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    rows, offset = [], 0
    for _ in range(n_tables):
        for level in range(n_levels):
            axes = zip(base_resolution, per_level_scale, strict=True)
            factors = [_float32(base * growth**level - 1.0) for base, growth in axes]
            vertices = [math.ceil(factor) + 1 for factor in factors]
            corners = math.prod(vertices)
            size = -(-corners // 8) * 8
            if kind == "hash":
                size = min(size, 2**log2_hashmap_size)
            elif kind == "tiled":
                size = min(size, -(-math.prod(base_resolution) // 8) * 8)
            if size >= MAX_LEVEL_SIZE:
                raise ValueError(
                    f"level {level} of a {kind} grid would hold {size} entries (resolution {vertices}); keep it "
                    "below 2^29 with fewer levels, a smaller per_level_scale, or kind='hash'"
                )
            hashed = kind == "hash" and corners > size
            rows.append(row(offset, size, hashed, vertices, factors))
            offset += size
    return torch.tensor(rows, dtype=torch.int64).reshape(n_tables, n_levels, row_length(n_dims)), offset


def sound(levels: Int[Tensor, "T L W"]) -> bool:
    """Whether kernels may follow these descriptors: levels overlap nowhere, but that neighbouring sub-tables may share
    the entries of a level."""
    offsets, sizes, hashed, keys = levels[..., :4].unbind(-1)
    dense = hashed == 0
    fit = (offsets >= 0) & (sizes >= 8) & (sizes < MAX_LEVEL_SIZE) & (dense | ((sizes & (sizes - 1)) == 0))
    fit &= (keys >= 0) & (keys < 2**32) & (~dense | (keys == 0))
    if not bool(fit.all()):
        return False
    shared = torch.zeros_like(dense)
    shared[1:] = offsets[1:] == offsets[:-1]
    if not bool((sizes[1:] == sizes[:-1])[shared[1:]].all()):
        return False
    starts, order = offsets[~shared].sort()
    ends = starts + sizes[~shared][order]
    return bool((ends[:-1] <= starts[1:]).all())


def scales(levels: Int[Tensor, "T L W"]) -> Float[Tensor, "T L D"]:
    """The scale of every axis, float32."""
    n_dims = (levels.shape[-1] - 4) // 3
    return levels[..., 4 + n_dims : 4 + 2 * n_dims].to(torch.int32).view(torch.float32)


def resolutions(levels: Int[Tensor, "T L W"]) -> Int[Tensor, "T L D"]:
    """The vertices along every axis."""
    return levels[..., 4 : 4 + (levels.shape[-1] - 4) // 3]


def _bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]


def _float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def check(n_dims, n_levels, base_resolution, per_level_scale, log2_hashmap_size) -> None:
    """Refuses sizes that no layout has."""
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
