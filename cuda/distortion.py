"""The distortion loss of mip-NeRF 360 on packed samples: pulls a ray's weights together."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, jit, library, packed
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import distortion as reference


def distortion(
    weights: Float[Tensor, "S"],
    t_starts: Float[Tensor, "S"],
    t_ends: Float[Tensor, "S"],
    packed_info: Int[Tensor, "R 2"],
) -> Float[Tensor, "R"]:
    """The distortion of every ray: sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 (t_end_i - t_start_i).

    It takes time linear in the samples.

    Args:
        weights: Of the samples, as `composite` gives them.
        t_starts: Interval begins, ascending along a ray. In distance, or in any monotone spacing of it (the paper
            uses the normalised spacing s in [0, 1]).
        t_ends: Interval ends in the same spacing.
        packed_info: (start, count) of each ray's samples, int64.

    Returns:
        One value per ray; 0 for a ray without samples. Differentiable once with respect to the weights and the
        interval ends.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device, or ranges outside the samples.

    Source: Barron et al. 2022, arXiv:2111.12077, eq. 15.
    """
    checks.require("distortion", "weights", weights, ("S",))
    checks.require_like("distortion", "t_starts", t_starts, weights)
    checks.require_like("distortion", "t_ends", t_ends, weights)
    if torch.compiler.is_compiling():
        return torch.ops.neural.distortion(weights, t_starts, t_ends, packed_info)
    return _Distortion.apply(weights, t_starts, t_ends, packed_info)


class _Distortion(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        return _forward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, t_starts, t_ends, packed_info = ctx.saved_tensors
        ends = any(ctx.needs_input_grad[1:3])
        return *_backward(grad, weights, t_starts, t_ends, packed_info, ends), None


def _forward(weights: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor) -> Tensor:
    packed.require("distortion", packed_info, weights.shape[0], weights)
    backend, n_rays = checks.backend(weights), packed_info.shape[0]
    if backend == "reference":
        return reference.forward(weights, t_starts, t_ends, packed_info)
    loss = torch.empty(n_rays, dtype=torch.float32, device=weights.device)
    arrays = [x.contiguous() for x in (weights, t_starts, t_ends, packed_info)]
    if backend == "cpu":
        lib.distortion_forward(*(x.data_ptr() for x in arrays), n_rays, loss.data_ptr(), threads())
    elif n_rays:
        jit.launch("distortion", "distortion_forward", {}, n_rays, (*arrays, n_rays, loss))
    return loss


def _backward(
    grad: Tensor, weights: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor, ends: bool = True
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    owned = packed.require("distortion", packed_info, weights.shape[0], weights)
    backend, n_rays = checks.backend(weights), packed_info.shape[0]
    if backend == "reference":
        return reference.backward(grad, weights, t_starts, t_ends, packed_info)
    grad_weights = packed.per_sample(weights, owned)
    grad_starts, grad_ends = (packed.per_sample(weights, owned) if ends else None for _ in range(2))
    arrays = [x.contiguous() for x in (weights, t_starts, t_ends, packed_info)]
    grad = grad.contiguous()
    if backend == "cpu":
        lib.distortion_backward(
            *(x.data_ptr() for x in arrays), n_rays, grad.data_ptr(), grad_weights.data_ptr(),
            checks.pointer(grad_starts), checks.pointer(grad_ends), threads(),
        )  # fmt: skip
    elif n_rays:
        jit.launch(
            "distortion", "distortion_backward", {}, n_rays,
            (*arrays, n_rays, grad, grad_weights, grad_starts, grad_ends),
        )  # fmt: skip
    return grad_weights, grad_starts, grad_ends


library.define(
    "distortion",
    "(Tensor weights, Tensor t_starts, Tensor t_ends, Tensor packed_info) -> Tensor",
    implementation=_forward,
    fake=lambda weights, t_starts, t_ends, packed_info: weights.new_empty(packed_info.shape[0]),
    backward=lambda ctx, grad: (*torch.ops.neural.distortion_backward(grad, *ctx.saved_tensors), None),
    save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)
library.define(
    "distortion_backward",
    "(Tensor grad, Tensor weights, Tensor t_starts, Tensor t_ends, Tensor packed_info) -> (Tensor, Tensor, Tensor)",
    implementation=_backward,
    fake=lambda grad, weights, *rest: tuple(
        torch.empty_like(weights, memory_format=torch.contiguous_format) for _ in range(3)
    ),
)
