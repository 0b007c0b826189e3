"""Anti-aliased level weights: features averaged over the samples of a cone, fine levels faded where it is wide."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import level_blend as reference
from neural.cuda.tensor_cache import TensorCache

_CPU = torch.device("cpu")


def level_blend(
    features: Float[Tensor, "S K"], widths: Float[Tensor, " S"], reach: Float[Tensor, " L"], n_samples: int
) -> Float[Tensor, "N K"]:
    """Blends features of samples: out[n, l F + f] = 1/M sum_m erf(reach_l / width_m) features[n M + m, l F + f].

    Args:
        features: Of S = N M samples, the M = `n_samples` of a point one behind the other; K = L F.
        widths: Standard deviation of each sample's Gaussian, 0 or more, in the units of `reach`.
        reach: 1 / (sqrt(8) n_l) of each level, n_l its cells along the unit of the widths; float32 on the CPU, dense.
        n_samples: M, samples of a point.

    Returns:
        Blended features, a transposed view of a [K, N] buffer. Differentiable twice with respect to features and
        widths.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device, or samples that are not M of each point.

    Source: Barron et al. 2023, arXiv:2304.06706 (Zip-NeRF), section 3.2.
    """
    op = "level_blend"
    checks.require(op, "features", features, ("S", "K"))
    checks.require(op, "widths", widths, (features.shape[0],), device=features.device)
    checks.require(op, "reach", reach, ("L",), device=_CPU)
    if not reach.is_contiguous():
        raise ValueError(f"{op}: reach must be contiguous, got strides {reach.stride()}; call .contiguous()")
    n_levels = reach.shape[0]
    if n_samples < 1 or features.shape[0] % n_samples:
        raise ValueError(f"{op}: {features.shape[0]} samples are not n_samples = {n_samples} of each point")
    if n_levels == 0 or features.shape[1] % n_levels:
        raise ValueError(
            f"{op}: {features.shape[1]} features are not those of {n_levels} levels; give reach one by level"
        )
    if torch.compiler.is_compiling():
        return torch.ops.neural.level_blend(features, widths, reach, n_samples)
    return _LevelBlend.apply(features, widths, reach, n_samples)


class _LevelBlend(Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, widths: Tensor, reach: Tensor, n_samples: int) -> Tensor:
        ctx.save_for_backward(features, widths, reach)
        ctx.n_samples = n_samples
        return _forward(features, widths, reach, n_samples)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[:2]
        return *_LevelBlendBackward.apply(grad, *ctx.saved_tensors, ctx.n_samples, wanted), None, None


class _LevelBlendBackward(Function):
    """(grad, features, widths) -> (grad_features, grad_widths), itself differentiable."""

    @staticmethod
    def forward(ctx: Any, grad, features, widths, reach, n_samples, wanted):
        ctx.save_for_backward(grad, features, widths, reach)
        ctx.n_samples = n_samples
        ctx.set_materialize_grads(False)
        return _backward(grad, features, widths, reach, n_samples, *wanted)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, along_features: Tensor | None, along_widths: Tensor | None):
        grad, features, widths, reach = ctx.saved_tensors
        along_features = torch.zeros_like(features) if along_features is None else along_features
        along_widths = torch.zeros_like(widths) if along_widths is None else along_widths
        grads = _backward_backward(along_features, along_widths, grad, features, widths, reach, ctx.n_samples)
        return *grads, None, None, None


def _forward(features: Tensor, widths: Tensor, reach: Tensor, n_samples: int) -> Tensor:
    if checks.backend(features) == "reference":
        return reference.forward(features, widths, reach, n_samples)
    return _blend(features, widths, reach, n_samples)


def _backward(
    grad: Tensor, features: Tensor, widths: Tensor, reach: Tensor, n_samples: int, want_features: bool = True,
    want_widths: bool = True,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    if checks.backend(features) == "reference":
        return reference.backward(grad, features, widths, reach, n_samples)
    return (
        _spread(grad, widths, reach, n_samples) if want_features else None,
        _dot(features, grad, widths, reach, n_samples, order=1) if want_widths else None,
    )


def _backward_backward(
    along_features: Tensor, along_widths: Tensor, grad: Tensor, features: Tensor, widths: Tensor, reach: Tensor,
    n_samples: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The op is bilinear in features and weights, so that its second derivatives are made of the same three kernels."""
    given = widths, reach, n_samples
    if checks.backend(features) == "reference":
        return reference.backward_backward(along_features, along_widths, grad, features, *given)
    to_grad = _blend(along_features, *given) + _blend(features, *given, order=1, factors=along_widths)
    to_features = _spread(grad, *given, order=1, factors=along_widths)
    to_widths = _dot(along_features, grad, *given, order=1)
    return to_grad, to_features, to_widths + _dot(features, grad, *given, order=2, factors=along_widths)


def _blend(features, widths, reach, n_samples, *, order: int = 0, factors: Tensor | None = None) -> Tensor:
    out = checks.empty_features(widths.shape[0] // n_samples, features.shape[1], features)
    _run("level_blend_forward", (features,), widths, reach, n_samples, order, factors, out)
    return out


def _spread(grad, widths, reach, n_samples, *, order: int = 0, factors: Tensor | None = None) -> Tensor:
    out = checks.empty_features(widths.shape[0], grad.shape[1], grad)
    _run("level_blend_spread", (grad,), widths, reach, n_samples, order, factors, out)
    return out


def _dot(features, grad, widths, reach, n_samples, *, order: int, factors: Tensor | None = None) -> Tensor:
    out = torch.empty_like(widths, memory_format=torch.contiguous_format)
    _run("level_blend_dot", (features, grad), widths, reach, n_samples, order, factors, out)
    return out


def _run(
    kernel: str, matrices: tuple[Tensor, ...], widths: Tensor, reach: Tensor, n_samples: int, order: int,
    factors: Tensor | None, out: Tensor,
) -> None:  # fmt: skip
    """Runs a kernel of level_blend.h; `out` is a [., K] view of a [K, .] buffer, or a vector."""
    n, n_levels = widths.shape[0] // n_samples, reach.shape[0]
    n_features = matrices[0].shape[1] // n_levels
    if n == 0 or n_features == 0:
        out.zero_()
        return
    inputs: list[Tensor | int | None] = [value for matrix in matrices for value in checks.rows(matrix)]
    inputs += [widths.contiguous(), reach, None if factors is None else factors.contiguous()]
    strides = (1, out.shape[0]) if out.ndim == 2 else ()
    if checks.backend(widths) == "cpu":
        values = (*inputs, n, n_samples, n_levels, n_features, order, out, *strides)
        getattr(lib, kernel)(*[v if isinstance(v, int) else checks.pointer(v) for v in values], threads())
        return
    inputs[-2] = _on_device(reach, widths.device)
    grid = (n, n_levels, 1) if kernel == "level_blend_forward" else (n * n_samples, n_levels, 1)
    jit.launch(
        "level_blend", kernel, {"FEATURES": n_features, "ORDER": order},
        n * n_samples if kernel == "level_blend_dot" else grid,
        (*inputs, n, n_samples, n_levels, out, *strides), block=(128, 1, 1),
    )  # fmt: skip


def _on_device(reach: Tensor, device: torch.device) -> Tensor:
    """A copy of a tensor of the CPU, kept until the tensor dies or changes."""
    kept = _copies.get(reach)
    return kept if kept is not None and kept.device == device else _copies.put(reach, reach.to(device))


_copies: TensorCache[Tensor] = TensorCache()


# --- torch.library: the same implementations behind torch.ops.neural


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:-1])
    ctx.n_samples = inputs[-1]


def _like(matrix: Tensor) -> Tensor:
    return checks.empty_features(matrix.shape[0], matrix.shape[1], matrix)


library.define(
    "level_blend",
    "(Tensor features, Tensor widths, Tensor reach, int n_samples) -> Tensor",
    implementation=_forward,
    fake=lambda features, widths, reach, m: checks.empty_features(features.shape[0] // m, features.shape[1], features),
    backward=lambda ctx, grad: (
        *torch.ops.neural.level_blend_backward(grad, *ctx.saved_tensors, ctx.n_samples),
        None,
        None,
    ),
    save=_keep,
)
library.define(
    "level_blend_backward",
    "(Tensor grad, Tensor features, Tensor widths, Tensor reach, int n_samples) -> (Tensor, Tensor)",
    implementation=_backward,
    fake=lambda grad, features, widths, reach, m: (_like(features), torch.empty_like(widths)),
    backward=lambda ctx, along_features, along_widths: (
        *torch.ops.neural.level_blend_backward_backward(
            along_features, along_widths, *ctx.saved_tensors, ctx.n_samples
        ),
        None,
        None,
    ),
    save=_keep,
)
library.define(
    "level_blend_backward_backward",
    "(Tensor along_features, Tensor along_widths, Tensor grad, Tensor features, Tensor widths, Tensor reach, "
    "int n_samples) -> (Tensor, Tensor, Tensor)",
    implementation=_backward_backward,
    fake=lambda along_features, along_widths, grad, features, widths, reach, m: (
        _like(grad),
        _like(features),
        torch.empty_like(widths),
    ),
)
