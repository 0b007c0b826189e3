"""The launches of Gaussian blending on a GPU: gaussian_blend.py has the public functions and their checks."""

import torch
from torch import Tensor

from neural.cuda import checks, jit
from neural.cuda.gaussian_walk import BUCKET, THREADS, all_pixels, buckets

_MOMENTS = 8  # of a slot, before the features


def pack(means2d: Tensor, conics: Tensor, opacities: Tensor, features: Tensor, records: Tensor) -> None:
    """Fills the records."""
    n, channels = features.shape
    (means, mn, mk), (conic, cn, ck), (feature, fn, fk) = map(checks.rows, (means2d, conics, features))
    jit.launch(
        "gaussian_blend", "gaussian_blend_pack", {"CHANNELS": channels}, n,
        (means, mn, mk, conic, cn, ck, opacities.contiguous(), feature, fn, fk, n, records, records.shape[1]),
    )  # fmt: skip


def forward(
    records: Tensor, background: Tensor | None, offsets: Tensor, gaussians: Tensor, colors: Tensor, alphas: Tensor,
    left: Tensor,
) -> None:  # fmt: skip
    """Fills colors [C, H, W], alphas and left."""
    channels, height, width = colors.shape
    jit.launch(
        "gaussian_blend", "gaussian_blend_forward", {"CHANNELS": channels}, all_pixels(offsets),
        (records, records.shape[1], background, offsets, gaussians, width, height, colors, alphas, left),
        block=THREADS,
    )  # fmt: skip


def backward(
    upstream: list[Tensor | None], records: Tensor, pairs: list[Tensor], colors: Tensor, left: Tensor,
    found: list[Tensor], absolute: Tensor | None,
) -> None:  # fmt: skip
    """Fills `found`: the gradients to means2d, conics, opacities and features; adds to `absolute`."""
    offsets, gaussians, starts, slots = pairs
    channels, height, width = colors.shape
    n, stride, defines = records.shape[0], records.shape[1], {"CHANNELS": channels}
    firsts, tiles, states = buckets(offsets, gaussians)
    sums = records.new_empty(len(gaussians), _MOMENTS + channels)
    jit.launch(
        "gaussian_blend", "gaussian_blend_states", defines, all_pixels(offsets),
        (records, stride, offsets, gaussians, width, height, colors, left, *upstream, firsts, states),
        block=THREADS,
    )  # fmt: skip
    jit.launch(
        "gaussian_blend", "gaussian_blend_backward", defines, len(tiles) * BUCKET,
        (records, stride, offsets, gaussians, slots, width, height, upstream[0], firsts, tiles, states,
         len(firsts), len(tiles), sums),
    )  # fmt: skip
    jit.launch(
        "gaussian_blend", "gaussian_blend_gather", defines, n, (records, stride, starts, sums, n, *found, absolute)
    )


def contributions(records: Tensor, pairs: list[Tensor], width: int, height: int, counts: Tensor, sums: Tensor) -> None:
    """Fills counts and sums, per Gaussian."""
    offsets, gaussians, starts, slots = pairs
    n, stride = records.shape
    firsts, tiles, states = buckets(offsets, gaussians)
    pixels, weights = torch.empty_like(gaussians), records.new_empty(len(gaussians))
    jit.launch(
        "gaussian_measures", "gaussian_measures_states", {}, all_pixels(offsets),
        (records, stride, offsets, gaussians, width, height, firsts, states),
        block=THREADS,
    )  # fmt: skip
    jit.launch(
        "gaussian_measures", "gaussian_contributions", {}, len(tiles) * BUCKET,
        (records, stride, offsets, gaussians, slots, width, height, firsts, tiles, states, len(firsts), len(tiles),
         pixels, weights),
    )  # fmt: skip
    jit.launch("gaussian_measures", "gaussian_contributions_gather", {}, n, (starts, pixels, weights, n, counts, sums))


def median_depth(records: Tensor, offsets: Tensor, gaussians: Tensor, depth: Tensor) -> None:
    """Fills depth [H, W]."""
    height, width = depth.shape
    jit.launch(
        "gaussian_measures", "gaussian_median_depth", {}, all_pixels(offsets),
        (records, records.shape[1], offsets, gaussians, width, height, depth),
        block=THREADS,
    )  # fmt: skip
