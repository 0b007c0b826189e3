"""Gaussians to the image plane in plain torch, differentiable by autograd: oracle of the tests, in any float dtype."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MODELS = ("perspective", "orthographic", "opencv", "fisheye")
MIN_ALPHA = 1 / 255
MIN_COMPENSATION = 0.005**2
SLACK = 0.15  # of the image's size: how far outside a Gaussian is linearised at its own place
_SPREAD = 0.1 * math.sqrt(3)  # of the sigma points: alpha sqrt(D), with alpha = 0.1, D = 3
_WEIGHT = 1 / (2 * _SPREAD**2)  # of a sigma point other than the centre
_CENTRE = 2 - 0.1**2  # beta - alpha^2
# Beyond these nothing is seen, as the gradients would leave fp32.
LENGTHS = (1e-15, 1e15)  # of quaternions
LARGEST = 1e12  # extents in pixels, depths and standard deviations in scene units
SHARPEST = 1e8  # entries of conics
LARGEST_DET = 1e37  # of blurred covariances


def forward(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    log_scales: Float[Tensor, "N 3"],
    opacity_logits: Float[Tensor, "N"],
    w2c: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "4"],
    distortion: Float[Tensor, "8"] | None,
    *settings: Any,
) -> Float[Tensor, "9 N"]:
    """x, y, A, B, C, opacity, depth, half width, half height of each Gaussian, all 0 where it is not seen.

    What is not seen is left out of the computation that autograd sees, so that its gradient is exactly 0.

    Args:
        settings: width, height, near, far, blur, antialiased, index into `MODELS`, fold; as `project` has them.
    """
    w2c, intrinsics = w2c.to(means), intrinsics.to(means)
    distortion = means.new_zeros(8) if distortion is None else distortion.to(means)
    with torch.no_grad():
        image, seen = _image(means, quats, log_scales, opacity_logits, w2c, intrinsics, distortion, *settings)
    rows = seen.nonzero()[:, 0]
    parameters = (means[rows], quats[rows], log_scales[rows], opacity_logits[rows])
    found, _ = _image(*parameters, w2c, intrinsics, distortion, *settings)
    return torch.zeros_like(image).index_copy(1, rows, found)


def backward(
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    w2c: Tensor,
    intrinsics: Tensor,
    distortion: Tensor | None,
    settings: tuple[Any, ...],
    grads: tuple[Tensor | None, ...],
) -> tuple[Tensor, ...]:
    """Gradients to the first six tensors from those of means2d, conics, opacities and depths, by autograd."""
    leaves = [x.detach().requires_grad_() for x in (means, quats, log_scales, opacity_logits, w2c, intrinsics)]
    with torch.enable_grad():
        image = forward(*leaves, distortion, *settings)
        outputs = (image[:2].t(), image[2:5].t(), image[5], image[6])
        used = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if grad is not None]
        found = torch.autograd.grad([out for out, _ in used], leaves, [grad for _, grad in used], allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True))


def _image(
    means: Tensor, quats: Tensor, log_scales: Tensor, opacity_logits: Tensor, w2c: Tensor, intrinsics: Tensor,
    distortion: Tensor, width: int, height: int, near: float, far: float, blur: float, antialiased: bool, model: int,
    fold: float,
) -> tuple[Float[Tensor, "9 N"], Bool[Tensor, "N"]]:  # fmt: skip
    """Every Gaussian's image, whatever comes of it, and which of them are seen."""
    size = means.new_tensor([width, height])
    points = means @ w2c[:3, :3].T + w2c[:3, 3]
    axes = w2c[:3, :3] @ (rotations(quats) * log_scales.exp()[:, None, :])  # columns: the semi-axes in the camera
    depths = points[:, 2]
    if MODELS[model] == "fisheye":
        depths = points.norm(dim=1)
    if MODELS[model] in ("opencv", "fisheye"):
        lens = _fisheye if MODELS[model] == "fisheye" else _opencv
        centres, covariances, det = _unscented(points, axes, intrinsics, lambda p: lens(p, distortion, fold))
    else:
        centres, covariances, det = _linear(points, axes, intrinsics, size, MODELS[model] == "orthographic")
    xx, xy, yy = covariances.unbind(dim=1)
    blurred = det + blur * (xx + yy) + blur**2
    xx, yy = xx + blur, yy + blur
    conics = torch.stack([yy, -xy, xx]) / blurred
    opacities = opacity_logits.sigmoid()
    if antialiased:
        opacities = opacities * (det / blurred).clamp_min(MIN_COMPENSATION).sqrt()
    with torch.no_grad():
        reach = (2 * (255 * opacities.clamp_min(MIN_ALPHA)).log()).sqrt()
        extents = reach * torch.stack([xx, yy]).sqrt()
        seen = ((centres.T + extents > 0) & (centres.T - extents < size[:, None]) & (extents < LARGEST)).all(dim=0)
        seen &= (depths >= near) & (depths <= far) & (opacities >= MIN_ALPHA)
        lengths, sizes = quats.square().sum(dim=1).sqrt(), log_scales.exp().sum(dim=1)
        seen &= (lengths > LENGTHS[0]) & (lengths < LENGTHS[1]) & (sizes < LARGEST) & (depths < LARGEST)
        seen &= (blurred > 0) & (blurred < LARGEST_DET) & (conics[0] < SHARPEST) & (conics[2] < SHARPEST)
    return torch.cat([centres.T, conics, opacities[None], depths[None], extents]), seen


def rotations(quats: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """Rotation matrices of quaternions w x y z of any length above 0; NaN for length 0."""
    w, x, y, z = (quats / quats.norm(dim=1, keepdim=True)).unbind(dim=1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=1).unflatten(1, (3, 3))


def _linear(
    points: Float[Tensor, "N 3"],
    axes: Float[Tensor, "N 3 3"],
    intrinsics: Float[Tensor, "4"],
    size: Float[Tensor, "2"],
    orthographic: bool,
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N 3"], Float[Tensor, "N"]]:
    """Centres, covariances (xx, xy, yy) and their determinants by the Jacobian of the projection.

    Outside the image by more than `SLACK` the Jacobian is that of the nearest place inside.
    """
    focal, centre = intrinsics[:2], intrinsics[2:]
    if orthographic:
        means2d = points[:, :2] * focal + centre
        semi = axes[:, :2] * focal[:, None]
    else:
        z = points[:, 2:]
        means2d = points[:, :2] / z * focal + centre
        place = torch.minimum(torch.maximum(means2d, -SLACK * size), (1 + SLACK) * size)
        semi = (axes[:, :2] * focal[:, None] - (place - centre)[:, :, None] * axes[:, 2:]) / z[..., None]
    u, v = semi.unbind(dim=1)
    covariances = torch.stack([(u * u).sum(dim=1), (u * v).sum(dim=1), (v * v).sum(dim=1)], dim=1)
    return means2d, covariances, torch.linalg.cross(u, v).square().sum(dim=1)


def _unscented(
    points: Float[Tensor, "N 3"],
    axes: Float[Tensor, "N 3 3"],
    intrinsics: Float[Tensor, "4"],
    lens: Callable[[Tensor], Tensor],
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N 3"], Float[Tensor, "N"]]:
    """As `_linear`, from the images of seven points: the unscented transform with alpha 0.1, beta 2, kappa 0.

    Written with differences d to the image of the centre: as the weights of the mean add up to 1, the mean is
    w sum d beside it, and the covariance w sum d d^T + (beta - alpha^2) mean mean^T, which is never negative.
    """
    middle = lens(points) * intrinsics[:2] + intrinsics[2:]
    offsets = []
    for axis in axes.unbind(dim=2):
        for sign in (_SPREAD, -_SPREAD):
            image = lens(points + sign * axis) * intrinsics[:2] + intrinsics[2:]
            offsets.append(image - middle)
    u, v = torch.stack(offsets, dim=1).unbind(dim=2)
    mean_u, mean_v = _WEIGHT * u.sum(dim=1), _WEIGHT * v.sum(dim=1)
    xx = _WEIGHT * (u * u).sum(dim=1) + _CENTRE * mean_u * mean_u
    xy = _WEIGHT * (u * v).sum(dim=1) + _CENTRE * mean_u * mean_v
    yy = _WEIGHT * (v * v).sum(dim=1) + _CENTRE * mean_v * mean_v
    det = (xx * yy - xy * xy).clamp_min(0)
    return middle + torch.stack([mean_u, mean_v], dim=1), torch.stack([xx, xy, yy], dim=1), det


def _opencv(points: Float[Tensor, "N 3"], k: Float[Tensor, "8"], fold: float) -> Float[Tensor, "N 2"]:
    """Places on the plane z = 1; NaN behind the camera and from `fold` on."""
    x, y = (points[:, :2] / points[:, 2:]).unbind(dim=1)
    k1, k2, p1, p2, k3, k4, k5, k6 = k.unbind()
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    bent = [
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    ]
    seen = (points[:, 2] > 0) & (r2 < fold * fold)
    return torch.where(seen[:, None], torch.stack(bent, dim=1), math.nan)


def _fisheye(points: Float[Tensor, "N 3"], k: Float[Tensor, "8"], fold: float) -> Float[Tensor, "N 2"]:
    """Places on the plane; NaN from the angle `fold` on."""
    # Half a ulp beside the axis instead of on it: the slope of the radius has no value there.
    radius = (points[:, :2].square().sum(dim=1) + 1e-14 * points[:, 2].square()).sqrt()
    theta = torch.atan2(radius, points[:, 2])
    t2 = theta * theta
    bent = theta * (1 + t2 * (k[0] + t2 * (k[1] + t2 * (k[2] + t2 * k[3]))))
    seen = (theta < fold) & (radius < 1e18)  # whose square is finite in fp32
    return torch.where(seen[:, None], points[:, :2] * (bent / radius)[:, None], math.nan)
