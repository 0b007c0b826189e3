"""What must hold for the cameras of every capture, whatever the format."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from neural.cameras import Cameras
from neural.errors import SceneFormatError
from neural.poses import nearest_rigid

_LARGEST_SIDE = 200_000  # pixels
_SCALE_TOLERANCE = 1e-3  # rounding; a larger common scale of the axes is worth a warning


def checked_cameras(source: Path, cameras: Cameras, names: Sequence[str]) -> tuple[Cameras, tuple[str, ...]]:
    """Cameras with exactly rigid poses, and warnings.

    Raises:
        SceneFormatError: Names the image, the field and the remedy: a pose that is not finite, singular,
            left-handed or sheared; a focal length that is not positive; an absurd size; lens coefficients
            that are not finite.
    """
    if not len(cameras):
        raise SceneFormatError(source, "no frame has a pose; nothing can be trained from it")
    for index, (lens, size, bends) in enumerate(
        zip(cameras.intrinsics.tolist(), cameras.sizes.tolist(), cameras.distortion.tolist(), strict=True)
    ):
        reason = _lens_fault(lens, size, bends)
        if reason:
            raise SceneFormatError(source, f"image {names[index]!r}: {reason}")
    c2w, scales = [], []
    for name, matrix in zip(names, cameras.c2w.numpy(), strict=True):
        try:
            rigid, scale = nearest_rigid(matrix)
        except ValueError as error:
            raise SceneFormatError(source, f"pose of image {name!r}: {error}") from None
        c2w.append(rigid)
        scales.append(scale)
    worst = float(np.abs(np.array(scales) - 1).max())
    warnings = ()
    if worst > _SCALE_TOLERANCE:
        warnings = (f"Pose axes are not of unit length (off by up to {worst:.3g}) and were normalised.",)
    return replace(cameras, c2w=torch.from_numpy(np.stack(c2w))), warnings


def _lens_fault(lens: list[float], size: list[int], distortion: list[float]) -> str | None:
    fx, fy, cx, cy = lens
    if not all(0 < side <= _LARGEST_SIDE for side in size):
        return f"width and height are {size[0]} x {size[1]}, expected 1 to {_LARGEST_SIDE}"
    if not (np.isfinite([fx, fy]).all() and fx > 0 and fy > 0):
        return f"focal lengths fx fy are {fx:g} {fy:g}; they must be positive, so correct the calibration"
    if not np.isfinite([cx, cy]).all():
        return f"principal point cx cy is {cx:g} {cy:g}; correct it, or leave it out for the centre"
    if not np.isfinite(distortion).all():
        return f"lens coefficients {distortion} are not all finite; correct the calibration"
    return None
