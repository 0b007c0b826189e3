"""Frequency encoding in plain torch: the oracle of the tests, any float dtype, differentiable any number of times."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def forward(positions: Float[Tensor, "N D"], n_frequencies: int) -> Float[Tensor, "N K"]:
    """sin(2^k pi x), cos(2^k pi x), interleaved per frequency, dimension after dimension."""
    scales = math.pi * 2.0 ** torch.arange(n_frequencies, dtype=positions.dtype, device=positions.device)
    angles = positions[..., None] * scales
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def backward(grad: Tensor, positions: Tensor, n_frequencies: int) -> Tensor:
    """The gradient with respect to the positions, by autograd through `forward`."""
    with torch.enable_grad():
        leaf = positions.detach().requires_grad_()
        return torch.autograd.grad(forward(leaf, n_frequencies), leaf, grad)[0]


def backward_backward(second: Tensor, grad: Tensor, positions: Tensor, n_frequencies: int) -> tuple[Tensor, Tensor]:
    """From the gradient of `backward`'s result: to the upstream gradient and to the positions."""
    with torch.enable_grad():
        leaf, upstream = positions.detach().requires_grad_(), grad.detach().requires_grad_()
        (first,) = torch.autograd.grad(forward(leaf, n_frequencies), leaf, upstream, create_graph=True)
        to_grad, to_positions = torch.autograd.grad(first, (upstream, leaf), second)
    return to_grad, to_positions
