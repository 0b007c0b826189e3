"""A picture of a scene before it is finished: from few, small photographs at first, then from the training on its way.

Both write RUN/picture.png and RUN/page.html, each time in place of the last.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neural.errors import BackendUnavailable, SceneFormatError, StageFailed
from neural.png import write as write_png
from neural.poses import quarter_turns
from neural.scenes.load import load
from neural.scenes.photographs import cameras
from neural.scenes.photographs.settings import CameraSettings
from neural.scenes.photographs.survey import Survey
from neural.train import session
from neural.train.film import to_bytes
from neural.train.loop import Moment
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.splats.build import build_gaussians, count_points
from neural.train.tasks.splats.config import SplatModelConfig, SplatOptimConfig, SplatsConfig, resolve
from neural.train.tasks.splats.run import SplatRun
from neural.train.tasks.splats.task import SplatsTask

PICTURE, PAGE = "picture.png", "page.html"
PHOTOGRAPHS = 24  # that the first look is made from
SIDE = 640  # pixels at which their features are looked for
PIXELS = 60_000  # of each in training, about
SECONDS = 12.0  # of training
_GAUSSIANS = 20_000
_WARM = 20  # steps that tell how long one takes
_FIRST, _GROWTH, _SHARE = 10.0, 1.5, 0.05  # seconds to the first picture of a training, then longer; share of its time


def first_look(
    survey: Survey,
    folder: Path,
    prefix: str,
    settings: CameraSettings,
    *,
    cache: Path,
    device: str = "auto",
    say: Callable[[str], object],
) -> Path | None:
    """Cameras of a few photographs and a short training on them; gives the picture, None where they do not suffice.

    Args:
        survey: All photographs.
        folder: Of the run.
        prefix: Folder in it that shows the photographs.
        settings: Of the cameras.
        cache: Folder of finished stages.
        device: That trains: auto, cpu or cuda.
        say: Takes a sentence.
    """
    began = time.monotonic()
    scene_folder = folder / "preview"
    scene_folder.mkdir(exist_ok=True)
    cameras.link(survey, scene_folder, prefix)
    few = replace(survey, photographs=tuple(chosen(survey.photographs)))
    quick = replace(settings, max_side=min(SIDE, settings.max_side or SIDE), matching="auto", mapping="global")
    try:
        found = cameras.reconstruct(few, scene_folder, quick, cache=cache, prefix=prefix, patient=False, progress=False)
    except (SceneFormatError, StageFailed) as error:
        say(f"  no first look: {str(error)[:200]}")
        return None
    run = _trained(found.path, scene_folder, device)
    picture = show(run, folder, say)
    say(f"  first look after {time.monotonic() - began:.0f} s, from {found.registered} photographs: {picture}")
    return picture


def chosen(photographs: Any) -> list[Any]:
    """A few that overlap: evenly from a small set, neighbours from the middle of a large one."""
    n = len(photographs)
    if n <= PHOTOGRAPHS:
        return list(photographs)
    if n <= 2.5 * PHOTOGRAPHS:
        return [photographs[round(k * (n - 1) / (PHOTOGRAPHS - 1))] for k in range(PHOTOGRAPHS)]
    start = (n - PHOTOGRAPHS) // 2
    return list(photographs[start : start + PHOTOGRAPHS])


def show(run: SplatRun, folder: Path, say: Callable[[str], object]) -> Path:
    """Writes the page and the picture; gives the picture."""
    try:
        run.export(folder / PAGE)
    except BackendUnavailable as missing:  # a checkout whose viewer was not built; all else goes on
        say(f"  no {PAGE}: {missing}")
    return picture_of(run, folder / PICTURE)


def picture_of(run: SplatRun, path: Path) -> Path:
    """The scene from the camera nearest to the middle of all."""
    origins = run.scene.cameras.origins.numpy()
    index = int(np.argmin(np.linalg.norm(origins - np.median(origins, axis=0), axis=1)))
    width, height = run.scene.cameras.sizes[index].tolist()
    with torch.no_grad():
        image = run.render_camera(run.scene.cameras, index).rgb.detach().cpu()
    turns = quarter_turns(run.scene.cameras.c2w[index].double().numpy(), run.scene.up)
    pixels = np.ascontiguousarray(np.rot90(to_bytes(image.reshape(height, width, 3)), turns))
    return write_png(path, pixels.shape[1], pixels.shape[0], [pixels])


class Improving:
    """Looks on while a scene is trained and writes what it looks like now, ever less often.

    Args:
        folder: Of the run.
        trained: Gives the run as it is.
        say: Takes a sentence.
    """

    def __init__(self, folder: Path, trained: Callable[[], Any], say: Callable[[str], object]) -> None:
        self._folder, self._trained, self._say = folder, trained, say
        self._next, self._pause = 0.0, _FIRST

    def look(self, moment: Moment) -> None:
        """See `neural.train.loop.Watcher`."""
        if self._next == 0.0:
            self._next = moment.seconds + self._pause
        if moment.seconds < self._next or moment.stopping():
            return
        began = time.perf_counter()
        show(self._trained(), self._folder, lambda _: None)
        cost = time.perf_counter() - began
        self._pause = max(_GROWTH * self._pause, cost / _SHARE)
        self._next = moment.seconds + self._pause


def _trained(path: Path, folder: Path, asked_device: str) -> SplatRun:
    """A short training, without checkpoints."""
    scene = load(path, test_every=0)
    shrink = max(1, round((float(scene.cameras.sizes.prod(dim=1).double().median()) / PIXELS) ** 0.5))
    scene = load(path, test_every=0, downscale=shrink)
    asked = SplatsConfig(
        model=SplatModelConfig(max_gaussians=_GAUSSIANS, sh_degree=1),
        optim=SplatOptimConfig(coarse=1),
        run=RunConfig(steps=1000, downscale=shrink, split_every=0),
    )
    device = session.choose_device(asked_device)
    config = resolve(
        asked, device, n_points=count_points(scene), shorter_side=int(scene.cameras.sizes.min()),
        background=scene.background,
    )  # fmt: skip
    origin = scene.aabb.mean(0)
    task = SplatsTask(build_gaussians(config, scene, origin), origin, scene, config, torch.device(device))
    began = time.perf_counter()
    for step in range(_WARM):
        task.step(step, None)
    steps = int(min(max(SECONDS * _WARM / (time.perf_counter() - began), 100), 3000))
    for step in range(_WARM, steps):
        task.step(step, steps)
        if time.perf_counter() - began > 2 * SECONDS:
            break
    task.release()
    return SplatRun(folder, scene, config, task.gaussians, origin)
