"""Metric maps: a position to where each of three elementary grids has it, with first and second derivatives."""

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import metric_maps as reference

Metrics = Literal["signal", "radiance"]
METRICS: tuple[Metrics, ...] = get_args(Metrics)  # position = code, the enum of metric_maps.cuh


def metric_maps(positions: Float[Tensor, "N D"], metrics: Metrics = "signal") -> Float[Tensor, "M D"]:
    """Positions in the three metrics, coordinate by coordinate.

    `signal` (images, distances), with p = 2 x - 1: x; (sin p / sin 1 + 1) / 2; (arcsin p / pi + 1/2) / 2, which is half
    as long. `radiance`: x; sin x; cos x. The published form of `signal` has the second and the third lower by 1, which
    kept hash keys apart; here levels have keys of their own. Ours too: arcsin follows its tangent where
    |p| > 1 - 2^-12, so that its slope is at most 45, and beyond [0, 1] every map stays at the face.

    Args:
        positions: Points in [0, 1]^D, float32, in either memory order.
        metrics: `signal` or `radiance`.

    Returns:
        M = 3 N points, all of the first metric, then of the second and the third: a transposed view of a [D, 3 N]
        buffer. Differentiable twice.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or name.

    Source: MetricGrids, Wang et al. 2025, arXiv:2503.10000.
    """
    checks.require("metric_maps", "positions", positions, ("N", "D"))
    if metrics not in METRICS:
        raise ValueError(f"metric_maps: metrics must be one of {', '.join(METRICS)}, got {metrics!r}")
    kind = METRICS.index(metrics)
    if torch.compiler.is_compiling():
        return torch.ops.neural.metric_maps(positions, kind)
    return _MetricMaps.apply(positions, kind)


class _MetricMaps(Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, kind: int) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.kind = kind
        return _forward(positions, kind)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _MetricMapsBackward.apply(grad, ctx.saved_tensors[0], ctx.kind), None


class _MetricMapsBackward(Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, positions: Tensor, kind: int) -> Tensor:
        ctx.save_for_backward(grad, positions)
        ctx.kind = kind
        return _backward(grad, positions, kind)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor, Tensor, None]:
        grad, positions = ctx.saved_tensors
        return *_backward_backward(second, grad, positions, ctx.kind), None


def _forward(positions: Tensor, kind: int) -> Tensor:
    n, dims = positions.shape
    backend = checks.backend(positions)
    if backend == "reference":
        return reference.forward(positions, kind)
    out = checks.empty_features(3 * n, dims, positions)
    if n == 0 or dims == 0:
        return out
    source, sn, sk = checks.rows(positions)
    if backend == "cpu":
        lib.metric_maps_forward(source.data_ptr(), sn, sk, n, dims, kind, out.data_ptr(), 1, 3 * n, threads())
    else:
        _launch("metric_maps_forward", kind, positions, (source, sn, sk, n, out, 1, 3 * n))
    return out


def _backward(grad: Tensor, positions: Tensor, kind: int) -> Tensor:
    n, dims = positions.shape
    backend = checks.backend(positions)
    if backend == "reference":
        return reference.backward(grad, positions, kind)
    result = checks.empty_features(n, dims, positions)
    if n == 0 or dims == 0:
        return result
    source, sn, sk = checks.rows(positions)
    upstream, gn, gk = checks.rows(grad)
    if backend == "cpu":
        lib.metric_maps_backward(
            source.data_ptr(), sn, sk, upstream.data_ptr(), gn, gk, n, dims, kind, result.data_ptr(), 1, n, threads()
        )
    else:
        _launch("metric_maps_backward", kind, positions, (source, sn, sk, upstream, gn, gk, n, result, 1, n))
    return result


def _backward_backward(second: Tensor, grad: Tensor, positions: Tensor, kind: int) -> tuple[Tensor, Tensor]:
    n, dims = positions.shape
    backend = checks.backend(positions)
    if backend == "reference":
        return reference.backward_backward(second, grad, positions, kind)
    to_grad = checks.empty_features(3 * n, dims, positions)
    to_positions = checks.empty_features(n, dims, positions)
    if n == 0 or dims == 0:
        return to_grad, to_positions
    source, sn, sk = checks.rows(positions)
    upstream, gn, gk = checks.rows(grad)
    above, an, ak = checks.rows(second)
    if backend == "cpu":
        lib.metric_maps_backward_backward(
            source.data_ptr(), sn, sk, upstream.data_ptr(), gn, gk, above.data_ptr(), an, ak, n, dims, kind,
            to_grad.data_ptr(), 1, 3 * n, to_positions.data_ptr(), 1, n, threads(),
        )  # fmt: skip
    else:
        _launch(
            "metric_maps_backward_backward", kind, positions,
            (source, sn, sk, upstream, gn, gk, above, an, ak, n, to_grad, 1, 3 * n, to_positions, 1, n),
        )  # fmt: skip
    return to_grad, to_positions


def _launch(kernel: str, kind: int, positions: Tensor, args: tuple[Any, ...]) -> None:
    n, dims = positions.shape
    jit.launch("metric_maps", kernel, {"KIND": kind}, (n, dims, 1), args, block=(128, 1, 1))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:-1])
    ctx.kind = inputs[-1]


def _fake_like(matrix: Tensor) -> Tensor:
    return checks.empty_features(matrix.shape[0], matrix.shape[1], matrix)


library.define(
    "metric_maps",
    "(Tensor positions, int kind) -> Tensor",
    implementation=_forward,
    fake=lambda positions, kind: checks.empty_features(3 * positions.shape[0], positions.shape[1], positions),
    backward=lambda ctx, grad: (torch.ops.neural.metric_maps_backward(grad, *ctx.saved_tensors, ctx.kind), None),
    save=_keep,
)
library.define(
    "metric_maps_backward",
    "(Tensor grad, Tensor positions, int kind) -> Tensor",
    implementation=_backward,
    fake=lambda grad, positions, kind: _fake_like(positions),
    backward=lambda ctx, second: (
        *torch.ops.neural.metric_maps_backward_backward(second, *ctx.saved_tensors, ctx.kind),
        None,
    ),
    save=_keep,
)
library.define(
    "metric_maps_backward_backward",
    "(Tensor second, Tensor grad, Tensor positions, int kind) -> (Tensor, Tensor)",
    implementation=_backward_backward,
    fake=lambda second, grad, positions, kind: (_fake_like(grad), _fake_like(positions)),
)
