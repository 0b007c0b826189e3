"""Cameras around a volume, for pictures that no training has seen."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural.cameras import Cameras
from neural.poses import look_at

FIELD_OF_VIEW = 40.0  # degrees, across the shorter side
MARGIN = 0.02  # of the picture, around what is shown
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
    """All at the smallest distance from which each of them sees every corner of the box."""
    low, high = box.double().numpy()
    middle, up = (low + high) / 2, np.array([0.0, 0.0, 1.0])
    corners = np.stack(np.meshgrid(*[(-1, 1)] * 3, indexing="ij"), -1).reshape(8, 3) * (high - low) / 2
    slope = math.tan(math.radians(FIELD_OF_VIEW / 2))
    flat = np.cos(elevations)
    outward = np.stack([flat * np.cos(azimuths), flat * np.sin(azimuths), np.sin(elevations)], 1)
    turns = [look_at(middle + out, middle, up)[:3, :3] for out in outward]
    seen = [corners @ turn for turn in turns]  # right, down, ahead of a camera in the middle
    distance = max(float((np.abs(c[:, :2]).max(1) / (slope * (1 - MARGIN)) - c[:, 2]).max()) for c in seen)
    poses = np.stack([look_at(middle + distance * out, middle, up) for out in outward])
    focal = size / (2 * slope)
    lens = torch.tensor([focal, focal, size / 2, size / 2], dtype=torch.float64).repeat(len(poses), 1)
    return Cameras.pinhole(torch.from_numpy(poses), lens, torch.full((len(poses), 2), size, dtype=torch.int64))
