"""The multi-resolution hash grid as a module."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import levels as layout
from neural.cuda.hash_grid import Interpolation, Outside, hash_grid
from neural.encodings.pooled_table import INIT_RANGE as INIT_RANGE
from neural.encodings.pooled_table import PooledTable, Precision, check_table, level_growth, per_axis


class HashGrid(PooledTable):
    """Positions in [0, 1]^D to features of a multi-resolution hash grid.

    Args:
        n_dims: D, 1 to 7.
        n_levels: Levels, coarse to fine.
        n_features_per_level: 1, 2, 4 or 8.
        log2_hashmap_size: A level holds at most 2^this entries; finer levels share them by hashing.
        base_resolution: Corners along each axis of the first level; one value per axis may be given.
        finest_resolution: Corners along each axis of the last level; gives `per_level_scale`.
        per_level_scale: Growth from level to level instead of `finest_resolution`.
        kind: `hash`; `dense` keeps every corner; `tiled` repeats the first level's size over the box.
        interpolation: `linear`, `smoothstep` or `nearest`.
        outside: What happens beyond [0, 1]: `clamp`, `zero` or `wrap`.
        n_tables: Equal sub-tables in one pool, chosen per segment of the batch.
        precision: What lookups read: the table itself, or a `float16` or `bfloat16` working copy of half its size.
            Gradients and the optimiser's values stay float32.
        seed: Of the initial values, uniform in +-1e-4.

    Attributes:
        table: All features, float32 [entries, F], one parameter.
        levels: Descriptors, int64 [n_tables, n_levels, 4 + 3 D] (see `neural.cuda.levels`).
        level_weights: None, or a factor per level; a level of weight 0 costs nothing.
        gradients: None, or a buffer that backward passes add into instead of `table.grad`.
        working_copy: None, or the copy that lookups read. It follows the table by itself, by a pass over all of it
            (see `refresh`); an `Adam` group that is given it writes both at once.

    Raises:
        ValueError: A value out of range, or both of `finest_resolution` and `per_level_scale`.
        TooLarge: A table that does not fit into memory.

    Source: Mueller et al. 2022, arXiv:2201.05989, section 3.

    Example:
        >>> grid = HashGrid(3, n_levels=4, finest_resolution=64, log2_hashmap_size=12)
        >>> grid(torch.rand(10, 3)).shape
        torch.Size([10, 8])
    """

    def __init__(
        self,
        n_dims: int,
        *,
        n_levels: int = 16,
        n_features_per_level: int = 2,
        log2_hashmap_size: int = 19,
        base_resolution: int | Sequence[int] = 16,
        finest_resolution: int | Sequence[int] | None = None,
        per_level_scale: float | Sequence[float] | None = None,
        kind: layout.Kind = "hash",
        interpolation: Interpolation = "linear",
        outside: Outside = "clamp",
        n_tables: int = 1,
        precision: Precision = "float32",
        seed: int = 0,
    ) -> None:
        check_table(n_features_per_level, precision)
        base = per_axis(base_resolution, n_dims)
        growth = level_growth(base, finest_resolution, per_level_scale, n_levels, n_dims)
        levels, n_entries = layout.describe(
            n_dims, n_levels=n_levels, base_resolution=[int(b) for b in base], per_level_scale=growth,
            log2_hashmap_size=log2_hashmap_size, kind=kind, n_tables=n_tables,
        )  # fmt: skip
        super().__init__(n_dims, levels, n_entries, n_features_per_level, precision, seed)
        self.interpolation: Interpolation = interpolation
        self.outside: Outside = outside

    def forward(self, x: Float[Tensor, "N D"], segments: Int[Tensor, "T1"] | None = None) -> Float[Tensor, "N K"]:
        """Features of all levels, K = n_levels * n_features_per_level.

        Args:
            x: Positions in [0, 1]^D.
            segments: With several sub-tables: int64 [n_tables + 1] bounds of the points that use each.
        """
        return hash_grid(
            x, self.table, self.levels, working_copy=self._current_copy(), segments=segments,
            level_weights=self.level_weights, interpolation=self.interpolation, outside=self.outside,
            accumulate=self.gradients if torch.is_grad_enabled() else None,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"{self._sizes()}, {self.interpolation}"
