"""Boxes of clusters in training: how far steps of Adam can move what they hold."""

import math

import pytest
import torch

from neural.densify.mcmc import MCMC
from neural.gaussians.clusters import REFRESH, Clusters, largest_step
from neural.gaussians.model import Gaussians
from neural.gaussians.order import CLUSTER
from neural.optim import Adam, Group
from tests import splat_tasks

SILENCE = 5000  # steps
RATE = 0.1
BETAS = [(0.9, 0.999), (0.6, 0.996), (0.0, 0.99), (0.95, 0.95), (0.5, 0.3)]


def moves(betas: tuple[float, float], steps: int = 40) -> torch.Tensor:
    """How far, in learning rates, each step moves parameters whose gradients grow at different paces after silence."""
    paces = torch.linspace(0.5, 1.5, 41)
    param = torch.nn.Parameter(torch.zeros(len(paces)))
    adam = Adam([Group({"p": param}, lr=1.0, betas=betas)])
    found = []
    for step in range(SILENCE + steps):
        param.grad = paces ** max(0, step - SILENCE) * (1.0 if step >= SILENCE else 1e-10)
        before = param.detach().clone()
        adam.step()
        if step >= SILENCE:
            found.append((param.detach() - before).abs())
    return torch.stack(found)


@pytest.mark.parametrize("betas", BETAS, ids=str)
def test_no_step_is_longer_than_the_bound_and_some_come_near(betas: tuple[float, float]) -> None:
    assert 0.8 * largest_step(betas) < float(moves(betas).max()) <= largest_step(betas) * (1 + 1e-4)


def test_at_the_usual_decays_steps_are_longer_than_those_of_single_gradients() -> None:
    assert float(moves((0.9, 0.999)).max()) > 6.4
    assert largest_step((0.9, 0.999)) == pytest.approx(7.27, abs=0.01)


def view_from(z: float) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int], float]:
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[2, 3] = z
    return w2c, torch.tensor([100.0, 100, 50, 50], dtype=torch.float64), (100, 100), 0.1


def silent(x: float, betas: tuple[float, float]) -> tuple[Gaussians, Adam]:
    """A cluster in one place, after many steps that hardly pulled at it."""
    n = CLUSTER
    gaussians = Gaussians(
        torch.zeros(n, 3), torch.tensor([1.0, 0, 0, 0]).repeat(n, 1), torch.full((n, 3), -9.0), torch.zeros(n),
        torch.zeros(n, 3), torch.zeros(n, 0, 3),
    )  # fmt: skip
    adam = Adam([Group({"means": gaussians.means}, lr=RATE, betas=betas)])
    for step in range(SILENCE):
        gaussians.means.grad = torch.full((n, 3), 1e-10 * (-1) ** step)
        adam.step()
    gaussians.means.data.copy_(torch.tensor([x, 0, 0]))
    return gaussians, adam


def pull(gaussians: Gaussians, adam: Adam) -> None:
    gaussians.means.grad = torch.tensor([-1.0, 0, 0]).repeat(gaussians.n, 1)
    adam.step()


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.6, 0.996)])
def test_what_the_optimiser_moves_into_view_is_kept(betas: tuple[float, float]) -> None:
    """A cluster runs towards the view until the next look; the view ends at x = -5."""
    gaussians, adam = silent(0.0, betas)
    for _ in range(REFRESH - 1):
        pull(gaussians, adam)
    way = float(gaussians.means.detach()[0, 0])
    gaussians, adam = silent(-5.0 - 0.95 * way, betas)
    clusters = Clusters(gaussians, betas)
    assert not bool(clusters.in_view(*view_from(10.0), RATE, 0.0).any())
    for _ in range(REFRESH - 1):
        pull(gaussians, adam)
        clusters.stepped(None)
        seen = float(gaussians.means.detach()[0, 0]) > -5
        assert bool(clusters.in_view(*view_from(10.0), RATE, 0.0)[0]) or not seen
    assert seen


def test_where_nothing_bounds_steps_everything_is_in_view() -> None:
    assert largest_step((0.9, 0.5)) == math.inf
    rows = torch.arange(3 * CLUSTER) / CLUSTER - 1e3
    gaussians = Gaussians.from_points(torch.stack([rows] * 3, 1), torch.zeros(len(rows), 3))
    assert not bool(Clusters(gaussians).in_view(*view_from(0.0), 1e-9, 0.0).any())
    clusters = Clusters(gaussians, (0.9, 0.5))
    for _ in range(3):
        assert bool(clusters.in_view(*view_from(0.0), 1e-9, 0.0).all())
        clusters.stepped(None)


def test_noise_is_looked_at_after_every_step() -> None:
    """Where mcmc is asked to be lazy: nothing bounds how far noise moves."""
    config = splat_tasks.configured(
        model={"max_gaussians": 4300, "sh_degree": 1}, densify={"strategy": "mcmc", "start": 1000},
        optim={"coarse": 1, "lr_scale": 10.0, "lazy": True},
    )  # fmt: skip
    task = splat_tasks.task(splat_tasks.scattered(size=(40, 30)), config)
    assert isinstance(task.strategy, MCMC)
    for step in range(3):
        task.step(step, 2000)
        fresh = Clusters(task.gaussians)
        for name, value in fresh.state_dict().items():
            assert torch.equal(task._clusters.state_dict()[name], value), name
