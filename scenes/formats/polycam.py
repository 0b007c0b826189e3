"""Polycam's raw data (Developer Mode): keyframes/ with one JSON file of a camera per photograph.

`corrected_cameras` and `corrected_images` hold what the app's optimisation gave, `cameras` and `images` what the phone
said; the first are read where both are there. `t_00 ... t_23` is the 3 x 4 camera to world by rows, OpenGL axes, in
metres, y up. Pixels are counted from the corner.

Source: Polycam, "poly-data" documentation, "Raw data"; nerfstudio `polycam_utils.py`.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture, keep_existing
from neural.scenes.formats.fields import Fields, read_json
from neural.scenes.formats.views import OPENCV_FROM_OPENGL, Lens, View, capture, homogeneous, with_any_suffix

_FOLDERS = ("corrected_cameras", "cameras")


def found_in(path: Path) -> tuple[Path, ...]:
    """The folder of the cameras, if `path` is the capture or its `keyframes`."""
    candidates = [root / name for name in _FOLDERS for root in (path / "keyframes", path)]
    images = {name: name.replace("cameras", "images") for name in _FOLDERS}
    return tuple(c for c in candidates if any(c.glob("*.json")) and (c.parent / images[c.name]).is_dir())[:1]


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read every camera.

    Args:
        path: The capture's folder or its `keyframes`.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about cameras whose image is not there.

    Raises:
        SceneFormatError: Names the camera's file and the field.
    """
    source = found_in(path)[0]
    files = sorted(source.glob("*.json"), key=lambda p: p.name)
    folder = source.parent / source.name.replace("cameras", "images")
    images = [with_any_suffix(folder, file.stem) for file in files]
    kept, warnings = keep_existing(source, images, missing)
    views = []
    for i in kept:
        camera = Fields.of(files[i], "", read_json(files[i]))
        pose = np.array([[camera.number(f"t_{row}{column}") for column in range(4)] for row in range(3)])
        width, height = (camera.number(side) for side in ("width", "height"))
        if not (1 <= width < 1e6 and 1 <= height < 1e6):
            raise SceneFormatError(files[i], f"width and height are {width:g} x {height:g}; correct them")
        fx, fy, cx, cy = (camera.number(key) for key in ("fx", "fy", "cx", "cy"))
        c2w = homogeneous(pose) * OPENCV_FROM_OPENGL
        views.append(View(images[i].name, images[i], c2w, (int(width), int(height)), Lens(fx, fy, cx, cy)))
    return capture(source, views, metres_per_unit=1.0, unbounded=True, warnings=warnings)
