"""The photometric loss in plain torch, in any float dtype: the oracle of the tests."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

WINDOW, SIGMA, C1, C2 = 11, 1.5, 0.01**2, 0.03**2


def forward(
    image: Float[Tensor, "H W C"],
    target: Float[Tensor, "H W C"] | UInt8[Tensor, "H W C"],
    mask: Tensor | None,
    ssim_weight: float,
) -> Float[Tensor, ""]:
    """(1 - w) mean|image - target| + w (1 - mean SSIM), means over the mask and over windows centred in it."""
    y = target.to(image.dtype) / 255 if target.dtype == torch.uint8 else target
    height, width, channels = image.shape
    inside = torch.ones(height, width, dtype=torch.bool, device=image.device) if mask is None else mask != 0
    x = torch.where(inside[..., None], image, y)
    n_pixels = inside.sum() * channels
    l1 = (x - y).abs().sum() / n_pixels.clamp_min(1)
    centres = inside[WINDOW // 2 : height - WINDOW // 2, WINDOW // 2 : width - WINDOW // 2]
    n_windows = centres.sum() * channels
    unlike = ((1 - similarity(x, y)) * centres[..., None]).sum() / n_windows.clamp_min(1)
    return (1 - ssim_weight) * l1 + ssim_weight * unlike


def similarity(x: Float[Tensor, "H W C"], y: Float[Tensor, "H W C"]) -> Float[Tensor, "H-10 W-10 C"]:
    """SSIM of every window that lies inside."""
    mx, my, mxx, myy, mxy = (_blurred(v) for v in (x, y, x * x, y * y, x * y))
    variances = mxx - mx * mx + myy - my * my
    return (
        (2 * mx * my + C1) * (2 * (mxy - mx * my) + C2) / ((mx * mx + my * my + C1) * (variances + C2))
    )  # Wang et al. 2004, eq. 13


def _blurred(image: Float[Tensor, "H W C"]) -> Float[Tensor, "H-10 W-10 C"]:
    offsets = torch.arange(WINDOW, dtype=torch.float64, device=image.device) - WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * SIGMA**2))
    window = (window / window.sum()).to(image.dtype)
    for axis in (0, 1):
        image = image.unfold(axis, WINDOW, 1) @ window
    return image


def backward(
    image: Float[Tensor, "H W C"], target: Tensor, mask: Tensor | None, ssim_weight: float
) -> Float[Tensor, "H W C"]:
    """The gradient of `forward` to the image, by autograd."""
    with torch.enable_grad():
        leaf = image.detach().requires_grad_()
        return torch.autograd.grad(forward(leaf, target, mask, ssim_weight), leaf)[0]
