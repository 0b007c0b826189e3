"""Volume rendering of packed samples: colour, opacity, depth and weights of each ray, with early stop."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, jit, library, packed
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import composite as reference


class CompositeResult(NamedTuple):
    """What `composite` gives.

    Attributes:
        rgb: Sum of weight times colour, in the colours' own space, without background.
        alpha: Sum of the weights, 0 to 1.
        depth: Sum of weight times the interval's middle, not divided by alpha.
        weights: Share of each sample in its ray's result; 0 behind the stop and for samples that no ray owns.
    """

    rgb: Float[Tensor, "R C"]
    alpha: Float[Tensor, "R"]
    depth: Float[Tensor, "R"]
    weights: Float[Tensor, "S"]


def composite(
    densities: Float[Tensor, "S"],
    colors: Float[Tensor, "S C"],
    t_starts: Float[Tensor, "S"],
    t_ends: Float[Tensor, "S"],
    packed_info: Int[Tensor, "R 2"],
    *,
    early_stop: float = 1e-4,
) -> CompositeResult:
    r"""Composites the samples of every ray, front to back.

    alpha_i = 1 - exp(-density_i (t_end_i - t_start_i)), T_i = \prod_{j<i} (1 - alpha_j), weight_i = T_i alpha_i.

    Args:
        densities: Per unit of t, >= 0.
        colors: Any number of channels, also features; the transposed view of [C, S] is the fastest order.
        t_starts: Where each sample's interval begins.
        t_ends: Where it ends, >= t_starts.
        packed_info: (start, count) of each ray's samples, int64; ranges must not overlap.
        early_stop: Samples with T_i below this have weight 0 and gradient 0.

    Returns:
        A `CompositeResult`, differentiable once with respect to `densities` and `colors` through all four outputs.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device, or ranges outside the samples.

    Source: Max 1995, "Optical Models for Direct Volume Rendering", eq. 10.
    """
    checks.require("composite", "densities", densities, ("S",))
    checks.require("composite", "colors", colors, (densities.shape[0], "C"), device=densities.device)
    checks.require_like("composite", "t_starts", t_starts, densities)
    checks.require_like("composite", "t_ends", t_ends, densities)
    if torch.compiler.is_compiling():
        return CompositeResult(
            *torch.ops.neural.composite(densities, colors, t_starts, t_ends, packed_info, early_stop)
        )
    if torch.is_grad_enabled() and (densities.requires_grad or colors.requires_grad):
        return CompositeResult(*_Composite.apply(densities, colors, t_starts, t_ends, packed_info, early_stop))
    return CompositeResult(*_forward(densities, colors, t_starts, t_ends, packed_info, early_stop))


class _Composite(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        outputs = _forward(*inputs)
        _save(ctx, inputs, outputs)
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        arguments: tuple[Any, ...] = (*grads, *ctx.saved_tensors, ctx.early_stop, ctx.needs_input_grad[:2])
        return *_backward(*arguments), None, None, None, None


def _save(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:5], outputs[3])
    ctx.early_stop = inputs[5]


def _forward(
    densities: Tensor, colors: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor, early_stop: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    backend = checks.backend(densities)
    owned = packed.require("composite", packed_info, densities.shape[0], densities)
    if backend == "reference":
        return reference.forward(densities, colors, t_starts, t_ends, packed_info, early_stop)
    n_rays, channels = packed_info.shape[0], colors.shape[1]
    rgb = colors.new_empty(n_rays, channels)
    alpha, depth = colors.new_empty(n_rays), colors.new_empty(n_rays)
    weights = packed.per_sample(densities, owned)
    if n_rays == 0:
        return rgb, alpha, depth, weights
    densities, t_starts, t_ends = densities.contiguous(), t_starts.contiguous(), t_ends.contiguous()
    source, cn, ck = checks.rows(colors)
    if backend == "cpu":
        lib.composite_forward(
            densities.data_ptr(), source.data_ptr(), cn, ck, t_starts.data_ptr(), t_ends.data_ptr(),
            packed_info.data_ptr(), n_rays, channels, early_stop,
            rgb.data_ptr(), alpha.data_ptr(), depth.data_ptr(), weights.data_ptr(), threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "composite", "composite_forward", {"CHANNELS": channels}, n_rays * 32,
            (densities, source, cn, ck, t_starts, t_ends, packed_info, n_rays, early_stop, rgb, alpha, depth, weights),
        )  # fmt: skip
    return rgb, alpha, depth, weights


def _backward(
    grad_rgb: Tensor | None,
    grad_alpha: Tensor | None,
    grad_depth: Tensor | None,
    grad_weights: Tensor | None,
    densities: Tensor,
    colors: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    packed_info: Tensor,
    weights: Tensor,
    early_stop: float,
    needs: tuple[bool, ...] = (True, True),
) -> tuple[Tensor | None, Tensor | None]:
    backend = checks.backend(densities)
    grads = (grad_rgb, grad_alpha, grad_depth, grad_weights)
    if backend == "reference":
        return reference.backward(densities, colors, t_starts, t_ends, packed_info, early_stop, grads)
    owned = packed.require("composite", packed_info, densities.shape[0], densities)
    n_rays, (n, channels) = packed_info.shape[0], colors.shape
    grad_densities = packed.per_sample(densities, owned) if needs[0] else None
    grad_colors = None
    if needs[1]:
        make = torch.empty if owned else torch.zeros
        grad_colors = make((channels, n), dtype=torch.float32, device=colors.device).t()
    if n_rays == 0:
        return grad_densities, grad_colors
    densities, t_starts, t_ends = densities.contiguous(), t_starts.contiguous(), t_ends.contiguous()
    source, cn, ck = checks.rows(colors)
    upstream = [None if g is None else g.contiguous() for g in grads]
    if backend == "cpu":
        lib.composite_backward(
            densities.data_ptr(), source.data_ptr(), cn, ck, t_starts.data_ptr(), t_ends.data_ptr(),
            packed_info.data_ptr(), n_rays, channels, early_stop, weights.data_ptr(),
            *map(checks.pointer, upstream), checks.pointer(grad_densities), checks.pointer(grad_colors), 1, n,
            threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "composite", "composite_backward", {"CHANNELS": channels}, n_rays * 32,
            (densities, source, cn, ck, t_starts, t_ends, packed_info, n_rays, early_stop, weights, *upstream,
             grad_densities, grad_colors, 1, n),
        )  # fmt: skip
    return grad_densities, grad_colors


def _fake(
    densities: Tensor, colors: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor, early_stop: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n_rays = packed_info.shape[0]
    return (
        colors.new_empty(n_rays, colors.shape[1]),
        colors.new_empty(n_rays),
        colors.new_empty(n_rays),
        torch.empty_like(densities, memory_format=torch.contiguous_format),
    )


library.define(
    "composite",
    "(Tensor densities, Tensor colors, Tensor t_starts, Tensor t_ends, Tensor packed_info, float early_stop)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    implementation=_forward,
    fake=_fake,
    backward=lambda ctx, *grads: (
        *torch.ops.neural.composite_backward(*grads, *ctx.saved_tensors, ctx.early_stop),
        None,
        None,
        None,
        None,
    ),
    save=lambda ctx, inputs, output: _save(ctx, inputs, output),
)
library.define(
    "composite_backward",
    "(Tensor? grad_rgb, Tensor? grad_alpha, Tensor? grad_depth, Tensor? grad_weights, Tensor densities,"
    " Tensor colors, Tensor t_starts, Tensor t_ends, Tensor packed_info, Tensor weights, float early_stop)"
    " -> (Tensor, Tensor)",
    implementation=_backward,
    fake=lambda *args: (
        torch.empty_like(args[4], memory_format=torch.contiguous_format),
        checks.empty_features(args[5].shape[0], args[5].shape[1], args[5]),
    ),
)
