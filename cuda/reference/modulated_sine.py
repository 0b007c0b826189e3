"""The modulated sine network in plain torch: the oracle of the tests, any float dtype, any device."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from neural.cuda.modulated_sine_spec import ModulatedSineSpec


def forward(
    coordinates: Float[Tensor, "N X"], features: Float[Tensor, "M K"], params: Float[Tensor, "P"],
    spec: "ModulatedSineSpec",
) -> Float[Tensor, "N O"]:  # fmt: skip
    """The network layer by layer."""
    grids = features.unflatten(0, (spec.n_grids, coordinates.shape[0]))
    *maps, last = spec.maps(params)
    h = grids.sum(0)
    for layer in range(spec.n_hidden_layers):
        modulator = coordinates if layer == 0 else grids[spec.grid_of(layer)]
        z, v = functional.linear(h, *maps[2 * layer]), functional.linear(modulator, *maps[2 * layer + 1])
        h = torch.sin(spec.frequency * z) * torch.sin(spec.frequency * v) ** 2
    return functional.linear(h, *last)


def backward(
    grad: Tensor, coordinates: Tensor, features: Tensor, params: Tensor, spec: "ModulatedSineSpec"
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of <forward, grad> to coordinates, features and params."""
    with torch.enable_grad():
        x, e, theta = (t.detach().requires_grad_() for t in (coordinates, features, params))
        to_x, to_e, to_params = torch.autograd.grad(forward(x, e, theta, spec), (x, e, theta), grad)
    return to_x, to_e, to_params


def backward_backward(
    seconds: Sequence[Tensor | None], grad: Tensor, coordinates: Tensor, features: Tensor,
    params: Tensor, spec: "ModulatedSineSpec",
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of <backward's results, seconds> to grad, coordinates, features and params."""
    with torch.enable_grad():
        u, x, e, theta = (t.detach().requires_grad_() for t in (grad, coordinates, features, params))
        first = torch.autograd.grad(forward(x, e, theta, spec), (x, e, theta), u, create_graph=True)
        given = [(f, s) for f, s in zip(first, seconds, strict=True) if s is not None]
        results = [f for f, _ in given], (u, x, e, theta), [s for _, s in given]
        return torch.autograd.grad(*results, materialize_grads=True)
