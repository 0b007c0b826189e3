"""Population: whatever happens to rows happens to parameters, moments and counters alike."""

import pytest
import torch

from neural.densify.population import Population
from tests.densify.conftest import Make


def tags(population: Population) -> torch.Tensor:
    """Which row each was at the start."""
    return population.gaussians.sh0.detach()[:, 0].long()


def moments(population: Population) -> torch.Tensor:
    """The same, of the moments; -1 where fresh."""
    return population.optimiser.state_dict()["optim/sh0/exp_avg"][:, 0].long() - 1


def test_everything_follows_its_row(make: Make) -> None:
    population = make(6)
    population.count("seen", torch.int32)
    population.counters["seen"] += torch.arange(6, dtype=torch.int32)
    means = population.gaussians.means.detach().clone()
    objects = list(population.gaussians.parameters())
    source = torch.tensor([5, 0, 0, 3])

    population.rearrange(source, torch.tensor([False, False, True, False]))

    assert population.n == 4
    assert tags(population).tolist() == [5, 0, 0, 3]
    assert moments(population).tolist() == [5, 0, -1, 3]
    assert population.counters["seen"].tolist() == [5, 0, 0, 3]
    assert torch.equal(population.gaussians.means, means[source])
    assert all(a is b for a, b in zip(objects, population.gaussians.parameters(), strict=True))


def test_sorting_moves_all_together(make: Make) -> None:
    population = make(50)
    population.count("seen")
    population.counters["seen"] += torch.arange(50)
    means = population.gaussians.means.detach().clone()
    population.sort()
    order = tags(population)
    assert sorted(order.tolist()) == list(range(50)) and order.tolist() != list(range(50))
    assert torch.equal(moments(population), order)
    assert torch.equal(population.counters["seen"].long(), order)
    assert torch.equal(population.gaussians.means, means[order])
    population.sort()
    assert torch.equal(tags(population), order)


def test_training_goes_on_after_rows_have_changed_even_with_the_last_loss_at_hand(make: Make) -> None:
    population = make(4)
    loss = population.gaussians.means.square().sum()
    loss.backward()
    for rows in (torch.arange(7) % 4, torch.tensor([1])):
        population.rearrange(rows)
        assert population.gaussians.means.grad is None
        again = population.gaussians.means.square().sum()
        again.backward()
        assert population.gaussians.means.grad is not None
        assert population.gaussians.means.grad.shape == (len(rows), 3)
        population.optimiser.step()
        population.optimiser.zero_grad()
    assert loss.grad_fn is not None


def test_counters_add_to_the_rows_that_are_named(make: Make) -> None:
    population = make(4)
    population.count("seen", torch.int32)
    population.add("seen", torch.ones(4, dtype=torch.int32), None)
    population.add("seen", torch.tensor([5, 6]), torch.tensor([1, 3]))
    assert population.counters["seen"].tolist() == [1, 6, 1, 7]
    assert population.counters["seen"].dtype == torch.int32


def test_a_scene_cannot_become_empty(make: Make) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        make(3).rearrange(torch.zeros(0, dtype=torch.int64))


def test_memory_is_that_of_the_rows_there_are(make: Make) -> None:
    population = make(1000)
    population.count("seen")
    for rows in (torch.arange(3000) % 1000, torch.arange(10)):
        population.rearrange(rows)
        state = population.optimiser.state_dict()
        kept = [*population.gaussians.parameters(), *state.values(), *population.counters.values()]
        assert all(t.untyped_storage().nbytes() == t.numel() * t.element_size() for t in kept)
        assert {len(t) for t in kept if t.numel() > 1} == {len(rows)}
