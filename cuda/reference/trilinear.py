"""Trilinear interpolation in plain torch: the oracle of the tests."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

FULL = {torch.uint8: 255.0, torch.uint16: 65535.0}  # what an integer's 1 is


def forward(positions: Float[Tensor, "N 3"], voxels: Shaped[Tensor, "X Y Z C"], scale: float) -> Float[Tensor, "N C"]:
    """The eight voxels around each position, weighted by how close their centres are; in the positions' dtype."""
    sizes = torch.tensor(voxels.shape[:3], device=positions.device)
    place = torch.minimum((positions * scale - 0.5).nan_to_num(0.0).clamp(min=0), sizes.to(positions.dtype) - 1)
    lower = torch.minimum(place.long(), (sizes - 2).clamp(min=0))
    share = place - lower
    upper = torch.minimum(lower + 1, sizes - 1)
    total = torch.zeros(len(positions), voxels.shape[3], dtype=positions.dtype, device=positions.device)
    for corner in range(8):
        up = torch.tensor([(corner >> axis) & 1 for axis in range(3)], device=positions.device)
        index = torch.where(up.bool(), upper, lower)
        weight = torch.where(up.bool(), share, 1 - share).prod(1, keepdim=True)
        total += weight * voxels[index[:, 0], index[:, 1], index[:, 2]].to(positions.dtype)
    return total / FULL.get(voxels.dtype, 1.0)
