"""Colours of Gaussians as a camera sees them: spherical harmonics of the direction, shifted and cut off at black."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import adam_in_backward, checks, jit, library
from neural.cuda.adam_in_backward import BackwardSteps, Steps
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import gaussian_color as reference

COEFFICIENTS = (0, 3, 8, 15)  # above degree 0, by degree
_BLOCK = 128  # threads of the CUDA kernels


def gaussian_color(
    means: Float[Tensor, "N 3"],
    centre: Float[Tensor, "3"],
    sh0: Float[Tensor, "N 3"],
    shN: Float[Tensor, "N K 3"],
    degree: int,
    *,
    opacities: Float[Tensor, "N"] | None = None,
    in_backward: BackwardSteps | None = None,
) -> Float[Tensor, "N 3"]:
    """max(0, 0.5 + sum over k of Y_k(d) sh_k), d the unit direction from the camera to the Gaussian.

    Args:
        means: Centres in scene units.
        centre: Of the camera, in the same frame.
        sh0: Coefficients of degree 0.
        shN: Those above, K = 0, 3, 8 or 15.
        degree: Up to which coefficients count, 0 to 3; K may hold more, whose gradient is 0.
        opacities: Gaussians with 0 here are skipped: their colour and gradients are 0, and a run of them costs next to
            nothing. It has no gradient.
        in_backward: Steps of `sh0` and `shN` that the backward pass makes, in place of giving their gradients.

    Returns:
        sRGB, 0 or more (0 where a channel is not finite); the transposed view of [3, N]. Differentiable once with
        respect to `means`, `centre`, `sh0` and `shN`; the sum for `centre` does not depend on the number of threads.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device, a degree beyond K, or `in_backward` of other tensors or
            inside torch.compile.
        RuntimeError: In the backward pass: steps of `in_backward` that have been made.

    Source: Kerbl et al. 2023, arXiv:2308.04079, section 4.
    """
    checks.require("gaussian_color", "means", means, ("N", 3))
    n, device = means.shape[0], means.device
    checks.require("gaussian_color", "centre", centre, (3,), device=device)
    checks.require_like("gaussian_color", "sh0", sh0, means)
    checks.require("gaussian_color", "shN", shN, (n, "K", 3), device=device)
    if opacities is not None:
        checks.require("gaussian_color", "opacities", opacities, (n,), device=device)
    coefficients = shN.shape[1]
    if coefficients not in COEFFICIENTS or degree not in range(4) or COEFFICIENTS[degree] > coefficients:
        raise ValueError(
            "gaussian_color: degree must be 0 to 3, and shN hold 0, 3, 8 or 15 coefficients, at least "
            f"(degree + 1)^2 - 1 of them; got degree {degree} with {coefficients}"
        )
    steps: Steps = {}
    if in_backward is not None:
        steps, means = in_backward.of("gaussian_color", sh0=sh0, shN=shN), in_backward.reading(means)
    tensors = (means, centre, sh0, shN)
    if torch.compiler.is_compiling():
        return torch.ops.neural.gaussian_color(*tensors, opacities, degree)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return _Color.apply(*tensors, opacities, degree, steps)
    return _forward(*tensors, opacities, degree)


class _Color(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        means, centre, sh0, shN, opacities, degree, steps = inputs
        colors = _forward(means, centre, sh0, shN, opacities, degree)
        ctx.save_for_backward(means, centre, shN, opacities, colors)
        ctx.degree, ctx.steps = degree, steps
        return colors

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        arguments: tuple[Any, ...] = (grad, *ctx.saved_tensors, ctx.degree, *ctx.needs_input_grad[1:4:2], ctx.steps)
        return *_backward(*arguments), None, None, None


def _forward(
    means: Tensor, centre: Tensor, sh0: Tensor, shN: Tensor, opacities: Tensor | None, degree: int
) -> Float[Tensor, "N 3"]:
    backend = checks.backend(means)
    if backend == "reference":
        return reference.forward(means, centre, sh0, shN, opacities, degree)
    n = means.shape[0]
    colors = checks.empty_features(n, 3, means)
    if n == 0:
        return colors
    means, centre, sh0, shN = means.contiguous(), centre.contiguous(), sh0.contiguous(), shN.contiguous()
    opacities = None if opacities is None else opacities.contiguous()
    if backend == "cpu":
        lib.gaussian_color_forward(
            means.data_ptr(), centre.data_ptr(), sh0.data_ptr(), shN.data_ptr(), n, shN.shape[1], degree,
            checks.pointer(opacities), colors.data_ptr(), threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "gaussian_color", "gaussian_color_forward", {"DEGREE": degree}, n,
            (means, centre, sh0, shN, n, shN.shape[1], opacities, colors),
        )  # fmt: skip
    return colors


def _backward(
    grad: Tensor,
    means: Tensor,
    centre: Tensor,
    shN: Tensor,
    opacities: Tensor | None,
    colors: Tensor,
    degree: int,
    for_centre: bool = True,
    for_shN: bool = True,
    steps: Steps | None = None,
) -> tuple[Tensor | None, ...]:
    backend = checks.backend(means)
    if backend == "reference":
        return reference.backward(grad, means, centre, shN, opacities, colors, degree)
    n = means.shape[0]
    steps = steps or {"sh0": None, "shN": None}
    adam_in_backward.begin("gaussian_color", steps)
    grad_means, grad_sh0 = means.new_empty(n, 3), means.new_empty(n, 3) if steps["sh0"] is None else None
    for_shN = for_shN and steps["shN"] is None
    grad_shN = torch.empty_like(shN, memory_format=torch.contiguous_format) if for_shN else None
    grad_centre = means.new_zeros(3) if for_centre else None
    source, stride_n, stride_k = checks.rows(grad)
    means, centre, shN = means.contiguous(), centre.contiguous(), shN.contiguous()
    opacities = None if opacities is None else opacities.contiguous()
    if backend == "cpu":
        lib.gaussian_color_backward(
            means.data_ptr(), centre.data_ptr(), shN.data_ptr(), n, shN.shape[1], degree, checks.pointer(opacities),
            colors.data_ptr(), source.data_ptr(), stride_n, stride_k, grad_means.data_ptr(),
            checks.pointer(grad_sh0), checks.pointer(grad_shN), checks.pointer(grad_centre), threads(),
        )  # fmt: skip
    elif n > 0:
        blocks = means.new_empty(-(-n // _BLOCK), 3) if for_centre else None
        jit.launch(
            "gaussian_color", "gaussian_color_backward", {"DEGREE": degree}, n,
            (means, centre, shN, n, shN.shape[1], opacities, colors, source, stride_n, stride_k,
             grad_means, grad_sh0, grad_shN, blocks, *adam_in_backward.arguments(steps)),
            block=_BLOCK,
        )  # fmt: skip
        adam_in_backward.finish(steps)
        if blocks is not None:
            grad_centre = -blocks.sum(dim=0, dtype=torch.float64).float()
    return grad_means, grad_centre, grad_sh0, grad_shN


def _library_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    means, centre, _, shN, opacities, degree = inputs
    ctx.save_for_backward(means, centre, shN, opacities, output)
    ctx.degree = degree


library.define(
    "gaussian_color",
    "(Tensor means, Tensor centre, Tensor sh0, Tensor shN, Tensor? opacities, int degree) -> Tensor",
    implementation=_forward,
    fake=lambda means, *others: checks.empty_features(means.shape[0], 3, means),
    backward=lambda ctx, grad: (
        *torch.ops.neural.gaussian_color_backward(grad, *ctx.saved_tensors, ctx.degree),
        None,
        None,
    ),
    save=_library_save,
)
library.define(
    "gaussian_color_backward",
    "(Tensor grad, Tensor means, Tensor centre, Tensor shN, Tensor? opacities, Tensor colors, int degree)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    implementation=_backward,
    fake=lambda grad, means, centre, shN, *others: (
        means.new_empty(means.shape),
        centre.new_empty(3),
        means.new_empty(means.shape),
        torch.empty_like(shN, memory_format=torch.contiguous_format),
    ),
)
