"""From scene space to the unit cube of an encoding."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Contraction = Literal["none", "ball"]


def contract(x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """All of space into the ball of radius 2; the unit ball stays as it is.

    Source: Barron et al. 2022, arXiv:2111.12077, eq. 10.
    """
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=1e-12)
    return torch.where(norm <= 1.0, x, (2.0 - 1.0 / norm) * (x / norm))


def uncontract(y: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """The inverse of `contract`, for |y| < 2."""
    norm = torch.linalg.vector_norm(y, dim=-1, keepdim=True).clamp(min=1e-12)
    return torch.where(norm <= 1.0, y, y / (norm * (2.0 - norm)))


def to_unit_cube(positions: Float[Tensor, "N 3"], half_side: float, contraction: Contraction) -> Float[Tensor, "N 3"]:
    """Positions in [0, 1]^3.

    Args:
        positions: Scene units, from the middle of the scene's cube.
        half_side: Half its side, scene units.
        contraction: `none` maps the cube, `ball` all of space: the cube's inscribed ball to radius 1/4.
    """
    if contraction == "none":
        return torch.addcmul(positions.new_tensor(0.5), positions, positions.new_tensor(0.5 / half_side))
    return contract(positions / half_side) * 0.25 + 0.5
