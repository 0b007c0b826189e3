"""Viewers of small scenes for tests: a painted ball of Gaussians with its photographs, served by a thread."""

import contextlib
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from neural.gaussians.model import Gaussians
from neural.poses import look_at
from neural.scenes.near import Near
from neural.viewer.live.client import Client, Order, Viewpoint, Wish
from neural.viewer.live.frame import ViewerFrame
from neural.viewer.live.panels.tabs import Tabs
from neural.viewer.live.server import open_door
from neural.viewer.live.subjects.capture import truth_of
from neural.viewer.live.subjects.splats import SplatSubject
from neural.viewer.live.viewer import Viewer
from tests import ball

LINES = [{"step": step, "loss": 1 / step, "psnr": 20 + step / 100} for step in range(20, 400, 20)]
EYE, UP = np.array([0.0, -3.0, 0.0]) / 1.3, np.array([0.0, 0.0, 1.0])  # units of the browser


def ball_subject(n: int = 3000) -> SplatSubject:
    """The ball of `tests.ball` as opaque Gaussians on white."""
    scene = ball.scene(n=8, size=(96, 72), points=n)
    assert scene.points is not None
    gaussians = Gaussians.from_points(
        torch.from_numpy(scene.points.xyz).float(), torch.from_numpy(scene.points.rgb), opacity=0.95, sh_degree=1
    )
    gaussians.sort_morton()
    box = scene.aabb.numpy()
    frame = ViewerFrame.of_cameras(scene.cameras, box)
    return SplatSubject(
        gaussians, torch.zeros(3, dtype=torch.float64), name="ball", frame=frame, scene=scene, box=box, background=1.0,
        near=Near.everywhere(0.01), truth=truth_of(scene, frame, "white"),
    )  # fmt: skip


def order(
    wish: Wish, level: str = "still", size: tuple[int, int] = (120, 90), eye: np.ndarray = EYE, up: np.ndarray = UP
) -> Order:
    """A picture of a browser that nobody serves, which looks at its origin."""
    client = Client(SimpleNamespace(client_id=0), lambda: None)  # type: ignore[arg-type]
    viewpoint = Viewpoint(look_at(eye, np.zeros(3), up), math.radians(60), *size)
    return Order(client, viewpoint, wish, client.version, level)  # type: ignore[arg-type]


@contextlib.contextmanager
def served(folder: Path, subject: Any = None, *, lines: Any = LINES, **options: Any) -> Iterator[Viewer]:
    """A viewer whose pictures are made by a thread, until the end of the block; `lines` are those of its curves."""
    viewer = Viewer(subject or ball_subject(), open_door(port=0, **options))
    Tabs(viewer, folder, lines)
    stop = threading.Event()
    thread = threading.Thread(target=viewer.serve, args=(stop.is_set,))
    thread.start()
    try:
        yield viewer
    finally:
        stop.set()
        viewer.wake()
        thread.join()
        viewer.close()
