"""Blends projected Gaussians into an image, tile by tile, front to back, with an early stop."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks
from neural.cuda.autograd import Function
from neural.cuda.gaussian_tiles import Tiles, count, require_size
from neural.cuda.reference import gaussian_blend as reference


class Blended(NamedTuple):
    """What `blend` gives.

    Attributes:
        colors: Sum of weight times feature, plus what is left times the background.
        alphas: Sum of the weights, 0 to 1.
    """

    colors: Float[Tensor, "H W C"]
    alphas: Float[Tensor, "H W"]


def blend(
    means2d: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    features: Float[Tensor, "N C"],
    tiles: Tiles,
    size: tuple[int, int],
    *,
    background: Float[Tensor, "C"] | None = None,
    absolute: Float[Tensor, "N"] | None = None,
) -> Blended:
    """Blends the Gaussians of every tile, near to far.

    alpha = min(0.99, opacity exp(power)) with power = -(A dx^2 + C dy^2) / 2 - B dx dy, weight = T alpha, and
    T' = T (1 - alpha) is what reaches the next.
    A Gaussian is skipped in a pixel where power > 0 or alpha < 1/255; a pixel ends before the first that would leave
    T' < 1e-4.

    Args:
        means2d: Pixels; the first pixel's centre is (0.5, 0.5).
        conics: A, B, C.
        opacities: In [0, 1].
        features: Any number of channels: colours, depths, normals.
        tiles: Of the same Gaussians, as `gaussian_tiles.intersect` gives them.
        size: Width and height of the image in pixels, as given to `intersect`.
        background: Feature of what is behind everything; none counts as 0.
        absolute: backward adds to it, per Gaussian, the norm over the axes of the sums over pixels of
            |d loss / d means2d| (absgrad).

    Returns:
        `Blended`, a view of [C, H, W]; differentiable once with respect to the first four and the background.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device, or tiles of another image.

    Source: Kerbl et al. 2023, arXiv:2308.04079, eq. 3 and sec. 6; absgrad: Ye et al. 2024, arXiv:2404.10484, eq. 7.
    """
    _require(means2d, conics, opacities, tiles, size)
    n, device = means2d.shape[0], means2d.device
    checks.require("gaussian_blend", "features", features, (n, "C"), device=device)
    if background is not None:
        checks.require("gaussian_blend", "background", background, (features.shape[1],), device=device)
    if absolute is not None:
        checks.require("gaussian_blend", "absolute", absolute, (n,), device=device)
    inputs = (means2d, conics, opacities, features, background)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        colors, alphas = _Blend.apply(*inputs, tiles, size, absolute)
    else:
        colors, alphas = reference.forward(*inputs, tiles.offsets, tiles.gaussians, size)
    return Blended(colors.permute(1, 2, 0), alphas)


def contributions(
    means2d: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    tiles: Tiles,
    size: tuple[int, int],
) -> tuple[Int[Tensor, "N"], Float[Tensor, "N"]]:
    """In how many pixels each Gaussian is blended, and the sum of its weights there. Arguments as in `blend`."""
    _require(means2d, conics, opacities, tiles, size)
    with torch.no_grad():
        return reference.contributions(means2d, conics, opacities, tiles.offsets, tiles.gaussians, size)


def median_depth(
    means2d: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    depths: Float[Tensor, "N"],
    tiles: Tiles,
    size: tuple[int, int],
) -> Float[Tensor, "H W"]:
    """Depth at which each pixel's transmittance falls to one half; 0 where it does not. Arguments as in `blend`."""
    _require(means2d, conics, opacities, tiles, size)
    checks.require_like("gaussian_blend", "depths", depths, opacities)
    with torch.no_grad():
        return reference.median_depth(means2d, conics, opacities, depths, tiles.offsets, tiles.gaussians, size)


def _require(means2d: Tensor, conics: Tensor, opacities: Tensor, tiles: Tiles, size: tuple[int, int]) -> None:
    require_size("gaussian_blend", size)
    checks.require("gaussian_blend", "means2d", means2d, ("N", 2))
    n, device = means2d.shape[0], means2d.device
    checks.require("gaussian_blend", "conics", conics, (n, 3), device=device)
    checks.require("gaussian_blend", "opacities", opacities, (n,), device=device)
    checks.require("gaussian_blend", "offsets", tiles.offsets, (count(size) + 1,), torch.int64, device)
    checks.require("gaussian_blend", "gaussians", tiles.gaussians, ("P",), torch.int32, device)
    checks.require("gaussian_blend", "starts", tiles.starts, (n + 1,), torch.int64, device)
    checks.require("gaussian_blend", "slots", tiles.slots, tuple(tiles.gaussians.shape), torch.int32, device)


class _Blend(Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *inputs, tiles, size, absolute = arguments
        ctx.save_for_backward(*inputs, *tiles)
        ctx.size, ctx.absolute = size, absolute
        ctx.set_materialize_grads(False)
        return reference.forward(*inputs, tiles.offsets, tiles.gaussians, size)  # type: ignore[call-arg]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, offsets, gaussians, _, _ = ctx.saved_tensors
        found = reference.backward(grads[0], grads[1], tuple(inputs), offsets, gaussians, ctx.size, ctx.absolute)
        return *found, None, None, None
