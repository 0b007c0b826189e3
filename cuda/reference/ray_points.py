"""Sample positions in plain torch, in any float dtype; gradients by autograd."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def forward(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    t_starts: Float[Tensor, " S"],
    t_ends: Float[Tensor, " S"],
    ray_indices: Int[Tensor, " S"],
) -> tuple[Float[Tensor, "S 3"], Float[Tensor, "S 3"]]:
    """Middles of the samples, and their rays' directions."""
    along = directions[ray_indices]
    return origins[ray_indices] + (0.5 * (t_starts + t_ends))[:, None] * along, along


def backward(
    grad_positions: Float[Tensor, "S 3"],
    grad_sample_directions: Float[Tensor, "S 3"],
    t_starts: Float[Tensor, " S"],
    t_ends: Float[Tensor, " S"],
    ray_indices: Int[Tensor, " S"],
    n_rays: int,
) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "R 3"]]:
    """The gradients of the rays, by autograd through `forward`."""
    with torch.enable_grad():
        leaves = [grad_positions.new_zeros(n_rays, 3).requires_grad_() for _ in range(2)]
        outputs = forward(*leaves, t_starts, t_ends, ray_indices)
        o, d = torch.autograd.grad(outputs, leaves, (grad_positions, grad_sample_directions))
    return o, d
