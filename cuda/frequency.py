"""Frequency (positional) encoding: sines and cosines at doubling frequencies, with first and second derivatives."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import frequency as reference

MAX_FREQUENCIES = 60  # (2^k pi)^2 of the second derivative stays finite in fp32


def frequency(positions: Float[Tensor, "N D"], n_frequencies: int) -> Float[Tensor, "N K"]:
    """Encodes each coordinate x as sin(2^k pi x), cos(2^k pi x) for k = 0 .. n_frequencies - 1.

    Features are interleaved (sine, cosine) per frequency, frequencies ascend within a dimension, dimension after
    dimension: tiny-cuda-nn's order. The angle is reduced exactly, so high frequencies lose no digits.

    Args:
        positions: Any range; one unit is half a period of the lowest frequency.
        n_frequencies: 1 to 60.

    Returns:
        Features, float32, K = 2 D n_frequencies, a transposed view of a [K, N] buffer. Differentiable twice with
        respect to `positions`.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or number of frequencies.

    Source: Mildenhall et al. 2020, arXiv:2003.08934, eq. 4.
    """
    checks.require("frequency", "positions", positions, ("N", "D"))
    if not 1 <= n_frequencies <= MAX_FREQUENCIES:
        raise ValueError(f"frequency: n_frequencies must be 1 to {MAX_FREQUENCIES}, got {n_frequencies}")
    if torch.compiler.is_compiling():
        return torch.ops.neural.frequency(positions, n_frequencies)
    return _Frequency.apply(positions, n_frequencies)


class _Frequency(Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, n_frequencies: int) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.n_frequencies = n_frequencies
        return _forward(positions, n_frequencies)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _FrequencyBackward.apply(grad, ctx.saved_tensors[0], ctx.n_frequencies), None


class _FrequencyBackward(Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, positions: Tensor, n_frequencies: int) -> Tensor:
        ctx.save_for_backward(grad, positions)
        ctx.n_frequencies = n_frequencies
        return _backward(grad, positions, n_frequencies)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor, Tensor, None]:
        grad, positions = ctx.saved_tensors
        return *_backward_backward(second, grad, positions, ctx.n_frequencies), None


def _forward(positions: Tensor, n_frequencies: int) -> Tensor:
    n, dims = positions.shape
    backend = checks.backend(positions)
    if backend == "reference":
        return reference.forward(positions, n_frequencies)
    out = checks.empty_features(n, 2 * dims * n_frequencies, positions)
    if n == 0 or dims == 0:
        return out
    source, sn, sk = checks.rows(positions)
    if backend == "cpu":
        lib.frequency_forward(source.data_ptr(), sn, sk, n, dims, n_frequencies, out.data_ptr(), 1, n, threads())
    else:
        jit.launch(
            "frequency", "frequency_forward", {"N_FREQUENCIES": n_frequencies}, (n, dims, 1),
            (source, sn, sk, n, out, 1, n), block=(128, 1, 1),
        )  # fmt: skip
    return out


def _backward(grad: Tensor, positions: Tensor, n_frequencies: int) -> Tensor:
    n, dims = positions.shape
    backend = checks.backend(positions)
    if backend == "reference":
        return reference.backward(grad, positions, n_frequencies)
    result = checks.empty_features(n, dims, positions)
    if n == 0 or dims == 0:
        return result
    source, sn, sk = checks.rows(positions)
    upstream, gn, gk = checks.rows(grad)
    if backend == "cpu":
        lib.frequency_backward(
            source.data_ptr(), sn, sk, upstream.data_ptr(), gn, gk, n, dims, n_frequencies,
            result.data_ptr(), 1, n, threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "frequency", "frequency_backward", {"N_FREQUENCIES": n_frequencies}, (n, dims, 1),
            (source, sn, sk, upstream, gn, gk, n, result, 1, n), block=(128, 1, 1),
        )  # fmt: skip
    return result


def _backward_backward(second: Tensor, grad: Tensor, positions: Tensor, n_frequencies: int) -> tuple[Tensor, Tensor]:
    n, dims = positions.shape
    backend = checks.backend(positions)
    if backend == "reference":
        return reference.backward_backward(second, grad, positions, n_frequencies)
    to_grad = checks.empty_features(n, grad.shape[1], positions)
    to_positions = checks.empty_features(n, dims, positions)
    if n == 0 or dims == 0:
        return to_grad, to_positions
    source, sn, sk = checks.rows(positions)
    upstream, gn, gk = checks.rows(grad)
    above, an, ak = checks.rows(second)
    if backend == "cpu":
        lib.frequency_backward_backward(
            source.data_ptr(), sn, sk, upstream.data_ptr(), gn, gk, above.data_ptr(), an, ak, n, dims, n_frequencies,
            to_grad.data_ptr(), 1, n, to_positions.data_ptr(), 1, n, threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "frequency", "frequency_backward_backward", {"N_FREQUENCIES": n_frequencies}, (n, dims, 1),
            (source, sn, sk, upstream, gn, gk, above, an, ak, n, to_grad, 1, n, to_positions, 1, n),
            block=(128, 1, 1),
        )  # fmt: skip
    return to_grad, to_positions


def _fake_like(matrix: Tensor) -> Tensor:
    return checks.empty_features(matrix.shape[0], matrix.shape[1], matrix)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:-1])
    ctx.n_frequencies = inputs[-1]


library.define(
    "frequency",
    "(Tensor positions, int n_frequencies) -> Tensor",
    implementation=_forward,
    fake=lambda positions, n: checks.empty_features(positions.shape[0], 2 * positions.shape[1] * n, positions),
    backward=lambda ctx, grad: (
        torch.ops.neural.frequency_backward(grad, ctx.saved_tensors[0], ctx.n_frequencies),
        None,
    ),
    save=_keep,
)
library.define(
    "frequency_backward",
    "(Tensor grad, Tensor positions, int n_frequencies) -> Tensor",
    implementation=_backward,
    fake=lambda grad, positions, n: _fake_like(positions),
    backward=lambda ctx, second: (
        *torch.ops.neural.frequency_backward_backward(second, *ctx.saved_tensors, ctx.n_frequencies),
        None,
    ),
    save=_keep,
)
library.define(
    "frequency_backward_backward",
    "(Tensor second, Tensor grad, Tensor positions, int n_frequencies) -> (Tensor, Tensor)",
    implementation=_backward_backward,
    fake=lambda second, grad, positions, n: (
        _fake_like(grad),
        _fake_like(positions),
    ),
)
