"""How close a rendered image is to a photograph: PSNR, SSIM and MS-SSIM on clamped, unquantised sRGB.

Images are [H, W, C] in sRGB with values in [0, 1]; values outside are clamped first, nothing is rounded to 8
bits. Scores of several images are averaged per image (never over pixels of all images).
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

WINDOW = 11  # pixels; a smaller image has no SSIM
SIGMA = 1.5
K1, K2 = 0.01, 0.03
TILE = 128  # columns of windows that are compared at once
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM, fine to coarse
SMALLEST_MS = WINDOW << (len(SCALE_WEIGHTS) - 1)  # pixels; a smaller image has no MS-SSIM


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


def corrected(
    image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], mask: Bool[Tensor, "H W"] | None = None
) -> Float[Tensor, "H W 3"]:
    """The image with the affine map of its colours, A c + b, that brings it closest to the target.

    A photograph that was held out has an exposure that no training can know; scores of the corrected image leave it
    out. As in training with exposures, the map has twelve numbers for a whole picture.

    Args:
        image: sRGB.
        target: The photograph.
        mask: Pixels that the map is fitted to; all without it.

    Returns:
        float64, not clamped; the image itself where fewer than four pixels count.

    Source: Mildenhall et al. 2022, arXiv:2111.13679, supplement (there per channel of raw images); least squares.
    """
    colours = torch.cat([image, torch.ones_like(image[..., :1])], -1).double()
    counted = colours.flatten(0, 1) if mask is None else colours[mask]
    if len(counted) < 4:
        return image.double()
    goal = target.flatten(0, 1) if mask is None else target[mask]
    gram = counted.T @ counted
    gram += 1e-9 * gram.diagonal().mean() * torch.eye(4, dtype=gram.dtype)  # a picture of one colour has no one answer
    return colours @ torch.linalg.solve(gram, counted.T @ goal.double())


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
    luminance, structure = _similarity(image, target)
    similarity = luminance * structure
    if mask is not None:
        half = WINDOW // 2
        centres = mask[half:-half, half:-half]
        similarity = similarity[:, centres] if bool(centres.any()) else similarity.new_ones(1)
    return float(similarity.mean())


def ms_ssim(image: Float[Tensor, "H W C"], target: Float[Tensor, "H W C"]) -> float:
    """Multi-scale structural similarity, mean over channels; see `BandScores`.

    Args:
        image: sRGB, clamped to [0, 1]; at least 176 pixels wide and high.
        target: The same of the photograph.
    """
    image, target = _prepared(image, target)
    if min(image.shape[:2]) < SMALLEST_MS:
        raise ValueError(
            f"ms_ssim: images must be at least {SMALLEST_MS}x{SMALLEST_MS} pixels, got {tuple(image.shape)}"
        )
    scores = BandScores()
    scores.add(image, target)
    return float(scores.ms_ssim or 0.0)


class BandScores:
    """PSNR, SSIM and MS-SSIM of pictures of any size, which come a band of rows at a time, from the top.

    The values are those of whole pictures: bands overlap by what windows need, at every scale. A scale has half the
    rows and columns of the one before, means of 2x2 pixels; a last odd row or column is left out. MS-SSIM of a channel
    is the product over scales of mean contrast-structure, at the coarsest of mean SSIM, each to its weight; means below
    0 count as 0.

    Source: Wang et al. 2003, "Multiscale structural similarity for image quality assessment", eq. 7 and section 3.2.
    """

    def __init__(self) -> None:
        self._scales = [_Scale() for _ in SCALE_WEIGHTS]
        self._square, self._count = 0.0, 0

    def add(self, image: Float[Tensor, "h W C"], target: Float[Tensor, "h W C"]) -> None:
        """The next rows, sRGB."""
        image, target = _prepared(image, target)
        self._square += float((image - target).square().sum())
        self._count += image.numel()
        rows: Tensor | None = torch.stack([image, target])
        for scale in self._scales:
            rows = scale.add(rows) if rows is not None else None

    @property
    def psnr(self) -> float:
        """Decibels; infinite for equal pictures."""
        return math.inf if self._square == 0 else -10 * math.log10(self._square / self._count)

    @property
    def ssim(self) -> float | None:
        """None for a picture smaller than a window."""
        finest = self._scales[0]
        return None if finest.count == 0 else float((finest.ssim / finest.count).mean())

    @property
    def ms_ssim(self) -> float | None:
        """None for a picture of less than 176x176 pixels."""
        if self._scales[-1].count == 0:
            return None
        product = torch.ones((), dtype=torch.float64)
        for scale, weight in zip(self._scales, SCALE_WEIGHTS, strict=True):
            total = scale.ssim if scale is self._scales[-1] else scale.structure
            product = product * (total / scale.count).clamp(min=0.0) ** weight
        return float(product.mean())


class _Scale:
    """Sums of one scale over the windows so far, and the rows that later ones still need."""

    def __init__(self) -> None:
        self.ssim = torch.zeros((), dtype=torch.float64)  # per channel, from the first rows on
        self.structure = torch.zeros((), dtype=torch.float64)
        self.count = 0
        self._windows: Tensor | None = None  # the last rows, which windows further down reach
        self._odd: Tensor | None = None  # a row that waits for its partner

    def add(self, rows: Float[Tensor, "2 h W C"]) -> Float[Tensor, "2 k w C"] | None:
        """Takes rows of both pictures; gives those of the next scale that are complete."""
        seen = rows if self._windows is None else torch.cat([self._windows, rows], 1)
        self._windows = seen[:, max(0, seen.shape[1] - WINDOW + 1) :]
        for left in range(0, seen.shape[2] - WINDOW + 1, TILE):  # so narrow that all planes stay in the cache
            if seen.shape[1] < WINDOW:
                break
            part = seen[:, :, left : left + TILE + WINDOW - 1]
            luminance, structure = _similarity(part[0], part[1])
            self.ssim = self.ssim + (luminance * structure).sum((1, 2))
            self.structure = self.structure + structure.sum((1, 2))
            self.count += structure.shape[1] * structure.shape[2]
        pending = rows if self._odd is None else torch.cat([self._odd, rows], 1)
        height, width = pending.shape[1] // 2 * 2, pending.shape[2] // 2 * 2
        self._odd = pending[:, height:] if height < pending.shape[1] else None
        if not height or not width:
            return None
        even = pending[:, :height, :width]
        return (even[:, 0::2, 0::2] + even[:, 1::2, 0::2] + even[:, 0::2, 1::2] + even[:, 1::2, 1::2]) / 4


def _similarity(
    image: Float[Tensor, "H W C"], target: Float[Tensor, "H W C"]
) -> tuple[Float[Tensor, "C h w"], Float[Tensor, "C h w"]]:
    """Luminance, and contrast with structure, of every window that fits."""
    x, y = image.permute(2, 0, 1), target.permute(2, 0, 1)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _blurred(torch.stack([x, y, x * x, y * y, x * y]))
    c1, c2 = K1**2, K2**2
    covariance = mean_xy - mean_x * mean_y
    variances = (mean_xx - mean_x.square()) + (mean_yy - mean_y.square())
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


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
