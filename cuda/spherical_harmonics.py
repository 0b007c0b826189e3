"""Real spherical harmonics of directions, degree 1 to 8, with gradients to the directions."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import spherical_harmonics as reference

MAX_DEGREE = 8


def spherical_harmonics(directions: Float[Tensor, "N 3"], degree: int) -> Float[Tensor, "N K"]:
    """Evaluates all real spherical harmonics below `degree`.

    Feature k = l^2 + l + m holds Y_lm with the Condon-Shortley sign, as in tiny-cuda-nn and 3DGS.

    Args:
        directions: Unit vectors, float32. Other lengths give the polynomials' values, not harmonics.
        degree: 1 to 8; gives degree^2 features.

    Returns:
        Features, float32, K = degree^2, a transposed view of a [K, N] buffer. Differentiable once; the gradient
        with respect to `directions` is differentiable with respect to the upstream gradient only.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or degree.

    Source: Sloan 2013, "Efficient Spherical Harmonic Evaluation", JCGT 2(2), section 2.
    """
    checks.require("spherical_harmonics", "directions", directions, ("N", 3))
    if not 1 <= degree <= MAX_DEGREE:
        raise ValueError(f"spherical_harmonics: degree must be 1 to {MAX_DEGREE}, got {degree}")
    if torch.compiler.is_compiling():
        return torch.ops.neural.spherical_harmonics(directions, degree)
    return _SphericalHarmonics.apply(directions, degree)


class _SphericalHarmonics(Function):
    @staticmethod
    def forward(ctx: Any, directions: Tensor, degree: int) -> Tensor:
        ctx.save_for_backward(directions)
        ctx.degree = degree
        return _forward(directions, degree)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _backward(grad, ctx.saved_tensors[0], ctx.degree), None


def _forward(directions: Tensor, degree: int) -> Tensor:
    n = directions.shape[0]
    backend = checks.backend(directions)
    if backend == "reference":
        return reference.forward(directions, degree)
    out = checks.empty_features(n, degree * degree, directions)
    if n == 0:
        return out
    source, sn, sk = checks.rows(directions)
    if backend == "cpu":
        lib.spherical_harmonics_forward(source.data_ptr(), sn, sk, n, degree, out.data_ptr(), 1, n, threads())
    else:
        jit.launch(
            "spherical_harmonics", "spherical_harmonics_forward", {"DEGREE": degree}, n,
            (source, sn, sk, n, out, 1, n),
        )  # fmt: skip
    return out


def _backward(grad: Tensor, directions: Tensor, degree: int) -> Tensor:
    n = directions.shape[0]
    backend = checks.backend(directions)
    if backend == "reference":
        return reference.backward(grad, directions, degree)
    grad_directions = torch.empty((n, 3), dtype=torch.float32, device=directions.device)
    if n == 0:
        return grad_directions
    source, sn, sk = checks.rows(directions)
    upstream, gn, gk = checks.rows(grad)
    if backend == "cpu":
        lib.spherical_harmonics_backward(
            source.data_ptr(), sn, sk, upstream.data_ptr(), gn, gk, n, degree,
            grad_directions.data_ptr(), 3, 1, threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "spherical_harmonics", "spherical_harmonics_backward", {"DEGREE": degree}, n,
            (source, sn, sk, upstream, gn, gk, n, grad_directions, 3, 1),
        )  # fmt: skip
    return grad_directions


def _save(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.degree = inputs[1]


library.define(
    "spherical_harmonics",
    "(Tensor directions, int degree) -> Tensor",
    implementation=_forward,
    fake=lambda directions, degree: checks.empty_features(directions.shape[0], degree * degree, directions),
    backward=lambda ctx, grad: (
        torch.ops.neural.spherical_harmonics_backward(grad, ctx.saved_tensors[0], ctx.degree),
        None,
    ),
    save=_save,
)
library.define(
    "spherical_harmonics_backward",
    "(Tensor grad, Tensor directions, int degree) -> Tensor",
    implementation=_backward,
    fake=lambda grad, directions, degree: torch.empty_like(directions, memory_format=torch.contiguous_format),
)
