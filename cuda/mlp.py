"""Fused multilayer perceptron: all layers in one pass, differentiable twice."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.native import lib, threads
from neural.cuda.reference import mlp as reference

Activation = Literal["none", "relu", "leaky_relu", "silu", "softplus", "sine", "sigmoid", "exp"]
ACTIVATIONS: tuple[Activation, ...] = ("none", "relu", "leaky_relu", "silu", "softplus", "sine", "sigmoid", "exp")
MAX_HIDDEN_LAYERS = 8
WIDTHS = range(16, 129, 16)


@dataclass(frozen=True)
class MLPSpec:
    """The form of a network.

    Attributes:
        n_in: Inputs, 1 or more.
        n_out: Outputs, 1 or more.
        width: Neurons of each hidden layer, a multiple of 16 from 16 to 128.
        n_hidden_layers: 1 to 8.
        activation: Of the hidden layers.
        output_activation: Of the outputs.
        bias: Whether layers add a bias.
        frequency: `sine` is sin(frequency z).

    Raises:
        ValueError: A value out of range.
    """

    n_in: int
    n_out: int
    width: int = 64
    n_hidden_layers: int = 2
    activation: Activation = "relu"
    output_activation: Activation = "none"
    bias: bool = False
    frequency: float = 1.0

    def __post_init__(self) -> None:
        if self.n_in < 1 or self.n_out < 1:
            raise ValueError(f"mlp: n_in and n_out must be 1 or more, got {self.n_in} and {self.n_out}")
        if self.width not in WIDTHS:
            raise ValueError(f"mlp: width must be a multiple of 16 from 16 to 128, got {self.width}")
        if not 1 <= self.n_hidden_layers <= MAX_HIDDEN_LAYERS:
            raise ValueError(f"mlp: n_hidden_layers must be 1 to {MAX_HIDDEN_LAYERS}, got {self.n_hidden_layers}")
        for name in ("activation", "output_activation"):
            if getattr(self, name) not in ACTIVATIONS:
                raise ValueError(f"mlp: {name} must be one of {', '.join(ACTIVATIONS)}, got {getattr(self, name)!r}")

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(outputs, inputs) of each layer."""
        ends = [self.n_in, *[self.width] * self.n_hidden_layers, self.n_out]
        return [(o, i) for i, o in zip(ends[:-1], ends[1:], strict=True)]

    @property
    def n_params(self) -> int:
        """Length of the parameter array: per layer W [outputs, inputs], then the bias."""
        return sum(o * (i + self.bias) for o, i in self.shapes)

    def codes(self) -> tuple[int | float, ...]:
        """The form as kernels take it."""
        return (
            self.n_in, self.n_out, self.width, self.n_hidden_layers, int(self.bias),
            ACTIVATIONS.index(self.activation), ACTIVATIONS.index(self.output_activation), self.frequency,
        )  # fmt: skip

    @staticmethod
    def from_codes(codes: Any) -> "MLPSpec":
        """The inverse of `codes`."""
        n_in, n_out, width, n_hidden, bias, act, out_act, frequency = codes
        return MLPSpec(
            n_in, n_out, width, n_hidden, ACTIVATIONS[act], ACTIVATIONS[out_act], bool(bias), float(frequency)
        )


def mlp(inputs: Float[Tensor, "N I"], params: Float[Tensor, "P"], spec: MLPSpec) -> Float[Tensor, "N O"]:
    """Applies the network: a_0 = inputs, a_l = phi(W_l a_(l-1) + b_l).

    Args:
        inputs: float32; the transposed view of a [K, N] buffer, as encodings give it, is the fastest order.
        params: All layers in one float32 array: W [outputs, inputs] row-major, then b [outputs] with biases.
        spec: The form.

    Returns:
        Outputs, a transposed view of an [O, N] buffer. Differentiable with respect to inputs and params; the gradient
        of the inputs is differentiable again (eikonal losses), that of the params is not.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device.

    Source: fused as in Mueller et al. 2021, arXiv:2106.12372, section 4 (on a GPU: shared memory; here: caches).
    """
    checks.require("mlp", "params", params, (spec.n_params,))
    checks.require("mlp", "inputs", inputs, ("N", spec.n_in), device=params.device)
    if not params.is_contiguous():
        raise ValueError("mlp: params must be contiguous; call .contiguous()")
    if torch.compiler.is_compiling():
        *shape, frequency = spec.codes()
        return torch.ops.neural.mlp(inputs, params, shape, frequency)
    return _MLP.apply(inputs, params, spec)


class _MLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, params: Tensor, spec: MLPSpec) -> Tensor:
        ctx.save_for_backward(inputs, params)
        ctx.spec = spec
        return _forward(inputs, params, spec)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        inputs, params = ctx.saved_tensors
        want_inputs, want_params = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            return *_MLPBackward.apply(grad, inputs, params, ctx.spec, want_inputs, want_params), None
        return *_backward(grad, inputs, params, ctx.spec, want_inputs, want_params), None


class _MLPBackward(torch.autograd.Function):
    """(grad, inputs, params) -> (grad_inputs, grad_params); grad_inputs is differentiable."""

    @staticmethod
    def forward(ctx: Any, grad, inputs, params, spec, want_inputs, want_params):
        ctx.save_for_backward(grad, inputs, params)
        ctx.spec = spec
        ctx.set_materialize_grads(False)
        return _backward(grad, inputs, params, spec, want_inputs, want_params)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, along_inputs: Tensor | None, along_params: Tensor | None):  # type: ignore[override]
        if along_params is not None:
            raise RuntimeError(
                "mlp: the gradient of the params cannot be differentiated again; differentiate that of the inputs, or "
                "use neural.cuda.reference.mlp for this term"
            )
        if along_inputs is None:
            return (None,) * 6
        grads = _backward_backward(along_inputs, *ctx.saved_tensors, ctx.spec, *ctx.needs_input_grad[:3])
        return *grads, None, None, None


def _forward(inputs: Tensor, params: Tensor, spec: MLPSpec) -> Tensor:
    backend = checks.backend(inputs)
    if backend == "reference":
        return reference.forward(inputs, params, spec)
    n = inputs.shape[0]
    out = checks.empty_features(n, spec.n_out, inputs)
    if n == 0:
        return out
    x, xn, xk = checks.rows(inputs)
    if backend == "cpu":
        lib.mlp_forward(params.data_ptr(), *spec.codes(), x.data_ptr(), xn, xk, n, out.data_ptr(), threads())
    else:
        jit.launch("mlp", "mlp_forward", _defines(spec), n, (params, spec.frequency, x, xn, xk, n, out), **_launch(spec))
    return out


def _backward(
    grad: Tensor, inputs: Tensor, params: Tensor, spec: MLPSpec, want_inputs: bool, want_params: bool
) -> tuple[Tensor | None, Tensor | None]:
    backend = checks.backend(inputs)
    if backend == "reference":
        grad_inputs, grad_params = reference.backward(grad, inputs, params, spec)
        return grad_inputs if want_inputs else None, grad_params if want_params else None
    n = inputs.shape[0]
    out = checks.empty_features(n, spec.n_in, inputs) if want_inputs else None
    into = torch.zeros_like(params) if want_params else None
    if n == 0 or not (want_inputs or want_params):
        return out, into
    x, xn, xk = checks.rows(inputs)
    g, gn, gk = checks.rows(grad)
    if backend == "cpu":
        lib.mlp_backward(
            params.data_ptr(), *spec.codes(), x.data_ptr(), xn, xk, g.data_ptr(), gn, gk, n, _pointer(out),
            _pointer(into), threads(),
        )  # fmt: skip
    else:
        arguments = (params, spec.frequency, x, xn, xk, g, gn, gk, n, out, into)
        jit.launch("mlp", "mlp_backward", _defines(spec), n, arguments, **_launch(spec))
    return out, into


def _backward_backward(
    direction: Tensor, grad: Tensor, inputs: Tensor, params: Tensor, spec: MLPSpec,
    want_grad: bool, want_inputs: bool, want_params: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of <grad_inputs, direction> with respect to grad, inputs and params."""
    backend = checks.backend(inputs)
    if backend == "reference":
        return reference.backward_backward(direction, grad, inputs, params, spec)
    n = inputs.shape[0]
    grad_grad = checks.empty_features(n, spec.n_out, inputs) if want_grad else None
    grad_inputs = checks.empty_features(n, spec.n_in, inputs) if want_inputs else None
    grad_params = torch.zeros_like(params) if want_params else None
    if n == 0:
        return grad_grad, grad_inputs, grad_params
    x, xn, xk = checks.rows(inputs)
    g, gn, gk = checks.rows(grad)
    v, vn, vk = checks.rows(direction)
    if backend == "cpu":
        lib.mlp_backward_backward(
            params.data_ptr(), *spec.codes(), x.data_ptr(), xn, xk, g.data_ptr(), gn, gk, v.data_ptr(), vn, vk, n,
            _pointer(grad_params), _pointer(grad_inputs), _pointer(grad_grad), threads(),
        )  # fmt: skip
    else:
        arguments = (params, spec.frequency, x, xn, xk, g, gn, gk, v, vn, vk, n, grad_params, grad_inputs, grad_grad)
        jit.launch("mlp", "mlp_backward_backward", _defines(spec), n, arguments, **_launch(spec))
    return grad_grad, grad_inputs, grad_params


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _defines(spec: MLPSpec) -> dict[str, int]:
    *shape, _ = spec.codes()
    names = ("N_IN", "N_OUT", "WIDTH", "N_HIDDEN", "BIAS", "ACTIVATION", "OUTPUT_ACTIVATION")
    return dict(zip(names, (int(s) for s in shape), strict=True))


def _launch(spec: MLPSpec) -> dict[str, int]:
    """One thread per sample, 128 a block."""
    return {"block": 128}


# --- torch.library: the same implementations behind torch.ops.neural


def _op_save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.form = inputs[2:]


library.define(
    "mlp",
    "(Tensor inputs, Tensor params, int[] shape, float frequency) -> Tensor",
    implementation=lambda inputs, params, shape, frequency: _forward(
        inputs, params, MLPSpec.from_codes((*shape, frequency))
    ),
    fake=lambda inputs, params, shape, frequency: checks.empty_features(inputs.shape[0], shape[1], inputs),
    backward=lambda ctx, grad: (*torch.ops.neural.mlp_backward(grad, *ctx.saved_tensors, *ctx.form), None, None),
    save=_op_save,
)
library.define(
    "mlp_backward",
    "(Tensor grad, Tensor inputs, Tensor params, int[] shape, float frequency) -> (Tensor, Tensor)",
    implementation=lambda grad, inputs, params, shape, frequency: _backward(
        grad, inputs, params, MLPSpec.from_codes((*shape, frequency)), True, True
    ),
    fake=lambda grad, inputs, params, shape, frequency: (
        checks.empty_features(inputs.shape[0], shape[0], inputs),
        torch.empty_like(params),
    ),
)
