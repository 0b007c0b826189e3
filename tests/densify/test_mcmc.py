"""MCMC: numbers per refinement, what moves where, and that the picture stays what it was."""

import copy
import math

import pytest
import torch

from neural.cuda.gaussian_blend import blend
from neural.cuda.gaussian_projection import project
from neural.cuda.gaussian_tiles import intersect
from neural.densify.mcmc import MCMC
from neural.densify.population import Population
from neural.gaussians.model import Gaussians
from neural.optim import Adam, Group
from tests.densify.conftest import Make
from tests.densify.test_population import moments, tags
from tests.threads import same_bits


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coverage(gaussians: Gaussians) -> torch.Tensor:
    """Alpha of an image of the scene."""
    size = (64, 64)
    w2c = torch.eye(4)
    w2c[2, 3] = 4.0
    with torch.no_grad():
        seen = project(
            gaussians.means, gaussians.quats, gaussians.log_scales, gaussians.opacity_logits, w2c,
            torch.tensor([200.0, 200.0, 32.0, 32.0]), size,
        )  # fmt: skip
        tiles = intersect(*seen, size)
        return blend(seen.means2d, seen.conics, seen.opacities, seen.depths[:, None], tiles, size).alphas


@pytest.mark.parametrize("stacked", [False, True])
def test_the_dead_move_to_the_living_and_those_start_anew(make: Make, stacked: bool) -> None:
    population, strategy = make(100), MCMC(100, start=100, stacked=stacked)
    population.gaussians.opacity_logits.data[10:40] = -8.0
    assert strategy.refine(100, None, population, chance())
    assert population.n == 100
    now = tags(population).tolist()
    assert set(now) == {i for i in range(100) if not 10 <= i < 40}
    copied = torch.tensor([now.count(i) > 1 for i in now])
    assert int(copied.sum()) > 30
    assert torch.equal(moments(population) == -1, copied)
    if stacked:
        opacities = population.opacities()
        for i in set(now):
            together = 1 - (1 - opacities[torch.tensor(now) == i]).prod()
            assert float(together) == pytest.approx(0.5, rel=1e-5)


def test_growth_adds_a_share_up_to_the_cap(make: Make) -> None:
    population, strategy = make(100), MCMC(107)
    assert strategy.refine(100, None, population, chance())
    assert population.n == 105
    assert set(tags(population).tolist()) == set(range(100))
    assert int((moments(population) == -1).sum()) == 2 * 5
    assert strategy.refine(200, None, population, chance())
    assert population.n == 107
    assert not strategy.refine(300, None, population, chance())


def test_equal_opacities_get_equal_shares(make: Make) -> None:
    """Independent draws would leave a third of them alone."""
    population = make(50)
    assert MCMC(100, growth=1.0).refine(100, None, population, chance())
    assert torch.bincount(tags(population).long()).tolist() == [2] * 50


@pytest.mark.parametrize("steps", [1000, 2000, 7000])
def test_even_short_runs_are_full_by_half_and_never_overfull(make: Make, steps: int) -> None:
    population, strategy = make(50), MCMC(2000)
    counts = {}
    for step in range(1, steps + 1):
        before = population.n
        changed = strategy.refine(step, steps, population, chance(step))
        assert changed == (population.n != before)
        assert not changed or step % 100 == 0
        counts[step] = population.n
        population.gaussians.opacity_logits.data.fill_(2.0)  # training keeps them alive
    assert counts[99] == 50 and counts[steps // 2] == 2000 and max(counts.values()) == 2000


def test_relocation_goes_on_a_little_longer_than_growth(make: Make) -> None:
    population, strategy = make(100), MCMC(1000, full=1.0)
    for step, moves in ((800, True), (830, False), (900, False)):
        population.gaussians.opacity_logits.data[0] = -9.0
        assert strategy.refine(step, 1000, population, chance()) == moves
    strategy = MCMC(10_000, every=10)
    n = population.n
    assert strategy.refine(820, 1000, population, chance()) and population.n == n
    assert not strategy.refine(840, 1000, population, chance())


def test_the_picture_stays_what_it_was() -> None:
    """Isolated small Gaussians: their copies share place and light."""
    n = 30
    places = torch.stack([torch.arange(n) % 6, torch.arange(n) // 6, torch.zeros(n)], 1) * 0.2 - 0.5
    gaussians = Gaussians(
        places, torch.tensor([1.0, 0, 0, 0]).repeat(n, 1), torch.full((n, 3), math.log(0.03)),
        torch.full((n,), math.log(4.0)), torch.zeros(n, 3), torch.zeros(n, 0, 3),
    )  # fmt: skip
    population = Population(gaussians, Adam([Group(dict(gaussians.named_parameters()))]))
    before = coverage(gaussians)
    assert float(before.max()) > 0.7
    strategy = MCMC(60, growth=1.0, stacked=True)
    strategy.refine(100, None, population, chance())
    after = coverage(gaussians)

    unshared = copy.deepcopy(gaussians)
    unshared.opacity_logits.data.fill_(math.log(4.0))
    unshared.log_scales.data.fill_(math.log(0.03))
    untouched = coverage(unshared)
    # eq. 9 keeps the light along lines through the middle; pixels off them differ a little
    assert population.n == 60
    assert float((after - before).abs().mean()) < 0.08 * float(before.mean())
    assert float((after - before).abs().mean()) < 0.25 * float((untouched - before).abs().mean())


def test_degenerate_populations_stay(make: Make) -> None:
    def refine(strategy: MCMC, population: Population, steps: int | None = 1000) -> bool:
        return strategy.refine(100, steps, population, chance())

    population = make(8, opacity=0.001)
    assert not refine(MCMC(100), population)
    assert population.n == 8
    only = make(1)
    assert refine(MCMC(10, growth=3.0), only, None)
    assert tags(only).tolist() == [0] * 4
    full = make(20)
    full.gaussians.opacity_logits.data[:19] = -9.0
    assert refine(MCMC(20), full)
    assert tags(full).tolist() == [19] * 20
    over = make(30)
    assert not refine(MCMC(20), over)
    assert over.n == 30


def test_threads_and_resumption_change_no_bit(make: Make) -> None:
    def run():
        population = make(70_001)
        population.gaussians.opacity_logits.data[::3] = -7.0
        strategy = MCMC(80_000)
        strategy.refine(100, 1000, population, chance(3))
        return [param.detach().clone() for param in population.gaussians.parameters()]

    same_bits(run)


def test_its_wishes_and_refusals() -> None:
    strategy = MCMC(10)
    assert strategy.regulariser() == (0.005, 0.01)
    assert (strategy.noise, strategy.needs_observations, strategy.needs_absolute) == (1e5, False, False)
    with pytest.raises(ValueError, match="MCMC: max_gaussians must be 1 or more"):
        MCMC(0)
    with pytest.raises(ValueError, match="stop a share in"):
        MCMC(10, stop=1.5)
