"""Budget: how many at each refinement, which ones are split, what is replaced."""

import pytest
import torch

from neural.densify.budget import Budget
from neural.densify.population import Population
from tests.densify.conftest import Make
from tests.densify.test_population import moments, tags
from tests.densify.views import view
from tests.threads import same_bits


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pulls(population: Population, strategy: Budget) -> None:
    strategy.observe(population, view(torch.rand(population.n, generator=chance(population.n))))


@pytest.mark.parametrize(
    ("steps", "at_start", "budget"), [(2000, 100, 1000), (7000, 50, 3333), (1000, 10, 1000), (3000, 1000, 1001)]
)
def test_the_budget_is_met_exactly_and_never_exceeded(make: Make, steps: int, at_start: int, budget: int) -> None:
    population, strategy = make(at_start), Budget(budget, start=300, stop=0.5)
    strategy.prepare(population)
    counts = []
    for step in range(100, steps + 1, 100):
        pulls(population, strategy)
        strategy.refine(step, steps, population, chance(step))
        population.gaussians.opacity_logits.data.fill_(1.0)  # training keeps them alive
        counts.append(population.n)
    assert counts == sorted(counts) and counts[-1] == budget
    assert counts[1] == at_start
    growing = counts[2 : steps // 200]
    assert growing[-1] == budget and all(n <= budget for n in growing)
    for i, n in enumerate(growing):
        u = (i + 1) / len(growing)
        assert n == pytest.approx(at_start + (budget - at_start) * u * (2 - u), abs=len(growing) + 1)


def test_those_that_pull_are_split_in_two(make: Make) -> None:
    population, strategy = make(10), Budget(14, start=100, stop=0.1)
    strategy.prepare(population)
    pull = torch.zeros(10)
    pull[[1, 4, 5, 8]] = torch.tensor([1.0, 5.0, 3.0, 2.0])
    strategy.observe(population, view(pull))
    assert strategy.refine(100, 1000, population, chance())
    assert tags(population).tolist() == [0, 1, 1, 2, 3, 4, 4, 5, 5, 6, 7, 8, 8, 9]
    assert moments(population).tolist() == [0, -1, -1, 2, 3, -1, -1, -1, -1, 6, 7, -1, -1, 9]
    assert not population.counters["pull"].any()


def test_all_views_count_together(make: Make) -> None:
    """Twice half a pull is one; who was not rendered or not seen has none."""
    population, strategy = make(3), Budget(10)
    strategy.prepare(population)
    strategy.observe(population, view(torch.tensor([0.5, 1.0]), rows=torch.tensor([0, 2])))
    seen = torch.tensor([True, True, False])
    strategy.observe(population, view(torch.tensor([0.5, 0.25, 9.0]), visible=seen))
    assert population.counters["pull"].tolist() == [1.0, 0.25, 1.0]
    assert population.counters["unseen"].tolist() == [0, 0, 1]
    strategy.observe(population, view(torch.tensor([0.5]), rows=torch.tensor([1])))
    assert population.counters["unseen"].tolist() == [1, 0, 2]


def test_what_does_not_show_is_replaced_and_the_number_stays(make: Make) -> None:
    population, strategy = make(20), Budget(20, unseen=2)
    strategy.prepare(population)
    population.gaussians.opacity_logits.data[3] = -8.0
    for _ in range(3):
        strategy.observe(population, view(torch.ones(20), visible=torch.arange(20) != 7))
    assert strategy.refine(700, 1000, population, chance())
    assert population.n == 20
    now = tags(population).tolist()
    assert 3 not in now and 7 not in now and len(set(now)) == 18
    assert not strategy.refine(700, 1000, population, chance())  # nothing left to do
    population.gaussians.opacity_logits.data[3] = -8.0
    assert not strategy.refine(900, 1000, population, chance())


def test_too_many_at_the_start_lose_the_faintest(make: Make) -> None:
    population, strategy = make(10), Budget(6, start=100)
    population.gaussians.opacity_logits.data.copy_(torch.tensor([3.0, 1, 2, -9, 5, 4, 0.5, 2.5, 0, -1]))
    strategy.prepare(population)
    assert strategy.refine(100, 1000, population, chance())
    assert tags(population).tolist() == [0, 1, 2, 4, 5, 7] == moments(population).tolist()


def test_degenerate_populations(make: Make) -> None:
    faint, strategy = make(5, opacity=0.001), Budget(8, start=100, stop=0.1)
    strategy.prepare(faint)
    assert strategy.refine(100, 1000, faint, chance())
    assert faint.n == 8  # nothing was left out: that would have been all
    only, strategy = make(1), Budget(5, start=100, stop=0.1)
    strategy.prepare(only)
    assert strategy.refine(100, 1000, only, chance())
    assert tags(only).tolist() == [0] * 5
    full, strategy = make(5), Budget(5)
    strategy.prepare(full)
    pulls(full, strategy)
    assert not strategy.refine(300, 1000, full, chance())
    short, strategy = make(5), Budget(50, start=300)
    strategy.prepare(short)
    assert not any(strategy.refine(step, 200, short, chance()) for step in range(1, 201))


def test_a_run_that_does_not_know_its_length_yet_goes_on_as_one_that_does(make: Make) -> None:
    population, strategy = make(100), Budget(1000)
    strategy.prepare(population)
    for step in range(100, 2001, 100):
        pulls(population, strategy)
        strategy.refine(step, None if step <= 500 else 2000, population, chance(step))
        population.gaussians.opacity_logits.data.fill_(1.0)
        assert population.n <= 1000
    assert population.n == 1000


def test_counters_and_step_are_all_its_state(make: Make) -> None:
    """A strategy made anew, with the counters of the old, goes on bit for bit."""
    whole, cut = make(50), make(50)
    first, second = Budget(400), Budget(400)
    first.prepare(whole)
    second.prepare(cut)
    for step in range(100, 1001, 100):
        if step == 500:
            saved = {name: counter.clone() for name, counter in cut.counters.items()}
            cut = Population(cut.gaussians, cut.optimiser)
            second = Budget(400)
            second.prepare(cut)
            for name, counter in saved.items():
                cut.counters[name].copy_(counter)
        for population, strategy in ((whole, first), (cut, second)):
            pulls(population, strategy)
            strategy.refine(step, 1000, population, chance(step))
    for a, b in zip(whole.gaussians.parameters(), cut.gaussians.parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(whole.counters[name], cut.counters[name]) for name in whole.counters)


def test_threads_change_no_bit(make: Make) -> None:
    def run():
        population = make(70_001)
        population.gaussians.opacity_logits.data[::7] = -7.0
        strategy = Budget(90_000, start=100, stop=0.1)
        strategy.prepare(population)
        pulls(population, strategy)
        strategy.refine(100, 1000, population, chance())
        return [param.detach().clone() for param in population.gaussians.parameters()]

    assert len(same_bits(run)[0]) == 90_000


def test_values_out_of_range_are_named() -> None:
    for given in ({"max_gaussians": 0}, {"max_gaussians": 5, "unseen": 0}):
        with pytest.raises(ValueError, match="Budget: max_gaussians and unseen must be 1 or more"):
            Budget(**given)


def test_scores_are_squares_and_unneeded_ones_are_made_to_fade(make: Make) -> None:
    """One more for a pull of 1 and one of 3: by squares the second has it nine times in ten."""
    strategy, taken = Budget(3, start=100, stop=0.1), 0
    for seed in range(300):
        population = make(2)
        strategy.prepare(population)
        strategy.observe(population, view(torch.tensor([1.0, 3.0])))
        strategy.refine(100, 1000, population, chance(seed))
        taken += tags(population).tolist() == [0, 1, 1]
    assert taken == pytest.approx(270, abs=16)
    assert strategy.regulariser() == (0.01, 0.05)
    assert Budget(3, opacity_weight=0.0, scale_weight=0.0).regulariser() == (0.0, 0.0)
