"""A length in minutes: the rehearsal of what is to come changes nothing, and its steps fill the time."""

from typing import Any

import pytest
import torch

from neural.train.tasks.splats import rehearsal
from neural.train.tasks.splats.task import SplatsTask
from tests import ball, splat_tasks

OPTIM = {"refine_poses": True, "exposure": True, "coarse": 4, "coarse_share": 0.5}


def make(**optim: Any) -> SplatsTask:
    config = splat_tasks.configured(
        model={"max_gaussians": 300, "init_gaussians": 100, "sh_degree": 1},
        densify={"start": 1, "every": 3}, optim={**OPTIM, **optim},
    )  # fmt: skip
    return splat_tasks.task(ball.scene(n=6, size=(48, 36)), config)


@pytest.mark.parametrize("optim", [{}, {"refine_poses": False, "exposure": False}, {"lazy": False}], ids=str)
def test_asking_for_the_steps_changes_nothing(optim: dict[str, Any]) -> None:
    asked, plain = make(**optim), make(**optim)
    for step in range(4):
        asked.step(step, None)
        plain.step(step, None)
    before = torch.get_rng_state()
    assert asked.steps_for(60.0, 4, 0.01) > 4
    assert torch.equal(torch.get_rng_state(), before)
    for step in range(4, 9):
        assert asked.step(step, 20) == plain.step(step, 20)
    one, other = asked.tensors(), plain.tensors()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


def test_the_steps_fill_the_time_by_what_they_will_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 10 ms now; each doubling of the size and the growth to the budget as much slower as rehearsed."""
    task = make()
    for now, later, expected in (
        ({4: 0.02, 2: 0.02, 1: 0.02}, {4: 0.02, 2: 0.02, 1: 0.02}, 1000),  # nothing gets slower
        ({4: 0.02, 2: 0.04, 1: 0.04}, {4: 0.02, 2: 0.04, 1: 0.04}, 570),  # a quarter at the small size
        ({4: 0.02, 2: 0.02, 1: 0.02}, {4: 0.04, 2: 0.04, 1: 0.04}, 570),  # three quarters grown, in effect
    ):
        monkeypatch.setattr(
            rehearsal, "_by_factor", lambda gaussians, *_, now=now, later=later: now if gaussians.n == 100 else later
        )
        assert task.steps_for(10.0, 500, 0.01) == pytest.approx(500 + expected, rel=0.02)


@pytest.mark.parametrize(("most", "strategy"), [(100, "budget"), (300, "none")])
def test_a_run_that_cannot_grow_is_rehearsed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, most: int, strategy: str
) -> None:
    config = splat_tasks.configured(
        model={"max_gaussians": most, "init_gaussians": 100}, densify={"strategy": strategy}, optim={"coarse": 1}
    )
    task = splat_tasks.task(ball.scene(n=6, size=(24, 18)), config)
    timed = []
    measure = rehearsal._by_factor
    monkeypatch.setattr(rehearsal, "_by_factor", lambda *given: timed.append(measure(*given)) or timed[-1])
    assert task.steps_for(1e-9, 7, 0.01) == 8  # no time is left: one more step
    assert len(timed) == 1 and list(timed[0]) == [1] and timed[0][1] > 0
