"""Steps of splats give the same bits on any number of threads, with everything on that can be learnt."""

from typing import Any

import pytest
import torch
from torch import Tensor

from neural.scenes.scene import Scene
from neural.train.loop import StepResult
from tests import ball, splat_tasks
from tests.threads import threads

STEPS = 5
# More Gaussians and pixels than torch leaves to one thread (32768 values); neither is a multiple of what threads work
# on at a time.
N = 33_001
SIZE = (201, 167)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return ball.scene(n=5, size=SIZE, points=N, masks=True)


def some_steps(scene: Scene, config: Any, n_threads: int) -> tuple[dict[str, Tensor], list[StepResult]]:
    with threads(n_threads):
        task = splat_tasks.task(scene, config)
        results = [task.step(step, 20) for step in range(STEPS)]
    return {name: value.clone() for name, value in task.tensors().items()}, results


@pytest.mark.parametrize(
    ("strategy", "more"),
    [
        ("budget", {"views": 2}),
        ("mcmc", {}),
        ("adaptive", {"coarse": 2, "coarse_share": 0.1, "lazy": True}),
    ],
)
def test_steps_have_the_same_bits_on_any_number_of_threads(strategy: str, more: dict[str, Any], scene: Scene) -> None:
    config = splat_tasks.configured(
        model={"max_gaussians": 34_003, "antialiased": strategy == "mcmc"},
        densify={"strategy": strategy, "start": 1, "every": 2, "stop": 1.0, "gradient": 1e-7},
        optim={"refine_poses": True, "exposure": True, "sh_every": 2, **more},
        run={"seed": 3},
    )
    state, results = some_steps(scene, config, 1)
    assert results[-1].extra["gaussians"] > N and results[-1].count >= SIZE[0] * SIZE[1]
    for name in ("poses", "exposure", "shN"):
        assert bool(state[f"model/{name}"].any()), f"{name} was not learnt"
    for n_threads in (2, 3):
        other, same = some_steps(scene, config, n_threads)
        assert [(r.loss, r.psnr) for r in same] == [(r.loss, r.psnr) for r in results], f"{n_threads} threads"
        different = [name for name, value in state.items() if not torch.equal(value, other[name])]
        assert not different, f"{n_threads} threads: {different}"
