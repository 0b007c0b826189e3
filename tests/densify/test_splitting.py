"""Splitting along the longest axis, and units handed out by weight."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neural.densify.splitting import SPACING, split, spread
from neural.gaussians.order import rotations
from tests.densify.conftest import Make
from tests.densify.test_population import moments, tags


def test_none_one_and_many(make: Make) -> None:
    population = make(4)
    population.count("seen")
    population.counters["seen"] += 1
    before = [param.detach().clone() for param in population.gaussians.parameters()]
    split(population, torch.tensor([1, 0, 3, 1]))
    assert tags(population).tolist() == [0, 2, 2, 2, 3]
    assert moments(population).tolist() == [0, -1, -1, -1, 3]
    assert population.counters["seen"].tolist() == [1, 0, 0, 0, 1]
    for param, old in zip(population.gaussians.parameters(), before, strict=True):
        assert torch.equal(param[[0, 4]], old[[0, 3]])


@pytest.mark.parametrize("n", [2, 3, 7])
def test_siblings_have_the_spread_and_the_thickness_of_the_one(make: Make, n: int) -> None:
    population = make(5, opacity=0.7)
    gaussians = population.gaussians
    mean, log_scales = gaussians.means[2].detach().double(), gaussians.log_scales[2].detach().double()
    axis = int(log_scales.argmax())
    rotation = rotations(gaussians.quats.detach().double())[2]
    covariance = rotation @ torch.diag((2 * log_scales).exp()) @ rotation.T

    split(population, torch.tensor([1, 1, n, 1, 1]))

    rows = slice(2, 2 + n)
    means = gaussians.means[rows].detach().double()
    torch.testing.assert_close(means.mean(0), mean, atol=1e-6, rtol=0)
    scales = gaussians.log_scales[rows].detach().double().exp()
    assert torch.equal(gaussians.quats[rows], gaussians.quats[2:3].expand(n, 4))
    inner = rotation @ torch.diag(scales[0].square()) @ rotation.T
    around = means - means.mean(0)
    torch.testing.assert_close(inner + around.T @ around / n, covariance, atol=1e-8, rtol=1e-4)
    # the optical thickness -ln(1 - o) times the length, summed
    thickness = -torch.log1p(-population.opacities()[rows]) * scales[:, axis]
    assert float(thickness.sum()) == pytest.approx(-math.log(0.3) * float(log_scales[axis].exp()), rel=1e-5)
    gaps = (means[1:] - means[:-1]).norm(dim=1) / scales[0, axis]
    torch.testing.assert_close(gaps, torch.full_like(gaps, SPACING), atol=1e-3, rtol=0)


def test_opaque_and_zero_opacities_split_to_finite_values(make: Make) -> None:
    population = make(2)
    population.gaussians.opacity_logits.data[0], population.gaussians.opacity_logits.data[1] = 40.0, -40.0
    split(population, torch.tensor([2, 2]))
    assert bool(torch.isfinite(population.gaussians.opacity_logits).all())


def test_nothing_to_split_is_a_plain_removal(make: Make) -> None:
    population = make(3)
    split(population, torch.tensor([0, 1, 1]))
    assert tags(population).tolist() == [1, 2] and moments(population).tolist() == [1, 2]


@given(
    st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=40),
    st.integers(0, 200),
    st.floats(0, 0.999),
)
def test_units_add_up_and_are_near_their_shares(weights: list[float], total: int, uniform: float) -> None:
    counts = spread(torch.tensor(weights, dtype=torch.float64), total, uniform)
    assert int(counts.sum()) == total
    positive = [w > 0 for w in weights] if any(w > 0 for w in weights) else [True] * len(weights)
    cap = -(-total // sum(positive))
    for count, takes in zip(counts.tolist(), positive, strict=True):
        assert 0 <= count <= (cap if takes else 0)


def test_no_one_has_two_before_all_could_have_one() -> None:
    assert spread(torch.tensor([1e6, 1.0, 1.0]), 3, 0.5).tolist() == [1, 1, 1]
    assert spread(torch.tensor([1e6, 1.0, 0.0]), 4, 0.5).tolist() == [2, 2, 0]
    assert spread(torch.tensor([0.0, 0.0]), 4, 0.5).tolist() == [2, 2]
    assert spread(torch.zeros(0), 0, 0.5).tolist() == []


def test_over_many_draws_each_has_its_share() -> None:
    weights, total = torch.tensor([1.0, 2.0, 3.0, 4.0, 30.0]), 2  # the last is held at 1, the others share 1
    uniforms = (torch.arange(2000) + 0.5) / 2000
    mean = torch.stack([spread(weights, total, float(u)) for u in uniforms]).double().mean(0)
    torch.testing.assert_close(mean, torch.tensor([0.1, 0.2, 0.3, 0.4, 1.0], dtype=torch.float64), atol=2e-3, rtol=0)
