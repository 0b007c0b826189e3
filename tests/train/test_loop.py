"""The loop by itself, with a task that only counts and a clock that the test turns."""

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from tqdm import tqdm

from neural import checkpoint, log, runs
from neural.errors import DivergenceError
from neural.interrupt import Interrupted
from neural.train import loop
from neural.train.loop import Habits, Moment, StepResult, Watcher


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


class Counting:
    """A task whose steps take `pace` seconds each and remember how they were called."""

    def __init__(self, clock: Clock, pace: Callable[[int], float], at: dict[int, Callable[[], None]] | None = None):
        self.clock, self.pace, self.at = clock, pace, at or {}
        self.total = torch.zeros((), dtype=torch.int64)
        self.asked: list[tuple[int, int | None]] = []
        self.validated: list[int] = []
        self.loss = lambda step: 1.0 / (step + 1)

    def step(self, step: int, steps: int | None) -> StepResult:
        self.clock.now += self.pace(step)
        self.asked.append((step, steps))
        self.at.get(step, lambda: None)()
        self.total += step
        return StepResult(self.loss(step), 10.0, 5, {"extra": float(step)})

    def tensors(self) -> dict[str, Tensor]:
        return {"model/total": self.total}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.total = tensors["model/total"].clone()

    def validate(self, step: int) -> dict[str, float]:
        self.validated.append(step)
        return {"test_psnr": 20.0}

    def steps_for(self, seconds: float, step: int, pace: float) -> int:
        return step + round(seconds / pace)

    def release(self) -> None:
        """Holds nothing."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


def fit(
    folder: Path,
    task: Counting,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    watcher: Watcher | None = None,
    **habits: Any,
) -> int:
    """Runs the loop in `folder`; gives the steps that the run was told or found."""
    with runs.opened(folder, {"run": {"steps": steps, "minutes": minutes}}) as run:
        chosen = {"checkpoint_minutes": 1e9, "log_every": 1, "eval_every": None, **habits}
        loop.fit(task, run, Habits(minutes=minutes, progress=False, **chosen), watcher)
        return run.config["run"]["steps"]


def interrupting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that acts as Ctrl-C: what the loop made of it is the newest `Interrupt`."""
    made: list[Any] = []
    original = loop.Interrupt

    def keep() -> Any:
        made.append(original())
        return made[-1]

    monkeypatch.setattr(loop, "Interrupt", keep)
    return lambda: setattr(made[-1], "signum", 2)


def test_steps_are_logged_saved_and_looked_at_when_due(tmp_path: Path, clock: Clock) -> None:
    task = Counting(clock, lambda step: 1.0)
    fit(tmp_path, task, steps=40, log_every=5, eval_every=8)
    assert [line["step"] for line in log.read(tmp_path)] == [5, 8, 10, 15, 16, 20, 24, 25, 30, 32, 35, 40]
    assert task.validated == [8, 16, 24, 32]
    first = log.read(tmp_path)[0]
    assert first["loss"] == pytest.approx(sum(1 / k for k in range(1, 6)) / 5)  # the mean since the last line
    assert (first["steps_per_second"], first["rays_per_second"], first["extra"]) == (1.0, 5.0, 2.0)
    assert checkpoint.load_latest(tmp_path).tensors["model/total"] == sum(range(40))


def test_checkpoints_come_by_the_clock(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    monkeypatch.setattr(loop.checkpoint, "save", lambda folder, step, *rest: saved.append(step))
    fit(tmp_path, Counting(clock, lambda step: 20.0), steps=10, checkpoint_minutes=1.0)
    assert saved == [4, 8, 10]


def test_minutes_become_steps_once_the_pace_is_known(tmp_path: Path, clock: Clock) -> None:
    """The first steps are five times as slow; the number of steps follows the pace after them."""
    task = Counting(clock, lambda step: 0.1 if step < 250 else 0.02)
    steps = fit(tmp_path, task, minutes=10.0)
    assert clock.now - 100.0 == pytest.approx(600, rel=0.01)
    known = [step for step, told in task.asked if told is not None]
    assert min(known) > loop.SETTLED
    assert min(known) < 0.25 * steps  # while schedules are still flat


def test_the_step_that_fixes_the_number_is_saved(tmp_path: Path, clock: Clock, monkeypatch) -> None:
    """So that no step that was taken in ignorance of the number is taken again with it."""
    fixed = []
    original = runs.Run.fix_steps

    def fix(run: runs.Run, steps: int) -> None:
        fixed.append((len(task.asked), checkpoint.latest_step(tmp_path)))
        original(run, steps)

    monkeypatch.setattr(runs.Run, "fix_steps", fix)
    task = Counting(clock, lambda step: 2.0)
    fit(tmp_path, task, minutes=1.0)
    assert fixed == [(6, 6)]


def test_a_slow_machine_decides_within_a_fifth_of_the_time(tmp_path: Path, clock: Clock) -> None:
    task = Counting(clock, lambda step: 2.0)
    assert fit(tmp_path, task, minutes=1.0) == 30
    assert next(step for step, told in task.asked if told) == 6


def test_the_bar_counts_the_time_of_the_steps_before_their_number_was_known(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tqdm] = []

    class Bar(tqdm):
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            self._time, self.start_t = clock.perf_counter, clock.now
            bars.append(self)

    monkeypatch.setattr(loop, "tqdm", Bar)
    began = clock.now
    with runs.opened(tmp_path, {"run": {"steps": None, "minutes": 1.0}}) as run:
        habits = Habits(minutes=1.0, checkpoint_minutes=1e9, log_every=1, eval_every=None, progress=True)
        loop.fit(Counting(clock, lambda step: 0.5), run, habits)
        steps = run.config["run"]["steps"]
    (bar,) = bars
    assert (bar.n, bar.total) == (steps, steps)
    assert bar.format_dict["elapsed"] == clock.now - began


def test_minutes_go_on_counting_over_a_stop(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before the steps are known: the seconds spent count, the hours in between do not."""
    stop = interrupting(monkeypatch)
    task = Counting(clock, lambda step: 2.0, {3: stop})
    with pytest.raises(Interrupted):
        fit(tmp_path, task, minutes=1.0)
    last = checkpoint.load_latest(tmp_path)
    assert (last.step, last.meta["steps"]) == (4, None)
    clock.now += 7200
    again = Counting(clock, lambda step: 2.0)
    assert fit(tmp_path, again, minutes=1.0) == 30
    assert again.asked[0] == (4, None)
    assert next(step for step, told in again.asked if told) == 6
    assert again.total == sum(range(30))
    assert [line["step"] for line in log.read(tmp_path)] == list(range(1, 31))


def test_a_signal_in_the_last_step_leaves_the_scores_for_later(tmp_path: Path, clock: Clock, monkeypatch) -> None:
    stop = interrupting(monkeypatch)
    with pytest.raises(Interrupted):
        fit(tmp_path, Counting(clock, lambda step: 1.0, {4: stop}), steps=5)
    assert checkpoint.latest_step(tmp_path) == 5


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops(tmp_path: Path, clock: Clock, loss: float) -> None:
    task = Counting(clock, lambda step: 61.0)
    task.loss = lambda step: loss if step == 3 else 0.5
    with pytest.raises(DivergenceError, match=r"step 3: the loss is (nan|inf); the last checkpoint is untouched"):
        fit(tmp_path, task, steps=9, checkpoint_minutes=1.0)
    assert checkpoint.load_latest(tmp_path).step == 3


def test_a_finished_run_has_nothing_to_do(tmp_path: Path, clock: Clock) -> None:
    fit(tmp_path, Counting(clock, lambda step: 1.0), steps=3)
    task = Counting(clock, lambda step: 1.0)
    fit(tmp_path, task, steps=3)
    assert task.asked == []
    assert task.total == 3


class Watching:
    """Looks on, and takes its time."""

    def __init__(
        self, clock: Clock, act: Callable[[Moment], None] = lambda moment: None, *, takes: float = 0.0
    ) -> None:
        self.clock, self.act, self.takes = clock, act or (lambda moment: None), takes
        self.moments: list[Moment] = []

    def look(self, moment: Moment) -> None:
        self.clock.now += self.takes
        self.moments.append(moment)
        self.act(moment)


def test_a_watcher_sees_every_step_and_what_was_written(tmp_path: Path, clock: Clock) -> None:
    watching = Watching(clock)
    fit(tmp_path, Counting(clock, lambda step: 0.5), steps=6, watcher=watching, log_every=2, eval_every=100)
    assert [moment.step for moment in watching.moments] == [1, 2, 3, 4, 5, 6]
    assert [moment.line is not None for moment in watching.moments] == [False, True] * 3
    lines = [{"step": moment.step, **moment.line} for moment in watching.moments if moment.line is not None]
    assert lines == log.read(tmp_path)


def test_watching_does_not_count_as_training(tmp_path: Path, clock: Clock) -> None:
    """Neither in the seconds that are kept, nor in speeds, nor in how many steps fill the minutes."""
    plain, watched = Counting(clock, lambda step: 0.1), Counting(clock, lambda step: 0.1)
    steps = fit(tmp_path / "plain", plain, minutes=2.0)
    watching = Watching(clock, takes=30.0)
    assert fit(tmp_path / "watched", watched, minutes=2.0, watcher=watching) == steps
    assert watching.moments[9].seconds == pytest.approx(1.0)
    assert log.read(tmp_path / "watched")[5]["steps_per_second"] == pytest.approx(10.0)
    saved = [checkpoint.load_latest(tmp_path / name).meta["seconds"] for name in ("plain", "watched")]
    assert saved[0] == pytest.approx(saved[1])


def test_a_watcher_may_save(tmp_path: Path, clock: Clock) -> None:
    saved: list[int | None] = []

    def save(moment: Moment) -> None:
        if moment.step == 3:
            moment.save()
            saved.append(checkpoint.latest_step(tmp_path))

    fit(tmp_path, Counting(clock, lambda step: 0.5), steps=6, watcher=Watching(clock, save))
    assert saved == [3]


def test_a_signal_while_a_watcher_looks_saves_and_ends(tmp_path: Path, clock: Clock) -> None:
    def stop(moment: Moment) -> None:
        if moment.step == 4:
            assert not moment.stopping()
            signal.raise_signal(signal.SIGINT)
            assert moment.stopping()

    with pytest.raises(Interrupted):
        fit(tmp_path, Counting(clock, lambda step: 0.5), steps=6, watcher=Watching(clock, stop))
    assert checkpoint.latest_step(tmp_path) == 4
