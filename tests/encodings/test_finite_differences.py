"""Finite differences: exact where they must be, and shared between the cells of a grid."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from neural.encodings.finite_differences import finite_difference_gradient, finite_differences
from neural.encodings.hash_grid import HashGrid


def points(n: int = 50, n_dims: int = 3) -> Tensor:
    return torch.rand(n, n_dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def quadratic(hessian: Tensor):
    slope = torch.linspace(-1, 2, len(hessian), dtype=torch.float64)
    return (
        lambda x: 0.5 * torch.einsum("ni,ij,nj->n", x, hessian, x) + x @ slope + 3,
        lambda x: x @ hessian + slope,
    )


@pytest.mark.parametrize("tetrahedral", [False, True])
def test_they_are_exact_for_quadratics(tetrahedral: bool) -> None:
    hessian = torch.diag(torch.tensor([1.0, -3.0, 2.5], dtype=torch.float64))
    if not tetrahedral:  # off-diagonal terms too
        hessian = hessian + torch.tensor([[0, 2, 1], [2, 0, -1], [1, -1, 0]], dtype=torch.float64)
    field, gradient = quadratic(hessian)
    x = points()
    got = finite_differences(field, x, 0.1, tetrahedral=tetrahedral, middle=field(x))
    torch.testing.assert_close(got.gradient, gradient(x))
    torch.testing.assert_close(got.laplacian, torch.full((50,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("n_dims", [1, 2, 5])
def test_the_axes_serve_any_number_of_dimensions(n_dims: int) -> None:
    field, gradient = quadratic(torch.ones(n_dims, n_dims, dtype=torch.float64))
    x = points(n_dims=n_dims)
    torch.testing.assert_close(finite_difference_gradient(lambda p: field(p)[:, None], x, 0.05), gradient(x))


@pytest.mark.parametrize("tetrahedral", [False, True])
def test_both_converge_to_the_gradient_with_the_width(tetrahedral: bool) -> None:
    x = points().requires_grad_()
    field = lambda p: (3 * p).sin().prod(1)  # noqa: E731
    (exact,) = torch.autograd.grad(field(x).sum(), x)
    errors = [
        float((finite_difference_gradient(field, x.detach(), eps, tetrahedral=tetrahedral) - exact).abs().max())
        for eps in (0.02, 0.01, 0.005)
    ]
    order = 1 if tetrahedral else 2
    for wide, narrow in pairwise(errors):
        assert wide / narrow == pytest.approx(2**order, rel=0.15)


def test_a_wide_difference_trains_cells_that_the_point_is_not_in() -> None:
    grid = HashGrid(3, n_levels=1, n_features_per_level=1, base_resolution=16, log2_hashmap_size=14)
    x = torch.full((1, 3), 0.5)
    sharp = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(grid(sharp).sum(), sharp, create_graph=True)
    gradient.square().sum().backward()
    near = int((grid.table.grad != 0).sum())
    grid.table.grad = None
    finite_difference_gradient(lambda p: grid(p).sum(1), x, 1.5 / 15).square().sum().backward()
    assert near <= 8 < int((grid.table.grad != 0).sum())


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"eps must be positive, got 0\.0"):
        finite_differences(lambda p: p[:, 0], points(), 0.0)
    with pytest.raises(ValueError, match="a tetrahedron has three dimensions, x has 2"):
        finite_differences(lambda p: p[:, 0], points(n_dims=2), 0.1, tetrahedral=True)
    with pytest.raises(ValueError, match=r"one value a point, got \[300, 3\]"):
        finite_differences(lambda p: p, points(), 0.1)
