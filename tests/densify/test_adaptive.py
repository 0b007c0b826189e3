"""Adaptive control: what is duplicated, split, pruned, reset or lowered, and when."""

import math

import pytest
import torch

from neural.densify.adaptive import AdaptiveControl
from tests.densify.conftest import Make
from tests.densify.test_population import moments, tags
from tests.densify.views import view
from tests.threads import same_bits


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def still(**given: object) -> AdaptiveControl:
    """A strategy that does no more than it is asked for."""
    settings = {"start": 100, "gradient": 1.0, "reset": "none", "prune_scale": math.inf, **given}
    return AdaptiveControl(1.0, **settings)  # type: ignore[arg-type]


def test_small_are_duplicated_and_large_are_split(make: Make) -> None:
    population, strategy = make(4), still()
    gaussians = population.gaussians
    gaussians.log_scales.data[:2] = math.log(0.005)
    gaussians.log_scales.data[2:] = math.log(0.2)
    before = [param.detach().clone() for param in gaussians.parameters()]
    means, opacity = gaussians.means.detach().clone(), float(population.opacities()[0])
    strategy.prepare(population)
    strategy.observe(population, view(torch.tensor([2.0, 0.5, 0.5, 2.0])))

    assert strategy.refine(100, 1000, population, chance())

    assert tags(population).tolist() == [0, 1, 2, 3, 0, 3]
    assert moments(population).tolist() == [0, 1, 2, -1, -1, -1]
    for param, old in zip(gaussians.parameters(), before, strict=True):
        assert torch.equal(param[[0, 1, 2, 4]], old[[0, 1, 2, 0]])
    for half in (3, 5):
        torch.testing.assert_close(gaussians.log_scales[half].exp(), torch.full((3,), 0.2 / 1.6))
        distance = float((gaussians.means[half].detach() - means[3]).norm())
        assert 0 < distance < 5 * 0.2
        assert float(population.opacities()[half]) == pytest.approx(1 - math.sqrt(1 - opacity), rel=1e-5)
    assert not torch.equal(gaussians.means[3], gaussians.means[5])
    assert not population.counters["pull"].any() and len(population.counters["views"]) == 6


def test_the_mean_over_the_views_that_see_it_decides(make: Make) -> None:
    population, strategy = make(3), still()
    strategy.prepare(population)
    strategy.observe(population, view(torch.tensor([1.5, 1.5, 9.0]), visible=torch.tensor([True, True, False])))
    strategy.observe(population, view(torch.tensor([0.2]), rows=torch.tensor([1])))
    assert population.counters["views"].tolist() == [1, 2, 0]
    strategy.refine(100, 1000, population, chance())
    assert tags(population).tolist() == [0, 1, 2, 0]


def test_lengths_of_signed_gradients_where_absolute_is_not_asked_for(make: Make) -> None:
    population, strategy = make(2), still(absolute=False)
    assert not strategy.needs_absolute and strategy.gradient == 1.0
    strategy.prepare(population)
    strategy.observe(population, view(torch.tensor([2.0, 0.1]), absolute=False))
    torch.testing.assert_close(population.counters["pull"], torch.tensor([2.0, 0.1]))
    assert AdaptiveControl(1.0, absolute=False).gradient == 2e-4
    assert AdaptiveControl(1.0).gradient == 8e-4


@pytest.mark.parametrize("reset", ["reset", "decay"])
def test_the_faint_are_pruned_and_where_opacities_were_reset_the_huge(make: Make, reset: str) -> None:
    population, strategy = make(6), still(prune_scale=0.1, reset_every=0.2, reset=reset)
    gaussians = population.gaussians
    gaussians.log_scales.data.fill_(math.log(0.05))
    gaussians.opacity_logits.data[1] = math.log(0.0049 / 0.9951)
    gaussians.opacity_logits.data[2] = math.log(0.0059 / 0.9941)
    gaussians.log_scales.data[3, 1] = math.log(0.11)
    strategy.prepare(population)
    assert strategy.refine(100, 1000, population, chance())
    assert tags(population).tolist() == [0, 2, 3, 4, 5]
    assert not strategy.refine(200, 1000, population, chance())
    assert strategy.refine(300, 1000, population, chance()) == (reset == "reset")
    left = [0, 2, 4, 5] if reset == "reset" else [0, 2, 3, 4, 5]
    assert tags(population).tolist() == left == moments(population).tolist()


def test_where_room_is_short_the_strongest_have_it(make: Make) -> None:
    population, strategy = make(5), still(max_gaussians=7)
    strategy.prepare(population)
    strategy.observe(population, view(torch.tensor([2.0, 5.0, 3.0, 4.0, 0.1])))
    strategy.refine(100, 1000, population, chance())
    assert population.n == 7
    assert sorted(tags(population).tolist()) == [0, 1, 1, 2, 3, 3, 4]
    strategy.observe(population, view(torch.full((7,), 9.0)))
    assert not strategy.refine(200, 1000, population, chance())


def test_opacities_are_set_back_and_their_moments_forgotten(make: Make) -> None:
    population, strategy = make(3), still(reset="reset")
    population.gaussians.opacity_logits.data[0] = math.log(0.007 / 0.993)
    strategy.prepare(population)
    strategy.refine(100, 2000, population, chance())
    assert float(population.opacities()[1]) == pytest.approx(0.5)
    strategy.refine(200, 2000, population, chance())
    torch.testing.assert_close(population.opacities().float(), torch.tensor([0.007, 0.01, 0.01]))
    state = population.optimiser.state_dict()
    assert not state["optim/opacity_logits/exp_avg"].any() and not state["optim/opacity_logits/exp_avg_sq"].any()
    assert state["optim/means/exp_avg"].all()
    population.gaussians.opacity_logits.data.fill_(0.0)
    strategy.refine(1000, 2000, population, chance())
    assert float(population.opacities()[1]) == 0.5  # the last refinement leaves no haze of its own


def test_opacities_are_lowered_a_little_each_time(make: Make) -> None:
    population, strategy = make(2), still(reset="decay", decay=0.1)
    strategy.prepare(population)
    assert not strategy.refine(100, 1000, population, chance())
    torch.testing.assert_close(population.opacities().float(), torch.full((2,), 0.45))


@pytest.mark.parametrize(("steps", "opacity"), [(9_900, 0.49), (10_000, 0.01), (None, 0.49)])
def test_by_itself_only_long_runs_reset(make: Make, steps: int | None, opacity: float) -> None:
    population, strategy = make(2), still(reset="auto", start=1000)
    strategy.prepare(population)
    strategy.refine(1000, steps, population, chance())
    torch.testing.assert_close(population.opacities().float(), torch.full((2,), opacity))


def test_degenerate_populations(make: Make) -> None:
    faint = make(5, opacity=0.001)
    strategy = still()
    strategy.prepare(faint)
    assert not strategy.refine(100, 1000, faint, chance())
    assert faint.n == 5  # a scene cannot become empty
    only = make(1)
    strategy.prepare(only)
    strategy.observe(only, view(torch.tensor([9.0])))
    assert strategy.refine(100, 1000, only, chance()) and only.n == 2
    unseen = make(3)
    strategy.prepare(unseen)
    strategy.observe(unseen, view(torch.full((3,), 9.0), visible=torch.zeros(3, dtype=torch.bool)))
    assert not strategy.refine(100, 1000, unseen, chance())


def test_it_happens_between_start_and_stop_every_so_often(make: Make) -> None:
    population, strategy = make(2), AdaptiveControl(1.0, start=250, stop=0.5, every=100, gradient=1.0, reset="none")
    strategy.prepare(population)
    when = []
    for step in range(1, 1001):
        strategy.observe(population, view(torch.full((population.n,), 9.0)))
        if strategy.refine(step, 1000, population, chance()):
            when.append(step)
    assert when == [300, 400, 500]


def test_threads_change_no_bit(make: Make) -> None:
    def run():
        population = make(70_001)
        strategy = AdaptiveControl(1.0, start=100, gradient=1.0, max_gaussians=90_000)
        strategy.prepare(population)
        strategy.observe(population, view(torch.rand(70_001, generator=chance()) * 2))
        strategy.refine(100, 1000, population, chance())
        return [param.detach().clone() for param in population.gaussians.parameters()]

    assert same_bits(run)[0].shape[0] == 90_000


def test_values_out_of_range_are_named() -> None:
    for given in ({"extent": 0.0}, {"extent": 1.0, "decay": 1.0}, {"extent": 1.0, "reset_every": 0.0}):
        with pytest.raises(ValueError, match="AdaptiveControl: extent must be positive"):
            AdaptiveControl(**given)
