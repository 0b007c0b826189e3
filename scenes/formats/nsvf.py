"""NSVF's folders, in which Tanks and Temples and NSVF's own synthetic scenes are passed on.

    intrinsics.txt   4 x 4 or 3 x 3 calibration, or a first line `f cx cy 0`
    pose/NAME.txt    4 x 4 camera to world, OpenCV axes
    rgb/NAME.png     of the same names; a prefix 0_, 1_ or 2_ says train, validation or test
    bbox.txt         low corner, high corner, and the size of a voxel

Source: Liu et al. 2020, "Neural Sparse Voxel Fields", README "Prepare your own dataset" and `data_utils.py`.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture, keep_existing
from neural.scenes.formats.fields import read_matrix, read_rows
from neural.scenes.formats.views import View, capture, sized_by_image, with_any_suffix

_SPLITS = {"0_": "train", "1_": "val", "2_": "test"}


def found_in(path: Path) -> tuple[Path, ...]:
    """intrinsics.txt, if `path` is it or its folder, and poses and images lie beside it."""
    file = path / "intrinsics.txt" if path.is_dir() else path
    beside = file.name == "intrinsics.txt" and all((file.parent / name).is_dir() for name in ("pose", "rgb"))
    return (file,) if beside and file.is_file() else ()


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read every pose that has an image.

    Args:
        path: The folder or its intrinsics.txt.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about poses whose image is not there.

    Raises:
        SceneFormatError: Names the file and what is wrong in it.
    """
    source = found_in(path)[0]
    root = source.parent
    poses = sorted((root / "pose").glob("*.txt"), key=lambda p: p.name)
    if not poses:
        raise SceneFormatError(root / "pose", "holds no .txt files; restore the poses")
    images = [with_any_suffix(root / "rgb", pose.stem) for pose in poses]
    kept, warnings = keep_existing(root / "rgb", images, missing)
    split = {i: _SPLITS.get(poses[i].stem[:2]) for i in kept}
    matrix = _intrinsics(source)
    views = []
    for i in kept:
        size, lens = sized_by_image(source, matrix, images[i])
        views.append(View(images[i].name, images[i], read_matrix(poses[i], (4, 4)), size, lens, split=split[i]))
    box = _box(root / "bbox.txt")
    return capture(source, views, aabb=box, unbounded=None if box is None else False, warnings=warnings)


def _intrinsics(path: Path) -> np.ndarray:
    rows = read_rows(path)
    if len(rows) not in (3, 4) or not all(len(row) == len(rows) for row in rows):
        if rows and len(rows[0]) == 4 and rows[0][0] > 0 and rows[0][1] > 0:  # and lines that are not needed
            focal, cx, cy, _ = rows[0]
            return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])
        raise SceneFormatError(path, "is not a 4 x 4 or 3 x 3 matrix, nor begins with a line `f cx cy 0`")
    return read_matrix(path, (4, 4), (3, 3))[:3, :3]


def _box(path: Path) -> np.ndarray | None:
    if not path.is_file():
        return None
    values = np.concatenate([np.zeros(0), *read_rows(path)])
    if len(values) not in (6, 7) or not np.isfinite(values).all() or not (values[3:6] > values[:3]).all():
        raise SceneFormatError(path, "is not `x0 y0 z0 x1 y1 z1 voxel` with x1 > x0 and so on; mend or remove it")
    return values[:6].reshape(2, 3)
