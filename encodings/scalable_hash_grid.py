"""A hash grid for scenes without bounds: one per cell of the ground (or of space), all in one growing table."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural import memory
from neural.cuda.cell_blend import cell_blend
from neural.cuda.cell_sort import MAX_SPLIT, absent_cells, cell_sort
from neural.cuda.gradients import resized
from neural.cuda.hash_grid import Interpolation, hash_grid
from neural.encodings.hash_grid import INIT_RANGE, HashGrid, Precision
from neural.errors import TooLarge

_MIX = 0x9E3779B97F4A7C15


class ScalableHashGrid(HashGrid):
    """Positions in scene units to features of the hash grid of the cell that they lie in.

    Cells are created by `grow`, where data appears; every cell has a hash grid of its own, and all of them lie one
    after the other in one table, one parameter. All cells of a batch are looked up by one call. Growing appends rows:
    what was there stays, and `neural.optim.Adam.extend` (or `extend_torch`) appends to the optimiser's state, where
    Urban Architect begins anew:

        if grid.grow(points):
            optimiser.extend()

    Points in cells that do not exist give zeros, or the features of the nearest cell's face (`missing`).

    Args:
        n_dims: D, 1 to 7.
        cell_size: Edge of a cell in scene units; one value per split axis may be given.
        axes: Which axes are cut into cells: `ground` the first two (z up), `all`, or their numbers; 1 to 3 axes.
        origin: Where cell 0 begins on the split axes, in scene units: one value, or one per split axis.
        extent: (low, high) of the axes that are not cut, in scene units, or one pair per such axis; points beyond
            take the face's features. By default half a cell to either side of 0.
        overlap: How far cells reach into their neighbours, in cells, from 0 to below 0.5. Within reach of a face,
            features are blended with weights that are linear on each axis: continuous across faces. A cell that does
            not exist counts as zeros, so that creating it moves no feature by more than its small initial values.
            Ours: the published method has neither overlap nor blending.
        missing: Features of points without a cell: `zeros`, or those of the `nearest` cell at the point's projection
            (and with `overlap`, weights of existing cells are brought to a sum of 1).
        max_cells: `grow` refuses to make more.
        n_levels, n_features_per_level, log2_hashmap_size, interpolation, precision: Of each cell's grid, as of
            `HashGrid`.
        base_resolution, finest_resolution, per_level_scale: The same; resolutions are per cell, reach included.
        seed: Of the initial values; a cell's depend on the seed and its coordinates, not on when it was made.

    Attributes:
        cells: Coordinates of the cells, int64 [C, A] on the CPU, in the order of their parts of `table`.
        remedy: What `grow` advises where memory ends; whoever makes grids from settings of other names says those.
        table, levels, level_weights, gradients, working_copy: As of `HashGrid`, of all cells; they grow in place.

    Raises:
        ValueError: A value out of range.

    Source: Lu et al. 2024, Urban Architect, arXiv:2404.06780 (scalable hash grid), and its published code.
    """

    cells: Int[Tensor, "C A"]

    def __init__(
        self,
        n_dims: int = 3,
        *,
        cell_size: float | Sequence[float],
        axes: Literal["ground", "all"] | Sequence[int] = "ground",
        origin: float | Sequence[float] = 0.0,
        extent: Sequence[float] | Sequence[Sequence[float]] | None = None,
        overlap: float = 0.0,
        missing: Literal["zeros", "nearest"] = "zeros",
        max_cells: int = 1024,
        n_levels: int = 16,
        n_features_per_level: int = 2,
        log2_hashmap_size: int = 19,
        base_resolution: int | Sequence[int] = 16,
        finest_resolution: int | Sequence[int] | None = None,
        per_level_scale: float | Sequence[float] | None = None,
        interpolation: Interpolation = "linear",
        precision: Precision = "float32",
        seed: int = 0,
    ) -> None:
        split = _split(axes, n_dims)
        sizes, origins = (
            _per_axis(name, value, len(split)) for name, value in (("cell_size", cell_size), ("origin", origin))
        )
        if min(sizes) <= 0:
            raise ValueError(f"cell_size must be positive, got {cell_size}")
        if not 0.0 <= overlap < 0.5:
            raise ValueError(f"overlap must be from 0 to below 0.5 cells, got {overlap}")
        if missing not in ("zeros", "nearest"):
            raise ValueError(f"missing must be 'zeros' or 'nearest', got {missing!r}")
        if max_cells < 1:
            raise ValueError(f"max_cells must be at least 1, got {max_cells}")
        super().__init__(
            n_dims, n_levels=n_levels, n_features_per_level=n_features_per_level,
            log2_hashmap_size=log2_hashmap_size, base_resolution=base_resolution,
            finest_resolution=finest_resolution, per_level_scale=per_level_scale, interpolation=interpolation,
            precision=precision, seed=seed,
        )  # fmt: skip
        self.axes = split
        self.overlap = overlap
        self.missing = missing
        self.max_cells = max_cells
        self.remedy = "make log2_hashmap_size smaller or cell_size larger"
        self.seed = seed
        self.frame = _frame(n_dims, split, sizes, origins, extent)
        self._one_cell = self.levels
        self.entries_per_cell = self.table.shape[0]
        self.cells = torch.empty((0, len(split)), dtype=torch.int64)
        self._resize(0)

    def forward(self, x: Float[Tensor, "N D"], segments: Int[Tensor, "T1"] | None = None) -> Float[Tensor, "N K"]:
        """Features of all levels, K = n_levels * n_features_per_level.

        Args:
            x: Positions in scene units.
            segments: None; which points use which part of the table is found here.
        """
        if segments is not None:
            raise ValueError("ScalableHashGrid finds the cells of points itself; leave segments out")
        nearest = self.missing == "nearest"
        pairs = cell_sort(x, self.cells, self.frame, split=self.axes, margin=self.overlap, nearest=nearest)
        if pairs.order.shape[0] == 0:
            return x.new_zeros(self.n_output_dims, x.shape[0]).T
        features = hash_grid(
            pairs.local, self.table, self.levels, working_copy=self._current_copy(), segments=pairs.segments,
            level_weights=self.level_weights, interpolation=self.interpolation, outside="clamp",
            accumulate=self.gradients if torch.is_grad_enabled() else None,
        )  # fmt: skip
        weights = self._weights(x, pairs.places) if self.overlap > 0 else None
        return cell_blend(features, pairs.places, pairs.order, weights)

    @torch.no_grad()
    def grow(self, points: Float[Tensor, "N D"]) -> int:
        """Creates the cells that points need (with `overlap` those whose reach they lie in), and appends their values.

        Nothing is done where all exist: 4 ms for 2^18 points on a CPU. `table`, `gradients` and `working_copy` stay the
        same objects, longer; let the optimiser follow before its next step. All of them are copied once a call, so
        that many cells are made sooner by one call than by many.

        Returns:
            How many cells were created.

        Raises:
            TooLarge: More than `max_cells`, or more memory than there is; nothing has changed then.
            ValueError: A point that is not finite or too far away.
        """
        fresh = absent_cells(points, self.cells, self.frame, split=self.axes, margin=self.overlap)
        if len(fresh) == 0:
            return 0
        self._require_room(len(fresh))
        values = torch.cat([self._initial(row) for row in fresh.tolist()]).to(self.table.device)
        before = self.table.shape[0]
        self._resize(len(self.cells) + len(fresh))
        self.cells = torch.cat([self.cells, fresh])
        self.table.data[before:] = values.to(self.table.dtype)
        if self.working_copy is not None:
            self.working_copy.data[before:] = values.to(self.working_copy.dtype)
        return len(fresh)

    @torch.no_grad()
    def lay_out(self, cells: Int[Tensor, "C A"]) -> None:
        """Has these cells and no others, in this order: room for values that are loaded next, which may be anything.

        Args:
            cells: Int64 on the CPU, all different, as `cells` was when they were saved.

        Raises:
            ValueError: Another shape or dtype.
        """
        if cells.ndim != 2 or cells.shape[1] != len(self.axes) or cells.dtype != torch.int64:
            raise ValueError(f"cells must be int64 [cells, {len(self.axes)}], got {list(cells.shape)} {cells.dtype}")
        self._resize(len(cells))
        self.cells = cells.clone()

    @property
    def bytes_per_cell(self) -> int:
        """What one more cell takes in training: values, gradient, two moments, step counts and the working copy."""
        each = self.n_features_per_level * (16 + (0 if self._copy_dtype is None else 2)) + 4
        return self.entries_per_cell * each

    def extra_repr(self) -> str:
        rows = self._one_cell[0, :, 4 : 4 + self.n_dims].tolist()
        return (
            f"{self.n_dims}, {len(self.cells)} cells on axes {list(self.axes)}, levels={self.n_levels}, "
            f"features={self.n_features_per_level}, resolution {rows[0]} to {rows[-1]} per cell, "
            f"{self.table.numel()} parameters, overlap {self.overlap:g}, {self.interpolation}"
        )

    def _weights(self, x: Tensor, places: Tensor) -> Tensor:
        """Share of each slot's cell, [N, S]: linear from 0 to 1 across the reach of both, on every split axis."""
        m, n_axes = self.overlap, len(self.axes)
        rows = self.frame.to(x.device)[:, list(self.axes)]
        q = (x[:, list(self.axes)] - rows[0]) * rows[1]
        f = q - q.detach().floor()
        other = ((m - f).clamp(min=0) + (f - (1 - m)).clamp(min=0)) / (2 * m)
        sides = torch.stack([1 - other, other])  # [2, N, A]
        slots = []
        for slot in range(1 << n_axes):
            weight = sides[slot & 1, :, 0]
            for a in range(1, n_axes):
                weight = weight * sides[(slot >> a) & 1, :, a]
            slots.append(weight)
        weights = torch.stack(slots, 1)
        if self.missing == "nearest":
            weights = torch.where(places >= 0, weights, 0.0)
            total = weights.sum(1, keepdim=True)
            weights = weights / total.where(total > 0, 1.0) + (total == 0) * (places >= 0)
        return weights

    def _initial(self, cell: list[int]) -> Float[Tensor, "E F"]:
        """A cell's first values, from the seed and its coordinates."""
        mixed = self.seed + 1
        for c in cell:
            mixed = ((mixed ^ (c & (2**64 - 1))) * _MIX) & (2**64 - 1)
            mixed ^= mixed >> 29
        generator = torch.Generator().manual_seed(mixed & (2**63 - 1))
        values = torch.rand(self.entries_per_cell, self.n_features_per_level, generator=generator)
        return values.mul_(2 * INIT_RANGE).sub_(INIT_RANGE)

    def _resize(self, n_cells: int) -> None:
        """Makes room for cells in everything that has a row per entry; new rows hold anything, of gradients zeros."""
        rows = n_cells * self.entries_per_cell
        longer = self.table.data.new_empty(rows, self.n_features_per_level)
        kept = min(rows, self.table.shape[0])
        longer[:kept] = self.table.data[:kept]
        # torch keeps the place where gradients arrive as long as a graph of an earlier step lives, and with it the old
        # shape; only another dtype makes it look again.
        self.table.data = longer.new_empty(0, dtype=torch.float64 if longer.dtype != torch.float64 else torch.float32)
        self.table.data = longer
        if self.table.grad is not None:
            self.table.grad = resized(self.table.grad, rows)
        if self.gradients is not None:
            self.gradients.resize(rows)
        if self.working_copy is not None:
            self.working_copy.data = resized(self.working_copy.data, rows)
        levels = self._one_cell.repeat(max(n_cells, 1), 1, 1)
        levels[:, :, 0] += self.entries_per_cell * torch.arange(max(n_cells, 1))[:, None]
        self.levels = levels

    def _require_room(self, n_fresh: int) -> None:
        n_cells = len(self.cells) + n_fresh
        each = f"{self.bytes_per_cell / 1e6:.1f} MB each in training"
        if n_cells > self.max_cells:
            raise TooLarge(
                f"{n_fresh} more cells would make {n_cells} ({each}), and max_cells is {self.max_cells}: raise it, "
                "make cell_size larger, or leave out points far away"
            )
        moved = 4 * self.table.numel()  # the old table lives until the new one is filled
        needed, left = n_fresh * self.bytes_per_cell + moved, memory.available(self.table.device)
        if needed > left:
            raise TooLarge(
                f"{n_fresh} more cells ({each}) need {needed / 1e9:.2f} GB, and {left / 1e9:.2f} GB are free on "
                f"{self.table.device.type}: {self.remedy}"
            )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "cells"] = self.cells.clone()

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str],
        unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        name = prefix + "cells"
        if name not in state_dict:
            missing_keys.append(name)
            return
        try:
            self.lay_out(state_dict[name].cpu())
        except ValueError as error:
            error_msgs.append(f"{name}: {error}")
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if name in unexpected_keys:
            unexpected_keys.remove(name)
        self.refresh()


def _split(axes: Literal["ground", "all"] | Sequence[int], n_dims: int) -> tuple[int, ...]:
    if isinstance(axes, str):
        if axes not in ("ground", "all"):
            raise ValueError(f"axes must be 'ground', 'all' or numbers of axes, got {axes!r}")
        axes = range(min(2, n_dims)) if axes == "ground" else range(n_dims)
    split = tuple(axes)
    if not 1 <= len(split) <= MAX_SPLIT or sorted({*split}) != [*split] or split[0] < 0 or split[-1] >= n_dims:
        raise ValueError(f"axes must be 1 to {MAX_SPLIT} ascending axes of {n_dims}, got {list(split)}")
    return split


def _per_axis(name: str, value: float | Sequence[float], n: int) -> list[float]:
    values = [float(value)] * n if isinstance(value, (int, float)) else [float(v) for v in value]
    if len(values) != n or not all(abs(v) < 3e38 for v in values):
        raise ValueError(f"{name} must be one finite value or {n} (one per split axis), got {value}")
    return values


def _frame(
    n_dims: int, split: tuple[int, ...], sizes: list[float], origins: list[float],
    extent: Sequence[float] | Sequence[Sequence[float]] | None,
) -> Float[Tensor, "2 D"]:  # fmt: skip
    """Where cell 0 begins on each axis, and 1 / its length."""
    rest = [d for d in range(n_dims) if d not in split]
    if extent is None:
        extent = (-sizes[0] / 2, sizes[0] / 2)
    pairs = [extent] * len(rest) if len(extent) and isinstance(extent[0], (int, float)) else list(extent)
    if len(pairs) != len(rest) or any(len(p) != 2 or not p[0] < p[1] for p in pairs):  # type: ignore[arg-type, index]
        raise ValueError(
            f"extent must be (low, high), or one such pair per axis that is not cut ({len(rest)}), got {extent}"
        )
    low, length = [0.0] * n_dims, [1.0] * n_dims
    for d, o, s in zip(split, origins, sizes, strict=True):
        low[d], length[d] = o, s
    for d, pair in zip(rest, pairs, strict=True):
        low[d], length[d] = float(pair[0]), float(pair[1]) - float(pair[0])  # type: ignore[index]
    return torch.tensor([low, [1 / v for v in length]], dtype=torch.float32)
