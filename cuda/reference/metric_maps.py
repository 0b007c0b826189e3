"""Metric maps in plain torch: the oracle of the tests, any float dtype, differentiable twice."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

STEEP = 2.0**-12  # metric_maps.cuh, kSteep


def forward(positions: Float[Tensor, "N D"], kind: int) -> Float[Tensor, "M D"]:
    """The three maps one after the other, M = 3 N; `kind` 0 is `signal`, 1 `radiance`."""
    x = positions.clamp(0, 1)
    if kind == 1:
        return torch.cat([x, x.sin(), x.cos()])
    p = 2 * x - 1
    edge = p.detach().clamp(STEEP - 1, 1 - STEEP)
    slope = ((1 - edge) * (1 + edge)).rsqrt()
    inner = p.clamp(STEEP - 1, 1 - STEEP)
    angle = torch.where(p == inner, inner.asin(), edge.asin() + (p - edge) * slope)
    return torch.cat([x, p.sin() / (2 * math.sin(1)) + 0.5, angle / (2 * math.pi) + 0.25])


def backward(grad: Float[Tensor, "M D"], positions: Float[Tensor, "N D"], kind: int) -> Float[Tensor, "N D"]:
    """The gradient with respect to the positions, by autograd through `forward`."""
    with torch.enable_grad():
        leaf = positions.detach().requires_grad_()
        return torch.autograd.grad(forward(leaf, kind), leaf, grad)[0]


def backward_backward(
    second: Float[Tensor, "N D"], grad: Float[Tensor, "M D"], positions: Float[Tensor, "N D"], kind: int
) -> tuple[Float[Tensor, "M D"], Float[Tensor, "N D"]]:
    """From the gradient of `backward`'s result: to the upstream gradient and to the positions."""
    with torch.enable_grad():
        leaf, upstream = positions.detach().requires_grad_(), grad.detach().requires_grad_()
        (first,) = torch.autograd.grad(forward(leaf, kind), leaf, upstream, create_graph=True)
        to_grad, to_positions = torch.autograd.grad(first, (upstream, leaf), second, materialize_grads=True)
    return to_grad, to_positions
