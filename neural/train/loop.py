"""The training loop of every task: progress, metrics, checkpoints, interruption, a length in minutes."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from tqdm import tqdm

from neural import checkpoint
from neural.errors import DivergenceError
from neural.interrupt import Interrupt
from neural.log import MetricsLog
from neural.runs import Run

WARMUP_SHARE = 0.06  # of the minutes, at least, before the number of steps is fixed
WARMUP_LIMIT = 0.2  # and at most; schedules are flat for longer than this
WINDOW = 48  # steps over which speed is measured: three updates of an occupancy grid
SETTLED = 320  # steps after which a step costs what it will: the occupancy grid has settled


@dataclass(frozen=True)
class StepResult:
    """What one step says of itself.

    Attributes:
        loss: Value of the loss.
        psnr: Of the batch against what it should be, dB; None where that means nothing.
        count: What the step looked at: rays, pixels, points.
        extra: Further scalars for metrics.jsonl.
        unit: What was counted.
    """

    loss: float
    psnr: float | None
    count: int
    extra: Mapping[str, float]
    unit: str = "rays"


class Task(Protocol):
    """What is trained. Everything that a step reads or writes is in `tensors`, or a function of the step."""

    def step(self, step: int, steps: int | None) -> StepResult:
        """Takes step number `step` (from 0) of `steps` (None while minutes are not yet turned into steps)."""

    def tensors(self) -> dict[str, Tensor]:
        """The whole state, under the checkpoint's prefixes."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the state back."""

    def validate(self, step: int) -> Mapping[str, float]:
        """Scalars of a quick look, at held-out data where there is any; changes nothing that training reads."""

    def steps_for(self, seconds: float, step: int, pace: float) -> int:
        """The last step of a run that goes on for `seconds` after step number `step`; `pace`: seconds of one by now."""

    def release(self) -> None:
        """Gives back what only training needs; called once, whether training came to its end or not."""


@dataclass(frozen=True)
class Moment:
    """A training between two steps.

    Attributes:
        step: Steps that are done.
        steps: In all; None while minutes are not yet turned into steps.
        seconds: Spent in training, by earlier processes too.
        line: What this step wrote to metrics.jsonl, if anything.
        save: Writes a checkpoint.
        stopping: Whether a signal came, so that the training will end as soon as it can go on.
    """

    step: int
    steps: int | None
    seconds: float
    line: Mapping[str, float] | None
    save: Callable[[], None]
    stopping: Callable[[], bool]


class Watcher(Protocol):
    """Someone who looks on. It may take its time, which does not count as training, and changes nothing that a step
    reads: a training is the same with and without one."""

    def look(self, moment: Moment) -> None:
        """Called after every step, in the thread that trains."""


@dataclass(frozen=True)
class Habits:
    """How often things happen; see `neural.train.config.BaseRunConfig`."""

    minutes: float | None
    checkpoint_minutes: float
    log_every: int
    eval_every: int | None
    progress: bool = True


def fit(task: Task, run: Run, habits: Habits, watcher: Watcher | None = None) -> float:
    """Trains until `run.config["run"]["steps"]` steps are done, going on from the latest checkpoint.

    Args:
        task: What is trained.
        run: Where it is kept.
        habits: How often things happen.
        watcher: Looks on between steps.

    Returns:
        Seconds spent in training by this and earlier processes.

    Raises:
        DivergenceError: The loss became NaN or Inf; the last checkpoint is untouched.
        Interrupted: A signal came; the state is saved.
    """
    first, spent = _resume(task, run)
    steps: int | None = run.config["run"]["steps"]
    start = saved = time.perf_counter()
    durations: deque[float] = deque(maxlen=WINDOW)
    recent = _Means()
    with (
        MetricsLog(run.folder, first) as log,
        Interrupt() as interrupt,
        tqdm(
            total=steps, initial=first, unit="step", disable=not habits.progress, dynamic_ncols=True, smoothing=0.05
        ) as bar,
    ):
        step = first

        def save() -> None:
            nonlocal saved
            spent_now = spent + time.perf_counter() - start
            checkpoint.save(run.folder, step, task.tensors(), {"seconds": spent_now, "steps": steps})
            saved = time.perf_counter()

        while steps is None or step < steps:
            began = time.perf_counter()
            result = task.step(step, steps)
            if not math.isfinite(result.loss):
                raise DivergenceError(step, f"the loss is {result.loss}")
            step += 1
            recent.add(result)
            now = time.perf_counter()
            durations.append(now - began)
            bar.update()
            fixed = False
            if steps is None and habits.minutes is not None:
                steps = _steps_for(task, habits.minutes * 60, spent + now - start, step, durations)
                fixed = steps is not None
            last = step == steps
            due = steps is not None and step % (habits.eval_every or max(1, steps // 10)) == 0 and not last
            values = None
            if step % habits.log_every == 0 or last or due:
                values = recent.take()
                if due:
                    values |= task.validate(step)
                log.write(step, values)
                bar.set_postfix_str(_postfix(values))
            if interrupt or last or fixed or now - saved > habits.checkpoint_minutes * 60:
                save()
            if fixed and steps is not None:  # after the save: no step that did not know them is taken again
                run.fix_steps(steps)
                bar.total = steps  # not reset(): the time of the steps so far counts for the rate
                bar.refresh()
            if watcher is not None and not interrupt:
                before = time.perf_counter()
                watcher.look(Moment(step, steps, spent + before - start, values, save, interrupt.__bool__))
                watched = time.perf_counter() - before
                start += watched
                recent.rest(watched)
                if interrupt:  # while it looked
                    save()
            if interrupt:
                interrupt.leave()
    return spent + time.perf_counter() - start


def _resume(task: Task, run: Run) -> tuple[int, float]:
    """The step to go on from and the seconds already spent."""
    if checkpoint.latest_step(run.folder) is None:
        return 0, 0.0
    latest = checkpoint.load_latest(run.folder)
    task.load(latest.tensors)
    if run.config["run"]["steps"] is None and latest.meta.get("steps") is not None:
        run.fix_steps(int(latest.meta["steps"]))  # saved with the checkpoint, but the process died before this
    return latest.step, float(latest.meta.get("seconds", 0.0))


def _steps_for(task: Task, seconds: float, spent: float, step: int, durations: deque[float]) -> int | None:
    """The number of steps that fills the time, once enough of it has passed to tell."""
    steady = step >= SETTLED and spent >= WARMUP_SHARE * seconds and len(durations) == WINDOW
    if not steady and spent < WARMUP_LIMIT * seconds:
        return None
    pace = sum(durations) / len(durations)
    return max(step + 1, task.steps_for(seconds - spent, step, pace))


class _Means:
    """Means of step results between two lines of the log."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._results: list[StepResult] = []
        self._since = time.perf_counter()

    def add(self, result: StepResult) -> None:
        self._results.append(result)

    def rest(self, seconds: float) -> None:
        """So long, nothing was done."""
        self._since += seconds

    def take(self) -> dict[str, float]:
        n = len(self._results)
        seconds = max(time.perf_counter() - self._since, 1e-9)
        values = {
            "loss": sum(r.loss for r in self._results) / n,
            f"{self._results[-1].unit}_per_second": sum(r.count for r in self._results) / seconds,
            "steps_per_second": n / seconds,
        }
        ratios = [r.psnr for r in self._results if r.psnr is not None]
        if ratios:
            values["psnr"] = sum(ratios) / len(ratios)
        for name in self._results[-1].extra:
            values[name] = sum(r.extra[name] for r in self._results) / n
        self._clear()
        return values


def _postfix(values: Mapping[str, float]) -> str:
    parts = [f"loss {values['loss']:.2e}"]
    if "psnr" in values:
        parts.append(f"PSNR {values['psnr']:.2f} dB")
    for name, value in values.items():
        if name.endswith("_per_second") and not name.startswith("steps"):
            parts.append(f"{value / 1e3:.0f}k {name.removesuffix('_per_second')}/s")
    if "gaussians" in values:
        parts.append(f"{values['gaussians'] / 1e3:.0f}k Gaussians")
    if "test_psnr" in values:
        parts.append(f"held out {values['test_psnr']:.2f} dB")
    if "check_psnr" in values:
        parts.append(f"check {values['check_psnr']:.2f} dB")
    return ", ".join(parts)
