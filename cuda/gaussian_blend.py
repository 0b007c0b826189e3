"""Blending of sorted Gaussians into an image, near to far, with early stop; and the way back of its gradients."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, library
from neural.cuda.autograd import Function
from neural.cuda.gaussian_tiles import TILE, Tiles
from neural.cuda.native import lib, threads
from neural.cuda.reference import gaussian_blend as reference

MOST_CHANNELS = 4  # per pass; more are blended in several


class Blended(NamedTuple):
    """An image.

    Attributes:
        colors: Features blended, on the background if one was given; the permuted view of [C, H, W].
        alphas: Opacity, 0 to 1.
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
    r"""Blends Gaussians over each pixel: C = \sum_i T_i alpha_i c_i, T_i = \prod_{j<i} (1 - alpha_j).

    alpha = min(0.99, o exp(-(A dx^2 + C dy^2) / 2 - B dx dy)) at the pixel's centre; below 1/255 a Gaussian is left
    out, and a pixel stops before T would fall below 1e-4.

    Args:
        means2d: Centres in pixels.
        conics: Inverse covariances A, B, C.
        opacities: At the centre; 0 where a Gaussian is not seen.
        features: What is blended, colours and any other channels; four at a time are quickest.
        tiles: From `neural.cuda.gaussian_tiles.intersect`, for the same Gaussians and size.
        size: Width and height in pixels.
        background: Behind the last Gaussian.
        absolute: Raised in backward by the length of (sum |dL/dx|, sum |dL/dy|) over each Gaussian's pixels, which does
            not cancel as the gradient of `means2d` does (AbsGS).

    Returns:
        `Blended`, differentiable once with respect to means2d, conics, opacities, features and background. Sums over
        pixels do not depend on the number of threads. Where alpha is held at 0.99, only features get a gradient.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device, or tiles of another image.

    Source: Kerbl et al. 2023, arXiv:2308.04079, eq. 3, appendix C; Ye et al. 2024, arXiv:2404.10484 (AbsGS), eq. 8.
    """
    checks.require("blend", "means2d", means2d, ("N", 2))
    n, device = means2d.shape[0], means2d.device
    checks.require("blend", "conics", conics, (n, 3), device=device)
    checks.require("blend", "opacities", opacities, (n,), device=device)
    checks.require("blend", "features", features, (n, "C"), device=device)
    channels = features.shape[1]
    if background is not None:
        checks.require("blend", "background", background, (channels,), device=device)
    if absolute is not None:
        checks.require_like("blend", "absolute", absolute, opacities)
    width, height = size
    n_tiles = -(-width // TILE) * -(-height // TILE)
    if len(tiles.offsets) != n_tiles + 1 or len(tiles.starts) != n + 1:
        raise ValueError(
            f"blend: tiles are of {len(tiles.starts) - 1} Gaussians in {len(tiles.offsets) - 1} tiles, expected {n} in "
            f"{n_tiles} for {width}x{height} pixels; call intersect with the same Gaussians and size"
        )
    if channels == 0:
        raise ValueError("blend: features must have at least one channel, got [N, 0]")
    if channels <= MOST_CHANNELS:
        return _blend(means2d, conics, opacities, features, background, absolute, tiles, width, height)
    parts = []
    for first in range(0, channels, MOST_CHANNELS):
        chosen = slice(first, min(first + MOST_CHANNELS, channels))
        behind = None if background is None else background[chosen]
        parts.append(_blend(means2d, conics, opacities, features[:, chosen], behind, absolute, tiles, width, height))
    return Blended(torch.cat([part.colors for part in parts], dim=-1), parts[0].alphas)


def _blend(
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    features: Tensor,
    background: Tensor | None,
    absolute: Tensor | None,
    tiles: Tiles,
    width: int,
    height: int,
) -> Blended:
    """At most four channels."""
    tensors = (means2d, conics, opacities, features, background)
    if torch.compiler.is_compiling():
        colors, alphas, _ = torch.ops.neural.gaussian_blend(*tensors, absolute, *tiles, width, height)
    elif torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        colors, alphas = _Blend.apply(*tensors, absolute, *tiles, width, height)
    else:
        colors, alphas, _ = _forward(*tensors, absolute, *tiles, width, height)
    return Blended(colors.permute(1, 2, 0), alphas)


class _Blend(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        colors, alphas, reached = _forward(*inputs)
        ctx.save_for_backward(*inputs[:11], reached)
        ctx.size = inputs[11:]
        ctx.set_materialize_grads(False)
        return colors, alphas

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_colors: Tensor | None, grad_alphas: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, reached = ctx.saved_tensors
        return *_backward(grad_colors, grad_alphas, *inputs, reached, *ctx.size), *(None,) * 8


def _forward(
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    features: Tensor,
    background: Tensor | None,
    absolute: Tensor | None,
    offsets: Tensor,
    gaussians: Tensor,
    masks: Tensor,
    slots: Tensor,
    starts: Tensor,
    width: int,
    height: int,
) -> tuple[Float[Tensor, "C H W"], Float[Tensor, "H W"], Tensor]:
    """Image and opacity, and how many pairs of each tile were looked at."""
    if checks.backend(means2d) != "cpu":
        image = reference.forward(means2d, conics, opacities, features, background, offsets, gaussians, (width, height))
        return *image, offsets.diff().int()
    n, channels = features.shape
    colors, alphas = means2d.new_empty(channels, height, width), means2d.new_empty(height, width)
    reached = torch.empty(len(offsets) - 1, dtype=torch.int32)
    keep, pointers = _pointers(means2d, conics, opacities, features)
    background = None if background is None else background.contiguous()
    lib.gaussian_blend_forward(
        *pointers, n, channels, offsets.data_ptr(), gaussians.data_ptr(), masks.data_ptr(), width, height,
        checks.pointer(background), colors.data_ptr(), alphas.data_ptr(), reached.data_ptr(), threads(),
    )  # fmt: skip
    del keep
    return colors, alphas, reached


def _backward(
    grad_colors: Tensor | None,
    grad_alphas: Tensor | None,
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    features: Tensor,
    background: Tensor | None,
    absolute: Tensor | None,
    offsets: Tensor,
    gaussians: Tensor,
    masks: Tensor,
    slots: Tensor,
    starts: Tensor,
    reached: Tensor,
    width: int,
    height: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    if checks.backend(means2d) != "cpu":
        return reference.backward(
            grad_colors, grad_alphas, (means2d, conics, opacities, features, background), offsets, gaussians,
            (width, height), absolute,
        )  # type: ignore[return-value]  # fmt: skip
    n, channels = features.shape
    if grad_colors is None:
        grad_colors = means2d.new_zeros(()).expand(channels, height, width)
    grad_alphas = None if grad_alphas is None else grad_alphas.contiguous()
    grads = [checks.empty_features(n, k, means2d) for k in (2, 3)]
    grad_opacities, grad_features = means2d.new_empty(n), checks.empty_features(n, channels, means2d)
    grad_background = None if background is None else means2d.new_empty(channels)
    keep, pointers = _pointers(means2d, conics, opacities, features)
    background = None if background is None else background.contiguous()
    sc, sh, sw = grad_colors.stride()
    lib.gaussian_blend_backward(
        *pointers, n, channels, offsets.data_ptr(), gaussians.data_ptr(), masks.data_ptr(), slots.data_ptr(),
        starts.data_ptr(), reached.data_ptr(), width, height, checks.pointer(background), grad_colors.data_ptr(), sh,
        sw, sc, checks.pointer(grad_alphas), *(g.data_ptr() for g in grads), grad_opacities.data_ptr(),
        grad_features.data_ptr(), checks.pointer(grad_background), checks.pointer(absolute), threads(),
    )  # fmt: skip
    del keep
    return *grads, grad_opacities, grad_features, grad_background


def _pointers(means2d: Tensor, conics: Tensor, opacities: Tensor, features: Tensor) -> tuple[list[Tensor], list[int]]:
    """What must stay alive during the call, and the addresses and strides that kernels take."""
    (centres, mn, mk), (inverse, cn, ck), (shown, fn, fk) = (checks.rows(t) for t in (means2d, conics, features))
    opacities = opacities.contiguous()
    addresses = [centres.data_ptr(), mn, mk, inverse.data_ptr(), cn, ck, opacities.data_ptr(), shown.data_ptr(), fn, fk]
    return [centres, inverse, opacities, shown], addresses


def _fake(means2d: Tensor, conics: Tensor, opacities: Tensor, features: Tensor, *others: Any) -> tuple[Tensor, ...]:
    offsets, (width, height) = others[2], others[7:]
    return (
        means2d.new_empty(features.shape[1], height, width),
        means2d.new_empty(height, width),
        offsets.new_empty(offsets.shape[0] - 1, dtype=torch.int32),
    )


def _library_save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:11], output[2])
    ctx.size = inputs[11:]


def _library_backward(ctx: Any, grad_colors: Tensor, grad_alphas: Tensor, unused: Tensor) -> tuple[Tensor | None, ...]:
    *inputs, reached = ctx.saved_tensors
    found = torch.ops.neural.gaussian_blend_backward(grad_colors, grad_alphas, *inputs, reached, *ctx.size)
    grad_background = None if inputs[4] is None else found[4]
    return *found[:4], grad_background, *(None,) * 8


def _backward_op(*arguments: Any) -> tuple[Tensor, ...]:
    """An empty tensor stands for no gradient of the background."""
    *found, grad_background = _backward(*arguments)
    return *found, found[0].new_empty(0) if grad_background is None else grad_background


_TENSORS = (
    "Tensor means2d, Tensor conics, Tensor opacities, Tensor features, Tensor? background, Tensor(a!)? absolute,"
    " Tensor offsets, Tensor gaussians, Tensor masks, Tensor slots, Tensor starts"
)
library.define(
    "gaussian_blend",
    f"({_TENSORS.replace('(a!)', '')}, int width, int height) -> (Tensor, Tensor, Tensor)",
    implementation=_forward,
    fake=_fake,
    backward=_library_backward,
    save=_library_save,
)
library.define(
    "gaussian_blend_backward",
    f"(Tensor? grad_colors, Tensor? grad_alphas, {_TENSORS}, Tensor reached, int width, int height)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    implementation=_backward_op,
    fake=lambda *args: (
        *(checks.empty_features(args[2].shape[0], k, args[2]) for k in (2, 3)),
        args[2].new_empty(args[2].shape[0]),
        checks.empty_features(*args[5].shape, args[2]),
        args[2].new_empty(0 if args[6] is None else args[5].shape[1]),
    ),
)
