"""Large Gaussians of which photographs see no more than the margin go; what they look at stays, and what is far."""

import math
from typing import Any

import pytest
import torch

from neural.cameras import Cameras
from neural.densify.adaptive import AdaptiveControl
from neural.densify.budget import Budget
from neural.densify.mcmc import MCMC
from neural.densify.overgrown import Overgrown
from neural.densify.strategy import Strategy
from neural.gaussians.model import Gaussians
from tests import ball, splat_tasks
from tests.densify.conftest import Make
from tests.densify.views import view
from tests.threads import same_bits


def looking(*places: tuple[float, float, float]) -> Cameras:
    """Along z, as wide as far; 45 degrees to the right of the middle is beyond the picture."""
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(places), 1, 1)
    c2w[:, :3, 3] = torch.tensor(places, dtype=torch.float64)
    lens = torch.tensor([[100.0, 100, 50, 50]], dtype=torch.float64).repeat(len(places), 1)
    return Cameras.pinhole(c2w, lens, torch.tensor([[100, 100]]).repeat(len(places), 1))


def row(size: float, place: tuple[float, float, float]) -> Gaussians:
    """Two small ones, and one between them that is long along y."""
    scales = torch.tensor([[0.01, 0.01, 0.01], [0.01, size, 0.01], [0.01, 0.01, 0.01]])
    means = torch.tensor([[0.0, 0, 1], place, [9.0, 0, 0]])
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(3, 1)
    return Gaussians(means, quats, scales.log(), torch.zeros(3), torch.zeros(3, 3), torch.zeros(3, 0, 3))


def found(size: float, place: tuple[float, float, float], extent: float = 1.0) -> list[bool]:
    return Overgrown(looking((0, 0, 0), (20, 0, 0)), extent).rows(row(size, place)).tolist()


EARLY: dict[str, Any] = {"start": 100, "stop": 0.2, "overgrown": Overgrown(looking((0.0, 0.0, 50.0)), 1.0)}


def test_large_and_beside_all_pictures() -> None:
    assert found(2.1, (7.0, 0.0, 7.0)) == [False, True, False]
    assert found(1.9, (7.0, 0.0, 7.0)) == [False, False, False], "a fifth of the distance is 1.98"
    assert found(2.1, (2.0, 0.0, 7.0)) == [False, False, False], "in the picture of the first"
    assert found(2.1, (19.0, 0.0, 7.0)) == [False, False, False], "in that of the second"
    assert found(2.1, (0.0, 0.0, -7.0)) == [False, True, False], "behind both"
    assert found(1.9, (13.0, 0.0, 7.0)) == [False, False, False]
    assert found(2.1, (13.0, 0.0, 7.0)) == [False, True, False], "the nearest camera counts"


def test_what_is_small_for_the_scene_is_close_to_a_camera() -> None:
    assert found(0.9, (0.5, 0.0, 0.0), extent=10.0) == [False, False, False]
    assert found(1.1, (0.5, 0.0, 0.0), extent=10.0) == [False, True, False]


def test_no_thread_changes_it() -> None:
    many = Gaussians.random(5000, torch.tensor([[-1.0, -1, -1], [1, 1, 1]]), seed=1, scale=3.0)
    cameras = looking(*(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) / 2).tolist())
    (rows,) = same_bits(lambda: [Overgrown(cameras, 1.0).rows(many)])
    assert 100 < int(rows.sum()) < 4000


@pytest.mark.parametrize(
    ("strategy", "n"),
    [(Budget(10, **EARLY), 10), (MCMC(10, growth=0.0, **EARLY), 10), (AdaptiveControl(1.0, **EARLY), 9)],
)
def test_any_strategy_takes_them_away(make: Make, strategy: Strategy, n: int) -> None:
    """Those of a given number give their places to others."""
    population = make(10)
    strategy.prepare(population)
    population.gaussians.log_scales.data[3] = math.log(50.0)
    strategy.observe(population, view(torch.arange(10.0) * 1e-5))
    assert strategy.refine(100, 1000, population, torch.Generator().manual_seed(0))
    assert population.n == n
    assert 3 not in population.gaussians.sh0[:, 0].tolist()


@pytest.mark.parametrize("strategy", ["budget", "mcmc", "adaptive"])
def test_a_training_knows_where_its_photographs_were_taken(strategy: str) -> None:
    """One row behind a camera is put where no photograph looks, one where all do."""
    config = splat_tasks.configured(
        model={"max_gaussians": 400}, densify={"start": 2, "every": 2, "strategy": strategy}
    )
    task = splat_tasks.task(ball.scene(n=8, world=True, points=300), config)
    origins = task.scene.cameras.origins - task.origin
    middle = origins.mean(0)
    task.gaussians.means.data[7] = (middle + 3 * (origins[0] - middle)).float()
    task.gaussians.means.data[8] = middle.float()
    task.gaussians.log_scales.data[7:9] = math.log(4 * task.extent)
    for step in range(4):
        task.step(step, 100)
    large = task.gaussians.log_scales.detach().amax(dim=1) > math.log(task.extent)
    assert int(large.sum()) == 1
    assert float((task.gaussians.means.detach()[large] - middle).norm()) < task.extent
