"""The launches of surfel blending on a GPU: surfel_blend.py has the public functions and their checks."""

from collections.abc import Sequence

from torch import Tensor

from neural.cuda import checks, jit
from neural.cuda.gaussian_walk import BUCKET, THREADS, all_pixels, buckets

GEOMETRY = 13  # floats of a record before the features
_MOMENTS = 14  # of a slot, before the features
_GAINS = 3  # planes that pixels share with backward


def pack(
    means2d: Tensor, axes: Tensor, depths: Tensor, opacities: Tensor, features: Tensor, records: Tensor
) -> None:  # fmt: skip
    """Fills the records."""
    n, channels = features.shape
    (means, mn, mk), (axis, an, ak), (feature, fn, fk) = map(checks.rows, (means2d, axes, features))
    jit.launch(
        "surfel_blend", "surfel_blend_pack", {"CHANNELS": channels}, n,
        (means, mn, mk, axis, an, ak, feature, fn, fk, depths.contiguous(), opacities.contiguous(), n, records,
         records.shape[1]),
    )  # fmt: skip


def forward(
    records: Tensor, background: Tensor | None, offsets: Tensor, gaussians: Tensor, colors: Tensor, planes: Tensor,
    state: Tensor,
) -> None:  # fmt: skip
    """Fills colors [C, H, W], planes [4, H, W] and state [5, H, W]."""
    channels, height, width = colors.shape
    jit.launch(
        "surfel_blend", "surfel_blend_forward", {"CHANNELS": channels}, all_pixels(offsets),
        (records, records.shape[1], background, offsets, gaussians, width, height, colors, planes, state),
        block=THREADS,
    )  # fmt: skip


def backward(
    upstream: Sequence[Tensor | None], records: Tensor, pairs: Sequence[Tensor], colors: Tensor, state: Tensor,
    found: Sequence[Tensor], absolute: Tensor | None,
) -> None:  # fmt: skip
    """Fills `found`: the gradients to means2d, axes, depths, opacities and features; adds to `absolute`."""
    offsets, gaussians, starts, slots = pairs
    channels, height, width = colors.shape
    n, stride, defines = records.shape[0], records.shape[1], {"CHANNELS": channels}
    grad_colors, grad_alphas, grad_expected, grad_medians, grad_distortions = upstream
    firsts, tiles, states = buckets(offsets, gaussians)
    sums, gains = records.new_empty(len(gaussians), _MOMENTS + channels), state.new_empty(_GAINS, height, width)
    jit.launch(
        "surfel_blend", "surfel_blend_states", defines, all_pixels(offsets),
        (records, stride, offsets, gaussians, width, height, colors, state, grad_colors, grad_alphas, grad_expected,
         grad_distortions, firsts, gains, states),
        block=THREADS,
    )  # fmt: skip
    jit.launch(
        "surfel_blend", "surfel_blend_backward", defines, len(tiles) * BUCKET,
        (records, stride, offsets, gaussians, slots, width, height, state, gains, grad_colors, grad_medians, firsts,
         tiles, states, len(firsts), len(tiles), sums),
    )  # fmt: skip
    jit.launch("surfel_blend", "surfel_blend_gather", defines, n, (records, stride, starts, sums, n, *found, absolute))
