"""The multi-resolution hash grid as a module."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neural.cuda import levels as layout
from neural.cuda.gradients import GradientBuffer
from neural.cuda.hash_grid import Interpolation, Outside, hash_grid

INIT_RANGE = 1e-4
Precision = Literal["float32", "float16", "bfloat16"]
PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}


class HashGrid(nn.Module):
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

    Source: Mueller et al. 2022, arXiv:2201.05989, section 3.

    Example:
        >>> grid = HashGrid(3, n_levels=4, finest_resolution=64, log2_hashmap_size=12)
        >>> grid(torch.rand(10, 3)).shape
        torch.Size([10, 8])
    """

    level_weights: Float[Tensor, "L"] | None
    levels: Int[Tensor, "T L W"]
    working_copy: Float[Tensor, "E F"] | None

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
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        if n_features_per_level not in (1, 2, 4, 8):
            raise ValueError(f"n_features_per_level must be 1, 2, 4 or 8, got {n_features_per_level}")
        base = _per_axis(base_resolution, n_dims)
        growth = _growth(base, finest_resolution, per_level_scale, n_levels, n_dims)
        levels, n_entries = layout.describe(
            n_dims, n_levels=n_levels, base_resolution=[int(b) for b in base], per_level_scale=growth,
            log2_hashmap_size=log2_hashmap_size, kind=kind, n_tables=n_tables,
        )  # fmt: skip
        self.n_dims = n_dims
        self.n_levels = n_levels
        self.n_features_per_level = n_features_per_level
        self.n_output_dims = n_levels * n_features_per_level
        self.interpolation: Interpolation = interpolation
        self.outside: Outside = outside
        self.levels = levels  # stays on the CPU: kernels take it from there
        self.level_weights = None
        self.gradients: GradientBuffer | None = None
        generator = torch.Generator().manual_seed(seed)
        values = torch.rand(n_entries, n_features_per_level, generator=generator)
        self.table = nn.Parameter(values.mul_(2 * INIT_RANGE).sub_(INIT_RANGE))
        self._copy_dtype = PRECISIONS[precision]
        self._fresh: tuple[int, int, int] | None = None
        self.register_buffer("working_copy", None, persistent=False)
        self.refresh()

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

    def refresh(self) -> None:
        """Makes the working copy anew. Lookups do so by themselves after every write that torch counts; a write through
        `.data` is none."""
        if self._copy_dtype is None:
            return
        copy = self.working_copy
        if copy is None or copy.dtype != self._copy_dtype or copy.shape != self.table.shape:  # after `.float()`, say
            self.working_copy = self.table.detach().to(self._copy_dtype)
        else:
            copy.copy_(self.table.detach())
        self._fresh = self._versions()

    def read_table(self) -> Float[Tensor, "E F"]:
        """What lookups read now: the table, or its working copy."""
        copy = self._current_copy()
        return self.table if copy is None else copy

    def _current_copy(self) -> Tensor | None:
        """The working copy, made anew if the table has been written without it."""
        if self._copy_dtype is not None:
            versions = self._versions()
            if versions is None or versions != self._fresh:
                self.refresh()
        return self.working_copy

    def _versions(self) -> tuple[int, int, int] | None:
        """Which table and copy, and how many more writes the one has seen than the other: a step that writes both
        leaves that as it is. None where it cannot be told."""
        table, copy = self.table, self.working_copy
        if copy is None or copy.dtype != self._copy_dtype or table.is_inference() or copy.is_inference():
            return None
        return id(table), id(copy), table._version - copy._version

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._fresh = None  # a deep copy or an unpickled grid: other tensors, other counts

    def set_max_level(self, n_levels: int | None) -> None:
        """Uses only the first `n_levels` levels (the others give zeros and cost nothing); None uses all."""
        if n_levels is None:
            self.level_weights = None
            return
        self.level_weights = (torch.arange(self.n_levels) < n_levels).float()

    def extra_repr(self) -> str:
        rows = self.levels[0]
        first, last = (layout.resolutions(rows)[i].tolist() for i in (0, -1))
        return (
            f"{self.n_dims}, levels={self.n_levels}, features={self.n_features_per_level}, "
            f"resolution {first} to {last}, {int(rows[:, 2].sum())} hashed, "
            f"{self.table.numel()} parameters, {self.interpolation}"
        )


def _per_axis(value: float | Sequence[float], n_dims: int) -> list[float]:
    if isinstance(value, (int, float)):
        return [value] * n_dims
    if len(value) != n_dims:
        raise ValueError(f"one value or {n_dims} values (one per axis) are needed, got {list(value)}")
    return list(value)


def _growth(base, finest, scale, n_levels: int, n_dims: int) -> list[float]:
    """Growth per axis from the finest resolution, or as given; tiny-cuda-nn's 2 if neither is."""
    if finest is None:
        return _per_axis(2.0 if scale is None else scale, n_dims)
    if scale is not None:
        raise ValueError("give finest_resolution or per_level_scale, not both")
    if n_levels == 1:
        return [1.0] * n_dims
    return [
        math.exp(math.log(max(f, b) / b) / (n_levels - 1)) for f, b in zip(_per_axis(finest, n_dims), base, strict=True)
    ]
