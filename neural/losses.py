"""Losses on renderings: pure functions of tensors, means over their elements unless said otherwise."""

from typing import Literal

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from neural.cuda.distortion import distortion as ray_distortion
from neural.cuda.ssim import WINDOW, ssim_loss


def steady_mean(values: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """The mean, with the same bits for any number of threads: torch shares out long sums, but never one row."""
    flat = values.flatten()
    n, row = flat.numel(), 1024
    if n <= 16 * row:
        return flat.mean()
    whole = n // row * row
    return (flat[:whole].view(-1, row).sum(1).sum() + flat[whole:].sum()) / n


def l2(prediction: Float[Tensor, "..."], target: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean of the squared differences.

    Args:
        prediction: Any values.
        target: Of the same shape.

    Raises:
        ValueError: Shapes differ (they would broadcast silently).
    """
    _same_shape("l2", prediction, target)
    return steady_mean((prediction - target).square())


def huber(
    prediction: Float[Tensor, "..."],
    target: Float[Tensor, "..."],
    delta: float = 0.1,
    *,
    scale: Literal["torch", "smooth_l1", "instant_ngp"] = "torch",
) -> Float[Tensor, ""]:
    """Mean Huber loss: square below `delta`, straight above.

    Args:
        prediction: Any values.
        target: Of the same shape.
        delta: Where the square ends, > 0.
        scale: The factor. `torch`: d^2 / 2, then delta (|d| - delta / 2), as torch's huber_loss. `smooth_l1`: that
            over delta, slope 1 far out. `instant_ngp`: smooth_l1 over 5, instant-ngp's loss (with delta 0.1), which
            its learning rates and loss weights are tuned for.

    Raises:
        ValueError: Shapes differ, or delta is not positive.

    Source: Huber 1964, "Robust Estimation of a Location Parameter"; Müller et al. 2022, instant-ngp's code.
    """
    _same_shape("huber", prediction, target)
    if not delta > 0:
        raise ValueError(f"huber: delta must be positive, got {delta}")
    factor = {"torch": 1.0, "smooth_l1": 1.0 / delta, "instant_ngp": 0.2 / delta}[scale]
    error = (prediction - target).abs()
    bent = error.clamp(max=delta)
    # torch's huber_loss rounds a thread's last elements otherwise: its gradients depend on the number of threads
    return steady_mean(bent * (error - 0.5 * bent)) * factor


def photometric(
    image: Float[Tensor, "H W 3"],
    target: Float[Tensor, "H W 3"] | UInt8[Tensor, "H W 3"],
    *,
    ssim_weight: float = 0.2,
    mask: Bool[Tensor, "H W"] | UInt8[Tensor, "H W"] | None = None,
) -> Float[Tensor, ""]:
    """(1 - w) mean |image - target| + w (1 - mean SSIM); the first part alone where no 11x11 window fits.

    Args:
        image: sRGB.
        target: sRGB in [0, 1], or bytes.
        ssim_weight: w, in [0, 1].
        mask: Where pixels count: not 0.

    Source: Kerbl et al. 2023, arXiv:2308.04079, eq. 7.
    """
    if min(image.shape[:2]) >= WINDOW:
        return ssim_loss(image, target, ssim_weight=ssim_weight, mask=mask)
    shown = target if target.is_floating_point() else target.float() / 255
    error = (image - shown).abs()
    if mask is None:
        return steady_mean(error)
    return (error * (mask > 0)[..., None]).sum() / (3 * int(mask.count_nonzero()) or 1)


def distortion(
    weights: Float[Tensor, "S"],
    t_starts: Float[Tensor, "S"],
    t_ends: Float[Tensor, "S"],
    packed_info: Int[Tensor, "R 2"],
) -> Float[Tensor, ""]:
    """Mean over the rays of mip-NeRF 360's distortion, which pulls a ray's weights together.

    Args:
        weights: Of packed samples, as `neural.cuda.composite` gives them.
        t_starts: Interval begins, in distance or in any monotone spacing of it.
        t_ends: Interval ends.
        packed_info: (start, count) of each ray's samples; rays without samples count as 0.

    Source: Barron et al. 2022, arXiv:2111.12077, eq. 15.
    """
    return ray_distortion(weights, t_starts, t_ends, packed_info).sum() / max(packed_info.shape[0], 1)


def _same_shape(name: str, prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape:
        raise ValueError(
            f"{name}: prediction and target must have one shape, got {list(prediction.shape)} and {list(target.shape)}"
        )
