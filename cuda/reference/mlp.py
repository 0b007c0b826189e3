"""The multilayer perceptron in plain torch: the oracle of the tests, in any float dtype, on any device."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from neural.cuda.mlp_spec import MLPSpec


def activate(name: str, z: Tensor, frequency: float = 1.0) -> Tensor:
    """One activation by its name in `mlp_spec.ACTIVATIONS`."""
    match name:
        case "relu":
            return functional.relu(z)
        case "leaky_relu":
            return functional.leaky_relu(z, 0.01)
        case "silu":
            return functional.silu(z)
        case "softplus":
            return functional.softplus(z, threshold=50)
        case "sine":
            return torch.sin(frequency * z)
        case "sigmoid":
            return torch.sigmoid(z)
        case "exp":
            return torch.exp(z)
        case _:
            return z


def forward(inputs: Float[Tensor, "N I"], params: Float[Tensor, "P"], spec: "MLPSpec") -> Float[Tensor, "N O"]:
    """The network layer by layer."""
    a = inputs
    for layer, (weight, bias) in enumerate(spec.layers(params)):
        name = spec.output_activation if layer == spec.n_hidden_layers else spec.activation
        a = activate(name, functional.linear(a, weight, bias), spec.frequency)
    return a


def backward(
    grad: Float[Tensor, "N O"], inputs: Float[Tensor, "N I"], params: Float[Tensor, "P"], spec: "MLPSpec"
) -> tuple[Float[Tensor, "N I"], Float[Tensor, "P"]]:
    """Gradients of <forward, grad> to inputs and params."""
    with torch.enable_grad():
        x, theta = inputs.detach().requires_grad_(), params.detach().requires_grad_()
        to_inputs, to_params = torch.autograd.grad(forward(x, theta, spec), (x, theta), grad)
    return to_inputs, to_params


def backward_backward(
    second: Float[Tensor, "N I"],
    grad: Float[Tensor, "N O"],
    inputs: Float[Tensor, "N I"],
    params: Float[Tensor, "P"],
    spec: "MLPSpec",
) -> tuple[Float[Tensor, "N O"], Float[Tensor, "N I"], Float[Tensor, "P"]]:
    """Gradients of <gradient to the inputs, second> to grad, inputs and params."""
    with torch.enable_grad():
        u, x, theta = (t.detach().requires_grad_() for t in (grad, inputs, params))
        to_inputs = torch.autograd.grad(forward(x, theta, spec), x, u, create_graph=True)[0]
        results = torch.autograd.grad(to_inputs, (u, x, theta), second, materialize_grads=True)
    return results[0], results[1], results[2]
