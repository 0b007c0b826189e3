"""Grids without hashing: every corner of every level, or one level's worth of them repeated over the box."""

from collections.abc import Sequence

from neural.cuda.hash_grid import Interpolation, Outside
from neural.encodings.hash_grid import HashGrid, Precision


class DenseGrid(HashGrid):
    """A grid that keeps every corner of every level; by default 8 levels from 16 to 173 corners an axis.

    The defaults are the multi-resolution dense grid of instant-ngp (growth 1.405; 16.3 million parameters in three
    dimensions). Memory grows with the power of n_dims: a level must stay below 2^29 entries.

    Args:
        n_dims: D, 1 to 7.
        n_levels: Levels, coarse to fine.
        n_features_per_level: 1, 2, 4 or 8.
        base_resolution: Corners along each axis of the first level; one value per axis may be given.
        finest_resolution: Corners along each axis of the last level; gives `per_level_scale`.
        per_level_scale: Growth from level to level instead of `finest_resolution`; 1.405 if neither is given.
        interpolation: `linear`, `smoothstep` or `nearest`.
        outside: What happens beyond [0, 1]: `clamp`, `zero` or `wrap`.
        n_tables: Equal sub-tables in one pool, chosen per segment of the batch.
        precision: What lookups read: the table, or a `float16` or `bfloat16` working copy.
        seed: Of the initial values, uniform in +-1e-4.

    Raises:
        ValueError: A value out of range, or a level that is too large.

    Source: Mueller et al. 2022, arXiv:2201.05989, section 3; setting of Mubarik et al. 2023, arXiv:2303.05735, table 1.
    """

    def __init__(
        self,
        n_dims: int,
        *,
        n_levels: int = 8,
        n_features_per_level: int = 2,
        base_resolution: int | Sequence[int] = 16,
        finest_resolution: int | Sequence[int] | None = None,
        per_level_scale: float | Sequence[float] | None = None,
        interpolation: Interpolation = "linear",
        outside: Outside = "clamp",
        n_tables: int = 1,
        precision: Precision = "float32",
        seed: int = 0,
    ) -> None:
        if finest_resolution is None and per_level_scale is None:
            per_level_scale = 1.405
        super().__init__(
            n_dims, n_levels=n_levels, n_features_per_level=n_features_per_level, base_resolution=base_resolution,
            finest_resolution=finest_resolution, per_level_scale=per_level_scale, kind="dense",
            interpolation=interpolation, outside=outside, n_tables=n_tables, precision=precision, seed=seed,
        )  # fmt: skip


class TiledGrid(HashGrid):
    """A grid whose levels hold no more corners than the first one and repeat them; by default low resolution, dense.

    The defaults are the low-resolution dense grid of instant-ngp: 2 levels of 128 corners an axis with 8 features,
    where nothing repeats yet (33.6 million parameters in three dimensions). With growth above 1 the finer levels tile.

    Args:
        n_dims: D, 1 to 7.
        n_levels: Levels, coarse to fine.
        n_features_per_level: 1, 2, 4 or 8.
        base_resolution: Corners along each axis of the first level; one value per axis may be given.
        finest_resolution: Corners along each axis of the last level; gives `per_level_scale`.
        per_level_scale: Growth from level to level instead of `finest_resolution`; 1 if neither is given.
        interpolation: `linear`, `smoothstep` or `nearest`.
        outside: What happens beyond [0, 1]: `clamp`, `zero` or `wrap`.
        n_tables: Equal sub-tables in one pool, chosen per segment of the batch.
        precision: What lookups read: the table, or a `float16` or `bfloat16` working copy.
        seed: Of the initial values, uniform in +-1e-4.

    Raises:
        ValueError: A value out of range, or a level that is too large.

    Source: tiny-cuda-nn's TiledGrid; setting of Mubarik et al. 2023, arXiv:2303.05735, table 1.
    """

    def __init__(
        self,
        n_dims: int,
        *,
        n_levels: int = 2,
        n_features_per_level: int = 8,
        base_resolution: int | Sequence[int] = 128,
        finest_resolution: int | Sequence[int] | None = None,
        per_level_scale: float | Sequence[float] | None = None,
        interpolation: Interpolation = "linear",
        outside: Outside = "clamp",
        n_tables: int = 1,
        precision: Precision = "float32",
        seed: int = 0,
    ) -> None:
        if finest_resolution is None and per_level_scale is None:
            per_level_scale = 1.0
        super().__init__(
            n_dims, n_levels=n_levels, n_features_per_level=n_features_per_level, base_resolution=base_resolution,
            finest_resolution=finest_resolution, per_level_scale=per_level_scale, kind="tiled",
            interpolation=interpolation, outside=outside, n_tables=n_tables, precision=precision, seed=seed,
        )  # fmt: skip
