"""Multi-resolution encodings over simplices: D + 1 lookups per level instead of a grid's 2^D."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import simplex_levels as layout
from neural.cuda.lattice_checks import Outside
from neural.cuda.simplex import Lattice, simplex
from neural.encodings.pooled_table import PooledTable, Precision, check_table, level_growth, per_axis


class _Simplices(PooledTable):
    """What `Simplex` and `Permutohedral` share."""

    def __init__(
        self, n_dims: int, lattice: Lattice, outside: Outside, n_levels: int, n_features_per_level: int,
        log2_hashmap_size: int, base_resolution: int | Sequence[int], finest_resolution: int | Sequence[int] | None,
        per_level_scale: float | Sequence[float] | None, n_tables: int, precision: Precision, seed: int,
    ) -> None:  # fmt: skip
        check_table(n_features_per_level, precision)
        base = per_axis(base_resolution, n_dims)
        growth = level_growth(base, finest_resolution, per_level_scale, n_levels, n_dims)
        levels, n_entries = layout.describe(
            n_dims, n_levels=n_levels, base_resolution=[int(b) for b in base], per_level_scale=growth,
            log2_hashmap_size=log2_hashmap_size, lattice=lattice, n_tables=n_tables, seed=seed,
        )  # fmt: skip
        super().__init__(n_dims, levels, n_entries, n_features_per_level, precision, seed)
        self.lattice: Lattice = lattice
        self.outside: Outside = outside

    def forward(self, x: Float[Tensor, "N D"], segments: Int[Tensor, "T1"] | None = None) -> Float[Tensor, "N K"]:
        """Features of all levels, K = n_levels * n_features_per_level.

        Args:
            x: Positions in [0, 1]^D.
            segments: With several sub-tables: int64 [n_tables + 1] bounds of the points that use each.
        """
        return simplex(
            x, self.table, self.levels, lattice=self.lattice, working_copy=self._current_copy(), segments=segments,
            level_weights=self.level_weights, outside=self.outside,
            accumulate=self.gradients if torch.is_grad_enabled() else None,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"{self._sizes()}, {self.lattice}"


class Simplex(_Simplices):
    """Positions in [0, 1]^D to features interpolated over the simplices of a lattice, in several resolutions.

    A lookup reads D + 1 entries a level. Arguments are those of `HashGrid`, and equal ones give simplices whose longest
    edge is the hash grid's cell edge, so that tables of equal `log2_hashmap_size` can be compared; coarse levels hold
    more vertices than a grid's then (see `neural.cuda.simplex_levels`). Features are piecewise linear: their gradient
    by positions is constant in a simplex, and its derivative by positions is zero.

    Args:
        n_dims: D, 1 to 7.
        lattice: `skewed`, whose simplices are the least stretched, or `kuhn`, cubes cut along their diagonals.
        n_levels: Levels, coarse to fine.
        n_features_per_level: 1, 2, 4 or 8.
        log2_hashmap_size: A level holds at most 2^this entries; finer levels share them by hashing.
        base_resolution: One more than the edges along each axis of the first level; one value per axis may be given.
        finest_resolution: The same of the last level; gives `per_level_scale`.
        per_level_scale: Growth from level to level instead of `finest_resolution`.
        outside: What happens beyond [0, 1]: `clamp`, `zero` or `wrap`.
        n_tables: Equal sub-tables in one pool, chosen per segment of the batch.
        precision: What lookups read: the table itself, or a `float16` or `bfloat16` working copy of half its size.
        seed: Of the initial values, uniform in +-1e-4.

    Attributes:
        table, levels, level_weights, gradients, working_copy: As those of `HashGrid`.

    Raises:
        ValueError: A value out of range, or both of `finest_resolution` and `per_level_scale`.
        TooLarge: A table that does not fit into memory.

    Source: Wen and Yang 2023, arXiv:2311.15439. Its skew is that of simplex noise, F = (sqrt(D + 1) - 1) / D.

    Example:
        >>> encoding = Simplex(3, n_levels=4, finest_resolution=64, log2_hashmap_size=12)
        >>> encoding(torch.rand(10, 3)).shape
        torch.Size([10, 8])
    """

    def __init__(
        self,
        n_dims: int,
        *,
        lattice: Literal["skewed", "kuhn"] = "skewed",
        n_levels: int = 16,
        n_features_per_level: int = 2,
        log2_hashmap_size: int = 19,
        base_resolution: int | Sequence[int] = 16,
        finest_resolution: int | Sequence[int] | None = None,
        per_level_scale: float | Sequence[float] | None = None,
        outside: Outside = "clamp",
        n_tables: int = 1,
        precision: Precision = "float32",
        seed: int = 0,
    ) -> None:
        if lattice not in ("skewed", "kuhn"):
            raise ValueError(f"lattice must be skewed or kuhn, got {lattice!r}; neural.Permutohedral is the third")
        super().__init__(
            n_dims, lattice, outside, n_levels, n_features_per_level, log2_hashmap_size, base_resolution,
            finest_resolution, per_level_scale, n_tables, precision, seed,
        )  # fmt: skip


class Permutohedral(_Simplices):
    """Positions in [0, 1]^D to features over the permutohedral lattice, every level shifted by random numbers.

    The lattice of `Simplex(lattice="skewed")`, turned as the elevation into the plane of D + 1 coordinates turns it, so
    that levels meet at no common vertex: the shifts are uniform over the lattice's period, drawn from `seed` and kept
    in `levels`. Hash and dense levels are those of the other lattices (the source hashes every level, by another
    function), and the features' dtype and number are free.

    Args:
        n_dims: D, 1 to 7.
        n_levels: Levels, coarse to fine.
        n_features_per_level: 1, 2, 4 or 8.
        log2_hashmap_size: A level holds at most 2^this entries; finer levels share them by hashing.
        base_resolution: As that of `Simplex`.
        finest_resolution: As that of `Simplex`.
        per_level_scale: As that of `Simplex`.
        outside: What happens beyond [0, 1]: `clamp`, `zero` or `wrap`.
        n_tables: Equal sub-tables in one pool, chosen per segment of the batch.
        precision: What lookups read: the table itself, or a `float16` or `bfloat16` working copy of half its size.
        seed: Of the shifts, and of the initial values, uniform in +-1e-4.

    Attributes:
        table, levels, level_weights, gradients, working_copy: As those of `HashGrid`.

    Raises:
        ValueError: A value out of range, or both of `finest_resolution` and `per_level_scale`.
        TooLarge: A table that does not fit into memory.

    Source: Rosu and Behnke 2023, arXiv:2211.12562; Adams et al. 2010, section 3.1.
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
        outside: Outside = "clamp",
        n_tables: int = 1,
        precision: Precision = "float32",
        seed: int = 0,
    ) -> None:
        super().__init__(
            n_dims, "permutohedral", outside, n_levels, n_features_per_level, log2_hashmap_size, base_resolution,
            finest_resolution, per_level_scale, n_tables, precision, seed,
        )  # fmt: skip
