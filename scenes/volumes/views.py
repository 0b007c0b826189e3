"""Cameras around a volume, for pictures that no training has seen."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural.cameras import Cameras
from neural.poses import look_at

FIELD_OF_VIEW = 40.0  # degrees, across the shorter side
GOLDEN = math.pi * (3 - math.sqrt(5))


def around(
    box: Float[Tensor, "2 3"], n_views: int, size: int, *, elevations: tuple[float, float] = (-8.0, 55.0)
) -> Cameras:
    """Square pictures from all sides: azimuths by the golden angle, elevations evenly from low to high.

    Args:
        box: What all of them show as a whole.
        n_views: How many.
        size: Pixels along each side.
        elevations: Degrees above the horizon, lowest and highest.
    """
    low, high = elevations
    turns = GOLDEN * np.arange(n_views)
    rises = np.radians(low + (high - low) * (np.arange(n_views) + 0.5) / n_views)
    return _cameras(box, turns, rises, size)


def ring(box: Float[Tensor, "2 3"], n_frames: int, size: int, *, elevation: float = 14.0) -> Cameras:
    """One round at constant height; the first frame follows the last."""
    turns = 2 * math.pi * np.arange(n_frames) / n_frames
    return _cameras(box, turns, np.full(n_frames, math.radians(elevation)), size)


def _cameras(box: Float[Tensor, "2 3"], azimuths: np.ndarray, elevations: np.ndarray, size: int) -> Cameras:
    corners = box.double().numpy()
    middle, radius = corners.mean(0), float(np.linalg.norm(corners[1] - corners[0])) / 2
    half = math.radians(FIELD_OF_VIEW / 2)
    distance = 0.78 * radius / math.sin(half)  # nearer than the ball around the box fills the picture: boxes are flat
    up = np.array([0.0, 0.0, 1.0])
    poses = []
    for azimuth, elevation in zip(azimuths, elevations, strict=True):
        flat = math.cos(elevation)
        out = np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)])
        poses.append(look_at(middle + distance * out, middle, up))
    n = len(poses)
    focal = size / (2 * math.tan(half))
    lens = torch.tensor([focal, focal, size / 2, size / 2], dtype=torch.float64).repeat(n, 1)
    return Cameras.pinhole(torch.from_numpy(np.stack(poses)), lens, torch.full((n, 2), size, dtype=torch.int64))
