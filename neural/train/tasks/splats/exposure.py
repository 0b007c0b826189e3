"""An affine colour correction per photograph, learnt with the scene."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural.cuda.autograd import Function
from neural.losses import steady_mean

_CHUNK = 1024  # pixels that are added in one row


class Exposure(nn.Module):
    """Colours of photograph i are A_i c + b_i of those of the scene; the mean of all corrections stays the identity.

    Args:
        n_images: I.

    Attributes:
        change: [I, 3, 4], what is added to the identity, columns A and b, before the mean is taken off.

    Source: Kerbl et al. 2024, arXiv:2406.12080 (Hierarchical 3D Gaussians), section 5.3 (exposure).
    """

    def __init__(self, n_images: int) -> None:
        super().__init__()
        self.change = nn.Parameter(torch.zeros(n_images, 3, 4))

    def matrix(self, index: int) -> Float[Tensor, "3 4"]:
        """A and b of one photograph."""
        identity = torch.eye(3, 4, device=self.change.device)
        return identity + self.change[index] - self.change.mean(0)

    def strength(self, image: Float[Tensor, "H W 3"], index: int) -> Float[Tensor, ""]:
        """What the correction of one photograph changes in it: mean absolute difference, the image taken as given.

        Against the L1 loss of the photograph it weighs what share of the change is for the better.
        """
        return steady_mean((self(image.detach(), index) - image.detach()).abs())

    def forward(self, image: Float[Tensor, "H W 3"], index: int) -> Float[Tensor, "H W 3"]:
        """The image as photograph `index` would show it."""
        return _Affine.apply(image, self.matrix(index))


class _Affine(Function):
    """Its sums over pixels do not depend on the number of threads, as those of a matrix product would."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(image, matrix)
        return _mix(image, matrix[:, :3]) + matrix[:, 3]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, matrix = ctx.saved_tensors
        columns = [*image.unbind(-1), torch.ones_like(image[..., 0])]
        sums = [[_sum(up * column) for column in columns] for up in grad.unbind(-1)]
        return _mix(grad, matrix[:, :3].t()), torch.stack([torch.stack(row) for row in sums])


def _mix(image: Tensor, matrix: Tensor) -> Tensor:
    """matrix @ colour, in the planar order in which images are made."""
    planes = image.unbind(-1)
    return torch.stack([sum(row[k] * planes[k] for k in range(3)) for row in matrix]).permute(1, 2, 0)


def _sum(values: Tensor) -> Tensor:
    flat = values.flatten()
    whole = len(flat) // _CHUNK * _CHUNK
    return flat[:whole].view(-1, _CHUNK).sum(1).double().sum().to(flat) + flat[whole:].sum()
