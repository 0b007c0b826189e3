"""A plain picture of a surface from its normals: what a field and the mesh it was trained on are compared in."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ALBEDO = (0.78, 0.75, 0.70)  # linear; pale clay
KEY, FILL, AMBIENT = 0.85, 0.25, 0.10
WRAP = 0.25  # cosine by which light reaches round the edge of the shadow
KEY_DIRECTION = (-0.45, -0.65, -0.61)  # towards the light, camera axes (x right, y down, z forward): above, left
FILL_DIRECTION = (0.8, 0.1, -0.59)


def shade(
    normals: Float[Tensor, "R 3"], hit: Bool[Tensor, "R"], c2w: Float[Tensor, "4 4"], background: float = 1.0
) -> Float[Tensor, "R 3"]:
    """sRGB of a matt surface under two lights that move with the camera.

    Args:
        normals: Outwards, unit length; of rays that hit nothing they are not looked at.
        hit: Which rays meet the surface.
        c2w: The camera, in the frame of the normals.
        background: Grey behind it, sRGB.
    """
    rotation = c2w[:3, :3].to(normals)
    light = torch.full_like(normals[:, 0], AMBIENT)
    for strength, direction in ((KEY, KEY_DIRECTION), (FILL, FILL_DIRECTION)):
        towards = torch.nn.functional.normalize(torch.tensor(direction, device=normals.device), dim=0)
        facing = ((normals @ (rotation @ towards) + WRAP) / (1 + WRAP)).clamp(0, 1)
        light = light + strength * facing
    linear = light[:, None] * torch.tensor(ALBEDO, device=normals.device)
    srgb = linear.clamp(0, 1).pow(1 / 2.2)
    return torch.where(hit[:, None], srgb, torch.full_like(srgb, background))
