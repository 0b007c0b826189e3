"""Record3D's exports (EXR + RGB, or an unpacked .r3d): a file `metadata` with all cameras, and rgb/ or rgbd/.

`poses` holds qx qy qz qw x y z of each frame, camera to world in metres with OpenGL axes; `K` is the calibration by
columns for w x h pixels, `perFrameIntrinsicCoeffs` fx fy cx cy of each frame where the lens focused in between. Frame i
is the image of number i. Pixels are counted from the corner.

Source: Record3D, "Record3D for developers", metadata of .r3d files; nerfstudio `record3d_utils.py`.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from neural.errors import SceneFormatError
from neural.poses import rotation_from_quat
from neural.scenes.capture import Capture, keep_existing
from neural.scenes.formats.fields import Fields, read_json
from neural.scenes.formats.views import OPENCV_FROM_OPENGL, Lens, View, capture, with_any_suffix

_NAMES = ("metadata.json", "metadata")


def found_in(path: Path) -> tuple[Path, ...]:
    """The metadata, if `path` is it or its folder, and frames lie beside it."""
    files = [path / name for name in _NAMES] if path.is_dir() else [path] if path.name in _NAMES else []
    return tuple(file for file in files if file.is_file() and _folder(file) is not None)[:1]


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read every pose.

    Args:
        path: The folder or its metadata.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about poses whose image is not there.

    Raises:
        SceneFormatError: Names the field.
    """
    source = found_in(path)[0]
    folder = _folder(source)
    assert folder is not None
    content = Fields.of(source, "", read_json(source))
    count = len(content.required("poses")) if isinstance(content.required("poses"), list) else 0
    poses = content.array("poses", (max(count, 1), 7))
    size = content.number("w"), content.number("h")
    if not (min(size) >= 1 and max(size) < 1e6):
        raise SceneFormatError(source, f"w h are {size[0]:g} {size[1]:g}; correct them")
    columns = content.array("K", (9,)).reshape(3, 3).T
    lenses = [[columns[0, 0], columns[1, 1], columns[0, 2], columns[1, 2]]] * count
    if content.content.get("perFrameIntrinsicCoeffs"):
        lenses = content.array("perFrameIntrinsicCoeffs", (count, 4)).tolist()
    images = [with_any_suffix(folder, str(i)) for i in range(count)]
    kept, warnings = keep_existing(source, images, missing)
    views = []
    for i in kept:
        (*xyz, w), centre = poses[i, :4], poses[i, 4:]
        length = np.abs(poses[i, :4]).max()
        if not 1e-6 < length < 1e6:
            raise SceneFormatError(source, f"poses[{i}]: its quaternion {poses[i, :4].tolist()} is not a rotation")
        c2w = np.eye(4)
        c2w[:3, :3] = rotation_from_quat(np.array([w, *xyz]))
        c2w[:3, 3] = centre
        lens = Lens(*lenses[i])
        views.append(View(images[i].name, images[i], c2w * OPENCV_FROM_OPENGL, (int(size[0]), int(size[1])), lens))
    return capture(source, views, metres_per_unit=1.0, unbounded=True, warnings=warnings)


def _folder(file: Path) -> Path | None:
    return next((file.parent / name for name in ("rgb", "rgbd") if (file.parent / name).is_dir()), None)
