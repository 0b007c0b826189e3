"""Trainings of splats whose backward pass steps: the same as those whose optimiser does."""

from typing import Any

import pytest
import torch
from torch import Tensor

from neural.cuda.adam_in_backward import ParameterStep
from neural.optim import Adam
from neural.train.tasks.splats import task as splats_task
from neural.train.tasks.splats.task import SplatsTask
from tests import ball, splat_tasks

STEPS = 7
MODEL = {"max_gaussians": 60, "init_gaussians": 40, "sh_degree": 1}
REFINED = {"start": 1, "every": 3, "stop": 0.9}


def state(task: SplatsTask) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in task.tensors().items()}


def trained(device: torch.device, strategy: str = "budget", **optim: Any) -> SplatsTask:
    config = splat_tasks.configured(
        model=MODEL, densify={"strategy": strategy, **REFINED}, optim={"lr_scale": 5.0, "coarse": 1, **optim}
    )
    task = splat_tasks.task(ball.scene(n=6, size=(20, 15)), config, device)
    for step in range(STEPS):
        task.step(step, STEPS)
    return task


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Steps that backward passes have made: shapes of the parameters."""
    found: list[str] = []
    finish = ParameterStep.finish
    monkeypatch.setattr(
        ParameterStep, "finish", lambda step: found.append("x".join(map(str, step.param.shape[1:]))) or finish(step)
    )
    return found


@pytest.mark.parametrize(
    ("strategy", "optim"),
    [
        ("budget", {"lazy": False}),
        ("mcmc", {"lazy": True}),
        ("adaptive", {"refine_poses": True, "exposure": True}),
        ("none", {"random_background": False}),
    ],
    ids=["budget", "mcmc, lazy", "adaptive, poses and exposure", "none"],
)
def test_a_training_is_the_same(
    strategy: str,
    optim: dict[str, Any],
    cuda_device: torch.device,
    made: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside = state(trained(cuda_device, strategy, **optim))
    assert sorted(made) == sorted(STEPS * ["3", "4", "3", "", "3", "3x3"])  # every parameter in every step
    monkeypatch.setattr(Adam, "in_backward", lambda *_, **__: None)
    after = state(trained(cuda_device, strategy, **optim))
    assert len(made) == 6 * STEPS
    assert inside.keys() == after.keys()
    for name, value in after.items():
        scale = float(value.abs().max()) if value.is_floating_point() and value.numel() else 0.0
        torch.testing.assert_close(inside[name], value, atol=1e-4 * scale, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_a_stopped_training_goes_on_with_the_same_bits(cuda_device: torch.device, made: list[str]) -> None:
    config = splat_tasks.configured(model=MODEL, densify={"strategy": "budget", **REFINED}, optim={"coarse": 1})
    scene = ball.scene(n=6, size=(20, 15))
    whole, again = (splat_tasks.task(scene, config, cuda_device) for _ in range(2))
    for step in range(STEPS):
        if step == 4:
            saved = {name: value.clone() for name, value in whole.tensors().items()}
        whole.step(step, STEPS)
    again.load(saved)
    for step in range(4, STEPS):
        again.step(step, STEPS)
    assert len(made) == 6 * (STEPS + STEPS - 4)
    end, found = state(whole), state(again)
    assert not [name for name, value in end.items() if not torch.equal(value, found[name])]


def test_several_views_are_summed_before_a_step(cuda_device: torch.device, made: list[str]) -> None:
    trained(cuda_device, views=2)
    assert not made


@pytest.mark.parametrize(("most", "n_made"), [(1.0, 0), (0.0, 6)])
def test_copies_of_the_few_in_view_are_stepped_by_the_optimiser(
    most: float, n_made: int, cuda_device: torch.device, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever way is taken, those that are seen move and the others stay."""
    monkeypatch.setattr(splats_task, "MOST_GATHERED_IN_BACKWARD", most)
    config = splat_tasks.configured(
        model={"max_gaussians": 4000, "sh_degree": 1}, densify={"strategy": "none"}, optim={"lazy": True, "coarse": 1}
    )
    task = splat_tasks.task(splat_tasks.scattered(n=6, size=(20, 15)), config, cuda_device)
    before = task.gaussians.means.detach().clone()
    seen = task.step(0, STEPS).extra["visible"]
    assert len(made) == n_made
    moved = int((task.gaussians.means != before).any(1).sum())
    assert 0 < moved <= seen < 0.5 * len(before)


def test_a_cpu_steps_after_the_backward_pass(made: list[str]) -> None:
    trained(torch.device("cpu"))
    assert not made
