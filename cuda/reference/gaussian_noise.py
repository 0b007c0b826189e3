"""Noise on Gaussians' centres in plain torch: oracle of the tests and path of devices without kernels."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda.reference import philox

STREAM = 0x676E7365
OPAQUE = -1.613  # logit from which a Gaussian stays


def normals(n: int, seed: int, step: int) -> Float[Tensor, "N 3"]:
    """Three standard normal numbers a row, by Box and Muller from the row's Philox block; float64, on the CPU.

    Source: Box and Muller 1958, "A Note on the Generation of Random Normal Deviates".
    """
    u = torch.from_numpy(philox.uniform(seed, STREAM, step, n, 4).astype(np.float64))
    radii = (-2 * torch.log1p(-u[:, [0, 2]])).sqrt()
    angles = 2 * torch.pi * u[:, [1, 3]]
    x, y, z = radii[:, 0] * angles[:, 0].cos(), radii[:, 0] * angles[:, 0].sin(), radii[:, 1] * angles[:, 1].cos()
    return torch.stack([x, y, z], 1)


def move(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    log_scales: Float[Tensor, "N 3"],
    logits: Float[Tensor, "N"],
    strength: float,
    seed: int,
    step: int,
) -> None:
    """means += strength sigmoid(-100 (o - 0.005)) R diag(s^2) R^T n, in place; see `neural.cuda.gaussian_noise`."""
    n = normals(len(means), seed, step).to(means)
    rotations = _rotations(quats)
    factor = strength * torch.sigmoid(-100 * (logits.sigmoid() - 0.005))
    along = torch.einsum("nij,ni->nj", rotations, n) * (2 * log_scales).exp() * factor[:, None]
    moves = (logits < OPAQUE) & (quats.square().sum(1) > 1e-30)
    means += torch.where(moves[:, None], torch.einsum("nij,nj->ni", rotations, along), 0.0)


def _rotations(quats: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """I + 2 w [v] + 2 [v]^2 of the unit quaternion (w, v), [v] the matrix of the cross product with v."""
    unit = quats / quats.norm(dim=1, keepdim=True)
    w, v = unit[:, 0, None, None], unit[:, 1:]
    eye = torch.eye(3, dtype=quats.dtype, device=quats.device).expand(len(quats), 3, 3)
    cross = torch.linalg.cross(v[:, None, :].expand_as(eye), eye).transpose(1, 2)
    return eye + 2 * w * cross + 2 * cross @ cross
