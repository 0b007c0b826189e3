"""Colours of Gaussians in plain torch, differentiable by autograd: oracle of the tests, in any float dtype."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda.reference import spherical_harmonics


def forward(
    means: Float[Tensor, "N 3"],
    centre: Float[Tensor, "3"],
    sh0: Float[Tensor, "N 3"],
    shN: Float[Tensor, "N K 3"],
    opacities: Float[Tensor, "N"] | None,
    degree: int,
) -> Float[Tensor, "N 3"]:
    """The clamped sum, 0 where the opacity is."""
    away = means - centre
    length = away.square().sum(-1, keepdim=True)
    directions = torch.where(length > 1e-30, away * length.clamp_min(1e-30).rsqrt(), torch.zeros_like(away))
    basis = spherical_harmonics.forward(directions, degree + 1)
    coefficients = torch.cat([sh0[:, None], shN[:, : (degree + 1) ** 2 - 1]], 1)
    colors = (basis[:, :, None] * coefficients).sum(1) + 0.5
    if opacities is not None:
        colors = torch.where(opacities[:, None] > 0, colors, torch.zeros_like(colors))
    return colors.clamp_min(0)


def backward(
    grad: Tensor, means: Tensor, centre: Tensor, shN: Tensor, opacities: Tensor | None, colors: Tensor, degree: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients to means, centre, sh0 and shN by autograd; sh0 itself matters only for where colours are cut off."""
    grad = torch.where(colors > 0, grad, torch.zeros_like(grad))
    leaves = [t.detach().requires_grad_() for t in (means, centre, torch.full_like(means, 1e3), shN)]
    with torch.enable_grad():
        found = torch.autograd.grad(
            forward(*leaves, opacities, degree),
            leaves,
            grad,
            allow_unused=True,  # type: ignore[arg-type]
        )
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True))  # type: ignore[return-value]
