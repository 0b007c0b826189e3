"""Blends projected surfels into an image where pixels' rays meet them: features, depths, distortion."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, library, surfel_blend_cuda
from neural.cuda.autograd import Function
from neural.cuda.gaussian_tiles import Tiles, count, require_size
from neural.cuda.native import lib, threads
from neural.cuda.reference import surfel_blend as reference
from neural.cuda.surfel_projection import Surfels

_GEOMETRY = 20  # floats of a CPU kernel's record before the features; gaussian_block.h and surfel_blend.h
_STATE = 5  # planes that backward needs


class BlendedSurfels(NamedTuple):
    """What `blend` gives.

    Attributes:
        features: Sum of weight times feature, plus what is left times the background.
        alphas: Sum of the weights, 0 to 1.
        depths: Sum of weight times depth (z in the camera's frame), not divided by alpha.
        medians: Depth of the last surfel that more than half of the light reaches; 0 where there is none.
        distortions: Sum over pairs of surfels of both weights times the square of their distance in depth.
    """

    features: Float[Tensor, "H W C"]
    alphas: Float[Tensor, "H W"]
    depths: Float[Tensor, "H W"]
    medians: Float[Tensor, "H W"]
    distortions: Float[Tensor, "H W"]


def blend(
    surfels: Surfels,
    features: Float[Tensor, "N C"],
    tiles: Tiles,
    size: tuple[int, int],
    *,
    background: Float[Tensor, "C"] | None = None,
    absolute: Float[Tensor, "N"] | None = None,
) -> BlendedSurfels:
    """Blends the surfels of every tile, near to far by their centres.

    alpha = min(0.99, opacity exp(-d^2 / 2)) with d the distance from the centre in standard deviations where the
    pixel's ray meets the surfel, or in pixels over sqrt(1/2) where that is less: a surfel seen from its edge keeps a
    width. Skipping, the weights and the pixel's end are those of `gaussian_blend.blend`.

    Args:
        surfels: As `surfel_projection.project` gives them; normals take part as `features`.
        features: Any number of channels: colours, normals.
        tiles: Of the covers: `intersect(s.centres, s.conics, s.opacities, s.depths, s.extents, size)`.
        size: Width and height of the image in pixels, as given to `intersect`.
        background: Feature of what is behind everything; none counts as 0.
        absolute: backward adds to it, per surfel, the norm over the axes of the sums over pixels of
            |d loss / d means2d| (absgrad).

    Returns:
        `BlendedSurfels`, differentiable once with respect to the surfels (but for covers and normals), the features and
        the background.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device, tiles of another image, or `absolute` in compiled code.

    Source: Huang et al. 2024, arXiv:2403.17888, eq. 9-13, the distortion squared as in the appendix, in scene units.
    """
    means2d, axes, depths, _, opacities, centres, conics, _ = surfels
    _require(surfels, tiles, size)
    n, device = means2d.shape[0], means2d.device
    checks.require("surfel_blend", "features", features, (n, "C"), device=device)
    if background is not None:
        checks.require("surfel_blend", "background", background, (features.shape[1],), device=device)
    if absolute is not None:
        checks.require("surfel_blend", "absolute", absolute, (n,), device=device)
        if not absolute.is_contiguous():
            raise ValueError("surfel_blend: absolute must be contiguous, as backward adds to it; call .contiguous()")
    inputs = (means2d, axes, depths, opacities, features, background)
    fixed: Any = (centres, conics, *tiles, *size)
    if torch.compiler.is_compiling():
        if absolute is not None:
            raise ValueError("surfel_blend: absolute is not collected under torch.compile; call blend outside of it")
        return _split(*torch.ops.neural.surfel_blend(*inputs, *fixed)[:2])
    if torch.is_grad_enabled() and any([x is not None and x.requires_grad for x in inputs]):
        return BlendedSurfels(*_Blend.apply(*inputs, fixed, absolute))
    return _split(*_forward(*inputs, *fixed)[:2])


def _split(colors: Tensor, planes: Tensor) -> BlendedSurfels:
    return BlendedSurfels(colors.permute(1, 2, 0), *planes.unbind())


def _require(surfels: Surfels, tiles: Tiles, size: tuple[int, int]) -> None:
    require_size("surfel_blend", size)
    checks.require("surfel_blend", "means2d", surfels.means2d, ("N", 2))
    n, device = surfels.means2d.shape[0], surfels.means2d.device
    checks.require("surfel_blend", "axes", surfels.axes, (n, 6), device=device)
    checks.require("surfel_blend", "depths", surfels.depths, (n,), device=device)
    checks.require("surfel_blend", "opacities", surfels.opacities, (n,), device=device)
    checks.require("surfel_blend", "centres", surfels.centres, (n, 2), device=device)
    checks.require("surfel_blend", "conics", surfels.conics, (n, 3), device=device)
    checks.require("surfel_blend", "offsets", tiles.offsets, (count(size) + 1,), torch.int64, device)
    checks.require("surfel_blend", "gaussians", tiles.gaussians, ("P",), torch.int32, device)
    checks.require("surfel_blend", "starts", tiles.starts, (n + 1,), torch.int64, device)
    checks.require_like("surfel_blend", "slots", tiles.slots, tiles.gaussians)


class _Blend(Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        *inputs, fixed, absolute = arguments
        outputs = _forward(*inputs, *fixed)
        ctx.save_for_backward(*inputs, *fixed[2:6], outputs[0], *outputs[2:])
        ctx.size, ctx.absolute = fixed[6:], absolute
        ctx.set_materialize_grads(False)
        return tuple(_split(*outputs[:2]))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        colors = None if grads[0] is None else grads[0].permute(2, 0, 1)
        arguments: tuple[Any, ...] = (colors, *grads[1:], *ctx.saved_tensors, *ctx.size, ctx.absolute)
        found = _backward(*arguments)
        return *found, None, None


def _forward(
    means2d: Tensor, axes: Tensor, depths: Tensor, opacities: Tensor, features: Tensor, background: Tensor | None,
    centres: Tensor, conics: Tensor, offsets: Tensor, gaussians: Tensor, starts: Tensor, slots: Tensor, width: int,
    height: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Colours [C, H, W], planes [4, H, W]; for backward: pixels' state, records, which blocks show each pair."""
    backend = checks.backend(means2d)
    if backend == "reference":
        inputs = (means2d, axes, depths, opacities, features, background)
        colors, planes = reference.forward(*inputs, offsets, gaussians, (width, height))
        return colors, planes, planes.new_empty(0), planes.new_empty(0), gaussians.new_empty(0, dtype=torch.int16)
    n, channels = features.shape
    colors = features.new_empty(channels, height, width)
    planes, state = (features.new_empty(k, height, width) for k in (reference.PLANES, _STATE))
    records = features.new_empty(n, _stride(channels, backend))
    background = None if background is None else background.contiguous()
    offsets, gaussians = offsets.contiguous(), gaussians.contiguous()
    if backend == "cuda":
        surfel_blend_cuda.pack(means2d, axes, depths, opacities, features, records)
        surfel_blend_cuda.forward(records, background, offsets, gaussians, colors, planes, state)
        return colors, planes, state, records, gaussians.new_empty(0, dtype=torch.int16)
    kept = [checks.rows(x) for x in (centres, conics, means2d, axes, features)]
    plain = depths.contiguous(), opacities.contiguous()
    strided = [x for matrix, *strides in kept for x in (matrix.data_ptr(), *strides)]
    lib.surfel_blend_pack(*strided, *(x.data_ptr() for x in plain), n, channels, records.data_ptr(), threads())
    hits = torch.empty_like(gaussians, dtype=torch.int16)
    lib.surfel_blend_forward(
        records.data_ptr(), channels, checks.pointer(background), offsets.data_ptr(), gaussians.data_ptr(), width,
        height, colors.data_ptr(), planes.data_ptr(), state.data_ptr(), hits.data_ptr(), threads(),
    )  # fmt: skip
    return colors, planes, state, records, hits


def _backward(
    grad_colors: Tensor | None, grad_alphas: Tensor | None, grad_depths: Tensor | None, grad_medians: Tensor | None,
    grad_distortions: Tensor | None, means2d: Tensor, axes: Tensor, depths: Tensor, opacities: Tensor,
    features: Tensor, background: Tensor | None, offsets: Tensor, gaussians: Tensor, starts: Tensor, slots: Tensor,
    colors: Tensor, state: Tensor, records: Tensor, hits: Tensor, width: int, height: int, absolute: Tensor | None,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients to means2d, axes, depths, opacities, features and background; adds to `absolute`."""
    upstream: tuple[Tensor | None, ...] = (grad_colors, grad_alphas, grad_depths, grad_medians, grad_distortions)
    backend = checks.backend(means2d)
    if backend == "reference":
        inputs = (means2d, axes, depths, opacities, features, background)
        return reference.backward(upstream, inputs, offsets, gaussians, (width, height), absolute)
    n, channels = features.shape
    found = [checks.empty_features(n, k, features) for k in (2, 6, 1, 1, channels)]
    found[2:4] = [x[:, 0] for x in found[2:4]]
    pairs = [x.contiguous() for x in (offsets, gaussians, starts, slots)]
    upstream = tuple(None if g is None else g.contiguous() for g in upstream)
    if backend == "cuda":
        surfel_blend_cuda.backward(upstream, records, pairs, colors, state, found, absolute)
        if background is None:
            return *found, None
        return *found, torch.zeros_like(background) if grad_colors is None else (grad_colors * state[0]).sum((1, 2))
    grad_background = None if background is None else torch.empty_like(background)
    lib.surfel_blend_backward(
        records.data_ptr(), n, channels, *(x.data_ptr() for x in pairs), hits.data_ptr(), width, height,
        colors.data_ptr(), state.data_ptr(), *map(checks.pointer, upstream), *(x.data_ptr() for x in found),
        checks.pointer(grad_background), checks.pointer(absolute), threads(),
    )  # fmt: skip
    return *found, grad_background


def _stride(channels: int, backend: str) -> int:
    """Floats of a record, to whole cache lines."""
    geometry = surfel_blend_cuda.GEOMETRY if backend == "cuda" else _GEOMETRY
    return (geometry + channels + 15) // 16 * 16


def _fake(*args: Any) -> tuple[Tensor, ...]:
    features, gaussians, width, height = args[4], args[9], args[12], args[13]
    n, channels = features.shape
    kind = features.device.type
    native = kind in ("cpu", "cuda")
    colors = features.new_empty(channels, height, width)
    planes = features.new_empty(reference.PLANES, height, width)
    state = features.new_empty((_STATE, height, width) if native else 0)
    records = features.new_empty((n, _stride(channels, kind)) if native else 0)
    hits = gaussians.new_empty(gaussians.shape if kind == "cpu" else 0, dtype=torch.int16)
    return colors, planes, state, records, hits


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:6], *inputs[8:12], output[0], *output[2:])
    ctx.size, ctx.has_background = inputs[12:], inputs[5] is not None


def _library_backward(
    ctx: Any, grad: Tensor | None, grad_planes: Tensor | None, *others: Any
) -> tuple[Tensor | None, ...]:
    planes = [None] * reference.PLANES if grad_planes is None else grad_planes.unbind()
    *found, background = torch.ops.neural.surfel_blend_backward(grad, *planes, *ctx.saved_tensors, *ctx.size)
    return *found, background if ctx.has_background else None, *library.constants(*range(8))


def _empty_for_none(grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """An op gives tensors only: one without elements for no background."""
    return *grads[:5], grads[4].new_empty(0) if grads[5] is None else grads[5]  # type: ignore[union-attr]


_INPUTS = "Tensor means2d, Tensor axes, Tensor depths, Tensor opacities, Tensor features, Tensor? background"
_PAIRS = "Tensor offsets, Tensor gaussians, Tensor starts, Tensor slots"
library.define(
    "surfel_blend",
    f"({_INPUTS}, Tensor centres, Tensor conics, {_PAIRS}, SymInt width, SymInt height)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    implementation=_forward,
    fake=_fake,
    backward=_library_backward,
    save=_save,
)
library.define(
    "surfel_blend_backward",
    "(Tensor? grad_colors, Tensor? grad_alphas, Tensor? grad_depths, Tensor? grad_medians, Tensor? grad_distortions,"
    f" {_INPUTS}, {_PAIRS}, Tensor colors, Tensor state, Tensor records, Tensor hits, SymInt width, SymInt height)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    implementation=lambda *args: _empty_for_none(_backward(*args, None)),  # type: ignore[call-arg]
    fake=lambda *args: (
        *(checks.empty_features(args[9].shape[0], k, args[9]) for k in (2, 6)),
        args[7].new_empty(args[7].shape),
        args[7].new_empty(args[7].shape),
        checks.empty_features(args[9].shape[0], args[9].shape[1], args[9]),
        args[9].new_empty(0 if args[10] is None else args[10].shape),
    ),
)
