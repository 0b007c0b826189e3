"""Surfels (flat Gaussians) to the image in plain torch, differentiable by autograd: oracle, in any float dtype."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural.cuda.reference.gaussian_projection import LARGEST, LENGTHS, MIN_ALPHA, rotations

ROWS = 20
GRADIENT_ROWS = 13  # the first ones: the cover has no gradient
LEAST_ROOM = 1e-2  # what is left of 1 - (depth gained within reach / depth of the centre)^2 where a cover is an ellipse
SWELL = 1 + 1e-4  # of covers, against rounding
FLAT = 1e-12  # conic of a cover that is the whole image


def forward(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    log_scales: Float[Tensor, "N 3"],
    opacity_logits: Float[Tensor, "N"],
    w2c: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "4"],
    *settings: Any,
) -> Float[Tensor, "20 N"]:
    """Centre, axes (3x2, row-major), depth, normal, opacity; centre, conic and extents of the cover. 0: not seen.

    What is not seen is left out of the computation that autograd sees, so that its gradient is exactly 0.

    Args:
        settings: width, height, near, far; as `surfel_projection.project` has them.
    """
    w2c, intrinsics = w2c.to(means), intrinsics.to(means)
    with torch.no_grad():
        image, seen = _image(means, quats, log_scales, opacity_logits, w2c, intrinsics, *settings)
    rows = seen.nonzero()[:, 0]
    parameters = (means[rows], quats[rows], log_scales[rows], opacity_logits[rows])
    found, _ = _image(*parameters, w2c, intrinsics, *settings)
    return torch.zeros_like(image).index_copy(1, rows, found)


def backward(grad: Float[Tensor, "13 N"], inputs: tuple[Tensor, ...], settings: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Gradients to the six inputs from those of the first rows, by autograd."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    with torch.enable_grad():
        image = forward(*leaves, *settings)
        return torch.autograd.grad(image[:GRADIENT_ROWS], leaves, grad)


def _image(
    means: Tensor, quats: Tensor, log_scales: Tensor, opacity_logits: Tensor, w2c: Tensor, intrinsics: Tensor,
    width: int, height: int, near: float, far: float,
) -> tuple[Float[Tensor, "20 N"], Bool[Tensor, "N"]]:  # fmt: skip
    """Every surfel's image, whatever comes of it, and which of them are seen."""
    points = means @ w2c[:3, :3].T + w2c[:3, 3]
    turned = w2c[:3, :3] @ rotations(quats)
    steps = turned[:, :, :2] * log_scales[:, None, :2].exp()  # to one standard deviation, in the camera
    depths = points[:, 2]
    ratios = points[:, :2] / depths[:, None]
    means2d = ratios * intrinsics[:2] + intrinsics[2:]
    across = (steps[:, :2] - ratios[:, :, None] * steps[:, 2:]) * intrinsics[:2, None]  # [N, xy, uv]
    along = steps[:, 2]
    normals = turned[:, :, 2]
    with torch.no_grad():
        away = (normals * points).sum(dim=1) >= 0
    normals = torch.where(away[:, None], -normals, normals)
    opacities = opacity_logits.sigmoid()
    with torch.no_grad():
        centres, conics, extents = cover(means2d, across, along, depths, opacities, (width, height))
        size = means.new_tensor([width, height])
        lengths, sizes = quats.square().sum(dim=1).sqrt(), log_scales[:, :2].exp().sum(dim=1)
        seen = (depths >= near) & (depths <= far) & (depths < LARGEST) & (opacities >= MIN_ALPHA)
        seen &= (lengths > LENGTHS[0]) & (lengths < LENGTHS[1]) & (sizes < LARGEST)
        seen &= ((centres + extents > 0) & (centres - extents < size) & (extents < LARGEST)).all(dim=1)
    own = [means2d, across.flatten(1), along, depths[:, None], normals, opacities[:, None]]
    return torch.cat([*own, centres, conics, extents], dim=1).T, seen


def cover(
    means2d: Float[Tensor, "N 2"],
    across: Float[Tensor, "N 2 2"],
    along: Float[Tensor, "N 2"],
    depths: Float[Tensor, "N"],
    opacities: Float[Tensor, "N"],
    size: tuple[int, int],
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N 3"], Float[Tensor, "N 2"]]:
    """Centre, conic and extents of a 2D Gaussian that is at least as opaque everywhere alpha may reach 1/255.

    With r the standard deviations to alpha = 1/255, the circle u^2 + v^2 = r^2 is seen as an ellipse around
    mean - r^2 A w / (z^2 g) with the matrix r^2 A A^T / (z^2 g) + (offset)(offset)^T, where A is `across`, w is
    `along` and g = 1 - r^2 |w|^2 / z^2. The low-pass disc, of radius r / sqrt(2), lies inside once r^2 / (2 g) is
    added to its diagonal. A surfel that comes near the camera's plane within its reach (g < 0.01) covers the image.
    """
    reach2 = 2 * (255 * opacities.clamp_min(MIN_ALPHA)).log()
    tilt = along / depths[:, None]
    room = 1 - reach2 * tilt.square().sum(dim=1)
    inverse = 1 / room
    spread = across / depths[:, None, None]
    slope = -(spread @ tilt[:, :, None])[:, :, 0] * inverse[:, None]  # offset of the ellipse's centre / r^2
    u, v = spread.unbind(dim=1)
    own = torch.stack([(u * u).sum(dim=1), (u * v).sum(dim=1), (v * v).sum(dim=1)]) * inverse
    shift = torch.stack([slope[:, 0] ** 2, slope[:, 0] * slope[:, 1], slope[:, 1] ** 2]) * reach2
    xx, xy, yy = own + shift
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    low = 0.5 * inverse
    det = area.square() * inverse**3 + (xx + yy + low) * low
    xx, yy = xx + low, yy + low
    conics = torch.stack([yy, -xy, xx], dim=1) / (det * SWELL)[:, None]
    extents = (SWELL * reach2[:, None] * torch.stack([xx, yy], dim=1)).sqrt()
    centres = means2d + slope * reach2[:, None]
    middle = 0.5 * means2d.new_tensor(size)
    wide = (room < LEAST_ROOM)[:, None]
    flat = means2d.new_tensor([FLAT, 0.0, FLAT])
    return torch.where(wide, middle, centres), torch.where(wide, flat, conics), torch.where(wide, middle, extents)
