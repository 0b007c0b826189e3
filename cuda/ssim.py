"""The photometric loss of Gaussian splatting: absolute difference and structural similarity in one fused pass."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import ssim as reference

WINDOW = 11  # pixels; a smaller image has no SSIM
_TILE = 16  # of the CUDA kernel


def ssim_loss(
    image: Float[Tensor, "H W C"],
    target: Float[Tensor, "H W C"] | UInt8[Tensor, "H W C"],
    *,
    ssim_weight: float = 0.2,
    mask: Bool[Tensor, "H W"] | UInt8[Tensor, "H W"] | None = None,
) -> Float[Tensor, ""]:
    """(1 - w) mean|image - target| + w (1 - mean SSIM), with w = `ssim_weight`.

    SSIM is that of `neural.metrics.ssim` (Gaussian window of 11x11 with sigma 1.5, windows inside the image only),
    except that nothing is clamped.

    Args:
        image: sRGB, about [0, 1]; at least 11 pixels wide and high. Any strides; the view of [C, H, W] is the fastest.
        target: The same of the photograph; uint8 counts as 255ths and is read without a float copy.
        ssim_weight: Between 0 and 1.
        mask: Where the images are compared: not 0. Elsewhere the image counts as equal to the target and gets no
            gradient; means go over the pixels inside, and over the windows whose centre is inside.

    Returns:
        The loss, 0 where the mask leaves nothing; differentiable once with respect to `image`.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device, an image below 11x11, a weight outside [0, 1].

    Source: Kerbl et al. 2023, arXiv:2308.04079, eq. 7; Wang et al. 2004, "Image quality assessment: from error
        visibility to structural similarity", eq. 13.
    """
    checks.require("ssim_loss", "image", image, ("H", "W", "C"))
    height, width, channels = shape = image.shape
    checks.require("ssim_loss", "target", target, shape, (torch.float32, torch.uint8), image.device)
    if mask is not None:
        checks.require("ssim_loss", "mask", mask, (height, width), (torch.bool, torch.uint8), image.device)
    if height < WINDOW or width < WINDOW or channels == 0:
        raise ValueError(
            f"ssim_loss: image must have at least {WINDOW}x{WINDOW} pixels and a channel, got {list(shape)}; "
            "use an absolute difference alone for smaller ones"
        )
    if not 0 <= ssim_weight <= 1:
        raise ValueError(f"ssim_loss: ssim_weight must be between 0 and 1, got {ssim_weight}")
    if torch.compiler.is_compiling():
        return torch.ops.neural.ssim_loss(image, target, mask, ssim_weight, image.requires_grad)[0]
    if torch.is_grad_enabled() and image.requires_grad:
        return _SsimLoss.apply(image, target, mask, ssim_weight)
    return _forward(image, target, mask, ssim_weight, False)[0]


class _SsimLoss(Function):
    """The gradient is made together with the value, up to the factor that comes from above."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, mask: Tensor | None, ssim_weight: float) -> Tensor:
        loss, gradient = _forward(image, target, mask, ssim_weight, True)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        if grad.is_cpu and float(grad) == 1.0:  # as it is where the loss is a sum of terms: one pass less
            return gradient, None, None, None
        return gradient * grad, None, None, None


def _forward(
    image: Tensor, target: Tensor, mask: Tensor | None, ssim_weight: float, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient to the image (without elements if not wanted)."""
    backend = checks.backend(image)
    if backend == "reference":
        loss = reference.forward(image, target, mask, ssim_weight)
        return loss, reference.backward(image, target, mask, ssim_weight) if with_gradient else image.new_empty(0)
    height, width, channels = image.shape
    gradient = torch.empty_like(image) if with_gradient else image.new_empty(0)
    strides = gradient.stride() if with_gradient else (0, 0, 0)
    if mask is not None:
        mask = mask.contiguous()
    if backend == "cuda":
        return _forward_cuda(image, target, mask, ssim_weight, gradient, strides), gradient
    n_pixels, n_windows = height * width, (height - WINDOW + 1) * (width - WINDOW + 1)
    if mask is not None:
        n_pixels, n_windows = _counts(mask).tolist()
    loss = torch.empty((), dtype=torch.float32)
    is_bytes = target.dtype is torch.uint8
    lib.ssim_loss(
        image.data_ptr(), *image.stride(), 0 if is_bytes else target.data_ptr(),
        target.data_ptr() if is_bytes else 0, *target.stride(), checks.pointer(mask), height, width, channels,
        (1 - ssim_weight) / (max(n_pixels, 1) * channels), ssim_weight / (max(n_windows, 1) * channels),
        ssim_weight if n_windows else 0.0, loss.data_ptr(), gradient.data_ptr() if with_gradient else 0, *strides,
        threads(),
    )  # fmt: skip
    return loss, gradient


def _forward_cuda(
    image: Tensor, target: Tensor, mask: Tensor | None, ssim_weight: float, gradient: Tensor, strides: tuple[int, ...]
) -> Tensor:
    """The loss; fills the gradient unless it has no elements. Nothing waits for the device."""
    height, width, channels = image.shape
    l1_scale, ssim_scale = (1 - ssim_weight) / channels, ssim_weight / channels
    counts = None if mask is None else _counts(mask)
    if counts is None:
        l1_scale /= height * width
        ssim_scale /= (height - WINDOW + 1) * (width - WINDOW + 1)
    tiles_x, tiles_y = -(-width // _TILE), -(-height // _TILE)
    sums = image.new_empty(2, tiles_x * tiles_y * channels)
    jit.launch(
        "ssim", "ssim_loss", {"BYTES": int(target.dtype is torch.uint8)},
        (tiles_x * _TILE, tiles_y * _TILE, channels),
        (image, *image.stride(), target, *target.stride(), mask, counts, height, width, l1_scale, ssim_scale, sums,
         gradient if gradient.numel() else None, *strides),
        block=(_TILE, _TILE, 1),
    )  # fmt: skip
    l1, similarity = sums.sum(dim=1, dtype=torch.float64).unbind()
    if counts is None:
        return (l1_scale * l1 + (ssim_weight - ssim_scale * similarity)).float()
    n_pixels, n_windows = counts.clamp_min(1).unbind()
    offset = ssim_weight * (counts[1] > 0)
    return (l1_scale * l1 / n_pixels + (offset - ssim_scale * similarity / n_windows)).float()


def _counts(mask: Tensor) -> Int[Tensor, "2"]:
    """Pixels inside, and windows whose centre is inside."""
    half = WINDOW // 2
    return torch.stack((mask.count_nonzero(), mask[half:-half, half:-half].count_nonzero()))


library.define(
    "ssim_loss",
    "(Tensor image, Tensor target, Tensor? mask, float ssim_weight, bool with_gradient) -> (Tensor, Tensor)",
    implementation=_forward,
    fake=lambda image, target, mask, ssim_weight, with_gradient: (
        image.new_empty(()),
        torch.empty_like(image) if with_gradient else image.new_empty(0),
    ),
    backward=lambda ctx, grad, unused: (ctx.saved_tensors[0] * grad, None, None, None, None),
    save=lambda ctx, inputs, output: ctx.save_for_backward(output[1]),
)
