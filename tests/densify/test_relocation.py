"""Relocation: the sum over binomials against the paper's double sum, and against light that is really let through."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.densify.relocation import MAX_SHARERS, dead, shared


def double_sum(opacity: float, n: int) -> tuple[float, float]:
    """o' and s' / s as the paper writes them."""
    each = 1 - (1 - opacity) ** (1 / n)
    total = sum(
        math.comb(i - 1, k) * (-1) ** k * each ** (k + 1) / math.sqrt(k + 1) for i in range(1, n + 1) for k in range(i)
    )
    return each, opacity / total


@settings(deadline=None)
@given(st.floats(0.01, 0.999), st.integers(2, 12))
def test_one_sum_is_the_papers_two(opacity: float, n: int) -> None:
    each, grown = double_sum(opacity, n)
    got = shared(torch.tensor([opacity]), torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([n]))
    assert float(got[0]) == pytest.approx(max(each, 0.005), rel=1e-5)
    torch.testing.assert_close(got[1], grown * torch.tensor([[1.0, 2.0, 0.5]]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("n", [2, 3, 8, MAX_SHARERS])
def test_as_much_light_is_taken_along_a_line(n: int) -> None:
    r"""\int 1 - (1 - o' e^{-x^2 / 2 s'^2})^n dx is \int o e^{-x^2 / 2 s^2} dx, and at x = 0 both are o."""
    opacity = 0.7
    each, scales = shared(torch.tensor([opacity]), torch.ones(1, 3), torch.tensor([n]))
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    one = opacity * torch.exp(-x.square() / 2)
    many = 1 - (1 - each.double() * torch.exp(-x.square() / (2 * scales[0, 0].double() ** 2))) ** n
    assert float(torch.trapezoid(many, x)) == pytest.approx(float(torch.trapezoid(one, x)), rel=1e-4)
    assert float(many[100_000]) == pytest.approx(opacity, rel=1e-5)


def test_the_only_one_in_its_place_stays_as_it_is() -> None:
    opacities, scales = torch.tensor([0.001, 0.5, 1.0]), torch.rand(3, 3)
    got = shared(opacities, scales, torch.tensor([1, 1, 1]))
    assert torch.equal(got[0], opacities)
    assert torch.equal(got[1], scales)


def test_hundreds_and_full_opacity_stay_finite() -> None:
    opacities = torch.tensor([1e-4, 0.5, 0.999999, 1.0])
    for n in (2, 51, 400):
        got = shared(opacities, torch.ones(4, 3), torch.full((4,), n))
        assert bool(torch.isfinite(got[0]).all() and torch.isfinite(got[1]).all())
        assert bool(((got[0] >= 0.005) & (got[0] < 1)).all())
        assert bool((got[1] > 0).all())
    assert shared(torch.zeros(0), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))[0].shape == (0,)


def test_the_dead_are_those_that_hardly_show() -> None:
    assert dead(torch.tensor([0.0, 0.005, 0.0051, 1.0])).tolist() == [True, True, False, False]
