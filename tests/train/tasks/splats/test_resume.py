"""Training of splats that was stopped, whenever, goes on as if it had never been: every bit of the state."""

from typing import Any

import pytest
import torch
from torch import Tensor

from neural.gaussians.model import Gaussians
from neural.train.tasks.splats.config import SplatsConfig
from neural.train.tasks.splats.task import SplatsTask
from tests import ball, splat_tasks

STEPS = 24
STOPS = (1, 5, 6, 11, 17, 18)  # before, at and after refinements at every 6th step, and sorts
STRATEGIES = ("budget", "mcmc", "adaptive", "none")
EVERYTHING = {"refine_poses": True, "exposure": True, "views": 2, "coarse": 2, "coarse_share": 0.5}


def copied(task: SplatsTask) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.tensors().items()}


def assert_resumes(scene: Any, config: SplatsConfig, stops: tuple[int, ...] = STOPS) -> list[Any]:
    """Whatever the step after which a run is taken up by a new task; gives what the steps of the whole one said."""
    whole = splat_tasks.task(scene, config)
    saved, results = {}, []
    for step in range(STEPS):
        results.append(whole.step(step, STEPS))
        if step + 1 in stops:
            saved[step + 1] = copied(whole)
    end = copied(whole)
    for stop, tensors in saved.items():
        task = splat_tasks.task(scene, config)
        task.load(tensors)
        assert [task.step(step, STEPS) for step in range(stop, STEPS)] == results[stop:], f"stopped after {stop}"
        found = task.tensors()
        assert found.keys() == end.keys()
        different = [name for name, value in end.items() if not torch.equal(value, found[name])]
        assert not different, f"stopped after {stop}: {different}"
    return results


@pytest.mark.parametrize("more", [{}, EVERYTHING], ids=["plain", "everything on"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_stopped_run_goes_on_with_the_same_bits(strategy: str, more: dict[str, Any]) -> None:
    config = splat_tasks.configured(
        model={"max_gaussians": 1000 if strategy == "adaptive" else 320, "init_gaussians": 200, "sh_degree": 2},
        densify={"strategy": strategy, "start": 1, "every": 6, "stop": 0.9, "gradient": 1e-3, "reset": "decay"},
        optim=more, run={"seed": 2},
    )  # fmt: skip
    results = assert_resumes(ball.scene(size=(40, 30), masks=True), config)
    counts = [result.extra["gaussians"] for result in results]
    if strategy != "none":
        assert 200 < counts[6] < counts[-1]  # it grew before and after most of the stops


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "more", [{"lazy": True}, {"lazy": True, "refine_poses": True}, {"lazy": False}], ids=["plain", "poses", "not lazy"]
)
def test_a_run_whose_views_see_a_part_of_the_scene_goes_on_with_the_same_bits(
    strategy: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some steps gather the clusters in view, some take all; bounds of clusters are newer after a resume."""
    gathered = []
    taken = Gaussians.taken
    monkeypatch.setattr(Gaussians, "taken", lambda self, rows: gathered.append(len(rows)) or taken(self, rows))
    config = splat_tasks.configured(
        model={"max_gaussians": 4300, "sh_degree": 1},
        densify={"strategy": strategy, "start": 1, "every": 6, "stop": 0.9, "gradient": 1e-6},
        optim={"coarse": 1, "lr_scale": 10.0, **more},
    )  # fmt: skip
    results = assert_resumes(splat_tasks.scattered(size=(40, 30)), config, (5, 11, 13))
    assert max(result.extra["visible"] for result in results) < 1500
    assert (0 < len(gathered) < 4 * STEPS) == more["lazy"]
