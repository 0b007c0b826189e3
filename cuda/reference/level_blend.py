"""Blending over the samples of a cone in plain torch: the oracle of the tests, any float dtype, by autograd."""

import torch
from jaxtyping import Float
from torch import Tensor


def forward(
    features: Float[Tensor, "S K"], widths: Float[Tensor, " S"], reach: Float[Tensor, " L"], n_samples: int
) -> Float[Tensor, "N K"]:
    """The mean over a point's samples of erf(reach / width) times the features, level by level."""
    n_points, n_levels = widths.shape[0] // n_samples, reach.shape[0]
    weights = torch.erf(reach.to(features) / widths[:, None])
    shaped = features.reshape(n_points, n_samples, n_levels, -1) * weights.reshape(n_points, n_samples, n_levels, 1)
    return shaped.mean(1).flatten(1)


def backward(grad: Tensor, features: Tensor, widths: Tensor, reach: Tensor, n_samples: int) -> tuple[Tensor, Tensor]:
    """Gradients with respect to features and widths, by autograd through `forward`."""
    with torch.enable_grad():
        f, w = features.detach().requires_grad_(), widths.detach().requires_grad_()
        return torch.autograd.grad(forward(f, w, reach, n_samples), (f, w), grad)  # type: ignore[return-value]


def backward_backward(
    along_features: Tensor, along_widths: Tensor, grad: Tensor, features: Tensor, widths: Tensor, reach: Tensor,
    n_samples: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of <backward's results, the two directions> with respect to grad, features and widths."""
    with torch.enable_grad():
        g, f, w = (v.detach().requires_grad_() for v in (grad, features, widths))
        first = torch.autograd.grad(forward(f, w, reach, n_samples), (f, w), g, create_graph=True)
        return torch.autograd.grad(first, (g, f, w), (along_features, along_widths))  # type: ignore[return-value]
