"""Blending pairs into points in plain torch: the oracle of the tests, in any float dtype, and other devices' path."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def forward(
    features: Float[Tensor, "P K"], places: Int[Tensor, "N S"], weights: Float[Tensor, "N S"] | None
) -> Float[Tensor, "N K"]:
    """sum over s of weights[n, s] features[places[n, s]], differentiable by autograd."""
    factor = torch.ones_like(places, dtype=features.dtype) if weights is None else weights
    factor = torch.where(places >= 0, factor, 0.0)
    if len(features) == 0:
        return features.new_zeros(places.shape[0], features.shape[1])
    return (features[places.clamp(min=0).long()] * factor[..., None]).sum(1)


def to_features(
    grad: Float[Tensor, "N K"], order: Int[Tensor, "P"], weights: Float[Tensor, "N S"] | None, slots: int
) -> Float[Tensor, "P K"]:
    """The gradient of `forward` with respect to features."""
    at = order.long()
    gathered = grad[at // slots]
    return gathered if weights is None else gathered * weights.flatten()[at, None]


def to_weights(
    grad: Float[Tensor, "N K"], features: Float[Tensor, "P K"], places: Int[Tensor, "N S"]
) -> Float[Tensor, "N S"]:
    """The gradient of `forward` with respect to weights."""
    if len(features) == 0:
        return torch.zeros_like(places, dtype=grad.dtype)
    products = (features[places.clamp(min=0).long()] * grad[:, None]).sum(-1)
    return torch.where(places >= 0, products, 0.0)
