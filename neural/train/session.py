"""The steps around a training, the same for every kind of scene: device, length, pixels, loop, scores, film, report."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from neural import checkpoint, paths, runs, settings
from neural.errors import BackendUnavailable, CheckpointError, SceneFormatError
from neural.runs import Run
from neural.scenes.load import load
from neural.scenes.scene import Scene
from neural.train import run_report
from neural.train.config import Device
from neural.train.loop import Habits, Task, fit
from neural.train.trained import TrainedRun

FILM_PIXELS = 60_000  # per frame of the film in the report, about
FILM_PATIENCE = 30.0  # seconds that it may take, about

Config = TypeVar("Config")
AnyTask = TypeVar("AnyTask", bound=Task)
AnyRun = TypeVar("AnyRun", bound=TrainedRun)


def train(
    scene: Scene,
    config: Any,
    folder: Path,
    identity: Mapping[str, Any],
    *,
    build: Callable[[], AnyTask],
    finish: Callable[[AnyTask], AnyRun],
    announce: Callable[[], str],
    overwrite: bool,
    progress: bool,
    check: Callable[[], object] | None = None,
) -> AnyRun:
    """Trains, or goes on with the run in `folder`; then scores it, films it and writes the report.

    Args:
        scene: The capture.
        config: Resolved; has a part `run`.
        folder: Of the run.
        identity: What a resume compares beside the configuration: task, scene, box.
        build: Makes the task, once the folder is known to be free or to fit.
        finish: What the task has trained; called once, also to release what the task holds.
        announce: Says what was chosen.
        overwrite: Start anew.
        progress: Whether to draw progress bars.
        check: What else may refuse the scene before a run begins.
    """

    def prepare() -> None:
        decode(scene)
        refuse_nothing(scene)
        if check is not None:
            check()

    page = folder / "report.html"
    stored = {**identity, **settings.to_plain(config)}
    with runs.opened(folder, stored, overwrite=overwrite, prepare=prepare) as run:
        if progress:
            print(announce())
        task = build()
        habits = Habits(
            config.run.minutes, config.run.checkpoint_minutes, config.run.log_every, config.run.eval_every, progress
        )
        if checkpoint.latest_step(folder) != run.config["run"]["steps"]:
            page.unlink(missing_ok=True)  # of a shorter run; without one, the run is not finished
        try:
            seconds = fit(task, run, habits)
        finally:
            task.release()
        trained = finish(task)
        if not page.exists():
            _report(trained, run, seconds, progress)
        elif progress:
            print(f"all of its {run.config['run']['steps']} steps are done, --steps asks for more; report: {page}")
        return trained


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


def read_scene(folder: Path, identity: Mapping[str, Any], config: Any) -> Scene:
    """The capture that a stored run was trained on.

    Raises:
        CheckpointError: It is gone.
    """
    source = identity["scene"]
    if not Path(source).exists():
        raise CheckpointError(
            f"{folder}: the scene that it was trained on, {source}, is not there; put it back, or pass "
            "load_run(..., scene=) if it was made in Python"
        )
    return load(source, downscale=config.run.downscale, cache=folder / runs.CACHE, test_every=config.run.split_every)


def same_scene(folder: Path, identity: Mapping[str, Any], scene: Scene) -> None:
    """Refuses a capture whose box is not that of the run.

    Raises:
        CheckpointError: Another scene.
    """
    if scene.aabb.tolist() != identity.get("box"):
        raise CheckpointError(
            f"{folder}: {identity['scene']} is not the scene that was trained: its box is {scene.aabb.tolist()}, not "
            f"{identity.get('box')}; restore it, or pass load_run(..., scene=) if it was made or changed in Python"
        )


def decode(scene: Scene) -> None:
    """Reads all pixels, so that a broken photograph is found before a run begins.

    Raises:
        SceneFormatError: Names the photograph, or the scene that has none to train on.
    """
    if scene.images is None or not scene.splits["train"]:
        raise SceneFormatError(
            scene.path or scene.name, "no images to train on; check the scene's images and its train split"
        )
    for stack in (scene.images, scene.masks):
        if stack is not None:
            _ = stack.flat


def refuse_nothing(scene: Scene) -> None:
    """Raises where photographs hold nothing: every pixel of a split is masked out, or every training one transparent.

    Raises:
        SceneFormatError: Names the split.
    """
    source = scene.path or scene.name
    for split in ("train", "test"):
        members = scene.splits[split]
        if scene.masks is not None and members and not any((scene.masks[i] >= 128).any() for i in members):
            raise SceneFormatError(
                source, f"the masks leave no pixel of the {split} images; white pixels are those that count"
            )
    images = scene.images
    if images is not None and images.channels == 4 and not any(images[i][..., 3].any() for i in scene.splits["train"]):
        raise SceneFormatError(source, "the train images are fully transparent; there is nothing to learn")


def headline(scene: Scene, config: Any, folder: Path) -> str:
    """What is trained on what, how long and where to."""
    run = config.run
    length = f"{run.steps} steps" if run.steps is not None else f"{run.minutes:g} minutes"
    return (
        f"{scene.name}: {len(scene.splits['train'])} images for training, {len(scene.splits['test'])} held out; "
        f"{length} on {run.device}, into {folder}"
    )


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
    """Scores, a short orbit and the report page."""
    scores = None
    if trained.scene.splits["test"]:
        scores = trained.evaluate(progress=progress)
        print(scores)
    page = run_report.write(trained, run, scores, seconds, _film(trained, progress))
    print(f"report: {page}")


def _film(trained: TrainedRun, progress: bool) -> Path | None:
    """A small orbit of three seconds; fewer frames where each is slow, as those of a field that is still fog are."""
    width, height = trained.scene.cameras.sizes[0].tolist()
    small = max(1, round((width * height / FILM_PIXELS) ** 0.5))
    if min(width, height) < 2 * small:  # no video has frames of one row
        return None
    began = time.perf_counter()
    trained.render_camera(paths.orbit(trained.scene.cameras, 1).scaled(1 / small), 0)
    frames = round(min(60, max(15, FILM_PATIENCE / (time.perf_counter() - began))))
    return trained.render(path="orbit", frames=frames, fps=frames / 3, downscale=small, progress=progress)
