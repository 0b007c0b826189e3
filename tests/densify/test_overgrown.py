"""What is larger than it is far away goes; what is large and far stays."""

import math

import torch

from neural.densify.budget import Budget
from neural.densify.overgrown import Overgrown
from neural.gaussians.model import Gaussians
from tests import ball, splat_tasks
from tests.densify.conftest import Make
from tests.densify.views import view
from tests.threads import same_bits

CENTRES = torch.tensor([[0.0, 0, 0], [2, 0, 0]])


def row(size: float, away: float) -> Gaussians:
    """Two small ones, and one that is long along y, behind the second camera."""
    scales = torch.tensor([[0.01, 0.01, 0.01], [0.01, size, 0.01], [0.01, 0.01, 0.01]])
    means = torch.tensor([[0.0, 0, 1], [2.0 + away, 0, 0], [0.0, 0, 2]])
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(3, 1)
    return Gaussians(means, quats, scales.log(), torch.zeros(3), torch.zeros(3, 3), torch.zeros(3, 0, 3))


def found(size: float, away: float, extent: float = 1.0) -> list[bool]:
    return Overgrown(CENTRES, extent).rows(row(size, away)).tolist()


def test_larger_than_the_distance_to_the_nearest_camera() -> None:
    assert found(1.1, 1.0) == [False, True, False]
    assert found(0.9, 1.0) == [False, False, False]
    assert found(90.0, 100.0) == [False, False, False], "a sky"
    assert found(2.5, -3.0) == [False, True, False], "a unit from the first camera, three from the second"


def test_what_is_small_for_the_scene_is_close_to_a_camera() -> None:
    assert found(0.9, 0.5, extent=10.0) == [False, False, False]
    assert found(1.1, 0.5, extent=10.0) == [False, True, False]


def test_no_thread_changes_it() -> None:
    generator = torch.Generator().manual_seed(0)
    many = Gaussians.random(5000, torch.tensor([[-1.0, -1, -1], [1, 1, 1]]), seed=1, scale=3.0)
    centres = torch.randn(200, 3, generator=generator)
    (rows,) = same_bits(lambda: [Overgrown(centres, 1.0).rows(many)])
    assert 1000 < int(rows.sum()) < 4000


def test_a_budget_gives_their_places_to_others(make: Make) -> None:
    population = make(10)
    strategy = Budget(10, start=100, stop=0.1, overgrown=Overgrown(torch.zeros(1, 3), 1.0))
    strategy.prepare(population)
    population.gaussians.log_scales.data[3] = math.log(50.0)
    strategy.observe(population, view(torch.arange(10.0)))
    assert strategy.refine(100, 1000, population, torch.Generator().manual_seed(0))
    assert population.n == 10
    assert 3 not in population.gaussians.sh0[:, 0].tolist()


def test_a_training_knows_where_its_photographs_were_taken() -> None:
    config = splat_tasks.configured(model={"max_gaussians": 400}, densify={"start": 2, "every": 2})
    task = splat_tasks.task(ball.scene(n=8, world=True, points=300), config)
    near = task.scene.cameras.origins[0] - task.origin
    task.gaussians.means.data[7] = near.float() + 0.5 * task.extent
    task.gaussians.log_scales.data[7] = math.log(2 * task.extent)
    for step in range(4):
        task.step(step, 100)
    assert float(task.gaussians.log_scales.detach().max()) < math.log(task.extent)
