"""The distortion loss as its defining double sum in plain torch: oracle of the tests, in any float dtype."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda.reference.composite import padded, pick


def forward(
    weights: Float[Tensor, "S"],
    t_starts: Float[Tensor, "S"],
    t_ends: Float[Tensor, "S"],
    packed_info: Int[Tensor, "R 2"],
) -> Float[Tensor, "R"]:
    """sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 (t_end_i - t_start_i) of every ray."""
    index, valid = padded(packed_info)
    w = torch.where(valid, pick(weights, index), 0.0)
    m = pick(0.5 * (t_starts + t_ends), index)
    spread = (w[:, :, None] * w[:, None, :] * (m[:, :, None] - m[:, None, :]).abs()).sum((1, 2))
    return spread + (w.square() * pick(t_ends - t_starts, index)).sum(1) / 3


def backward(
    grad: Tensor, weights: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to weights, t_starts and t_ends, by autograd through `forward`."""
    with torch.enable_grad():
        w, starts, ends = (x.detach().requires_grad_() for x in (weights, t_starts, t_ends))
        found = torch.autograd.grad(forward(w, starts, ends, packed_info), (w, starts, ends), grad)
    return found[0], found[1], found[2]
