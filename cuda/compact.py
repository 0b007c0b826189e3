"""Which samples can be seen, and gathering them, so that the colour network runs on those alone.

seen = visible_samples(densities, t_starts, t_ends, packed_info)
kept = compact(seen.indices, t_starts, t_ends, ray_indices, features)
... colours of kept.features ...
composite(..., seen.packed_info)
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, jit, library, packed
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import composite as reference


class Visible(NamedTuple):
    """The samples that can be seen, ray by ray.

    Attributes:
        packed_info: (start, count) of each ray in the compacted arrays.
        indices: Sample numbers before compaction, ascending within a ray.
    """

    packed_info: Int[Tensor, "R 2"]
    indices: Int[Tensor, "M"]


class Compacted(NamedTuple):
    """The arrays of `compact` at the kept samples; `features` is a transposed view of a [K, M] buffer."""

    t_starts: Float[Tensor, "M"]
    t_ends: Float[Tensor, "M"]
    ray_indices: Int[Tensor, "M"]
    features: Float[Tensor, "M K"]


def visible_samples(
    densities: Float[Tensor, "S"],
    t_starts: Float[Tensor, "S"],
    t_ends: Float[Tensor, "S"],
    packed_info: Int[Tensor, "R 2"],
    *,
    early_stop: float = 1e-4,
    min_alpha: float = 0.0,
) -> Visible:
    """Finds the samples that `composite` with the same `early_stop` gives weight.

    Args:
        densities: Per unit of t, >= 0; no gradient flows.
        t_starts: Where each sample's interval begins.
        t_ends: Where it ends.
        packed_info: (start, count) of each ray's samples, int64, ranges in ascending order.
        early_stop: Samples with transmittance below this are dropped.
        min_alpha: Samples of less opacity are dropped too (they still count for the transmittance).

    Returns:
        A `Visible`; how many samples it holds depends on the values.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device, or ranges outside the samples.
    """
    checks.require("visible_samples", "densities", densities, ("S",))
    checks.require_like("visible_samples", "t_starts", t_starts, densities)
    checks.require_like("visible_samples", "t_ends", t_ends, densities)
    if torch.compiler.is_compiling():
        return Visible(
            *torch.ops.neural.visible_samples(densities, t_starts, t_ends, packed_info, early_stop, min_alpha)
        )
    return Visible(*_visible(densities.detach(), t_starts, t_ends, packed_info, early_stop, min_alpha))


def compact(
    indices: Int[Tensor, "M"],
    t_starts: Float[Tensor, "S"],
    t_ends: Float[Tensor, "S"],
    ray_indices: Int[Tensor, "S"],
    features: Float[Tensor, "S K"],
) -> Compacted:
    """Takes the samples `indices` out of all arrays.

    Args:
        indices: Strictly ascending sample numbers, as `visible_samples` gives them.
        t_starts: Interval begins.
        t_ends: Interval ends.
        ray_indices: Ray of each sample, int64.
        features: Any columns of the samples (densities too); the transposed view of [K, S] is the fastest order.

    Returns:
        A `Compacted`. Gradients flow to `features`, of any order.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device.
    """
    checks.require("compact", "indices", indices, ("M",), torch.int64)
    checks.require("compact", "t_starts", t_starts, ("S",), device=indices.device)
    n = t_starts.shape[0]
    checks.require_like("compact", "t_ends", t_ends, t_starts)
    checks.require("compact", "ray_indices", ray_indices, (n,), torch.int64, indices.device)
    checks.require("compact", "features", features, (n, "K"), device=indices.device)
    if torch.compiler.is_compiling():
        samples = torch.ops.neural.compact_samples(indices, t_starts, t_ends, ray_indices)
        return Compacted(samples[0], samples[1], samples[2], torch.ops.neural.compact_gather(features, indices))
    indices = _require_ascending(indices, n)
    return Compacted(*_samples(indices, t_starts, t_ends, ray_indices), _Gather.apply(features, indices))


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, indices: Tensor) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.n = features.shape[0]
        return _gather(features, indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Scatter.apply(grad, ctx.saved_tensors[0], ctx.n), None


class _Scatter(Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, indices: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(indices)
        return _scatter(features, indices, n)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Gather.apply(grad, ctx.saved_tensors[0]), None, None


def _visible(
    densities: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor, early_stop: float, min_alpha: float
) -> tuple[Tensor, Tensor]:
    packed.require("visible_samples", packed_info, densities.shape[0], densities)
    backend = checks.backend(densities)
    if backend == "reference":
        return reference.visible(densities, t_starts, t_ends, packed_info, early_stop, min_alpha)
    n_rays = packed_info.shape[0]
    mask = torch.empty(densities.shape[0], dtype=torch.uint8, device=densities.device)
    compacted = torch.empty_like(packed_info)
    if n_rays == 0:
        return compacted, compacted.new_empty(0)
    densities, t_starts, t_ends = densities.contiguous(), t_starts.contiguous(), t_ends.contiguous()
    if backend == "cpu":
        lib.visible_mark(
            densities.data_ptr(), t_starts.data_ptr(), t_ends.data_ptr(), packed_info.data_ptr(), n_rays,
            early_stop, min_alpha, mask.data_ptr(), compacted.data_ptr(), threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "compact", "visible_mark", {}, n_rays * 32,
            (densities, t_starts, t_ends, packed_info, n_rays, early_stop, min_alpha, mask, compacted),
        )  # fmt: skip
    indices = compacted.new_empty(packed.starts(compacted)[0])
    if backend == "cpu":
        lib.visible_fill(
            mask.data_ptr(), packed_info.data_ptr(), compacted.data_ptr(), n_rays, indices.data_ptr(), threads()
        )
    else:
        jit.launch("compact", "visible_fill", {}, n_rays, (mask, packed_info, compacted, n_rays, indices))
    return compacted, indices


def _samples(indices: Tensor, t_starts: Tensor, t_ends: Tensor, ray_indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Takes `indices` that `_require_ascending` gave, as `_gather` and `_scatter` do."""
    backend, kept = checks.backend(indices), indices.shape[0]
    if backend == "reference":
        return t_starts[indices], t_ends[indices], ray_indices[indices]
    t_starts, t_ends, ray_indices = t_starts.contiguous(), t_ends.contiguous(), ray_indices.contiguous()
    outputs = t_starts.new_empty(kept), t_ends.new_empty(kept), ray_indices.new_empty(kept)
    arrays = (t_starts, t_ends, ray_indices, *outputs)
    if backend == "cpu":
        lib.compact_samples(indices.data_ptr(), kept, *[x.data_ptr() for x in arrays], threads())
    elif kept:
        jit.launch("compact", "compact_samples", {}, kept, (indices, kept, *arrays))
    return outputs


def _gather(features: Tensor, indices: Tensor) -> Tensor:
    backend, kept, k = checks.backend(features), indices.shape[0], features.shape[1]
    if backend == "reference":
        return features[indices]
    out = checks.empty_features(kept, k, features)
    source, sn, sk = checks.rows(features)
    if backend == "cpu":
        lib.compact_gather(
            indices.data_ptr(), kept, source.data_ptr(), sn, sk, k, out.data_ptr(), 1, kept, threads()
        )  # fmt: skip
    elif kept and k:
        jit.launch("compact", "compact_gather", {}, (kept, k, 1), (indices, kept, source, sn, sk, out, 1, kept),
                   block=(128, 1, 1))  # fmt: skip
    return out


def _scatter(features: Tensor, indices: Tensor, n: int) -> Tensor:
    backend, (kept, k) = checks.backend(features), features.shape
    if backend == "cpu" and kept:
        out = checks.empty_features(n, k, features)
        source, sn, sk = checks.rows(features)
        lib.compact_scatter(
            indices.data_ptr(), kept, source.data_ptr(), sn, sk, k, n, out.data_ptr(), 1, n, threads()
        )  # fmt: skip
        return out
    out = torch.zeros((k, n), dtype=features.dtype, device=features.device).t()
    if backend == "cuda" and kept and k:
        source, sn, sk = checks.rows(features)
        jit.launch("compact", "compact_scatter", {}, (kept, k, 1), (indices, kept, source, sn, sk, out, 1, n),
                   block=(128, 1, 1))  # fmt: skip
    elif backend == "reference":
        out[indices] = features
    return out


def _require_ascending(indices: Tensor, n: int) -> Tensor:
    """The indices, contiguous; on the CPU looked through, on a GPU not (that would need a wait)."""
    indices = indices.contiguous()
    if indices.device.type == "cpu" and not lib.compact_check(indices.data_ptr(), indices.shape[0], n):
        raise ValueError(
            f"compact: indices must ascend within 0 .. {n - 1}; pass visible_samples(...).indices of the same samples"
        )
    return indices


def _fake_visible(
    densities: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor, early_stop: float, min_alpha: float
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(packed_info), packed_info.new_empty(torch.library.get_ctx().new_dynamic_size())


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.n = inputs[0].shape[0]


library.define(
    "visible_samples",
    "(Tensor densities, Tensor t_starts, Tensor t_ends, Tensor packed_info, float early_stop, float min_alpha)"
    " -> (Tensor, Tensor)",
    implementation=_visible,
    fake=_fake_visible,
)
library.define(
    "compact_samples",
    "(Tensor indices, Tensor t_starts, Tensor t_ends, Tensor ray_indices) -> (Tensor, Tensor, Tensor)",
    implementation=lambda indices, t_starts, *rest: _samples(
        _require_ascending(indices, t_starts.shape[0]), t_starts, *rest
    ),
    fake=lambda indices, *arrays: tuple(x.new_empty(indices.shape[0]) for x in arrays),
)
library.define(
    "compact_gather",
    "(Tensor features, Tensor indices) -> Tensor",
    implementation=lambda features, indices: _gather(features, _require_ascending(indices, features.shape[0])),
    fake=lambda features, indices: checks.empty_features(indices.shape[0], features.shape[1], features),
    backward=lambda ctx, grad: (torch.ops.neural.compact_scatter(grad, ctx.saved_tensors[0], ctx.n), None),
    save=_keep,
)
library.define(
    "compact_scatter",
    "(Tensor features, Tensor indices, SymInt n) -> Tensor",
    implementation=lambda features, indices, n: _scatter(features, _require_ascending(indices, n), n),
    fake=lambda features, indices, n: checks.empty_features(n, features.shape[1], features),
    backward=lambda ctx, grad: (torch.ops.neural.compact_gather(grad, ctx.saved_tensors[0]), None, None),
    save=lambda ctx, inputs, output: ctx.save_for_backward(inputs[1]),
)
