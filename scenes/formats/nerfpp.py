"""NeRF++'s folders, in which Tanks and Temples is passed on too; one for each split.

    {train,validation,test}/intrinsics/NAME.txt   4 x 4 calibration, in four lines or one
    {train,validation,test}/pose/NAME.txt         4 x 4 camera to world, OpenCV axes
    {train,validation,test}/rgb/NAME.png          of the same names

A `camera_path` beside them has no photographs, and is left alone.
Source: Zhang et al. 2020, "NeRF++: Analyzing and Improving Neural Radiance Fields", README "Data".
"""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture, keep_existing
from neural.scenes.formats.fields import read_matrix
from neural.scenes.formats.views import View, capture, sized_by_image, with_any_suffix

_SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}  # folder, split


def found_in(path: Path) -> tuple[Path, ...]:
    """The first calibration of the photographs for training."""
    root = path if path.is_dir() else path.parents[min(2, len(path.parents) - 1)]
    folder = root / "train"
    if not all((folder / name).is_dir() for name in ("intrinsics", "pose", "rgb")):
        return ()
    first = min((folder / "intrinsics").glob("*.txt"), default=None, key=lambda file: file.name)
    return (first,) if first is not None and (path.is_dir() or path == first) else ()


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read every pose of all splits that has an image.

    Args:
        path: The folder, or the file of `found_in`.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about poses whose image is not there.

    Raises:
        SceneFormatError: Names the file and what is wrong in it.
    """
    source = found_in(path)[0]
    root = source.parents[2]
    poses = [
        (pose, split)
        for folder, split in _SPLITS.items()
        for pose in sorted((root / folder / "pose").glob("*.txt"), key=lambda file: file.name)
    ]
    if not poses:
        raise SceneFormatError(root / "train" / "pose", "holds no .txt files; restore the poses")
    images = [with_any_suffix(pose.parents[1] / "rgb", pose.stem) for pose, _ in poses]
    kept, warnings = keep_existing(root, images, missing)
    views = []
    for i in kept:
        pose, split = poses[i]
        calibration = pose.parents[1] / "intrinsics" / pose.name
        size, lens = sized_by_image(calibration, _matrix(calibration)[:3, :3], images[i])
        name = images[i].relative_to(root).as_posix()  # splits may have the same names
        views.append(View(name, images[i], _matrix(pose), size, lens, split=split))
    return capture(source, views, warnings=warnings)


def _matrix(path: Path) -> Float64[np.ndarray, "4 4"]:
    return read_matrix(path, (4, 4), (1, 16)).reshape(4, 4)
