"""Distances to the nearest neighbours of every point, exact, in plain torch on any device.

Points in Morton order are cut into small blocks. Neighbours along the curve bound how far a block's points have to
look, and only blocks whose boxes come that close are searched.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from neural.gaussians.order import boxes
from neural.morton import morton_order

_BLOCK = 64  # points
_PAIRS = 1 << 22  # distances held at a time


@torch.no_grad()
def nearest_distances(points: Float[Tensor, "N 3"], k: int) -> Float[Tensor, "N k"]:
    """Distances from each point to the k nearest others, ascending, float32; exact up to rounding.

    Args:
        points: More than k of them, anywhere; those at one place are neighbours at distance 0.
        k: How many.

    Raises:
        ValueError: Fewer than k + 1 points.
    """
    n = len(points)
    if not 0 < k < n:
        raise ValueError(f"nearest_distances: {k} neighbours need at least {k + 1} points, got {n}")
    order = morton_order(points)
    centred = points[order].double() - points.double().mean(dim=0)
    size = float(centred.abs().max()) or 1.0
    ordered = (centred / size).float()  # so that differences keep their digits and squares their range
    block_boxes = boxes(ordered, ordered, _BLOCK)
    found = torch.empty(n, k, device=points.device)
    for block, (low, high) in enumerate(block_boxes):
        start, end = block * _BLOCK, min((block + 1) * _BLOCK, n)
        own = ordered[start:end]
        window = ordered[max(start - k, 0) : end + k]  # has more than k points
        bound = _nearest(own, window, k)[:, -1].max()
        reach = bound.square() * (1 + 1e-5)
        close = _gap_squared(low, high, block_boxes[:, 0], block_boxes[:, 1]) <= reach
        rows = (close.nonzero() * _BLOCK + torch.arange(_BLOCK, device=points.device)).flatten()
        others = ordered[rows[rows < n]]
        found[start:end] = _nearest(own, others[_gap_squared(low, high, others, others) <= reach], k)
    result = torch.empty_like(found)
    result[order] = found * size
    return result


def _gap_squared(
    low: Float[Tensor, "3"], high: Float[Tensor, "3"], lows: Float[Tensor, "M 3"], highs: Float[Tensor, "M 3"]
) -> Float[Tensor, "M"]:
    """Squared distances between a box and others."""
    return torch.maximum(lows - high, low - highs).clamp_min(0).square().sum(dim=-1)


def _nearest(own: Float[Tensor, "B 3"], others: Float[Tensor, "M 3"], k: int) -> Float[Tensor, "B k"]:
    """Distances to the k nearest of others that are not the point itself, which is among them."""
    best: list[Tensor] = []
    for part in others.split(max(_PAIRS // len(own), k + 1)):
        squares = sum((own[:, None, axis] - part[None, :, axis]).square() for axis in range(3))
        assert isinstance(squares, Tensor)
        best.append(squares.topk(min(k + 1, len(part)), dim=1, largest=False).values)
    return torch.cat(best, dim=1).topk(k + 1, dim=1, largest=False).values[:, 1:].sqrt()
