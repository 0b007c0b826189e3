"""The steps around a training, the same for every task: device, length, loop, scores, report."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from neural import checkpoint, runs, settings
from neural.errors import BackendUnavailable, CheckpointError
from neural.runs import Run
from neural.train import run_report
from neural.train.config import Device
from neural.train.loop import Habits, Task, Watcher, fit
from neural.train.trained import TrainedRun

Config = TypeVar("Config")
AnyTask = TypeVar("AnyTask", bound=Task)
AnyRun = TypeVar("AnyRun", bound=TrainedRun)

Watch = Callable[[Callable[[], TrainedRun]], Watcher]
"""Makes someone who looks on, from what gives the thing trained as it is at the time."""


def train(
    config: Any,
    folder: Path,
    identity: Mapping[str, Any],
    *,
    check: Callable[[], object],
    build: Callable[[], AnyTask],
    finish: Callable[[AnyTask], AnyRun],
    announce: Callable[[], str],
    overwrite: bool,
    progress: bool,
    watch: Watch | None = None,
) -> AnyRun:
    """Trains, or goes on with the run in `folder`; then scores it and writes the report.

    Args:
        config: Resolved; has a part `run`.
        folder: Of the run.
        identity: What a resume compares beside the configuration: `task`, `scene` (where the data came from) and
            what tells it from other data in the same place, as its box, or its size and digest.
        check: Refuses data that cannot be trained on, before a run begins; may write to the folder's cache.
        build: Makes the task, once the folder is known to be free or to fit.
        finish: What the task has trained so far; it changes nothing, and is called by whoever looks on too.
        announce: Says what was chosen.
        overwrite: Start anew.
        progress: Whether to draw progress bars.
        watch: Someone who looks on.
    """
    page = folder / "report.html"
    stored = {**identity, **settings.to_plain(config)}
    defaults = settings.to_plain(type(config)())
    with runs.opened(folder, stored, defaults=defaults, overwrite=overwrite, prepare=check) as run:
        if progress:
            print(announce())
        task = build()
        habits = Habits(
            config.run.minutes, config.run.checkpoint_minutes, config.run.log_every, config.run.eval_every, progress
        )
        if checkpoint.latest_step(folder) != run.config["run"]["steps"]:
            page.unlink(missing_ok=True)  # of a shorter run; without one, the run is not finished
        try:
            seconds = fit(task, run, habits, None if watch is None else watch(lambda: finish(task)))
        finally:
            task.release()
        trained = finish(task)
        if not page.exists():
            _report(trained, run, seconds, progress)
        elif progress:
            print(f"all of its {run.config['run']['steps']} steps are done, --steps asks for more; report: {page}")
        return trained


def with_length(asked: Config, steps: int | None, minutes: float | None) -> Config:
    """The configuration with a length in place of its own, if one is given."""
    if steps is None and minutes is None:
        return asked
    return replace(asked, run=replace(asked.run, steps=steps, minutes=minutes))  # type: ignore[type-var,attr-defined]


def as_long_as_stored(asked: Config, folder: Path) -> Config:
    """With the length of the run in `folder`, if there is one and no length is asked for."""
    part = asked.run  # type: ignore[attr-defined]
    if part.steps is not None or part.minutes is not None or not (folder / runs.CONFIG).is_file():
        return asked
    stored = runs.flatten(runs.read_config(folder))
    steps, minutes = stored.get(runs.STEPS), stored.get(runs.MINUTES)
    if isinstance(steps, int):
        return replace(asked, run=replace(part, steps=steps))  # type: ignore[type-var]
    if isinstance(minutes, (int, float)):
        return replace(asked, run=replace(part, minutes=minutes))  # type: ignore[type-var]
    return asked


def read_stored(folder: Path, task: str, kind: type[Config]) -> tuple[Config, dict[str, Any]]:
    """The configuration of a trained run, and what was stored beside it.

    Raises:
        CheckpointError: No run, one of another task, or a configuration that cannot be read.
    """
    stored = runs.read_config(folder)
    names = set(settings.to_plain(kind()))
    identity = {name: stored.pop(name) for name in list(stored) if name not in names}
    if identity.get("task") != task or not isinstance(identity.get("scene"), str):
        raise CheckpointError(f"{folder}: not a {task} run; give the folder that `neural train {task} --out` named")
    try:
        lengths = stored.get("run")
        if isinstance(lengths, dict) and lengths.get("steps") is not None:
            stored["run"] = lengths | {"minutes": None}  # the minutes have become these steps
        return settings.from_plain(kind, stored, source=str(folder / runs.CONFIG)), identity
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def gone(folder: Path, what: str, source: str) -> CheckpointError:
    """The error where what a stored run was trained on is not there any more."""
    return CheckpointError(
        f"{folder}: the {what} that it was trained on, {source}, is not there; put it back, or pass "
        "load_run(..., scene=) if it was made in Python"
    )


def headline(data: str, config: Any, folder: Path) -> str:
    """What is trained on what, how long and where to."""
    run = config.run
    length = f"{run.steps} steps" if run.steps is not None else f"{run.minutes:g} minutes"
    return f"{data}; {length} on {run.device}, into {folder}"


def digest(path: Path) -> str:
    """Of a file's bytes, to tell it from another in the same place."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def choose_device(wanted: str) -> Device:
    """The device that `auto` stands for, or the one asked for if it is there.

    Raises:
        BackendUnavailable: cuda was asked for and there is none.
        ValueError: No such device.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {wanted!r}")
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise BackendUnavailable("--device cuda: torch sees no CUDA device; run `neural doctor`, or use --device cpu")
    return "cuda" if wanted == "cuda" or (wanted == "auto" and available) else "cpu"


def _report(trained: TrainedRun, run: Run, seconds: float, progress: bool) -> None:
    """Scores and the report page."""
    scores = None
    if trained.scorable():
        scores = trained.evaluate(progress=progress)
        print(scores)
    page = run_report.write(trained, run, scores, seconds, trained.show(scores, progress=progress))
    print(f"report: {page}")
