"""Trainings of splats step by step, without a folder."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from neural.scenes.capture import Points
from neural.scenes.scene import Scene
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.splats.build import build_gaussians
from neural.train.tasks.splats.config import SplatsConfig, resolve
from neural.train.tasks.splats.task import SplatsTask
from tests import ball

_CPU = torch.device("cpu")


def configured(**parts: dict[str, Any]) -> SplatsConfig:
    """The defaults on the CPU but for `model=`, `densify=`, `optim=` and `run=`, each a dictionary of fields."""
    config = SplatsConfig(run=RunConfig(device="cpu", log_every=1))
    return replace(config, **{name: replace(getattr(config, name), **values) for name, values in parts.items()})


def task(scene: Scene, config: SplatsConfig, device: torch.device = _CPU) -> SplatsTask:
    """As `neural.train.tasks.splats.run.splats` makes it where no file is named to start from."""
    n_points = 0 if scene.points is None else len(scene.points)
    resolved = resolve(config, device.type, n_points=n_points, shorter_side=int(scene.cameras.sizes.min()))
    origin = scene.aabb.mean(0)
    return SplatsTask(build_gaussians(resolved, scene, origin), origin, scene, resolved, device)


def scattered(clumps: int = 40, **options: Any) -> Scene:
    """The ball and its sky; points in clumps of 100 all around the cameras; a view sees the smaller part."""
    rng = np.random.default_rng(11)
    centres = rng.normal(size=(clumps, 1, 3))
    centres *= 30 / np.linalg.norm(centres, axis=-1, keepdims=True)
    xyz = (centres + 0.5 * rng.normal(size=(clumps, 100, 3))).reshape(-1, 3)
    points = Points(xyz, rng.integers(0, 256, size=xyz.shape).astype(np.uint8))
    return replace(ball.scene(world=True, **options), points=points)
