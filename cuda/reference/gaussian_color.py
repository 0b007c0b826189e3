"""Colours of Gaussians in plain torch, differentiable by autograd: oracle of the tests, in any float dtype."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda.reference import spherical_harmonics

BRIGHTEST = 3e38


def forward(
    means: Float[Tensor, "N 3"],
    centre: Float[Tensor, "3"],
    sh0: Float[Tensor, "N 3"],
    shN: Float[Tensor, "N K 3"],
    opacities: Float[Tensor, "N"] | None,
    degree: int,
) -> Float[Tensor, "N 3"]:
    """The sum where it is positive; 0 where the opacity is 0 or the sum of a channel is not finite.

    What is 0 for these two reasons is left out of the computation that autograd sees.
    """
    with torch.no_grad():
        kept = (_sums(means, centre, sh0, shN, degree).abs() < BRIGHTEST).all(dim=1)
        if opacities is not None:
            kept &= opacities > 0
    rows = kept.nonzero()[:, 0]
    found = _sums(means[rows], centre, sh0[rows], shN[rows], degree)
    return torch.zeros_like(sh0).index_copy(0, rows, torch.where(found > 0, found, 0.0))


def backward(
    grad: Tensor, means: Tensor, centre: Tensor, shN: Tensor, opacities: Tensor | None, colors: Tensor, degree: int
) -> tuple[Tensor, ...]:
    """Gradients to means, centre, sh0 and shN by autograd; of sh0 it matters only which colours are cut off."""
    grad = torch.where(colors > 0, grad, 0.0)
    leaves = [x.detach().requires_grad_() for x in (means, centre, torch.full_like(means, 1e3), shN)]
    with torch.enable_grad():
        found = torch.autograd.grad(
            forward(leaves[0], leaves[1], leaves[2], leaves[3], opacities, degree), leaves, grad, allow_unused=True
        )
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True))


def _sums(means: Tensor, centre: Tensor, sh0: Tensor, shN: Tensor, degree: int) -> Float[Tensor, "N 3"]:
    away = means - centre
    length2 = away.square().sum(dim=1, keepdim=True)
    has_one = (length2 > 1e-30) & (length2 < BRIGHTEST)
    directions = torch.where(has_one, away, 0.0) * torch.where(has_one, length2, 1.0).rsqrt()
    basis = spherical_harmonics.forward(directions, degree + 1)
    coefficients = torch.cat([sh0[:, None], shN[:, : (degree + 1) ** 2 - 1]], dim=1)
    return (basis[:, :, None] * coefficients).sum(dim=1) + 0.5
