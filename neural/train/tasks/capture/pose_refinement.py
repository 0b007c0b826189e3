"""Small corrections of camera poses, learnt with the scene."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural.cameras import Cameras


class PoseRefinement(nn.Module):
    """A rotation and a translation per camera, in the camera's own axes, zero at first.

    Args:
        n_cameras: C.

    Attributes:
        tangent: [C, 6], rotation vector (radians) and translation (scene units).
    """

    def __init__(self, n_cameras: int) -> None:
        super().__init__()
        self.tangent = nn.Parameter(torch.zeros(n_cameras, 6))

    def forward(self, cameras: Cameras, first: int = 0) -> Cameras:
        """The corrected cameras; gradients reach `tangent`.

        Args:
            cameras: All of them, or some in a row.
            first: Number of the first one.
        """
        tangent = self.tangent[first : first + len(cameras)]
        correction = torch.eye(4, device=tangent.device).repeat(len(cameras), 1, 1)
        correction[:, :3, :3] = rotation(tangent[:, :3])
        correction[:, :3, 3] = tangent[:, 3:]
        return replace(cameras, c2w=cameras.c2w @ correction.to(cameras.c2w.dtype))


def rotation(vector: Float[Tensor, "C 3"]) -> Float[Tensor, "C 3 3"]:
    """The rotation by |vector| radians about `vector`, smooth at zero (Rodrigues' formula)."""
    squared = (vector * vector).sum(-1)[:, None, None]
    angle = (squared + 1e-24).sqrt()
    small = squared < 1e-8
    sine = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / (squared + 1e-24))
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + sine * cross + cosine * (cross @ cross)
