"""Polycam's raw data (Developer Mode): keyframes/ with one JSON file of a camera per photograph.

`corrected_cameras` and `corrected_images` hold what the app's optimisation gave, `cameras` and `images` what the phone
said; the first are read where both are there. Some exports have corrected cameras of `images` only. `t_00 ... t_23` is
the 3 x 4 camera to world by rows, OpenGL axes, in metres, y up. Pixels are counted from the corner.

Source: Polycam, "poly-data" documentation, "Raw data"; nerfstudio `polycam_utils.py`.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture, keep_existing
from neural.scenes.formats.fields import Fields, read_json
from neural.scenes.formats.views import OPENCV_FROM_OPENGL, Lens, View, capture, homogeneous, with_any_suffix

_PAIRS = (("corrected_cameras", "corrected_images"), ("cameras", "images"), ("corrected_cameras", "images"))


def found_in(path: Path) -> tuple[Path, ...]:
    """The folder of the cameras, if `path` is the capture or its `keyframes`."""
    found = _folders(path)
    return () if found is None else (found[0],)


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read every camera.

    Args:
        path: The capture's folder or its `keyframes`.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about cameras whose image is not there.

    Raises:
        SceneFormatError: Names the camera's file and the field.
    """
    found = _folders(path)
    assert found is not None
    source, folder = found
    files = sorted(source.glob("*.json"), key=lambda p: p.name)
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


def _folders(path: Path) -> tuple[Path, Path] | None:
    """The folders of cameras and images that belong together."""
    roots = (path / "keyframes", path)
    pairs = ((root / cameras, root / images) for cameras, images in _PAIRS for root in roots)
    return next(((c, i) for c, i in pairs if i.is_dir() and any(c.glob("*.json"))), None)
