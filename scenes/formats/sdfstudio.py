"""SDFStudio's meta_data.json: per frame an image, camtoworld (OpenCV axes) and 4 x 4 intrinsics.

`worldtogt` leads from the frame of the poses to that of the reference mesh; `scene_box.aabb` is the region of interest.

Source: SDFStudio documentation, `docs/sdfstudio-data.md`, "Dataset format".
"""

from pathlib import Path
from typing import Literal

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture, keep_existing, resolve
from neural.scenes.formats.fields import Fields, read_json
from neural.scenes.formats.views import Lens, View, capture, homogeneous

NAME = "meta_data.json"


def found_in(path: Path) -> tuple[Path, ...]:
    """The file, if `path` is it or a folder that holds it."""
    file = path / NAME if path.is_dir() else path
    return (file,) if file.name == NAME and file.is_file() else ()


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read every frame.

    Args:
        path: The folder or its meta_data.json.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about frames whose image is not there.

    Raises:
        SceneFormatError: Names frame and field.
    """
    source = found_in(path)[0]
    content = Fields.of(source, "", read_json(source))
    model = content.content.get("camera_model", "OPENCV")
    if model != "OPENCV":
        raise SceneFormatError(source, f"camera_model is {str(model)[:40]!r}; the format knows OPENCV only")
    width, height = content.number("width"), content.number("height")
    if not (1 <= width < 1e6 and 1 <= height < 1e6):
        raise SceneFormatError(source, f"width and height are {width:g} x {height:g}; correct them")
    size = int(width), int(height)
    frames = content.children("frames")
    images = [resolve(source, source.parent, frame.text("rgb_path"), frame.place("rgb_path")) for frame in frames]
    kept, warnings = keep_existing(source, images, missing) if frames else ([], ())
    views = []
    for i in kept:
        frame = frames[i]
        c2w = homogeneous(frame.array("camtoworld", (4, 4), (3, 4)))
        calibration = frame.array("intrinsics", (4, 4), (3, 3))[:3, :3]
        try:
            lens = Lens.calibration(source, calibration, size)
        except SceneFormatError as error:
            raise SceneFormatError(source, f"{frame.place('intrinsics')}: {error.reason}") from None
        views.append(View(frame.text("rgb_path"), images[i], c2w, size, lens, mask=_mask(frame)))
    to_world = content.array("worldtogt", (4, 4)) if content.content.get("worldtogt") is not None else np.eye(4)
    if np.abs(to_world).max() > 1e12 or not np.linalg.det(to_world[:3, :3]) > 1e-12:
        raise SceneFormatError(source, "worldtogt cannot be inverted, or mirrors; correct or remove it")
    masked = any(view.mask for view in views)
    return capture(
        source,
        views,
        aabb=_box(content),
        world_to_scene=np.linalg.inv(to_world),
        unbounded=not masked,
        warnings=warnings,
    )


def _mask(frame: Fields) -> Path | None:
    if frame.content.get("foreground_mask") is None:
        return None
    mask = resolve(frame.source, frame.source.parent, frame.text("foreground_mask"), frame.place("foreground_mask"))
    if not mask.is_file():
        raise frame.fault("foreground_mask", f"names {mask}, which is missing; restore or remove it")
    return mask


def _box(content: Fields) -> np.ndarray | None:
    if content.content.get("scene_box") is None or content.child("scene_box").content.get("aabb") is None:
        return None
    box = content.child("scene_box").array("aabb", (2, 3))
    if not (box[1] > box[0]).all() or np.abs(box).max() > 1e12:
        raise SceneFormatError(content.source, "scene_box.aabb is not [low corner, high corner]; correct or remove it")
    return box
