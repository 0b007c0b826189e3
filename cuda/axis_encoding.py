"""Encodings of single coordinates, triangle waves and one-blob, with first and second derivatives."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import axis_encoding as reference

MAX_FREQUENCIES = 60  # 2^(k+1) of the derivative stays finite in fp32 with room for a loss's own factor
MAX_BINS = 1024
_TRIANGLE_WAVE, _ONE_BLOB = 0, 1


def triangle_wave(positions: Float[Tensor, "N D"], n_frequencies: int) -> Float[Tensor, "N K"]:
    """Encodes each coordinate x as 4 |frac(2^(k-1) x + k/4) - 1/2| - 1 for k = 0 .. n_frequencies - 1.

    A cheap form of the frequency encoding: frequencies ascend within a dimension, dimension after dimension; the phase
    of k/4 keeps waves from turning at the same places. Phases are reduced exactly, so high frequencies lose no digits.

    Args:
        positions: Any range; one unit is half a period of the lowest frequency.
        n_frequencies: 1 to 60.

    Returns:
        Features in [-1, 1], float32, K = D n_frequencies, a transposed view of a [K, N] buffer. Differentiable twice
        (the second derivative is zero).

    Raises:
        TypeError, ValueError: A wrong dtype, shape or number of frequencies.

    Source: Mueller et al. 2021, arXiv:2106.12372, section 3.3; phases as in tiny-cuda-nn.
    """
    checks.require("triangle_wave", "positions", positions, ("N", "D"))
    if not 1 <= n_frequencies <= MAX_FREQUENCIES:
        raise ValueError(f"triangle_wave: n_frequencies must be 1 to {MAX_FREQUENCIES}, got {n_frequencies}")
    return _encode(positions, _TRIANGLE_WAVE, n_frequencies)


def one_blob(positions: Float[Tensor, "N D"], n_bins: int) -> Float[Tensor, "N K"]:
    """Encodes each coordinate by the mass that a kernel about it has in each of n_bins bins of [0, 1].

    The kernel is quartic, 15/16 (1 - u^2)^2 with u in units of its radius 1 / n_bins, and wraps at the box's faces: the
    features of a coordinate in [0, 1] sum to 1. They vanish far outside of it.

    Args:
        positions: Coordinates in [0, 1].
        n_bins: 1 to 1024.

    Returns:
        Features, float32, K = D n_bins, a transposed view of a [K, N] buffer. Differentiable twice.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or number of bins.

    Source: Mueller et al. 2019, arXiv:1808.03856, section 4.3; quartic kernel and wrapping as in tiny-cuda-nn.
    """
    checks.require("one_blob", "positions", positions, ("N", "D"))
    if not 1 <= n_bins <= MAX_BINS:
        raise ValueError(f"one_blob: n_bins must be 1 to {MAX_BINS}, got {n_bins}")
    return _encode(positions, _ONE_BLOB, n_bins)


def _encode(positions: Tensor, kind: int, n_per_axis: int) -> Tensor:
    if torch.compiler.is_compiling():
        return torch.ops.neural.axis_encoding(positions, kind, n_per_axis)
    return _AxisEncoding.apply(positions, kind, n_per_axis)


class _AxisEncoding(Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, kind: int, n_per_axis: int) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.form = kind, n_per_axis
        return _forward(positions, kind, n_per_axis)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _AxisEncodingBackward.apply(grad, ctx.saved_tensors[0], *ctx.form), None, None


class _AxisEncodingBackward(Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, positions: Tensor, kind: int, n_per_axis: int) -> Tensor:
        ctx.save_for_backward(grad, positions)
        ctx.form = kind, n_per_axis
        return _backward(grad, positions, kind, n_per_axis)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return *_backward_backward(second, *ctx.saved_tensors, *ctx.form), None, None


def _forward(positions: Tensor, kind: int, n_per_axis: int) -> Tensor:
    if checks.backend(positions) == "reference":
        return reference.forward(positions, kind, n_per_axis)
    n, n_dims = positions.shape
    out = checks.empty_features(n, n_dims * n_per_axis, positions)
    _run("axis_encoding_forward", positions, kind, n_per_axis, (), (out,))
    return out


def _backward(grad: Tensor, positions: Tensor, kind: int, n_per_axis: int) -> Tensor:
    if checks.backend(positions) == "reference":
        return reference.backward(grad, positions, kind, n_per_axis)
    result = _empty_like(positions)
    _run("axis_encoding_backward", positions, kind, n_per_axis, (grad,), (result,))
    return result


def _backward_backward(
    second: Tensor, grad: Tensor, positions: Tensor, kind: int, n_per_axis: int
) -> tuple[Tensor, Tensor]:
    if checks.backend(positions) == "reference":
        return reference.backward_backward(second, grad, positions, kind, n_per_axis)
    to_grad, to_positions = _empty_like(grad), _empty_like(positions)
    _run("axis_encoding_backward_backward", positions, kind, n_per_axis, (grad, second), (to_grad, to_positions))
    return to_grad, to_positions


def _run(
    kernel: str, positions: Tensor, kind: int, n_per_axis: int, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> None:
    """Runs a kernel of axis_encoding.h; all matrices as pointer and two strides, the outputs [N, .] views of [., N]."""
    n, n_dims = positions.shape
    if n == 0 or n_dims == 0:
        return
    given = [value for matrix in (positions, *inputs) for value in checks.rows(matrix)]
    results = [value for matrix in outputs for value in (matrix, 1, n)]
    if checks.backend(positions) == "cpu":
        values = (*given, n, n_dims, kind, n_per_axis, *results)
        getattr(lib, kernel)(*[v if type(v) is int else v.data_ptr() for v in values], threads())  # type: ignore[union-attr]
    else:
        defines = {"KIND": kind, "N_PER_AXIS": n_per_axis}
        jit.launch("axis_encoding", kernel, defines, (n, n_dims, 1), (*given, n, *results), block=(128, 1, 1))


def _empty_like(matrix: Tensor) -> Tensor:
    return checks.empty_features(matrix.shape[0], matrix.shape[1], matrix)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:-2])
    ctx.form = inputs[-2:]


library.define(
    "axis_encoding",
    "(Tensor positions, int kind, int n_per_axis) -> Tensor",
    implementation=_forward,
    fake=lambda positions, kind, n: checks.empty_features(positions.shape[0], positions.shape[1] * n, positions),
    backward=lambda ctx, grad: (
        torch.ops.neural.axis_encoding_backward(grad, ctx.saved_tensors[0], *ctx.form),
        None,
        None,
    ),
    save=_keep,
)
library.define(
    "axis_encoding_backward",
    "(Tensor grad, Tensor positions, int kind, int n_per_axis) -> Tensor",
    implementation=_backward,
    fake=lambda grad, positions, kind, n: _empty_like(positions),
    backward=lambda ctx, second: (
        *torch.ops.neural.axis_encoding_backward_backward(second, *ctx.saved_tensors, *ctx.form),
        None,
        None,
    ),
    save=_keep,
)
library.define(
    "axis_encoding_backward_backward",
    "(Tensor second, Tensor grad, Tensor positions, int kind, int n_per_axis) -> (Tensor, Tensor)",
    implementation=_backward_backward,
    fake=lambda second, grad, positions, kind, n: (_empty_like(grad), _empty_like(positions)),
)
