"""What controls in a browser do to a training, without one: pauses, steps, saves, and who pays for being served."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

pytest.importorskip("viser", reason="needs viser, which make installs")

from neural.errors import NotSaved
from neural.train.loop import Moment
from neural.viewer.live.budget import Budget
from neural.viewer.live.panels.tabs import Tabs
from neural.viewer.live.panels.training import TrainingPanel
from neural.viewer.live.server import open_door
from neural.viewer.live.viewer import Viewer
from neural.viewer.live.watch import WORTH, Controls, TrainingViewer
from tests.viewer.shown import ball_subject


class Door:
    """A server that has worked for so many seconds."""

    worked = 0.0

    def seconds(self) -> float:
        return self.worked


def held(budget: Budget, controls: Controls, door: Door) -> TrainingViewer:
    """A viewer of a training without a server and pictures."""
    viewer = object.__new__(TrainingViewer)
    viewer.budget, viewer.controls, viewer._served = budget, controls, 0.0
    viewer.panel = MagicMock()
    viewer.viewer = SimpleNamespace(door=door, clients=[], serve_once=lambda: None)  # type: ignore[assignment]
    viewer._refresh = lambda moment, **_: None  # type: ignore[method-assign]
    return viewer


def moment(save: Callable[[], None] = lambda: None, stopping: Callable[[], bool] = lambda: False) -> Moment:
    return Moment(7, 100, 1.0, None, save, stopping)


def test_what_is_served_while_paused_is_no_debt_of_the_training() -> None:
    """Browsers that look around during a pause are served as fast as can be; pictures go on at once after it."""
    controls, budget, door = Controls(), Budget(), Door()
    viewer = held(budget, controls, door)

    def serve_once() -> None:
        door.worked += 60.0
        controls.pause(False)

    viewer.viewer.serve_once = serve_once  # type: ignore[method-assign]
    controls.pause(True)
    viewer.look(moment())
    viewer.look(moment())
    assert budget.left > 0.3
    door.worked += 60.0  # beside the training it counts
    viewer.look(moment())
    assert budget.left < -10
    debt = budget.left
    viewer.look(moment())
    assert budget.left > debt - 1, "once"


def test_pictures_beside_a_training_are_of_its_latest_step() -> None:
    viewer, done = held(Budget(), Controls(), Door()), []
    wanted = SimpleNamespace(level="moving")
    viewer._refresh = lambda moment, **options: done.append((moment, options))  # type: ignore[method-assign, assignment]
    viewer.viewer = SimpleNamespace(  # type: ignore[assignment]
        door=Door(), clients=[1], moment=0, next_order=lambda: wanted, make=lambda *_: done.append("picture"),
        serve=lambda stop: done.append("served"),
    )  # fmt: skip
    viewer.look(moment())
    assert done == [(7, {}), "picture"]
    viewer.stay()
    assert done[2:] == [(8, {"quick": False}), "served"], "those that rest get the last one, too"


def test_a_sharp_picture_is_saved_up_for_longer() -> None:
    budget, made = Budget(), []
    viewer = held(budget, Controls(), Door())
    budget.spend(budget.left - (WORTH["moving"] + WORTH["still"]) / 2)
    for level in ("still", "moving"):
        viewer.viewer = SimpleNamespace(  # type: ignore[assignment]
            door=Door(), clients=[1], next_order=lambda level=level: SimpleNamespace(level=level),
            make=lambda order, seconds: made.append(order.level),
        )  # fmt: skip
        viewer.look(moment())
    assert made == ["moving"]


def test_a_disk_that_refuses_a_checkpoint_asked_for_in_a_browser_does_not_end_the_training() -> None:
    def refused() -> None:
        raise NotSaved("the disk is full")

    controls, said = Controls(), []
    viewer = held(Budget(), controls, Door())
    viewer.panel.not_saved = said.append  # type: ignore[method-assign]
    controls.ask_save()
    viewer.look(moment(refused))
    controls.pause(True)
    controls.ask_save()
    viewer.viewer.serve_once = lambda: controls.pause(False)  # type: ignore[method-assign]
    viewer.look(moment(refused))
    assert [str(error) for error in said] == ["the disk is full"] * 2
    saved: list[int] = []
    controls.ask_save()
    viewer.look(moment(lambda: saved.append(1)))
    assert saved == [1]


def test_a_checkpoint_asked_for_in_a_browser_is_not_paid_for_with_pictures() -> None:
    controls, budget = Controls(), Budget()
    viewer = held(budget, controls, Door())
    before = budget.left
    controls.ask_save()
    viewer.look(moment(lambda: time.sleep(0.3)))
    assert budget.left > before - 0.1


def test_a_pause_ends_when_a_signal_comes() -> None:
    controls = Controls()
    viewer = held(Budget(), controls, Door())
    controls.pause(True)
    turns: list[int] = []
    viewer.viewer.serve_once = lambda: turns.append(1)  # type: ignore[method-assign]
    viewer.look(moment(stopping=lambda: len(turns) == 3))
    assert len(turns) == 3


def test_the_button_says_what_it_will_do_whoever_has_pressed_it(tmp_path: Path) -> None:
    """Two browsers, and a pause that is taken back before the training has come to it."""
    viewer = Viewer(ball_subject(200), open_door(port=0))
    try:
        controls = Controls()
        panel = TrainingPanel(viewer, Tabs(viewer, tmp_path, []), controls, Budget())
        panel.note(moment())
        panel._toggle()
        assert (controls.paused, panel._pause.label) == (True, "resume")
        panel._toggle()
        panel.paused(moment())  # the training had seen the first click only
        assert (controls.paused, panel._pause.label) == (False, "pause")
        panel._ask("step")
        assert (controls.paused, panel._pause.label) == (True, "resume")
        controls.pause(False)  # from elsewhere
        panel._told = -1e9
        panel.note(moment())
        assert panel._pause.label == "pause"
        panel.not_saved(NotSaved("no room"))
        panel.note(moment())
        assert "not saved: no room" in panel._text.content
        panel.saved(7)
        panel.note(moment())
        assert "saved at step 7" in panel._text.content
    finally:
        viewer.close()


def test_steps_are_taken_once_each() -> None:
    controls = Controls()
    assert controls.goes_on()
    controls.ask_step()
    controls.ask_step()
    assert controls.paused
    assert [controls.goes_on() for _ in range(3)] == [True, True, False]
    controls.ask_step()
    controls.pause(True)
    assert not controls.goes_on(), "a pause forgets steps that were asked for"
    controls.pause(False)
    assert controls.goes_on()
    assert not controls.take_save()
    controls.ask_save()
    controls.ask_save()
    assert [controls.take_save(), controls.take_save()] == [True, False]
