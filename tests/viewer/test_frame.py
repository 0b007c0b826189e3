"""The browser's frame: about what photographs look at, or about the scene where they look at nothing in common."""

import numpy as np
import torch

from neural.cameras import Cameras
from neural.poses import look_at
from neural.viewer.live.frame import ViewerFrame

BOX = np.array([[-5.0, -1.0, 0.0], [5.0, 3.0, 2.0]])


def cameras(eyes: np.ndarray, targets: np.ndarray) -> Cameras:
    up = np.array([0.0, 0.0, 1.0])
    c2w = torch.from_numpy(np.stack([look_at(eye, target, up) for eye, target in zip(eyes, targets, strict=True)]))
    lens = torch.tensor([[50.0, 50.0, 32.0, 24.0]], dtype=torch.float64).repeat(len(eyes), 1)
    return Cameras.pinhole(c2w, lens, torch.tensor([[64, 48]] * len(eyes)))


def test_it_is_about_what_all_look_at() -> None:
    turns = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    middle = np.array([1.0, 2.0, 0.5])
    eyes = middle + 3 * np.stack([np.cos(turns), np.sin(turns), 0.2 + 0 * turns], 1)
    frame = ViewerFrame.of_cameras(cameras(eyes, np.tile(middle, (8, 1))), BOX)
    np.testing.assert_allclose(frame.centre, middle, atol=1e-6)


def test_it_is_about_the_scene_where_all_look_the_same_way() -> None:
    """As from a car; their axes meet nowhere."""
    eyes = np.stack([np.linspace(-4, 4, 8), np.zeros(8), np.ones(8)], 1)
    frame = ViewerFrame.of_cameras(cameras(eyes, eyes + np.array([0, 1, 0])), BOX)
    np.testing.assert_allclose(frame.centre, BOX.mean(0))
