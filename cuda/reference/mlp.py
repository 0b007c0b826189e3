"""The multilayer perceptron in plain torch: the oracle of the tests, in any float dtype, differentiable any number of times."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from neural.cuda.mlp import MLPSpec


def forward(inputs: Float[Tensor, "N I"], params: Float[Tensor, "P"], spec: "MLPSpec") -> Float[Tensor, "N O"]:
    """Layer by layer, as torch.nn.Linear would."""
    a, offset = inputs, 0
    for layer, (outputs, n) in enumerate(spec.shapes):
        weights = params[offset : offset + outputs * n].reshape(outputs, n)
        offset += outputs * n
        bias = params[offset : offset + outputs] if spec.bias else None
        offset += outputs if spec.bias else 0
        last = layer == spec.n_hidden_layers
        a = activate(functional.linear(a, weights, bias), spec.output_activation if last else spec.activation, spec)
    return a


def activate(z: Tensor, name: str, spec: "MLPSpec") -> Tensor:
    """phi(z)."""
    if name == "sine":
        return torch.sin(spec.frequency * z)
    if name == "softplus":
        return functional.softplus(z, threshold=1000)
    simple = {
        "none": lambda v: v, "relu": functional.relu, "leaky_relu": functional.leaky_relu, "silu": functional.silu,
        "sigmoid": torch.sigmoid, "exp": torch.exp,
    }  # fmt: skip
    return simple[name](z)


def backward(grad: Tensor, inputs: Tensor, params: Tensor, spec: "MLPSpec") -> tuple[Tensor, ...]:
    """Gradients with respect to inputs and params, by autograd."""
    with torch.enable_grad():
        x, p = inputs.detach().requires_grad_(), params.detach().requires_grad_()
        return torch.autograd.grad(forward(x, p, spec), (x, p), grad)


def backward_backward(
    direction: Tensor, grad: Tensor, inputs: Tensor, params: Tensor, spec: "MLPSpec"
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of <grad_inputs, direction> with respect to grad, inputs and params."""
    with torch.enable_grad():
        g, x, p = (v.detach().requires_grad_() for v in (grad, inputs, params))
        (gx,) = torch.autograd.grad(forward(x, p, spec), x, g, create_graph=True)
        found = torch.autograd.grad((gx * direction).sum(), (g, x, p), allow_unused=True)
    return tuple(torch.zeros_like(v) if f is None else f for f, v in zip(found, (g, x, p), strict=True))  # type: ignore[return-value]
