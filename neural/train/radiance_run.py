"""Radiance fields from the outside: train one, take a run up again, score it, render it."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from neural import checkpoint, evaluate, lpips, paths, runs, settings, video
from neural.cameras import Cameras
from neural.errors import BackendUnavailable, CheckpointError, SceneFormatError
from neural.fields.radiance import RadianceField
from neural.optim import saved_averages
from neural.render.occupancy import OccupancyGrid
from neural.render.rendering import Rendering
from neural.render.volume import Marching, render_image
from neural.runs import Run
from neural.scenes.load import load
from neural.scenes.scene import Scene
from neural.train import radiance_report
from neural.train.config import Device, RadianceConfig, resolve
from neural.train.loop import Habits, fit
from neural.train.radiance_task import (
    BACKGROUNDS,
    RadianceTask,
    build_field,
    build_marching,
    build_occupancy,
    load_occupancy,
    load_values,
    photograph,
)

TASK = "radiance"
FILM_PIXELS = 60_000  # per frame of the film in the report, about
FILM_PATIENCE = 30.0  # seconds that it may take, about


class RadianceRun:
    """A trained radiance field with its scene and folder.

    Attributes:
        folder: Where everything of the run lies.
        scene: The capture it was trained on.
        config: Resolved.
        field: What is rendered (averaged weights, where averaging is on).
        occupancy: Where the field is not empty.
        marching: Steps along rays.
    """

    def __init__(
        self,
        folder: Path,
        scene: Scene,
        config: RadianceConfig,
        field: RadianceField,
        occupancy: OccupancyGrid,
        marching: Marching,
    ) -> None:
        self.folder, self.scene, self.config = folder, scene, config
        self.field, self.occupancy, self.marching = field, occupancy, marching

    def render_camera(
        self, cameras: Cameras, index: int = 0, *, background: Literal["white", "black"] | None = None
    ) -> Rendering:
        """One camera's picture; fields of the result have H W rows.

        Args:
            cameras: In the scene's frame, float64.
            index: Which of them.
            background: Behind the scene; that of the run without it.
        """
        device = self.occupancy.bitfield.device
        color = torch.full((3,), BACKGROUNDS[background or self.config.run.background], device=device)
        posed = cameras.relative_to(self.field.origin).to(device, torch.float32)
        return render_image(self.field, posed, index, self.occupancy, self.marching, background=color)

    def evaluate(
        self,
        *,
        split: str = "test",
        background: Literal["auto", "white", "black"] = "auto",
        lpips_net: lpips.Net = "alex",
        progress: bool = True,
    ) -> evaluate.Evaluation:
        """Scores on a split; also written to RUN/eval.json.

        Raises:
            ValueError: No such split, or an empty one.
        """
        if split not in self.scene.splits:
            raise ValueError(f"no split {split!r}; this scene has {', '.join(self.scene.splits)}")
        behind: Any = self.config.run.background if background == "auto" else background
        transparent = self.scene.images is not None and self.scene.images.channels == 4
        return evaluate.evaluate(
            lambda i: self._image(self.scene.cameras, i, behind), lambda i: photograph(self.scene, i, behind),
            self.scene.splits[split], names=self.scene.image_names, background=behind if transparent else "none",
            split=split, out=self.folder, lpips_net=lpips_net, progress=progress,
        )  # fmt: skip

    def render(
        self,
        *,
        path: str = "orbit",
        out: Path | None = None,
        frames: int = 120,
        fps: float = 30.0,
        downscale: int = 1,
        progress: bool = True,
    ) -> Path:
        """A video along a camera path (`orbit`, `train` or a file of `neural.paths.save`); gives what was written."""
        cameras = self._path(path, frames)
        if downscale > 1:
            cameras = cameras.scaled(1 / downscale)
        target = out or self.folder / (f"{path}.mp4" if path in ("orbit", "train") else f"{Path(path).stem}.mp4")
        written, sentence = video.write(target, self._frames(cameras, progress), fps=fps)
        print(sentence)
        return written

    def _path(self, path: str, frames: int) -> Cameras:
        shown = self.scene.cameras[list(self.scene.splits["train"])]
        if path == "orbit":
            return paths.orbit(shown, frames)
        if path == "train":
            return paths.along_cameras(shown, frames)
        return paths.load(Path(path))

    def _frames(self, cameras: Cameras, progress: bool) -> Iterator[np.ndarray]:
        for index in tqdm(range(len(cameras)), desc="rendering", unit="frame", disable=not progress, leave=False):
            image = self._image(cameras, index, self.config.run.background).numpy()
            yield (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)

    def _image(self, cameras: Cameras, index: int, background: Any) -> Tensor:
        width, height = cameras.sizes[index].tolist()
        return self.render_camera(cameras, index, background=background).rgb.reshape(height, width, 3).cpu()


def train(
    scene: str | Path,
    config: RadianceConfig | None = None,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> RadianceRun:
    """Trains a radiance field on a capture, or goes on with the run in `out`; then scores it and writes a report.

    Raises:
        SceneFormatError: The capture cannot be used.
        CheckpointError: The folder holds another run.
        DivergenceError: The loss became NaN or Inf.
        Interrupted: A signal came; the state is saved.
    """
    folder = out or runs.default_folder(scene, TASK)
    asked = config or RadianceConfig()
    if not overwrite:
        asked = _as_long_as_stored(asked, folder)
    capture = load(scene, downscale=asked.run.downscale, cache=folder / runs.CACHE, test_every=asked.run.split_every)
    resolved = resolve(asked, _device(asked.run.device), unbounded=capture.unbounded, background=capture.background)
    return _train(None, capture, resolved, folder, overwrite, progress, str(Path(scene).resolve()))


def radiance(
    field: RadianceField,
    scene: Scene,
    *,
    config: RadianceConfig | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> RadianceRun:
    """Trains a field of your own on a scene of your own; the model part of `config` is not looked at.

    Args:
        field: What to train.
        scene: With train and test splits.
        config: Sampling, optimiser and run; the defaults suit the device.
        steps: In place of the configuration's.
        minutes: In place of the configuration's.
        out: Folder of the run; `runs/<scene>-radiance` without it. An existing run goes on.
        overwrite: Start anew.
        progress: Whether to draw progress bars.
    """
    asked = config or RadianceConfig()
    if steps is not None or minutes is not None:
        asked = replace(asked, run=replace(asked.run, steps=steps, minutes=minutes))
    asked = replace(asked, model=replace(asked.model, contraction=field.contraction))
    folder = Path(out) if out is not None else runs.default_folder(scene.path or scene.name, TASK)
    if not overwrite:
        asked = _as_long_as_stored(asked, folder)
    resolved = resolve(asked, _device(asked.run.device), background=scene.background)
    source = str(scene.path.resolve()) if scene.path is not None else scene.name
    return _train(field, scene, resolved, folder, overwrite, progress, source)


def load_run(
    folder: str | Path,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    field: RadianceField | None = None,
    scene: Scene | None = None,
) -> RadianceRun:
    """Takes up a trained run.

    Args:
        folder: What `--out` named.
        device: Where to render.
        field: For a run that was trained on a field of your own: the same field; its values are replaced.
        scene: For a run that was trained on a scene made or changed in Python: the same scene.

    Raises:
        CheckpointError: No run, no checkpoint, or one that does not fit; the scene is gone or another one.
        SceneFormatError: The scene cannot be read any more.
    """
    folder = Path(folder)
    stored = runs.read_config(folder)
    source, own_field = stored.pop("scene", None), bool(stored.pop("own_field", False))
    box = stored.pop("box", None)
    if stored.pop("task", None) != TASK or not isinstance(source, str):
        raise CheckpointError(f"{folder}: not a radiance run; give the folder that `neural train radiance --out` named")
    try:
        lengths = stored.get("run")
        if isinstance(lengths, dict) and lengths.get("steps") is not None:
            stored["run"] = lengths | {"minutes": None}  # the minutes have become these steps
        config = settings.from_plain(RadianceConfig, stored, source=str(folder / runs.CONFIG))
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if scene is None and not Path(source).exists():
        raise CheckpointError(
            f"{folder}: the scene that it was trained on, {source}, is not there; put it back, or pass "
            "load_run(..., scene=) if it was made in Python"
        )
    every = config.run.split_every
    capture = scene or load(source, downscale=config.run.downscale, cache=folder / runs.CACHE, test_every=every)
    if capture.aabb.tolist() != box:
        raise CheckpointError(
            f"{folder}: {source} is not the scene that was trained: its box is {capture.aabb.tolist()}, not {box}; "
            "restore it, or pass load_run(..., scene=) if it was made or changed in Python"
        )
    if own_field and field is None:
        raise CheckpointError(
            f"{folder}: was trained on a field made in Python; pass load_run(..., field=) the same one"
        )
    shown = field if field is not None else build_field(config, capture)
    place = torch.device(_device(device))
    latest = checkpoint.load_latest(folder)
    occupancy = build_occupancy(config, shown, place)
    marching = build_marching(config, shown)
    averages = saved_averages(latest.tensors, config.optim.ema)
    try:
        load_values(
            dict(shown.named_parameters()),
            latest.tensors | {f"model/{name}": value for name, value in averages.items()},
        )
        load_occupancy(occupancy, latest.tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return RadianceRun(folder, capture, config, shown.to(place), occupancy, marching)


def _train(
    field: RadianceField | None,
    scene: Scene,
    config: RadianceConfig,
    folder: Path,
    overwrite: bool,
    progress: bool,
    source: str,
) -> RadianceRun:
    device = torch.device(config.run.device)
    stored = {
        "task": TASK, "scene": source, "box": scene.aabb.tolist(), "own_field": field is not None,
        **settings.to_plain(config),
    }  # fmt: skip
    page = folder / "report.html"
    with runs.opened(folder, stored, overwrite=overwrite, prepare=lambda: _decode(scene)) as run:
        if progress:
            _say(config, scene, folder)
        task = RadianceTask(field or build_field(config, scene), scene, config, device)
        habits = Habits(
            config.run.minutes, config.run.checkpoint_minutes, config.run.log_every, config.run.eval_every, progress
        )
        if checkpoint.latest_step(folder) != run.config["run"]["steps"]:
            page.unlink(missing_ok=True)  # of a shorter run; without one, the run is not finished
        try:
            seconds = fit(task, run, habits)
        finally:
            task.release()
        trained = RadianceRun(folder, scene, config, task.averaged_field(), task.occupancy, task.marching)
        if not page.exists():
            _finish(trained, run, seconds, progress)
        elif progress:
            print(f"all of its {run.config['run']['steps']} steps are done, --steps asks for more; report: {page}")
        return trained


def _as_long_as_stored(asked: RadianceConfig, folder: Path) -> RadianceConfig:
    """With the length of the run in `folder`, if there is one and no length is asked for."""
    if asked.run.steps is not None or asked.run.minutes is not None or not (folder / runs.CONFIG).is_file():
        return asked
    stored = runs.flatten(runs.read_config(folder))
    steps, minutes = stored.get(runs.STEPS), stored.get(runs.MINUTES)
    if isinstance(steps, int):
        return replace(asked, run=replace(asked.run, steps=steps))
    return replace(asked, run=replace(asked.run, minutes=minutes)) if isinstance(minutes, (int, float)) else asked


def _decode(scene: Scene) -> None:
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


def _say(config: RadianceConfig, scene: Scene, folder: Path) -> None:
    """The values that were chosen, in one line each."""
    run, model, sampling = config.run, config.model, config.sampling
    plural = "" if sampling.cascades == 1 else "s"
    length = f"{run.steps} steps" if run.steps is not None else f"{run.minutes:g} minutes"
    print(
        f"{scene.name}: {len(scene.splits['train'])} images for training, {len(scene.splits['test'])} held out; "
        f"{length} on {run.device}, into {folder}\n"
        f"chosen: table 2^{model.log2_hashmap_size} x {model.n_levels} levels to {model.finest_resolution}, "
        f"contraction {model.contraction}, {sampling.target_samples} samples a step, {sampling.cascades} occupancy "
        f"cascade{plural} of {sampling.occupancy_resolution}^3, background {run.background}"
    )


def _finish(trained: RadianceRun, run: Run, seconds: float, progress: bool) -> None:
    """Scores, a short orbit and the report page."""
    scores = None
    if trained.scene.splits["test"]:
        scores = trained.evaluate(progress=progress)
        print(scores)
    page = radiance_report.write(trained, run, scores, seconds, _film(trained, progress))
    print(f"report: {page}")


def _film(trained: RadianceRun, progress: bool) -> Path:
    """A small orbit of three seconds; fewer frames where each is slow, as those of a field that is still fog are."""
    width, height = trained.scene.cameras.sizes[0].tolist()
    small = max(1, round((width * height / FILM_PIXELS) ** 0.5))
    began = time.perf_counter()
    trained.render_camera(paths.orbit(trained.scene.cameras, 1).scaled(1 / small), 0)
    frames = round(min(60, max(15, FILM_PATIENCE / (time.perf_counter() - began))))
    return trained.render(path="orbit", frames=frames, fps=frames / 3, downscale=small, progress=progress)


def _device(wanted: str) -> Device:
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
