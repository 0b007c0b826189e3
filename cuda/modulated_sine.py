"""Fused modulated sine network: the high-order extrapolation decoder of metric grids."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.gradients import GradientBuffer
from neural.cuda.modulated_sine_spec import ModulatedSineSpec, spec_of
from neural.cuda.native import lib, threads
from neural.cuda.reference import modulated_sine as reference


def modulated_sine(
    coordinates: Float[Tensor, "N X"],
    features: Float[Tensor, "M K"],
    params: Float[Tensor, "P"],
    spec: ModulatedSineSpec,
    *,
    accumulate: GradientBuffer | None = None,
) -> Float[Tensor, "N O"]:
    """Evaluates a sine network whose layers are modulated by grids, a block of samples at a time.

    With u the coordinates, e_g the features of grid g, s = e_0 + e_1 + .. and w the frequency:
    h_0 = sin(w (W_0 s + b_0)) sin(w (V_0 u + c_0))^2, h_i = sin(w (W_i h_(i-1) + b_i)) sin(w (V_i e_(i-1) + c_i))^2,
    result W_out h + b_out. Layers beyond the grids are modulated by the last grid.

    Args:
        coordinates: X of them, in [0, 1] for the published initial weights; float32.
        features: M = n_grids N rows: grid g of sample n in row g N + n; float32; best a view of [K, M].
        params: All weights, float32 [spec.n_params], contiguous.
        spec: Sizes and frequency.
        accumulate: Adds the parameters' gradient into this buffer and gives autograd none: the training loop's way.

    Returns:
        Outputs, float32, a transposed view of a [O, N] buffer. Differentiable; its gradients are differentiable again
        with respect to everything, by the layers in plain torch: slower, with all hidden values in memory, and in bits
        that may depend on the number of threads.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device.

    Source: MetricGrids, Wang et al. 2025, arXiv:2503.10000, high-order extrapolation decoder.
    """
    _require(coordinates, features, params, spec)
    if torch.compiler.is_compiling():
        return torch.ops.neural.modulated_sine(coordinates, features, params, list(spec.code), spec.frequency)
    if accumulate is not None:
        checks.require("modulated_sine", "accumulate.grad", accumulate.grad, (spec.n_params,), device=params.device)
    return _ModulatedSine.apply(coordinates, features, params, spec, accumulate)


def _require(coordinates: Tensor, features: Tensor, params: Tensor, spec: ModulatedSineSpec) -> None:
    checks.require("modulated_sine", "coordinates", coordinates, ("N", spec.n_coordinates))
    rows = spec.n_grids * coordinates.shape[0]
    checks.require("modulated_sine", "features", features, (rows, spec.n_features), device=coordinates.device)
    checks.require("modulated_sine", "params", params, (spec.n_params,), device=coordinates.device)
    if not params.is_contiguous():
        raise ValueError("modulated_sine: params must be contiguous; call .contiguous()")


class _ModulatedSine(Function):
    @staticmethod
    def forward(
        ctx: Any, coordinates: Tensor, features: Tensor, params: Tensor, spec: ModulatedSineSpec,
        into: GradientBuffer | None,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(coordinates, features, params)
        ctx.spec, ctx.into = spec, into
        return _forward(coordinates, features, params, spec)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[:3]
        coordinates, features, params = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_ModulatedSineBackward.apply(grad, coordinates, features, params, ctx.spec, needed), None, None
        if ctx.into is None or not needed[2]:
            return *_backward(grad, coordinates, features, params, ctx.spec, needed), None, None
        to_coordinates, to_features, _ = _backward(grad, coordinates, features, params, ctx.spec, needed, ctx.into.grad)
        ctx.into.touched.fill_(-1)
        return to_coordinates, to_features, None, None, None


class _ModulatedSineBackward(Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, coordinates: Tensor, features: Tensor, params: Tensor, spec: ModulatedSineSpec,
        needed: tuple[bool, ...],
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, coordinates, features, params)
        ctx.spec = spec
        return _backward(grad, coordinates, features, params, spec, needed)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *seconds: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(s is None for s in seconds):
            return (None,) * 6
        grad, coordinates, features, params = ctx.saved_tensors
        results = reference.backward_backward(seconds, grad, coordinates, features, params, ctx.spec)
        return *results, None, None


def _forward(coordinates: Tensor, features: Tensor, params: Tensor, spec: ModulatedSineSpec) -> Tensor:
    n = coordinates.shape[0]
    backend = checks.backend(coordinates)
    if backend == "reference":
        return reference.forward(coordinates, features, params, spec)
    out = checks.empty_features(n, spec.n_out, coordinates)
    if n == 0:
        return out
    x, xn, xk = checks.rows(coordinates)
    e, en, ek = checks.rows(features)
    if backend == "cpu":
        lib.modulated_sine_forward(
            x.data_ptr(), xn, xk, e.data_ptr(), en, ek, n, params.data_ptr(), *spec.code, spec.frequency,
            out.data_ptr(), 1, n, threads(),
        )  # fmt: skip
    else:
        blocks = _n_blocks(spec, n)
        jit.launch(
            "modulated_sine", "modulated_sine_forward", spec.defines, _BLOCK * blocks,
            (x, xn, xk, e, en, ek, n, params, spec.frequency, out, 1, n, _scratch(spec, blocks, 3, x)), block=_BLOCK,
        )  # fmt: skip
    return out


def _backward(
    grad: Tensor, coordinates: Tensor, features: Tensor, params: Tensor, spec: ModulatedSineSpec,
    needed: tuple[bool, ...], into: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients to coordinates, features and params, None where not needed; with `into`, the last is added to that."""
    n = coordinates.shape[0]
    backend = checks.backend(coordinates)
    if backend == "reference":
        a, b, c = reference.backward(grad, coordinates, features, params, spec)
        c = c if into is None else into.add_(c)
        return a if needed[0] else None, b if needed[1] else None, c if needed[2] else None
    to_x = checks.empty_features(n, spec.n_coordinates, coordinates) if needed[0] else None
    to_e = checks.empty_features(spec.n_grids * n, spec.n_features, features) if needed[1] else None
    to_params = into if into is not None else torch.empty_like(params, requires_grad=False) if needed[2] else None
    if n == 0:
        return to_x, to_e, to_params if to_params is None or into is not None else to_params.zero_()
    x, xn, xk = checks.rows(coordinates)
    e, en, ek = checks.rows(features)
    upstream, gn, gk = checks.rows(grad)
    if backend == "cpu":
        lib.modulated_sine_backward(
            upstream.data_ptr(), gn, gk, x.data_ptr(), xn, xk, e.data_ptr(), en, ek, n, params.data_ptr(), *spec.code,
            spec.frequency, checks.pointer(to_x), 1, n, checks.pointer(to_e), 1, spec.n_grids * n,
            checks.pointer(to_params), int(into is not None), threads(),
        )  # fmt: skip
        return to_x, to_e, to_params
    blocks = min(_n_blocks(spec, n), _MAX_CUDA_BLOCKS)
    partials = None if to_params is None else torch.zeros((blocks, spec.n_params), device=params.device)
    jit.launch(
        "modulated_sine", "modulated_sine_backward", spec.defines, _BLOCK * blocks,
        (upstream, gn, gk, x, xn, xk, e, en, ek, n, params, spec.frequency, to_x, 1, n, to_e, 1, spec.n_grids * n,
         partials, _scratch(spec, blocks, 3 * spec.n_hidden_layers, x)),
        block=_BLOCK,
    )  # fmt: skip
    if to_params is not None:
        args = (partials, blocks, to_params, int(into is not None))
        jit.launch("modulated_sine", "modulated_sine_reduce", spec.defines, spec.n_params, args)
    return to_x, to_e, to_params


_BLOCK = 128  # threads of a CUDA block
_MAX_CUDA_BLOCKS = 256  # of a backward pass, each with a partial gradient; fixed, so that the order of sums is


def _tile(spec: ModulatedSineSpec) -> int:
    """Samples of a CUDA block at a time: kTile of modulated_sine.cu."""
    return 64 if spec.width <= 64 else 32


def _n_blocks(spec: ModulatedSineSpec, n: int) -> int:
    return min(-(-n // _tile(spec)), 1024)


def _scratch(spec: ModulatedSineSpec, n_blocks: int, n_hidden: int, like: Tensor) -> Tensor:
    """Per block the sum of the grids and so many matrices of hidden values."""
    return torch.empty(n_blocks * (spec.n_features + n_hidden * spec.width) * _tile(spec), device=like.device)


def _keep(ctx: Any, inputs: tuple, output: Any) -> None:
    *tensors, ctx.code, ctx.frequency = inputs
    ctx.save_for_backward(*tensors)


def _fake_backward(grad, coordinates, features, params, code, frequency) -> tuple[Tensor, Tensor, Tensor]:
    to_x, to_e = (checks.empty_features(t.shape[0], t.shape[1], t) for t in (coordinates, features))
    return to_x, to_e, torch.empty_like(params)


def _second(ctx: Any, *seconds: Tensor | None) -> tuple:
    if all(s is None for s in seconds):
        return (None,) * 6
    spec = spec_of(tuple(ctx.code), ctx.frequency)
    grad, coordinates, features, params = ctx.saved_tensors
    results = reference.backward_backward(seconds, grad, coordinates, features, params, spec)
    return *results, None, None


library.define(
    "modulated_sine",
    "(Tensor coordinates, Tensor features, Tensor params, int[] code, float frequency) -> Tensor",
    implementation=lambda x, e, params, code, f: _forward(x, e, params, spec_of(tuple(code), f)),
    fake=lambda x, e, params, code, f: checks.empty_features(x.shape[0], code[3], x),
    backward=lambda ctx, grad: (
        *torch.ops.neural.modulated_sine_backward(grad, *ctx.saved_tensors, ctx.code, ctx.frequency),
        None,
        None,
    ),
    save=_keep,
)
library.define(
    "modulated_sine_backward",
    "(Tensor grad, Tensor coordinates, Tensor features, Tensor params, int[] code, float frequency) "
    "-> (Tensor, Tensor, Tensor)",
    implementation=lambda grad, x, e, params, code, f: _backward(
        grad, x, e, params, spec_of(tuple(code), f), (True, True, True)
    ),
    fake=_fake_backward,
    backward=_second,
    save=_keep,
)
