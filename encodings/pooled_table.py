"""What encodings with a pooled table of features share: the parameter, its half-precision copy, levels and weights."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neural import memory
from neural.cuda import levels as layout
from neural.cuda.gradients import GradientBuffer
from neural.errors import TooLarge

INIT_RANGE = 1e-4
Precision = Literal["float32", "float16", "bfloat16"]
PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}


class PooledTable(nn.Module):
    """Base of the encodings whose features lie in one table, level after level.

    Args:
        n_dims: D.
        levels: Descriptors of all levels (see `neural.cuda.levels`).
        n_entries: Entries of the table.
        n_features_per_level: 1, 2, 4 or 8.
        precision: What lookups read: the table itself, or a copy of half its size.
        seed: Of the initial values, uniform in +-1e-4.

    Attributes:
        table: All features, float32 [entries, F], one parameter.
        levels: The descriptors, int64 [n_tables, n_levels, 4 + 3 D], on the CPU.
        level_weights: None, or a factor per level; a level of weight 0 costs nothing.
        gradients: None, or a buffer that backward passes add into instead of `table.grad`.
        working_copy: None, or the copy that lookups read.

    Raises:
        ValueError: A value out of range.
        TooLarge: A table that does not fit into memory; nothing has been taken then.
    """

    level_weights: Float[Tensor, "L"] | None
    levels: Int[Tensor, "T L W"]
    working_copy: Float[Tensor, "E F"] | None

    def __init__(
        self,
        n_dims: int,
        levels: Int[Tensor, "T L W"],
        n_entries: int,
        n_features_per_level: int,
        precision: Precision,
        seed: int,
    ) -> None:
        super().__init__()
        check_table(n_features_per_level, precision)
        _require_memory(n_entries * n_features_per_level, precision)
        self.n_dims = n_dims
        self.n_levels = levels.shape[1]
        self.n_features_per_level = n_features_per_level
        self.n_output_dims = self.n_levels * n_features_per_level
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

    def _sizes(self) -> str:
        """For `repr`: dimensions, levels, features, resolutions, how many levels are hashed, parameters."""
        rows = self.levels[0]
        first, last = (layout.resolutions(rows)[i].tolist() for i in (0, -1))
        return (
            f"{self.n_dims}, levels={self.n_levels}, features={self.n_features_per_level}, "
            f"resolution {first} to {last}, {int(rows[:, 2].sum())} hashed, {self.table.numel()} parameters"
        )


def check_table(n_features_per_level: int, precision: str) -> None:
    """Refuses what no table has, before its levels are laid out."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if n_features_per_level not in (1, 2, 4, 8):
        raise ValueError(f"n_features_per_level must be 1, 2, 4 or 8, got {n_features_per_level}")


def _require_memory(n_values: int, precision: str) -> None:
    needed = n_values * (4 if precision == "float32" else 6)
    left = memory.available(torch.device("cpu"))
    if needed > left:
        raise TooLarge(
            f"a table of {n_values:,} values needs {needed / 1e9:.1f} GB, and {left / 1e9:.1f} GB are free; choose a "
            "smaller log2_hashmap_size or resolution, fewer levels or features"
        )


def per_axis(value: float | Sequence[float], n_dims: int) -> list[float]:
    if isinstance(value, (int, float)):
        return [value] * n_dims
    if len(value) != n_dims:
        raise ValueError(f"one value or {n_dims} values (one per axis) are needed, got {list(value)}")
    return list(value)


def level_growth(base, finest, scale, n_levels: int, n_dims: int) -> list[float]:
    """Growth per axis from the finest resolution, or as given; tiny-cuda-nn's 2 if neither is."""
    if finest is None:
        return per_axis(2.0 if scale is None else scale, n_dims)
    if scale is not None:
        raise ValueError("give finest_resolution or per_level_scale, not both")
    if n_levels == 1:
        return [1.0] * n_dims
    return [
        math.exp(math.log(max(f, b) / b) / (n_levels - 1)) for f, b in zip(per_axis(finest, n_dims), base, strict=True)
    ]
