"""Features of pairs (point, cell) back to points: a weighted sum over each point's cells, differentiable at will.

With S(features, weights, grad) = sum over points n, slots s of weights[n, s] <grad[n], features[places[n, s]]>, linear
in each of the three, the op and its two gradients are S's derivatives, and so are the gradients of those.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import cell_blend as reference


def cell_blend(
    features: Float[Tensor, "P K"],
    places: Int[Tensor, "N S"],
    order: Int[Tensor, "P"],
    weights: Float[Tensor, "N S"] | None = None,
) -> Float[Tensor, "N K"]:
    """out[n] = sum over s of weights[n, s] features[places[n, s]].

    Args:
        features: Of each pair, in the order of cells; either memory order.
        places: int32, the pair of each entry, -1 for none: `CellOrder.places`.
        order: int32, the entry of each pair: `CellOrder.order`.
        weights: Of each entry; None for 1. Those of entries without a pair are not read.

    Returns:
        Features of the points, zeros for points without a pair; a transposed view of a [K, N] buffer. Differentiable
        any number of times with respect to features and weights.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device; on the CPU also places and order that are not each
            other's inverse.
    """
    op = "cell_blend"
    checks.require(op, "features", features, ("P", "K"))
    checks.require(op, "places", places, ("N", "S"), torch.int32, features.device)
    checks.require(op, "order", order, (features.shape[0],), torch.int32, features.device)
    if places.shape[1] not in (1, 2, 4, 8):
        raise ValueError(f"{op}: places must have 1, 2, 4 or 8 columns, got {places.shape[1]}")
    if weights is not None:
        checks.require(op, "weights", weights, tuple(places.shape), device=features.device)
    places, order = places.contiguous(), order.contiguous()
    if torch.compiler.is_compiling():
        return torch.ops.neural.cell_blend(features, places, order, weights)
    if checks.backend(features) == "cpu" and not lib.cell_blend_check(
        places.data_ptr(), places.numel(), order.data_ptr(), order.shape[0]
    ):
        raise ValueError(f"{op}: places and order must be each other's inverse; pass those of one cell_sort")
    return _Blend.apply(features, places, order, weights)


class _Blend(Function):
    """dS/dgrad"""

    @staticmethod
    def forward(ctx: Any, features, places, order, weights):
        ctx.save_for_backward(features, places, order, weights)
        return _forward(features, places, order, weights)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        features, places, order, weights = ctx.saved_tensors
        to_features = _ToFeatures.apply(grad, places, order, weights) if ctx.needs_input_grad[0] else None
        to_weights = _ToWeights.apply(grad, features, places, order) if ctx.needs_input_grad[3] else None
        return to_features, None, None, to_weights


class _ToFeatures(Function):
    """dS/dfeatures"""

    @staticmethod
    def forward(ctx: Any, grad, places, order, weights):
        ctx.save_for_backward(grad, places, order, weights)
        return _to_features(grad, places, order, weights)

    @staticmethod
    def backward(ctx: Any, along: Tensor):
        grad, places, order, weights = ctx.saved_tensors
        to_grad = _Blend.apply(along, places, order, weights) if ctx.needs_input_grad[0] else None
        to_weights = _ToWeights.apply(grad, along, places, order) if ctx.needs_input_grad[3] else None
        return to_grad, None, None, to_weights


class _ToWeights(Function):
    """dS/dweights"""

    @staticmethod
    def forward(ctx: Any, grad, features, places, order):
        ctx.save_for_backward(grad, features, places, order)
        return _to_weights(grad, features, places)

    @staticmethod
    def backward(ctx: Any, along: Tensor):
        grad, features, places, order = ctx.saved_tensors
        to_grad = _Blend.apply(features, places, order, along) if ctx.needs_input_grad[0] else None
        to_features = _ToFeatures.apply(grad, places, order, along) if ctx.needs_input_grad[1] else None
        return to_grad, to_features, None, None


def _forward(features: Tensor, places: Tensor, order: Tensor, weights: Tensor | None) -> Tensor:
    backend = checks.backend(features)
    if backend == "reference":
        return reference.forward(features, places, weights)
    (n, slots), k = places.shape, features.shape[1]
    out = checks.empty_features(n, k, features)
    source, sn, sk = checks.rows(features)
    weights = None if weights is None else weights.contiguous()
    if backend == "cpu":
        lib.cell_blend_forward(
            source.data_ptr(), sn, sk, k, places.data_ptr(), checks.pointer(weights), n, slots, out.data_ptr(), 1, n,
            threads(),
        )  # fmt: skip
    elif n and k:
        jit.launch("cell_blend", "cell_blend_forward", {}, (n, k, 1),
                   (source, sn, sk, places, weights, n, slots, out, 1, n), block=(128, 1, 1))  # fmt: skip
    return out


def _to_features(grad: Tensor, places: Tensor, order: Tensor, weights: Tensor | None) -> Tensor:
    backend = checks.backend(grad)
    if backend == "reference":
        return reference.to_features(grad, order, weights, places.shape[1])
    n_pairs, (n, slots), k = order.shape[0], places.shape, grad.shape[1]
    out = checks.empty_features(n_pairs, k, grad)
    source, sn, sk = checks.rows(grad)
    weights = None if weights is None else weights.contiguous()
    if backend == "cpu":
        lib.cell_blend_backward_features(
            source.data_ptr(), sn, sk, k, places.data_ptr(), checks.pointer(weights), n, slots, out.data_ptr(), 1,
            n_pairs, threads(),
        )  # fmt: skip
    elif n_pairs and k:
        jit.launch("cell_blend", "cell_blend_backward_features", {}, (n, k, 1),
                   (source, sn, sk, places, weights, n, slots, out, 1, n_pairs), block=(128, 1, 1))  # fmt: skip
    return out


def _to_weights(grad: Tensor, features: Tensor, places: Tensor) -> Tensor:
    backend = checks.backend(grad)
    if backend == "reference":
        return reference.to_weights(grad, features, places)
    (n, slots), k = places.shape, grad.shape[1]
    out = torch.empty((n, slots), dtype=torch.float32, device=grad.device)
    upstream, gn, gk = checks.rows(grad)
    source, sn, sk = checks.rows(features)
    if backend == "cpu":
        lib.cell_blend_backward_weights(
            upstream.data_ptr(), gn, gk, source.data_ptr(), sn, sk, k, places.data_ptr(), n, slots, out.data_ptr(),
            threads(),
        )  # fmt: skip
    elif n:
        jit.launch("cell_blend", "cell_blend_backward_weights", {}, n * slots,
                   (upstream, gn, gk, source, sn, sk, k, places, n, slots, out))  # fmt: skip
    return out


# --- torch.library: the same implementations behind torch.ops.neural


def _op_backward(ctx: Any, grad: Tensor):
    features, places, order, weights = ctx.saved_tensors
    to_weights = None if weights is None else torch.ops.neural.cell_blend_to_weights(grad, features, places, order)
    return torch.ops.neural.cell_blend_to_features(grad, places, order, weights), None, None, to_weights


def _op_to_features_backward(ctx: Any, along: Tensor):
    grad, places, order, weights = ctx.saved_tensors
    to_weights = None if weights is None else torch.ops.neural.cell_blend_to_weights(grad, along, places, order)
    return torch.ops.neural.cell_blend(along, places, order, weights), None, None, to_weights


def _op_to_weights_backward(ctx: Any, along: Tensor):
    grad, features, places, order = ctx.saved_tensors
    to_grad = torch.ops.neural.cell_blend(features, places, order, along)
    return to_grad, torch.ops.neural.cell_blend_to_features(grad, places, order, along), None, None


def _op_save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


library.define(
    "cell_blend",
    "(Tensor features, Tensor places, Tensor order, Tensor? weights) -> Tensor",
    implementation=_forward,
    fake=lambda features, places, order, weights: checks.empty_features(places.shape[0], features.shape[1], features),
    backward=_op_backward,
    save=_op_save,
)
library.define(
    "cell_blend_to_features",
    "(Tensor grad, Tensor places, Tensor order, Tensor? weights) -> Tensor",
    implementation=_to_features,
    fake=lambda grad, places, order, weights: checks.empty_features(order.shape[0], grad.shape[1], grad),
    backward=_op_to_features_backward,
    save=_op_save,
)
library.define(
    "cell_blend_to_weights",
    "(Tensor grad, Tensor features, Tensor places, Tensor order) -> Tensor",
    implementation=lambda grad, features, places, order: _to_weights(grad, features, places),
    fake=lambda grad, features, places, order: grad.new_empty(places.shape),
    backward=_op_to_weights_backward,
    save=_op_save,
)
