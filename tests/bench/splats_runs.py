"""Short trainings of Gaussians for the benchmarks of quality: a small scene, so many steps, held-out PSNR."""

import os
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from neural import metrics
from neural.scenes.load import load
from neural.scenes.scene import Scene
from neural.train.tasks.capture.photographs import photograph, usable
from neural.train.tasks.splats.build import build_gaussians, masked_share
from neural.train.tasks.splats.config import SplatsConfig, resolve
from neural.train.tasks.splats.task import SplatsTask

CITY = Path(__file__).parents[2] / "data" / "city"


def capture(name: str, downscale: int, *, straight: bool = False) -> Scene | None:
    """A capture of the data folder, or the bundled city; None without that folder.

    Args:
        name: Of the capture.
        downscale: Whole number.
        straight: Leave out the distortion of its lenses.
    """
    folder = os.environ.get("NEURAL_DATA")
    if name != "city" and not folder:
        return None
    path = CITY if name == "city" else Path(folder or "") / name
    scene = load(path, downscale=downscale)
    if not straight:
        return scene
    return replace(scene, cameras=replace(scene.cameras, distortion=torch.zeros_like(scene.cameras.distortion)))


def task(scene: Scene, config: SplatsConfig) -> SplatsTask:
    """Ready for its first step, on the CPU."""
    resolved = resolve(
        config, "cpu", n_points=0 if scene.points is None else len(scene.points),
        shorter_side=int(scene.cameras.sizes.min()), background=scene.background, masked=masked_share(scene),
    )  # fmt: skip
    origin = scene.aabb.mean(0)
    return SplatsTask(build_gaussians(resolved, scene, origin), origin, scene, resolved, torch.device("cpu"))


def train(work: SplatsTask, steps: int) -> float:
    """All steps of a run; seconds of CPU time of one."""
    began = time.process_time()
    for step in range(steps):
        work.step(step, steps)
    return (time.process_time() - began) / steps


def held_out(work: SplatsTask) -> float:
    """Mean PSNR of the test photographs, inside their masks."""
    scene, background = work.scene, work.config.run.background
    scores = []
    for index in scene.splits["test"]:
        image = work.render(scene.cameras, index, background)
        scores.append(masked_psnr(scene, index, image, photograph(scene, index, background)))
    return sum(scores) / len(scores)


def masked_psnr(scene: Scene, index: int, image: Tensor, target: Tensor) -> float:
    """PSNR of one photograph, of the pixels that its mask lets count."""
    return metrics.psnr(image, target, None if scene.masks is None else usable(scene, index))
