"""Laws of the contraction: the unit ball stays, all of space fits, and nothing is lost."""

import hypothesis.extra.numpy as arrays
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.fields.contraction import contract, to_unit_cube, uncontract

points = arrays.arrays(np.float64, (7, 3), elements=st.floats(-1e6, 1e6, allow_nan=False, allow_infinity=False)).map(
    torch.from_numpy
)


@settings(deadline=None)
@given(points)
def test_the_unit_ball_stays_and_the_rest_lies_between_one_and_two(x: torch.Tensor) -> None:
    y = contract(x)
    norm, short = y.norm(dim=-1), x.norm(dim=-1) <= 1
    assert torch.equal(y[short], x[short])
    assert bool((norm[~short] >= 1 - 1e-12).all())
    assert bool((norm <= 2.0).all())


@settings(deadline=None)
@given(points)
def test_uncontract_undoes_contract(x: torch.Tensor) -> None:
    torch.testing.assert_close(uncontract(contract(x)), x, rtol=1e-6, atol=1e-12)  # |x|^2 eps where far away


@settings(deadline=None)
@given(points, st.floats(1.001, 1e3))
def test_farther_stays_farther_in_the_same_direction(x: torch.Tensor, factor: float) -> None:
    near, far = contract(x), contract(factor * x)
    assert bool((far.norm(dim=-1) >= near.norm(dim=-1) - 1e-12).all())
    product = near.norm(dim=-1) * far.norm(dim=-1)
    assert bool(((near * far).sum(-1) >= (1 - 1e-9) * product - 1e-300).all())  # squares of tiny points underflow


def test_gradients_are_finite_everywhere_also_at_the_origin_and_on_the_sphere() -> None:
    x = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.6, 0.8, 0], [1e5, 0, 0]], dtype=torch.float64, requires_grad=True)
    contract(x).sum().backward()
    assert bool(torch.isfinite(x.grad).all())
    torch.testing.assert_close(x.grad[0], torch.ones(3, dtype=torch.float64))


def test_the_derivative_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    x = (3 * torch.randn(20, 3, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(contract, (x,))


def test_the_cube_maps_to_the_unit_cube_and_space_into_it() -> None:
    half = 4.0
    corners = half * torch.tensor([[-1.0, -1, -1], [1, 1, 1], [0, 0, 0]])
    expected = torch.tensor([[0.0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5]])
    torch.testing.assert_close(to_unit_cube(corners, half, "none"), expected)
    far = torch.tensor([[1e9, 0, 0], [0, -1e9, 0], [0, 0, half]])
    expected = torch.tensor([[1.0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0.75]])
    torch.testing.assert_close(to_unit_cube(far, half, "ball"), expected)
