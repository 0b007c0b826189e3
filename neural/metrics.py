"""How close a rendered image is to a photograph: PSNR and SSIM on clamped, unquantised sRGB.

Images are [H, W, C] in sRGB with values in [0, 1]; values outside are clamped first, nothing is rounded to 8
bits. Scores of several images are averaged per image (never over pixels of all images).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

WINDOW = 11  # pixels; a smaller image has no SSIM
SIGMA = 1.5
K1, K2 = 0.01, 0.03


def psnr(
    image: Float[Tensor, "H W C"], target: Float[Tensor, "H W C"], mask: Bool[Tensor, "H W"] | None = None
) -> float:
    """Peak signal-to-noise ratio, -10 log10(mean squared error), for a peak of 1.

    Args:
        image: sRGB, clamped to [0, 1].
        target: The same of the photograph.
        mask: Pixels that count; all without it.

    Returns:
        Decibels; infinite for images that are equal where they count.
    """
    image, target = _prepared(image, target)
    square = (image - target).square()
    if mask is not None:
        square = square[mask] if bool(mask.any()) else square.new_zeros(1)
    return float(-10.0 * torch.log10(square.mean()))


def ssim(
    image: Float[Tensor, "H W C"], target: Float[Tensor, "H W C"], mask: Bool[Tensor, "H W"] | None = None
) -> float:
    """Structural similarity, mean over channels and over the pixels whose window lies inside the image.

    Gaussian window of 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, data range 1, biased variances, in float64.

    Args:
        image: sRGB, clamped to [0, 1]; at least 11 pixels wide and high.
        target: The same of the photograph.
        mask: Pixels that count: the mean goes over windows whose centre does, and elsewhere the image is taken for the
            target. All without it.

    Returns:
        At most 1, which equal images reach.

    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", eq.
        13.
    """
    image, target = _prepared(image, target)
    if min(image.shape[:2]) < WINDOW:
        raise ValueError(f"ssim: images must be at least {WINDOW}x{WINDOW} pixels, got {tuple(image.shape)}")
    if mask is not None:
        image = torch.where(mask[..., None], image, target)
    x, y = image.permute(2, 0, 1), target.permute(2, 0, 1)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _blurred(torch.stack([x, y, x * x, y * y, x * y]))
    c1, c2 = K1**2, K2**2
    covariance = mean_xy - mean_x * mean_y
    variances = (mean_xx - mean_x.square()) + (mean_yy - mean_y.square())
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    similarity = luminance * structure
    if mask is not None:
        half = WINDOW // 2
        centres = mask[half:-half, half:-half]
        similarity = similarity[:, centres] if bool(centres.any()) else similarity.new_ones(1)
    return float(similarity.mean())


def gaussian_window() -> Float[Tensor, "11"]:
    """The one-dimensional factor of SSIM's window, float64, with sum 1."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * SIGMA**2))
    return window / window.sum()


def _blurred(planes: Float[Tensor, "M C H W"]) -> Float[Tensor, "M C H-10 W-10"]:
    """Weighted window mean at each pixel whose window fits: two one-dimensional passes of shifted sums.

    (torch's float64 convolution would first copy every window: eleven times the image, and twice the time.)
    """
    for axis in (-2, -1):
        size = planes.shape[axis] - WINDOW + 1
        total = torch.zeros_like(planes.narrow(axis, 0, size))
        for offset, weight in enumerate(gaussian_window().tolist()):
            total.add_(planes.narrow(axis, offset, size), alpha=weight)
        planes = total
    return planes


def _prepared(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if image.ndim != 3 or image.shape != target.shape:
        raise ValueError(
            "metrics: image and target must be [H, W, C] of one size, "
            f"got {tuple(image.shape)} and {tuple(target.shape)}"
        )
    if not (image.is_floating_point() and target.is_floating_point()):
        raise TypeError(
            "metrics: image and target must be floating point in [0, 1], "
            f"got {image.dtype} and {target.dtype}; divide uint8 by 255"
        )
    return image.double().clamp(0.0, 1.0), target.double().clamp(0.0, 1.0)
