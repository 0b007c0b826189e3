"""Anti-aliased grids: features averaged over a cone's samples, levels faded whose cells are finer than it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neural.cuda import levels as layout
from neural.cuda.gradients import GradientBuffer
from neural.cuda.level_blend import level_blend

N_SAMPLES = 6  # of a frustum
_TURNS = (0.0, 2.0, 4.0, 3.0, 5.0, 1.0)  # their angles, in sixths of a turn


class AntiAliased(nn.Module):
    """A grid that is looked up with the widths of samples: M samples of a point give one row of features.

    Works for every grid of levels (HashGrid, DenseGrid, Simplex ...): level l of sample m counts
    erf(1 / sqrt(8 widths_m^2 n_l^2)), n_l the level's cells along the box, on its finest axis.

    Args:
        grid: The grid; its parameters stay its own.
        n_samples: M, samples of a point.
        scale_features: Adds one feature per level, (2 mean weight - 1) sqrt(init_scale^2 + mean V_l^2), V_l the
            level's values: it tells how much of the level is faded. Reads the whole table at each call.
        init_scale: Size of the table's initial values.
        resolutions: n_l of each level, instead of those that `grid.levels` tells.

    Source: Barron et al. 2023, arXiv:2304.06706 (Zip-NeRF), section 3.2.

    Example:
        >>> grid = AntiAliased(HashGrid(3, n_levels=4, log2_hashmap_size=10))
        >>> grid(torch.rand(60, 3), torch.full((60,), 0.01)).shape
        torch.Size([10, 8])
    """

    def __init__(
        self,
        grid: nn.Module,
        *,
        n_samples: int = N_SAMPLES,
        scale_features: bool = False,
        init_scale: float = 1e-4,
        resolutions: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        source: Any = grid
        levels: Tensor = source.levels
        if resolutions is None:
            resolutions = layout.scales(levels)[0].max(-1).values.tolist()
        if n_samples < 1 or len(resolutions) != levels.shape[1] or not min(resolutions) > 0:
            raise ValueError(
                f"AntiAliased: n_samples must be at least 1 and resolutions {levels.shape[1]} positive values, "
                f"got {n_samples} and {list(resolutions)}"
            )
        self.grid = grid
        self.n_samples = n_samples
        self.scale_features = scale_features
        self.init_scale = init_scale
        self.n_dims: int = source.n_dims
        self.n_output_dims: int = source.n_output_dims + scale_features * len(resolutions)
        self.reach = torch.tensor([1 / (math.sqrt(8) * n) for n in resolutions])  # stays on the CPU, as `grid.levels`

    def forward(self, x: Float[Tensor, "S D"], widths: Float[Tensor, " S"], **options: Any) -> Float[Tensor, "N K"]:
        """Features of points, S = N M.

        Args:
            x: Samples in [0, 1]^D, those of a point one behind the other.
            widths: Standard deviation of each, in units of x.
            options: For the grid, such as `segments`.
        """
        features = level_blend(self.grid(x, **options), widths, self.reach, self.n_samples)
        if not self.scale_features:
            return features
        ones = torch.ones(len(self.reach), len(widths), device=widths.device).T
        share = level_blend(ones, widths.detach(), self.reach, self.n_samples)
        sizes = (self.init_scale**2 + self._mean_squares()).sqrt().to(features)
        return torch.cat([features.T, ((2 * share - 1) * sizes).T]).T

    def _mean_squares(self) -> Float[Tensor, "L"]:
        """Mean of each level's squared values; summed in float64, whose last digits no number of threads shows in."""
        grid: Any = self.grid
        table = grid.table.detach()
        return torch.stack([
            torch.stack([_level(table, row).double().square().mean() for row in rows]).mean()
            for rows in grid.levels.transpose(0, 1).tolist()
        ])  # fmt: skip

    def extra_repr(self) -> str:
        return f"samples={self.n_samples}, scale_features={self.scale_features}"


def frustum_samples(
    origins: Float[Tensor, "S 3"],
    directions: Float[Tensor, "S 3"],
    radii: Float[Tensor, " S"],
    t_starts: Float[Tensor, " S"],
    t_ends: Float[Tensor, " S"],
    *,
    turns: Float[Tensor, " S"] | None = None,
    spread: float = 0.5,
) -> tuple[Float[Tensor, "S6 3"], Float[Tensor, " S6"]]:
    """Six samples in each conical frustum, on a spiral with the mean and the variances of the frustum.

    Args:
        origins: Of each frustum's ray.
        directions: Unit length.
        radii: Of the cone at distance 1: that of a disc as large as the pixel, in scene units per scene unit.
        t_starts: Where the frustum begins.
        t_ends: Where it ends.
        turns: About the axis, in radians: random ones for training. Without them every other pattern is mirrored and
            turned by 30 degrees.
        spread: Of a sample's Gaussian, in units of its distance from the axis.

    Returns:
        Points, the six of a frustum one behind the other, and their widths, in scene units.

    Source: Barron et al. 2023, arXiv:2304.06706, section 3.1, eq. 1 and 2 of its samples.
    """
    dtype = origins.dtype
    o, d, radius, t0, t1 = (v.double() for v in (origins, directions, radii, t_starts, t_ends))
    middle, half = ((t0 + t1) / 2)[:, None], ((t1 - t0) / 2)[:, None]
    j = torch.arange(N_SAMPLES, dtype=torch.float64, device=o.device)
    root = ((half**2 - middle**2) ** 2 + 4 * middle**4).sqrt()
    step = t1[:, None] ** 2 + 2 * middle**2 + 3 / math.sqrt(7) * (2 * j / 5 - 1) * root
    t = t0[:, None] + half * step / (half**2 + 3 * middle**2)
    angles = math.pi / 3 * torch.tensor(_TURNS, dtype=torch.float64, device=o.device).expand(len(t), -1)
    if turns is None:
        odd = (torch.arange(len(t), device=o.device) % 2 == 1)[:, None]
        angles = torch.where(odd, math.pi / 6 - angles, angles)
    else:
        angles = angles + turns.double()[:, None]
    across = radius[:, None] * t / math.sqrt(2)
    first, second = _perpendicular(d)
    points = o[:, None] + t[..., None] * d[:, None]
    points = points + (across * angles.cos())[..., None] * first[:, None]
    points = points + (across * angles.sin())[..., None] * second[:, None]
    return points.reshape(-1, 3).to(dtype), (spread * across).reshape(-1).to(dtype)


def hash_decay(grid: Any) -> Float[Tensor, ""]:
    """The mean over levels of the mean square of a level's values: Zip-NeRF's weight decay, which small levels feel.

    With a `gradients` buffer on the grid its gradient is added there, to every entry.

    Source: Barron et al. 2023, arXiv:2304.06706, section 3.2; as a mean over levels in zipnerf-pytorch.
    """
    return _HashDecay.apply(grid.table, grid.levels, grid.gradients if torch.is_grad_enabled() else None)


class _HashDecay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, levels: Int[Tensor, "T L W"], into: GradientBuffer | None) -> Tensor:
        ctx.save_for_backward(table)
        ctx.rows, ctx.into = _own_rows(levels), into
        means = [_level(table, row).double().square().mean() for row in ctx.rows]
        return torch.stack(means).mean().to(table.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor):
        (table,) = ctx.saved_tensors
        target = torch.zeros_like(table) if ctx.into is None else ctx.into.grad
        for row in ctx.rows:
            values = _level(table, row)
            _level(target, row).add_(values * (2 * grad / (len(ctx.rows) * values.numel())))
        if ctx.into is None:
            return target, None, None
        for row in ctx.rows:
            _mark(ctx.into, row[0], row[0] + row[1])
        return None, None, None


def _own_rows(levels: Int[Tensor, "T L W"]) -> list[list[int]]:
    """Descriptors of all levels, one of those that share their entries."""
    return list({row[0]: row for row in levels.reshape(-1, levels.shape[-1]).tolist()}.values())


def _level(values: Float[Tensor, "E F"], row: list[int]) -> Float[Tensor, "I F"]:
    return values[row[0] : row[0] + row[1]]


def _mark(buffer: GradientBuffer, first: int, end: int) -> None:
    """Sets the bits of the blocks of 64 rows from row `first` to `end` - 1."""
    blocks = torch.zeros(len(buffer.touched) * 64, dtype=torch.bool, device=buffer.touched.device)
    blocks[first // 64 : -(-end // 64)] = True
    places = torch.arange(64, device=buffer.touched.device)
    buffer.touched.bitwise_or_((blocks.view(-1, 64).long() << places).sum(1))


def _perpendicular(d: Float[Tensor, "S 3"]) -> tuple[Float[Tensor, "S 3"], Float[Tensor, "S 3"]]:
    """Two unit vectors that complete d to an orthonormal basis. Source: Duff et al. 2017, JCGT 6(1), listing 3."""
    x, y, z = d.unbind(-1)
    sign = torch.where(z < 0, -1.0, 1.0).to(d)
    a = -1 / (sign + z)
    b = x * y * a
    return torch.stack([1 + sign * x * x * a, sign * b, -sign * x], -1), torch.stack([b, sign + y * y * a, -y], -1)
