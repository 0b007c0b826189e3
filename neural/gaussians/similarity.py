"""Gaussians in another frame: rotated, scaled and moved, colours included."""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neural.gaussians.model import Gaussians
from neural.poses import quat_from_rotation
from neural.scenes.files.gaussians import harmonics


@torch.no_grad()
def transformed(
    gaussians: Gaussians, similarity: Float64[np.ndarray, "4 4"], origin: Float[Tensor, "3"] | None = None
) -> Gaussians:
    """A copy that looks from every place of the new frame as the old one did.

    Args:
        gaussians: In the old frame.
        similarity: From the old frame to the new one: rotation, uniform scale, translation.
        origin: float64, added to the means first.

    Raises:
        ValueError: Not a similarity, or one that mirrors.
    """
    linear = np.asarray(similarity, dtype=np.float64)[:3, :3]
    scale = float(np.cbrt(np.linalg.det(linear)))
    if not (scale > 0 and np.allclose(linear @ linear.T, scale**2 * np.eye(3), atol=1e-6 * scale**2)):
        raise ValueError("transformed needs a rotation times a uniform positive scale")
    rotation = linear / scale
    means = gaussians.means.double().cpu()
    if origin is not None:
        means = means + origin.double()
    means = means @ torch.from_numpy(linear).T + torch.from_numpy(np.asarray(similarity, dtype=np.float64)[:3, 3])
    turned = not np.allclose(rotation, np.eye(3), atol=1e-12)
    quats, shN = gaussians.quats.detach().cpu(), gaussians.shN.detach().cpu()
    if turned:
        quats = _product(torch.from_numpy(quat_from_rotation(rotation)), quats.double()).float()
        shN = torch.from_numpy(harmonics.turned(shN.numpy(), rotation))
    return Gaussians(
        means.float(), quats, (gaussians.log_scales.double().cpu() + np.log(scale)).float(),
        gaussians.opacity_logits.detach().cpu().clone(), gaussians.sh0.detach().cpu().clone(), shN.clone(),
        antialiased=gaussians.antialiased, surfels=gaussians.surfels,
    )  # fmt: skip


def _product(left: Float[Tensor, "4"], right: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
    """Quaternions w x y z: the turn `right`, then the turn `left`."""
    w, v = left[0], left[1:]
    rw, rv = right[:, :1], right[:, 1:]
    vector = w * rv + rw * v + torch.linalg.cross(v.expand_as(rv), rv)
    return torch.cat([w * rw - (rv * v).sum(1, keepdim=True), vector], 1)
