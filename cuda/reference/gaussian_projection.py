"""Projection of Gaussians in plain torch, differentiable by autograd: oracle of the tests, in any float dtype."""

import torch
from jaxtyping import Float
from torch import Tensor

MIN_ALPHA = 1 / 255
MIN_COMPENSATION = 0.005**2


def forward(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    log_scales: Float[Tensor, "N 3"],
    opacity_logits: Float[Tensor, "N"],
    w2c: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "4"],
    width: int,
    height: int,
    near: float,
    far: float,
    blur: float,
    antialiased: bool,
    orthographic: bool,
) -> Float[Tensor, "9 N"]:
    """x, y, A, B, C, opacity, depth, half width, half height of each Gaussian, all 0 where it is not seen."""
    w2c, intrinsics = w2c.to(means), intrinsics.to(means)
    fx, fy, cx, cy = intrinsics.unbind()
    in_camera = means @ w2c[:3, :3].T + w2c[:3, 3]
    x, y, z = in_camera.unbind(-1)
    length = quats.square().sum(-1).sqrt()
    in_front = (z >= near) & (z <= far) & (length > 1e-15) & (length < 1e15)
    safe = torch.where(in_front, z, torch.ones_like(z))
    zero = torch.zeros_like(z)
    if orthographic:
        jacobian = torch.stack([fx.expand_as(z), zero, zero, zero, fy.expand_as(z), zero], -1)
        pixels = torch.stack([fx * x + cx, fy * y + cy])
    else:
        held_x = _clamp(x / safe, -(cx + 0.15 * width) / fx, (1.15 * width - cx) / fx)
        held_y = _clamp(y / safe, -(cy + 0.15 * height) / fy, (1.15 * height - cy) / fy)
        jacobian = torch.stack([fx / safe, zero, -fx * held_x / safe, zero, fy / safe, -fy * held_y / safe], -1)
        pixels = torch.stack([fx * x / safe + cx, fy * y / safe + cy])
    halves = rotations(quats, length) * log_scales.exp()[:, None, :]
    image = jacobian.unflatten(-1, (2, 3)) @ w2c[:3, :3] @ halves
    covariance = image @ image.transpose(1, 2)
    a, b, c = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    unblurred = torch.linalg.cross(image[:, 0], image[:, 1]).square().sum(-1)
    determinant = unblurred + blur * (a + c) + blur**2
    opacities = opacity_logits.sigmoid()
    if antialiased:
        opacities = opacities * (unblurred / determinant).clamp_min(MIN_COMPENSATION).sqrt()
    a, c = a + blur, c + blur
    with torch.no_grad():
        reach = (2 * (255 * opacities.clamp_min(MIN_ALPHA)).log()).sqrt()
        extents = reach * torch.stack([a, c]).sqrt()
        near_image = (pixels + extents > 0).all(0)
        near_image &= (pixels[0] - extents[0] < width) & (pixels[1] - extents[1] < height)
        usable = (extents < 1e15).all(0) & (determinant > 0) & (determinant < 1e37)
        seen = in_front & (opacities >= MIN_ALPHA) & near_image & usable
    conics = torch.stack([c, -b, a]) / determinant
    rows = torch.cat([pixels, conics, opacities[None], z[None], extents])
    return torch.where(seen, rows, torch.zeros_like(rows))


def backward(
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    w2c: Tensor,
    intrinsics: Tensor,
    settings: tuple,
    grads: tuple[Tensor | None, ...],
) -> tuple[Tensor, ...]:
    """Gradients to all six tensors from those of means2d, conics, opacities and depths, by autograd."""
    leaves = [t.detach().requires_grad_() for t in (means, quats, log_scales, opacity_logits, w2c, intrinsics)]
    with torch.enable_grad():
        image = forward(*leaves, *settings)
        outputs = (image[:2].t(), image[2:5].t(), image[5], image[6])
        used = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if grad is not None]
        found = torch.autograd.grad([out for out, _ in used], leaves, [grad for _, grad in used], allow_unused=True)
    cleaned = [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)]
    # a Gaussian that is not seen may be anything, and 0 times that need not be 0
    seen = image[5].detach() > 0
    for place in range(4):
        cleaned[place] = torch.where(seen.reshape(-1, *[1] * (cleaned[place].ndim - 1)), cleaned[place], 0.0)
    return tuple(cleaned)


def rotations(quats: Float[Tensor, "N 4"], length: Float[Tensor, "N"]) -> Float[Tensor, "N 3 3"]:
    """Rotation matrices of quaternions w x y z of the given lengths."""
    w, x, y, z = (quats / length.clamp_min(1e-15)[:, None]).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def _clamp(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Between two scalars that have a gradient of their own."""
    return torch.minimum(torch.maximum(values, low), high)
