"""Gradient and Laplacian of a field by finite differences: a gradient that neighbouring cells of a grid share in."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))


class Differences(NamedTuple):
    """What finite differences give.

    Attributes:
        gradient: [N, D], the field's unit per unit of x.
        laplacian: [N], or None where the value in the middle was not given.
    """

    gradient: Float[Tensor, "N D"]
    laplacian: Float[Tensor, "N"] | None


def finite_differences(
    field: Callable[[Tensor], Tensor],
    x: Float[Tensor, "N D"],
    eps: float,
    *,
    tetrahedral: bool = False,
    middle: Float[Tensor, "N"] | None = None,
) -> Differences:
    """Differences of a field over a width `eps`, by one call of it on all taps.

    With 2 D taps at +-eps on the axes: (s(x + eps) - s(x - eps)) / (2 eps), exact for quadratics. With the 4 corners k
    of a tetrahedron (D = 3) at eps / sqrt(3): sum k s_k / (4 eps / sqrt(3)), exact where the Hessian is diagonal, for
    two thirds of the cost.

    Args:
        field: From points [M, D] to values [M] or [M, 1].
        x: Points.
        eps: Distance of every tap from its point, in units of x.
        tetrahedral: Four taps instead of 2 D.
        middle: The field's values at x; with them there is a Laplacian.

    Raises:
        ValueError: An eps that is not positive, a field of another shape, or a tetrahedron outside of three dimensions.

    Source: Li et al. 2023, arXiv:2306.03092, eq. 3 and its code; the tetrahedron: Quilez, "normals for an SDF".
    """
    n, n_dims = x.shape
    if not eps > 0:
        raise ValueError(f"finite_differences: eps must be positive, got {eps}")
    if tetrahedral and n_dims != 3:
        raise ValueError(f"finite_differences: a tetrahedron has three dimensions, x has {n_dims}; use 2 D taps")
    if tetrahedral:
        reach = eps / 3**0.5
        taps = torch.tensor(TETRAHEDRON, dtype=x.dtype, device=x.device)
    else:
        reach = eps
        axes = torch.eye(n_dims, dtype=x.dtype, device=x.device)
        taps = torch.cat([axes, -axes])
    values = field((x + reach * taps[:, None]).reshape(-1, n_dims))
    if values.numel() != len(taps) * n:
        raise ValueError(f"finite_differences: field must give one value a point, got {list(values.shape)}")
    values = values.reshape(len(taps), n)
    gradient = (values[:, :, None] * taps[:, None]).sum(0) / ((4 if tetrahedral else 2) * reach)
    if middle is None:
        return Differences(gradient, None)
    scale = 0.5 if tetrahedral else 1.0
    laplacian = (scale * values.sum(0) - scale * len(taps) * middle.reshape(n)) / reach**2
    return Differences(gradient, laplacian)


def finite_difference_gradient(
    field: Callable[[Tensor], Tensor], x: Float[Tensor, "N D"], eps: float, *, tetrahedral: bool = False
) -> Float[Tensor, "N D"]:
    """The gradient alone; see `finite_differences`."""
    return finite_differences(field, x, eps, tetrahedral=tetrahedral).gradient
