"""The scene box: the part of space that is worth a field's capacity, chosen from cameras and points.

Three kinds of capture occur. Cameras that look at one thing get a cube about it. Cameras that sweep an area
(drones, streets) get the box of what they see. Cameras that neither agree nor come with points get a cube
about themselves.
"""

import numpy as np
import torch
from jaxtyping import Float64

from neural.arrangement import camera_radius, focus_point
from neural.cameras import Cameras
from neural.scenes.capture import Points

_AGREE = 0.6  # share of the cameras that must look at the focus for a capture to count as object-centric
_MARGIN = 1.05
_ENOUGH = 10  # points that say how large a scene is


def scene_box(cameras: Cameras, points: Points | None, *, whole_object: bool) -> Float64[np.ndarray, "2 3"]:
    """Low and high corner of the box.

    Args:
        cameras: All cameras of the capture.
        points: Points seen by them, if known.
        whole_object: Every image shows all there is (alpha around an object), so the box need not reach
            further than the images do at the focus. Otherwise an object's cube reaches to the cameras, as
            far as the points do: what lies around the object inside the ring of cameras is seen from all
            sides too.
    """
    focus, agreement = focus_point(cameras)
    distances = np.linalg.norm(cameras.origins.numpy() - focus, axis=1)
    if agreement >= _AGREE:
        half = float(np.median(distances)) * _half_view(cameras) if whole_object else float(np.median(distances))
        if not whole_object and points is not None and len(points) >= _ENOUGH:
            half = min(half, float(np.quantile(np.abs(points.xyz - focus).max(axis=1), 0.95)))
        return _box(focus, max(half, 1e-6) * _MARGIN)
    if points is not None and len(points) >= _ENOUGH:
        low, high = np.quantile(points.xyz, [0.005, 0.995], axis=0)
        room = (_MARGIN - 1) * max(float((high - low).max()), 1e-6)
        return np.stack([low - room, high + room])
    middle = cameras.origins.numpy().mean(axis=0)
    return _box(middle, 2 * max(camera_radius(cameras), 0.5))


def _box(middle: np.ndarray, half: float) -> Float64[np.ndarray, "2 3"]:
    return np.stack([middle - half, middle + half])


def _half_view(cameras: Cameras) -> float:
    """Tangent of half the widest field of view, along the longer side of the images."""
    half_sizes = cameras.sizes.double() / 2
    return float(torch.median((half_sizes / cameras.intrinsics[:, :2]).amax(dim=1)))
