"""The hash grid in plain torch: the oracle of the tests, in any float dtype, on any device, differentiable by autograd.

Corners are gathered one by one; nothing here is shared with the kernels but the layout of the descriptors.
"""

import itertools
import struct
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

FARTHEST_CELL = 2**30  # cells end here on both sides; NaN takes the upper end
PRIMES = (1, 2654435761, 805459861, 3674653429, 2097192037, 1434869437, 2165219737)


def forward(
    positions: Float[Tensor, "N D"],
    table: Float[Tensor, "E F"],
    levels: Int[Tensor, "T L W"],
    segments: Int[Tensor, " T1"] | None = None,
    level_weights: Float[Tensor, " L"] | None = None,
    interpolation: int = 1,
    outside: int = 0,
) -> Float[Tensor, "N K"]:
    """Features of every level; interpolation 0 nearest, 1 linear, 2 smoothstep; outside 0 wrap, 1 clamp, 2 zero."""
    return each_level(
        lambda x, row: _level(x, table, row, interpolation, outside), positions, levels, segments, level_weights
    )


def each_level(
    level: Callable[[Tensor, list[int]], Tensor],
    positions: Float[Tensor, "N D"],
    levels: Int[Tensor, "T L W"],
    segments: Int[Tensor, " T1"] | None,
    level_weights: Float[Tensor, " L"] | None,
) -> Float[Tensor, "N K"]:
    """Features side by side; `level` gives those of points in the level that a row describes."""
    bounds = [0, positions.shape[0]] if segments is None else segments.tolist()
    weights = [1.0] * levels.shape[1] if level_weights is None else level_weights.tolist()
    parts = []
    for t, rows in enumerate(levels.tolist()):
        x = positions[bounds[t] : bounds[t + 1]]
        parts.append(torch.cat([level(x, row) * weight for row, weight in zip(rows, weights, strict=True)], -1))
    return torch.cat(parts, 0)


def backward(grad, positions, table, *grid) -> tuple[Tensor, Tensor]:
    """Gradients with respect to positions and table, by autograd through `forward`."""
    with torch.enable_grad():
        x, t = positions.detach().requires_grad_(), table.detach().requires_grad_()
        out = forward(x, t, *grid)
        gx, gt = torch.autograd.grad(out, (x, t), grad, allow_unused=True)
    return torch.zeros_like(x) if gx is None else gx, gt


def backward_backward(direction, grad, positions, table, *grid) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of <grad_positions, direction> with respect to grad, positions and table."""
    with torch.enable_grad():
        g, x, t = (v.detach().requires_grad_() for v in (grad, positions, table))
        gx = torch.autograd.grad(forward(x, t, *grid), x, g, create_graph=True)[0]
        grads = torch.autograd.grad((gx * direction).sum(), (g, x, t), allow_unused=True)
    return tuple(torch.zeros_like(v) if a is None else a for a, v in zip(grads, (g, x, t), strict=True))  # type: ignore[return-value]


def _level(x: Tensor, table: Tensor, row: list[int], interpolation: int, outside: int) -> Tensor:
    n_dims = x.shape[1]
    p, inside = placed(x, row, outside)
    cell = p.detach().floor()
    f = p - cell
    whole = cell.nan_to_num(FARTHEST_CELL).clamp(-FARTHEST_CELL, FARTHEST_CELL).to(torch.int64)
    s = f if interpolation == 1 else f * f * (3 - 2 * f)
    total = torch.zeros(x.shape[0], table.shape[1], dtype=x.dtype, device=x.device)
    for corner in itertools.product((0, 1), repeat=n_dims) if interpolation else [(0,) * n_dims]:
        index = entry_index(whole + torch.tensor(corner, device=x.device), row)
        weight = torch.ones_like(x[:, :1])
        for d, bit in enumerate(corner):
            u = s[:, d : d + 1]
            weight = weight * ((u if bit else 1 - u) if interpolation else 1 + (u - u).detach())  # NaN stays NaN
        total = total + weight * table[index].to(x.dtype)
    return total * inside.all(-1, keepdim=True) if outside == 2 else total


def placed(x: Float[Tensor, "N D"], row: list[int], outside: int) -> tuple[Float[Tensor, "N D"], Bool[Tensor, "N D"]]:
    """Points in units of the level that a row describes, and which of their coordinates lie in the box."""
    scale, shift = (
        torch.tensor([struct.unpack("<f", struct.pack("<I", b))[0] for b in row[4 + x.shape[1] :]]).to(x).chunk(2)
    )
    inside = (x >= 0) & (x <= 1)
    if outside == 1:
        x = clamp(x)
    elif outside == 2:
        x = torch.where(inside, x, 0.0)
    return x * scale + shift, inside


def clamp(x: Tensor) -> Tensor:
    """x.clamp(0, 1) with a gradient that is multiplied by 0 beyond the box, not set to 0: NaN stays NaN."""
    return _Clamp.apply(x)


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward((x >= 0) & (x <= 1))
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * ctx.saved_tensors[0]


def entry_index(corner: Int[Tensor, "N D"], row: list[int]) -> Int[Tensor, "N"]:
    """Places in the table, in uint32 arithmetic in int64: dense strides while they fit, or the XOR of the key and
    coordinates times primes."""
    offset, size, hashed, key = row[:4]
    resolution = row[4 : 4 + corner.shape[1]]
    mask = 0xFFFFFFFF
    index = torch.full_like(corner[:, 0], key)
    if hashed:
        for d, prime in enumerate(PRIMES[: corner.shape[1]]):
            index = index ^ (((corner[:, d] & mask) * prime) & mask)
    else:
        stride = 1
        for d, length in enumerate(resolution):
            if stride > size:
                break
            index = (index + (corner[:, d] & mask) * stride) & mask
            stride *= length
    return offset + index % size
