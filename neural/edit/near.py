"""How far the next Gaussians are, for millions of them: neighbours along Morton curves."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural.morton import morton_order

_CURVES = 3  # shifted against each other, so that none keeps the same neighbours apart
_MORE = 4  # looked at on each side, beyond k
_ROWS = 1 << 16  # at a time
_FAR = 2.0  # sizes of the box of most points: what lies further out has its place in the order on the border
_SAMPLE = 1 << 20


@torch.no_grad()
def near_distances(points: Float[Tensor, "N 3"], k: int) -> Float[Tensor, "N"]:
    """For each point the mean distance to k others that are near, of those beside it along one of three curves.

    At least that to the k nearest, for nine points in ten by less than a fifth more: to compare points by.

    Args:
        points: Anywhere, in any number.
        k: How many, at least 1; where there are not as many others, all of them.

    Returns:
        float32, scene units; infinite for a point that is alone.
    """
    points = points.detach().cpu()
    n, k = len(points), min(k, len(points) - 1)
    best = torch.full((n,), torch.inf)
    if k < 1:
        return best
    low, high = _most(points)
    clamped = points.double().clamp(low - _FAR * (high - low), high + _FAR * (high - low))
    middle = (low + high) / 2
    for curve in range(_CURVES):
        corner = clamped.amin(dim=0) - 0.37 * curve * (clamped.amax(dim=0) - clamped.amin(dim=0))
        order = morton_order(torch.cat([clamped, corner[None]]))  # the corner moves the curve against the points
        order = order[order < n]
        best[order] = torch.minimum(best[order], _along((points.double()[order] - middle).float(), k))
    return best


def _most(points: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Corners of the box that holds 98 % of the points along each axis."""
    some = points[:: max(1, len(points) // _SAMPLE)].double()
    ordered = some.sort(dim=0).values
    last = len(some) - 1
    return ordered[round(0.01 * last)], ordered[round(0.99 * last)]


def _along(ordered: Float[Tensor, "N 3"], k: int) -> Float[Tensor, "N"]:
    """Mean distance to the k nearest of those up to k + 4 places before and behind."""
    side = k + _MORE
    edge = ordered.new_full((side, 3), torch.inf)
    windows = torch.cat([edge, ordered, edge]).unfold(0, 2 * side + 1, 1)  # [N, 3, places]
    parts = []
    for start in range(0, len(ordered), _ROWS):
        own = ordered[start : start + _ROWS]
        squares = windows[start : start + _ROWS, 0] - own[:, :1]
        squares = squares.square_()
        for axis in (1, 2):
            squares += (windows[start : start + _ROWS, axis] - own[:, axis, None]).square_()
        squares[:, side] = torch.inf  # the point itself
        parts.append(squares.topk(k, dim=1, largest=False).values.sqrt_().mean(dim=1))
    return torch.cat(parts)
