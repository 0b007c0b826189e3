"""Morton order: points along a curve through their cube that keeps neighbours together."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

_BITS = 21  # of each axis, so that three fit 63


def morton_codes(points: Float[Tensor, "N 3"]) -> Int[Tensor, "N"]:
    """Place of each point on the Z-curve through the cube around all of them, 21 bits an axis, x lowest.

    Source: Morton 1966; bits spread as in H. Anderson's "Bit twiddling hacks".
    """
    low, high = points.amin(dim=0).double(), points.amax(dim=0).double()
    side = (high - low).max().clamp_min(torch.finfo(torch.float64).tiny)
    cells = ((points.double() - low) / side * 2**_BITS).long().clamp(0, 2**_BITS - 1)
    x, y, z = _spread(cells).unbind(dim=-1)
    return x | y << 1 | z << 2


def _spread(v: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Bit i to bit 3 i."""
    for shift, mask in (
        (32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F), (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):  # fmt: skip
        v = (v | v << shift) & mask
    return v


def morton_order(points: Float[Tensor, "N 3"]) -> Int[Tensor, "N"]:
    """The permutation that sorts points along the Z-curve: row i of the sorted ones is `points[order[i]]`."""
    if len(points) == 0:
        return torch.zeros(0, dtype=torch.int64, device=points.device)
    return morton_codes(points).argsort(stable=True)
