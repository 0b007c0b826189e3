"""Blends projected Gaussians into an image, tile by tile, front to back, with an early stop."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, gaussian_blend_cuda, library
from neural.cuda.autograd import Function
from neural.cuda.gaussian_tiles import Tiles, count, require_size
from neural.cuda.native import lib, threads
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
        TypeError, ValueError: A wrong dtype, shape or device, tiles of another image, or `absolute` in compiled code.

    Source: Kerbl et al. 2023, arXiv:2308.04079, eq. 3 and sec. 6; absgrad: Ye et al. 2024, arXiv:2404.10484, eq. 7.
    """
    _require(means2d, conics, opacities, tiles, size)
    n, device = means2d.shape[0], means2d.device
    checks.require("gaussian_blend", "features", features, (n, "C"), device=device)
    if background is not None:
        checks.require("gaussian_blend", "background", background, (features.shape[1],), device=device)
    if absolute is not None:
        checks.require("gaussian_blend", "absolute", absolute, (n,), device=device)
        if not absolute.is_contiguous():
            raise ValueError("gaussian_blend: absolute must be contiguous, as backward adds to it; call .contiguous()")
    inputs = (means2d, conics, opacities, features, background)
    if torch.compiler.is_compiling():
        if absolute is not None:
            raise ValueError("gaussian_blend: absolute is not collected under torch.compile; call blend outside of it")
        colors, alphas, *_ = torch.ops.neural.gaussian_blend(*inputs, *tiles, *size)
    elif torch.is_grad_enabled() and any([x is not None and x.requires_grad for x in inputs]):
        colors, alphas = _Blend.apply(*inputs, tiles, size, absolute)
    else:
        colors, alphas, *_ = _forward(*inputs, *tiles, *size)
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
    backend = checks.backend(means2d)
    if backend == "reference":
        with torch.no_grad():
            return reference.contributions(means2d, conics, opacities, tiles.offsets, tiles.gaussians, size)
    n = means2d.shape[0]
    counts, weights = torch.empty(n, dtype=torch.int64, device=means2d.device), torch.empty_like(opacities)
    pairs = [x.contiguous() for x in tiles]
    records = _pack(means2d, conics, opacities, means2d.new_empty(n, 0))
    if backend == "cuda":
        gaussian_blend_cuda.contributions(records, pairs, *size, counts, weights)
        return counts, weights
    lib.gaussian_contributions(
        records.data_ptr(), n, *(x.data_ptr() for x in pairs), *size, counts.data_ptr(), weights.data_ptr(), threads()
    )
    return counts, weights


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
    backend = checks.backend(means2d)
    if backend == "reference":
        with torch.no_grad():
            return reference.median_depth(means2d, conics, opacities, depths, tiles.offsets, tiles.gaussians, size)
    depth = means2d.new_empty(size[1], size[0])
    offsets, gaussians = tiles.offsets.contiguous(), tiles.gaussians.contiguous()
    records = _pack(means2d, conics, opacities, depths[:, None])
    if backend == "cuda":
        gaussian_blend_cuda.median_depth(records, offsets, gaussians, depth)
        return depth
    lib.gaussian_median_depth(
        records.data_ptr(), offsets.data_ptr(), gaussians.data_ptr(), *size, depth.data_ptr(), threads()
    )
    return depth


def _require(means2d: Tensor, conics: Tensor, opacities: Tensor, tiles: Tiles, size: tuple[int, int]) -> None:
    require_size("gaussian_blend", size)
    checks.require("gaussian_blend", "means2d", means2d, ("N", 2))
    n, device = means2d.shape[0], means2d.device
    checks.require("gaussian_blend", "conics", conics, (n, 3), device=device)
    checks.require("gaussian_blend", "opacities", opacities, (n,), device=device)
    offsets, gaussians, starts, slots = tiles
    checks.require("gaussian_blend", "offsets", offsets, (count(size) + 1,), torch.int64, device)
    checks.require("gaussian_blend", "gaussians", gaussians, ("P",), torch.int32, device)
    checks.require("gaussian_blend", "starts", starts, (n + 1,), torch.int64, device)
    checks.require_like("gaussian_blend", "slots", slots, gaussians)


class _Blend(Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *inputs, tiles, size, absolute = arguments
        outputs = _forward(*inputs, *tiles, *size)
        ctx.save_for_backward(*inputs, *tiles, outputs[0], *outputs[2:])
        ctx.size, ctx.absolute = size, absolute
        ctx.set_materialize_grads(False)
        return outputs[0], outputs[1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        found = _backward(grads[0], grads[1], *ctx.saved_tensors, *ctx.size, ctx.absolute)  # type: ignore[call-arg]
        return *found, None, None, None


def _forward(
    means2d: Tensor, conics: Tensor, opacities: Tensor, features: Tensor, background: Tensor | None, offsets: Tensor,
    gaussians: Tensor, starts: Tensor, slots: Tensor, width: int, height: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Colours [C, H, W], alphas; for backward: what is left, records, and which blocks of its tile show each pair."""
    backend = checks.backend(means2d)
    if backend == "reference":
        colors, alphas = reference.forward(
            means2d, conics, opacities, features, background, offsets, gaussians, (width, height)
        )
        return colors, alphas, 1.0 - alphas, features.new_empty(0), gaussians.new_empty(0, dtype=torch.int16)
    channels = features.shape[1]
    colors = features.new_empty(channels, height, width)
    alphas, left = features.new_empty(height, width), features.new_empty(height, width)
    background = None if background is None else background.contiguous()
    offsets, gaussians = offsets.contiguous(), gaussians.contiguous()
    records = _pack(means2d, conics, opacities, features)
    if backend == "cuda":
        gaussian_blend_cuda.forward(records, background, offsets, gaussians, colors, alphas, left)
        return colors, alphas, left, records, gaussians.new_empty(0, dtype=torch.int16)
    hits = torch.empty_like(gaussians, dtype=torch.int16)
    lib.gaussian_blend_forward(
        records.data_ptr(), channels, checks.pointer(background), offsets.data_ptr(), gaussians.data_ptr(), width,
        height, colors.data_ptr(), alphas.data_ptr(), left.data_ptr(), hits.data_ptr(), threads(),
    )  # fmt: skip
    return colors, alphas, left, records, hits


def _backward(
    grad_colors: Tensor | None, grad_alphas: Tensor | None, means2d: Tensor, conics: Tensor, opacities: Tensor,
    features: Tensor, background: Tensor | None, offsets: Tensor, gaussians: Tensor, starts: Tensor, slots: Tensor,
    colors: Tensor, left: Tensor, records: Tensor, hits: Tensor, width: int, height: int, absolute: Tensor | None,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients to means2d, conics, opacities, features and background; adds to `absolute`."""
    backend = checks.backend(means2d)
    if backend == "reference":
        inputs = means2d, conics, opacities, features, background
        return reference.backward(grad_colors, grad_alphas, inputs, offsets, gaussians, (width, height), absolute)
    n, channels = features.shape
    found = [checks.empty_features(n, k, features) for k in (2, 3, 1, channels)]
    found[2] = found[2][:, 0]
    upstream = [None if g is None else g.contiguous() for g in (grad_colors, grad_alphas)]
    pairs = [x.contiguous() for x in (offsets, gaussians, starts, slots)]
    if backend == "cuda":
        gaussian_blend_cuda.backward(upstream, records, pairs, colors, left, found, absolute)
        if background is None:
            return *found, None
        return *found, torch.zeros_like(background) if grad_colors is None else (grad_colors * left).sum((1, 2))
    grad_background = None if background is None else torch.empty_like(background)
    lib.gaussian_blend_backward(
        records.data_ptr(), n, channels, *(x.data_ptr() for x in pairs), hits.data_ptr(), width, height,
        colors.data_ptr(), left.data_ptr(), *map(checks.pointer, upstream), *(x.data_ptr() for x in found),
        checks.pointer(grad_background), checks.pointer(absolute), threads(),
    )  # fmt: skip
    return *found, grad_background


def _pack(means2d: Tensor, conics: Tensor, opacities: Tensor, features: Tensor) -> Tensor:
    """The Gaussians as the kernels read them: one record each."""
    n, channels = features.shape
    records = features.new_empty(n, _stride(channels))
    if checks.backend(features) == "cuda":
        gaussian_blend_cuda.pack(means2d, conics, opacities, features, records)
        return records
    (means, mn, mk), (conic, cn, ck), (feature, fn, fk) = map(checks.rows, (means2d, conics, features))
    opacities = opacities.contiguous()
    lib.gaussian_blend_pack(
        means.data_ptr(), mn, mk, conic.data_ptr(), cn, ck, opacities.data_ptr(), feature.data_ptr(), fn, fk, n,
        channels, records.data_ptr(), threads(),
    )  # fmt: skip
    return records


def _stride(channels: int) -> int:
    """Floats of a record: eight of geometry, the features, to whole cache lines."""
    return (8 + channels + 15) // 16 * 16


def _fake(
    means2d: Tensor, conics: Tensor, opacities: Tensor, features: Tensor, background: Tensor | None, offsets: Tensor,
    gaussians: Tensor, starts: Tensor, slots: Tensor, width: int, height: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    n, channels = features.shape
    colors, alphas = features.new_empty(channels, height, width), features.new_empty(height, width)
    left = torch.empty_like(alphas)
    hits = gaussians.new_empty(gaussians.shape if features.device.type == "cpu" else 0, dtype=torch.int16)
    return colors, alphas, left, features.new_empty(n, _stride(channels)), hits


_INPUTS = (
    "Tensor means2d, Tensor conics, Tensor opacities, Tensor features, Tensor? background, Tensor offsets,"
    " Tensor gaussians, Tensor starts, Tensor slots"
)
library.define(
    "gaussian_blend",
    f"({_INPUTS}, SymInt width, SymInt height) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    implementation=_forward,
    fake=_fake,
    backward=lambda ctx, *grads: (
        *_found(torch.ops.neural.gaussian_blend_backward(*grads[:2], *ctx.saved_tensors, *ctx.size), ctx),
        *library.constants(*range(6)),
    ),
    save=lambda ctx, inputs, output: _save(ctx, inputs, output),
)
library.define(
    "gaussian_blend_backward",
    f"(Tensor? grad_colors, Tensor? grad_alphas, {_INPUTS}, Tensor colors, Tensor left, Tensor records, Tensor hits,"
    " SymInt width, SymInt height) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    implementation=lambda *args: _empty_for_none(_backward(*args, None)),  # type: ignore[call-arg]
    fake=lambda *args: (
        *(checks.empty_features(args[2].shape[0], k, args[5]) for k in (2, 3)),
        args[4].new_empty(args[4].shape),
        checks.empty_features(args[5].shape[0], args[5].shape[1], args[5]),
        args[5].new_empty(0 if args[6] is None else args[6].shape),
    ),
)


def _save(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    *tensors, width, height = inputs
    ctx.save_for_backward(*tensors, outputs[0], *outputs[2:])
    ctx.size, ctx.has_background = (width, height), inputs[4] is not None


def _found(grads: tuple[Tensor, ...], ctx: Any) -> tuple[Tensor | None, ...]:
    return *grads[:4], grads[4] if ctx.has_background else None


def _empty_for_none(grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """An op gives tensors only: one without elements for no background."""
    return *grads[:4], grads[3].new_empty(0) if grads[4] is None else grads[4]  # type: ignore[union-attr]
