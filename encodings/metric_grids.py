"""Metric grids: one pooled table read at three metrics of a position."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda.hash_grid import Interpolation, hash_grid
from neural.cuda.metric_maps import METRICS, Metrics, metric_maps
from neural.encodings.hash_grid import HashGrid, Precision

N_GRIDS = 3
_KEY = 0x9E3779B9  # 2^32 over the golden ratio: its multiples differ in all bits that a table's size keeps


class MetricGrids(HashGrid):
    """Positions in [0, 1]^D to features of three elementary grids, each over another metric of the same space.

    A position is looked up where `neural.cuda.metric_maps` has it: as it is, bent by a sine, bent by an arcsine at half
    the length (`metrics="signal"`, for images and distances). All grids are one hash grid's table: a hashed level of
    2^T entries holds the three of them under keys of their own, a level small enough to be indexed densely has one
    entry per vertex that all three read. So there are as many parameters as in one hash grid: 186,624 in the published
    setting for images (L = 13, F = 2, T = 14, 16 to 256), 884,496 in that for distances (D = 3, L = 15, F = 2, T = 15,
    16 to 2048).

    Published as well (`metrics="radiance"`): x, sin x and cos x in one and the same grid, whose features are summed.

    Ours: explicit keys, where the published code relies on unsigned wrap-around of negative cells (which makes dense
    levels alias by a shift that depends on the level's size; ours alias at equal places); arcsine by its tangent near
    the faces; positions beyond [0, 1] are taken at the nearest face.

    Args:
        n_dims: D, 1 to 7.
        n_levels, n_features_per_level, log2_hashmap_size, interpolation, precision, seed: As of `HashGrid`.
        base_resolution, finest_resolution, per_level_scale: As of `HashGrid`.
        metrics: `signal` or `radiance`.

    Attributes:
        table, levels, level_weights, gradients, working_copy: As of `HashGrid`, with three sub-tables that share all
            entries.

    Raises:
        ValueError: A value out of range.

    Source: MetricGrids, Wang et al. 2025, arXiv:2503.10000.

    Example:
        >>> grids = MetricGrids(2, n_levels=4, finest_resolution=64, log2_hashmap_size=12)
        >>> grids(torch.rand(10, 2)).shape, grids.features(torch.rand(10, 2)).shape
        (torch.Size([10, 8]), torch.Size([30, 8]))
    """

    def __init__(
        self,
        n_dims: int,
        *,
        n_levels: int = 13,
        n_features_per_level: int = 2,
        log2_hashmap_size: int = 14,
        base_resolution: int | Sequence[int] = 16,
        finest_resolution: int | Sequence[int] | None = None,
        per_level_scale: float | Sequence[float] | None = None,
        interpolation: Interpolation = "linear",
        precision: Precision = "float32",
        metrics: Metrics = "signal",
        seed: int = 0,
    ) -> None:
        if metrics not in METRICS:
            raise ValueError(f"metrics must be one of {', '.join(METRICS)}, got {metrics!r}")
        if finest_resolution is None and per_level_scale is None:
            finest_resolution = 256
        super().__init__(
            n_dims, n_levels=n_levels, n_features_per_level=n_features_per_level, log2_hashmap_size=log2_hashmap_size,
            base_resolution=base_resolution, finest_resolution=finest_resolution, per_level_scale=per_level_scale,
            interpolation=interpolation, precision=precision, seed=seed,
        )  # fmt: skip
        self.metrics: Metrics = metrics
        self.n_grids = N_GRIDS
        if metrics == "signal":
            self.levels = _with_keys(self.levels)

    def forward(self, x: Float[Tensor, "N D"], segments: Int[Tensor, "T1"] | None = None) -> Float[Tensor, "N K"]:
        """The sum of the three grids' features, K = n_levels * n_features_per_level.

        Args:
            x: Positions in [0, 1]^D.
            segments: None: sub-tables are taken by the grids.
        """
        if segments is not None:
            raise ValueError("MetricGrids: its sub-tables are its grids; segments must be None")
        features, n = self.features(x), x.shape[0]
        return features[:n] + features[n : 2 * n] + features[2 * n :]

    def features(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "M K"]:
        """The features of each grid, M = 3 N: those of all x in the first, then in the second and the third; a
        transposed view of one [K, 3 N] buffer."""
        n = x.shape[0]
        segments = None if self.metrics == "radiance" else torch.arange(0, 3 * n + 1, n) if n else torch.zeros(4).long()
        return hash_grid(
            metric_maps(x, self.metrics), self.table, self.levels, working_copy=self._current_copy(),
            segments=segments, level_weights=self.level_weights, interpolation=self.interpolation,
            accumulate=self.gradients if torch.is_grad_enabled() else None,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, metrics {self.metrics}"


def _with_keys(levels: Int[Tensor, "1 L W"]) -> Int[Tensor, "3 L W"]:
    """One sub-table for each grid, on the same entries; hashed levels under keys of their own, the first's 0."""
    keyed = levels.repeat(N_GRIDS, 1, 1)
    keys = (torch.arange(N_GRIDS) * _KEY) % 2**32
    keyed[..., 3] = keys[:, None] * (keyed[..., 2] != 0)
    return keyed
