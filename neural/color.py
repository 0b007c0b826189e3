"""Between sRGB and linear light.

Source: IEC 61966-2-1:1999, eqs. 5 to 9.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def to_linear(srgb: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Linear light of sRGB values; those below 0 stay on the straight part."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """sRGB values of linear light; above 1 the curve goes on, below 0 its straight part."""
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)
