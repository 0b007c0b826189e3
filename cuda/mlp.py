"""Fused multilayer perceptron: all layers of a block of samples while it is in cache, gradients to second order."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.gradients import GradientBuffer
from neural.cuda.mlp_spec import MLPSpec, spec_of
from neural.cuda.native import lib, threads
from neural.cuda.reference import mlp as reference


def mlp(
    inputs: Float[Tensor, "N I"],
    params: Float[Tensor, "P"],
    spec: MLPSpec,
    *,
    accumulate: GradientBuffer | None = None,
) -> Float[Tensor, "N O"]:
    """Evaluates the network: a_l = phi(W_l a_(l-1) + b_l).

    Args:
        inputs: float32 in either memory order; the transposed view of a [I, N] buffer is the faster one.
        params: All weights, float32 [spec.n_params], contiguous.
        spec: Sizes and activations.
        accumulate: Adds the parameters' gradient into this buffer and gives autograd none: the training loop's way.

    Returns:
        Outputs, float32, a transposed view of a [O, N] buffer. Differentiable; the gradient to `inputs` is
        differentiable once more, with respect to inputs, params and the upstream gradient.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device.
    """
    _require(inputs, params, spec)
    if torch.compiler.is_compiling():
        return torch.ops.neural.mlp(inputs, params, list(spec.code), spec.frequency)
    if accumulate is not None:
        checks.require("mlp", "accumulate.grad", accumulate.grad, (spec.n_params,), device=params.device)
    return _MLP.apply(inputs, params, spec, accumulate)


def mlp_input_gradient(
    grad: Float[Tensor, "N O"], inputs: Float[Tensor, "N I"], params: Float[Tensor, "P"], spec: MLPSpec
) -> Float[Tensor, "N I"]:
    """The gradient of <mlp(inputs), grad> to the inputs: the normals of a signed distance, say.

    The same as torch.autograd.grad(..., create_graph=True) through `mlp`, without the work for a gradient to the
    parameters. Differentiable once, with respect to `grad`, `inputs` and `params`.
    """
    _require(inputs, params, spec)
    checks.require("mlp", "grad", grad, (inputs.shape[0], spec.n_out), device=inputs.device)
    return _MLPBackward.apply(grad, inputs, params, spec, True, False)[0]


def _require(inputs: Tensor, params: Tensor, spec: MLPSpec) -> None:
    checks.require("mlp", "inputs", inputs, ("N", spec.n_in))
    checks.require("mlp", "params", params, (spec.n_params,), device=inputs.device)
    if not params.is_contiguous():
        raise ValueError("mlp: params must be contiguous; call .contiguous()")


class _MLP(Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, params: Tensor, spec: MLPSpec, into: GradientBuffer | None) -> Tensor:
        ctx.save_for_backward(inputs, params)
        ctx.spec, ctx.into = spec, into
        return _forward(inputs, params, spec)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        inputs, params = ctx.saved_tensors
        need_inputs, need_params = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            return *_MLPBackward.apply(grad, inputs, params, ctx.spec, need_inputs, need_params), None, None
        if ctx.into is None or not need_params:
            return *_backward(grad, inputs, params, ctx.spec, need_inputs, need_params), None, None
        to_inputs, _ = _backward(grad, inputs, params, ctx.spec, need_inputs, True, ctx.into.grad)
        ctx.into.touched.fill_(-1)
        return to_inputs, None, None, None


class _MLPBackward(Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, inputs: Tensor, params: Tensor, spec: MLPSpec, need_inputs: bool, need_params: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, inputs, params)
        ctx.spec = spec
        return _backward(grad, inputs, params, spec, need_inputs, need_params)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, second: Tensor | None, params_second: Tensor | None) -> tuple[Tensor | None, ...]:
        if params_second is not None:
            raise NotImplementedError(
                "mlp: the gradient to the parameters cannot be differentiated again, only the gradient to the inputs; "
                "for this build the network from torch.nn.Linear, or call .detach() on the parameters' gradient"
            )
        if second is None:
            return (None,) * 6
        grad, inputs, params = ctx.saved_tensors
        need_grad, need_inputs, need_params = ctx.needs_input_grad[:3]
        results = _backward_backward(second, grad, inputs, params, ctx.spec, need_grad, need_inputs, need_params)
        return *results, None, None, None


def _forward(inputs: Tensor, params: Tensor, spec: MLPSpec) -> Tensor:
    n = inputs.shape[0]
    backend = checks.backend(inputs)
    if backend == "reference":
        return reference.forward(inputs, params, spec)
    out = checks.empty_features(n, spec.n_out, inputs)
    if n == 0:
        return out
    source, sn, sk = checks.rows(inputs)
    if backend == "cpu":
        lib.mlp_forward(
            source.data_ptr(), sn, sk, n, params.data_ptr(), *spec.code, spec.frequency, out.data_ptr(), 1, n, threads()
        )
    else:
        jit.launch(
            "mlp", "mlp_forward", spec.defines, _BLOCK * -(-n // _tile(spec)),
            (source, sn, sk, n, params, spec.frequency, out, 1, n), block=_BLOCK,
        )  # fmt: skip
    return out


def _backward(
    grad: Tensor,
    inputs: Tensor,
    params: Tensor,
    spec: MLPSpec,
    need_inputs: bool,
    need_params: bool,
    into: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients to inputs and params, None where not needed; with `into`, that one is added to."""
    n = inputs.shape[0]
    backend = checks.backend(inputs)
    if backend == "reference":
        a, b = reference.backward(grad, inputs, params, spec)
        b = b if into is None else into.add_(b)
        return a if need_inputs else None, b if need_params else None
    to_inputs = _empty_in_order_of(inputs) if need_inputs else None
    to_params = _params_result(params, need_params, into)
    if n == 0:
        return to_inputs, to_params if to_params is None or into is not None else to_params.zero_()
    source, sn, sk = checks.rows(inputs)
    upstream, gn, gk = checks.rows(grad)
    if backend == "cpu":
        lib.mlp_backward(
            upstream.data_ptr(), gn, gk, source.data_ptr(), sn, sk, n, params.data_ptr(), *spec.code, spec.frequency,
            *_address(to_inputs), checks.pointer(to_params), int(into is not None), threads(),
        )  # fmt: skip
    else:
        rows = 2 * spec.n_hidden_layers * spec.width + spec.n_out
        plan = _CudaPlan.of(spec, n, rows, inputs, to_params is not None)
        jit.launch(
            "mlp", "mlp_backward", spec.defines, _BLOCK * plan.n_blocks,
            (upstream, gn, gk, source, sn, sk, n, params, spec.frequency, to_inputs, *_strides(to_inputs),
             plan.partials, plan.scratch),
            block=_BLOCK,
        )  # fmt: skip
        plan.reduce(to_params, into is not None)
    return to_inputs, to_params


def _backward_backward(
    second: Tensor,
    grad: Tensor,
    inputs: Tensor,
    params: Tensor,
    spec: MLPSpec,
    need_grad: bool,
    need_inputs: bool,
    need_params: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of <gradient to the inputs, second> to grad, inputs and params, None where not needed."""
    n = inputs.shape[0]
    backend = checks.backend(inputs)
    if backend == "reference":
        a, b, c = reference.backward_backward(second, grad, inputs, params, spec)
        return a if need_grad else None, b if need_inputs else None, c if need_params else None
    to_grad = checks.empty_features(n, spec.n_out, inputs) if need_grad else None
    to_inputs = _empty_in_order_of(inputs) if need_inputs else None
    to_params = _params_result(params, need_params, None)
    if n == 0:
        return to_grad, to_inputs, None if to_params is None else to_params.zero_()
    source, sn, sk = checks.rows(inputs)
    upstream, gn, gk = checks.rows(grad)
    above, an, ak = checks.rows(second)
    if backend == "cpu":
        lib.mlp_backward_backward(
            above.data_ptr(), an, ak, upstream.data_ptr(), gn, gk, source.data_ptr(), sn, sk, n, params.data_ptr(),
            *spec.code, spec.frequency, checks.pointer(to_grad), 1, n, *_address(to_inputs),
            checks.pointer(to_params), 0, threads(),
        )  # fmt: skip
    else:
        rows = (4 * spec.n_hidden_layers + 1) * spec.width + 3 * spec.n_out
        plan = _CudaPlan.of(spec, n, rows, inputs, to_params is not None)
        jit.launch(
            "mlp", "mlp_backward_backward", spec.defines, _BLOCK * plan.n_blocks,
            (above, an, ak, upstream, gn, gk, source, sn, sk, n, params, spec.frequency,
             to_grad, 1, n, to_inputs, *_strides(to_inputs), plan.partials, plan.scratch),
            block=_BLOCK,
        )  # fmt: skip
        plan.reduce(to_params, False)
    return to_grad, to_inputs, to_params


def _empty_in_order_of(inputs: Tensor) -> Tensor:
    """An uninitialised gradient to the inputs in their memory order, so that autograd need not turn it around."""
    n, k = inputs.shape
    if inputs.stride(1) == 1 and n > 1:
        return torch.empty((n, k), dtype=torch.float32, device=inputs.device)
    return checks.empty_features(n, k, inputs)


def _strides(matrix: Tensor | None) -> tuple[int, int]:
    return (0, 0) if matrix is None else (matrix.stride(0), matrix.stride(1))


def _address(matrix: Tensor | None) -> tuple[int, int, int]:
    return checks.pointer(matrix), *_strides(matrix)


def _params_result(params: Tensor, needed: bool, into: Tensor | None) -> Tensor | None:
    if into is not None:
        return into
    return torch.empty_like(params, requires_grad=False) if needed else None


_BLOCK = 128  # threads of a CUDA block
_MAX_CUDA_BLOCKS = 256  # of a backward pass, each with a partial gradient; fixed, so that the order of sums is
_MAX_PARTIALS = 1 << 24  # floats of all partial gradients, where that leaves 64 blocks


def _tile(spec: MLPSpec) -> int:
    """Samples of a CUDA block at a time: kTile of mlp.cu."""
    return 64 if spec.width <= 64 else 32


@dataclass(frozen=True)
class _CudaPlan:
    """Work space of a CUDA backward pass, whose blocks take every n_blocks-th tile each."""

    spec: MLPSpec
    n_blocks: int
    scratch: Tensor
    partials: Tensor | None  # [n_blocks, n_params]

    @classmethod
    def of(cls, spec: MLPSpec, n: int, rows: int, like: Tensor, with_params: bool) -> "_CudaPlan":
        """For n samples; `rows` of a tile's length are the scratch of a block."""
        tile = _tile(spec)
        n_blocks = min(-(-n // tile), _MAX_CUDA_BLOCKS, max(64, _MAX_PARTIALS // spec.n_params))
        partials = torch.zeros((n_blocks, spec.n_params), device=like.device) if with_params else None
        return cls(spec, n_blocks, torch.empty(n_blocks * rows * tile, device=like.device), partials)

    def reduce(self, to_params: Tensor | None, accumulate: bool) -> None:
        if to_params is not None:
            args = (self.partials, self.n_blocks, to_params, int(accumulate))
            jit.launch("mlp", "mlp_reduce", self.spec.defines, self.spec.n_params, args)


def _keep(ctx: Any, inputs: tuple, output: Any) -> None:
    *tensors, ctx.code, ctx.frequency = inputs
    ctx.save_for_backward(*tensors)


def _fake(inputs: Tensor, params: Tensor, code: list[int], frequency: float) -> Tensor:
    return checks.empty_features(inputs.shape[0], code[1], inputs)


def _fake_backward(grad: Tensor, inputs: Tensor, params: Tensor, code: list[int], frequency: float) -> tuple:
    return _empty_in_order_of(inputs), torch.empty_like(params)


def _fake_backward_backward(
    second: Tensor, grad: Tensor, inputs: Tensor, params: Tensor, code: list[int], frequency: float
) -> tuple:
    to_grad = checks.empty_features(inputs.shape[0], code[1], inputs)
    return to_grad, _empty_in_order_of(inputs), torch.empty_like(params)


def _second_only(ctx: Any, second: Tensor | None, params_second: Tensor | None) -> tuple:
    second = torch.zeros_like(ctx.saved_tensors[1]) if second is None else second
    return *torch.ops.neural.mlp_backward_backward(second, *ctx.saved_tensors, ctx.code, ctx.frequency), None, None


library.define(
    "mlp",
    "(Tensor inputs, Tensor params, int[] code, float frequency) -> Tensor",
    implementation=lambda inputs, params, code, f: _forward(inputs, params, spec_of(tuple(code), f)),
    fake=_fake,
    backward=lambda ctx, grad: (
        *torch.ops.neural.mlp_backward(grad, *ctx.saved_tensors, ctx.code, ctx.frequency),
        None,
        None,
    ),
    save=_keep,
)
library.define(
    "mlp_backward",
    "(Tensor grad, Tensor inputs, Tensor params, int[] code, float frequency) -> (Tensor, Tensor)",
    implementation=lambda grad, inputs, params, code, f: _backward(
        grad, inputs, params, spec_of(tuple(code), f), True, True
    ),
    fake=_fake_backward,
    backward=_second_only,
    save=_keep,
)
library.define(
    "mlp_backward_backward",
    "(Tensor second, Tensor grad, Tensor inputs, Tensor params, int[] code, float frequency) "
    "-> (Tensor, Tensor, Tensor)",
    implementation=lambda second, grad, inputs, params, code, f: _backward_backward(
        second, grad, inputs, params, spec_of(tuple(code), f), True, True, True
    ),
    fake=_fake_backward_backward,
)
