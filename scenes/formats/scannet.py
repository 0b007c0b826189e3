"""ScanNet's scans, unpacked from .sens: color/, pose/ and intrinsic/.

    intrinsic/intrinsic_color.txt   4 x 4
    pose/NUMBER.txt                 4 x 4 camera to world, OpenCV axes, metres, z up; infinite where tracking was lost
    color/NUMBER.jpg

Source: Dai et al. 2017, "ScanNet", code `SensReader`; nerfstudio `scannet_dataparser.py`.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture, keep_existing
from neural.scenes.formats.fields import read_matrix
from neural.scenes.formats.views import View, capture, sized_by_image, with_any_suffix

NAME = "intrinsic_color.txt"


def found_in(path: Path) -> tuple[Path, ...]:
    """The intrinsics of the colour camera, if `path` is it or the scan's folder, and poses lie beside it."""
    file = path / "intrinsic" / NAME if path.is_dir() else path
    return (file,) if file.name == NAME and file.is_file() and (file.parents[1] / "pose").is_dir() else ()


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read every frame that was tracked.

    Args:
        path: The scan's folder or its intrinsic_color.txt.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about poses whose image is not there.

    Raises:
        SceneFormatError: Names the file and what is wrong in it.
    """
    source = found_in(path)[0]
    root = source.parents[1]
    calibration = read_matrix(source, (4, 4), (3, 3))[:3, :3]
    files = sorted((root / "pose").glob("*.txt"), key=lambda p: (len(p.stem), p.stem))
    if not files:
        raise SceneFormatError(root / "pose", "holds no .txt files; restore the poses")
    poses = {file: read_matrix(file, (4, 4), finite=False) for file in files}
    tracked = [file for file, pose in poses.items() if not np.isinf(pose).any()]
    images = [with_any_suffix(root / "color", file.stem) for file in tracked]
    kept, warnings = keep_existing(root / "color", images, missing) if tracked else ([], ())
    views = []
    for i in kept:
        size, lens = sized_by_image(source, calibration, images[i])
        views.append(View(images[i].name, images[i], poses[tracked[i]], size, lens))
    if len(tracked) < len(files):
        warnings = (*warnings, f"{len(files) - len(tracked)} of {len(files)} frames have no pose and are not used.")
    return capture(source, views, metres_per_unit=1.0, unbounded=True, warnings=warnings)
