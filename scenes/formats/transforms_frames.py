"""Frames of a transforms.json: an image, its mask, and a camera, whose numbers may stand once for all frames."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from neural.cameras import Cameras
from neural.errors import SceneFormatError
from neural.lenses import FISHEYE, OPENCV, PINHOLE
from neural.scenes import photos
from neural.scenes.capture import IMAGE_SUFFIXES, PHOTO_SUFFIXES, resolve
from neural.scenes.formats.fields import as_float
from neural.scenes.formats.views import OPENCV_FROM_OPENGL

# camera_model -> our lens; the names are nerfstudio's and COLMAP's
_MODELS = {
    "PINHOLE": PINHOLE,
    "SIMPLE_PINHOLE": PINHOLE,
    "SIMPLE_RADIAL": OPENCV,
    "RADIAL": OPENCV,
    "OPENCV": OPENCV,
    "PERSPECTIVE": OPENCV,
    "FULL_OPENCV": OPENCV,
    "OPENCV_FISHEYE": FISHEYE,
    "SIMPLE_RADIAL_FISHEYE": FISHEYE,
    "RADIAL_FISHEYE": FISHEYE,
    "FISHEYE": FISHEYE,
}


@dataclass(frozen=True)
class Frame:
    """One entry of `frames`.

    Args:
        source: The file.
        where: The place in it, for errors.
        fields: What it says itself.
        shared: What the file says of all frames that do not.
        name: Of the image, as the file has it.
        image: Need not be there.
        mask: Is there.
    """

    source: Path
    where: str
    fields: dict[str, Any]
    shared: dict[str, Any]
    name: str
    image: Path
    mask: Path | None

    def number(self, key: str) -> float | None:
        """A number of the frame or of all, None where neither says it."""
        fields, where = (self.fields, f"{self.where}.{key}") if key in self.fields else (self.shared, key)
        value = fields.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SceneFormatError(self.source, f"{where} is {str(value)[:40]!r}, expected a number")
        if not math.isfinite(as_float(value)):
            raise SceneFormatError(self.source, f"{where} is {as_float(value)}; correct or remove it")
        return as_float(value)

    def c2w(self) -> Float64[np.ndarray, "4 4"]:
        """In the axes of our cameras; nobody has looked yet whether it is a rigid motion."""
        value = self.fields.get("transform_matrix")
        try:
            matrix = np.array(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            matrix = np.empty(0)
        if matrix.shape == (3, 4):
            matrix = np.vstack([matrix, [0, 0, 0, 1]])
        if matrix.shape != (4, 4):
            raise SceneFormatError(self.source, f"{self.where}.transform_matrix is not a 4 x 4 matrix of numbers")
        return matrix * OPENCV_FROM_OPENGL

    def size(self) -> tuple[int, int]:
        """Width and height as stated, else as the image has them."""
        width, height = self.number("w"), self.number("h")
        if width is None or height is None:
            info = photos.probe(self.image)
            width, height = width or info.width, height or info.height
        if not (1 <= width <= 1e6 and 1 <= height <= 1e6):
            raise SceneFormatError(self.source, f"{self.where}: w h are {width:g} {height:g}")
        return int(width), int(height)

    def intrinsics(self, size: tuple[int, int]) -> list[float]:
        """fx fy cx cy; angles, image centre and square pixels stand in for what is missing."""
        focal = []
        for axis, side in zip("xy", size, strict=True):
            value = self.number(f"fl_{axis}")
            angle = self.number(f"camera_angle_{axis}") if value is None else None
            if angle is not None:
                if not 0 < angle < math.pi:
                    raise SceneFormatError(
                        self.source,
                        f"camera_angle_{axis} is {angle:g}, expected radians between 0 and pi",
                    )
                value = 0.5 * side / math.tan(0.5 * angle)
            focal.append(value)
        fx, fy = focal
        fx, fy = (fy if fx is None else fx), (fx if fy is None else fy)
        if fx is None or fy is None:
            raise SceneFormatError(self.source, f"{self.where}: no focal length; give fl_x or camera_angle_x")
        if fx <= 0 or fy <= 0:
            raise SceneFormatError(
                self.source,
                f"{self.where}: fl_x fl_y are {fx:g} {fy:g}; focal lengths must be positive",
            )
        cx, cy = self.number("cx"), self.number("cy")
        return [fx, fy, size[0] / 2 if cx is None else cx, size[1] / 2 if cy is None else cy]

    def lens(self) -> tuple[int, list[float]]:
        """Model and its eight coefficients (order: `neural.lenses`)."""
        stated = self.fields.get("camera_model", self.shared.get("camera_model"))
        fisheye = self.fields.get("is_fisheye", self.shared.get("is_fisheye")) is True
        name = stated if stated is not None else ("OPENCV_FISHEYE" if fisheye else "OPENCV")
        if not isinstance(name, str) or name.upper() not in _MODELS:
            raise SceneFormatError(
                self.source,
                f"camera_model is {str(name)[:40]!r}, expected one of {', '.join(_MODELS)}; "
                "undistort the images with colmap image_undistorter",
            )
        model = _MODELS[name.upper()]
        k1, k2, k3, k4, k5, k6, p1, p2 = (
            self.number(key) or 0.0 for key in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
        )
        if model == FISHEYE:
            return FISHEYE, [k1, k2, k3, k4, 0, 0, 0, 0]
        if k4 and name.upper() != "FULL_OPENCV":
            raise SceneFormatError(
                self.source,
                f"{self.where}: k4 = {k4:g} with camera_model {name} has two meanings (nerfstudio: the r^8 "
                "term; OpenCV: a denominator); write FULL_OPENCV for the latter, or undistort the images",
            )
        distortion = [k1, k2, p1, p2, k3, k4, k5, k6]
        return (OPENCV, distortion) if model == OPENCV and any(distortion) else (PINHOLE, [0.0] * 8)


def frames_of(source: Path, folder: Path, content: dict[str, Any]) -> list[Frame]:
    """The frames of a file, in its order.

    Args:
        source: The file.
        folder: What its paths start from.
        content: What it says, with a list `frames`.

    Raises:
        SceneFormatError: A frame without an image's name, or whose mask is missing.
    """
    result = []
    for i, fields in enumerate(content["frames"]):
        where = f"frames[{i}]"
        if not isinstance(fields, dict) or not isinstance(fields.get("file_path"), str):
            raise SceneFormatError(source, f"{where}.file_path is missing; it names the frame's image")
        name = fields["file_path"]
        image = _with_suffix(resolve(source, folder, name, f"{where}.file_path"))
        mask = fields.get("mask_path")
        if mask is not None:
            if not isinstance(mask, str):
                raise SceneFormatError(source, f"{where}.mask_path is not a string")
            mask = resolve(source, folder, mask, f"{where}.mask_path")
            if not mask.is_file():
                raise SceneFormatError(source, f"{where}.mask_path: {mask} is missing; restore or remove it")
        result.append(Frame(source, where, fields, content, name.removeprefix("./"), image, mask))
    return result


def cameras_of(frames: list[Frame]) -> Cameras:
    """Their cameras; images are probed for sizes that no one says.

    Raises:
        SceneFormatError: What a frame says is missing, no number, or of a lens that we do not have.
    """
    sizes = [frame.size() for frame in frames]
    lenses = [frame.lens() for frame in frames]
    return Cameras(
        c2w=torch.from_numpy(np.stack([frame.c2w() for frame in frames])),
        intrinsics=torch.tensor(
            [frame.intrinsics(size) for frame, size in zip(frames, sizes, strict=True)], dtype=torch.float64
        ),
        sizes=torch.tensor(sizes),
        models=torch.tensor([model for model, _ in lenses]),
        distortion=torch.tensor([distortion for _, distortion in lenses], dtype=torch.float64),
    )


def _with_suffix(path: Path) -> Path:
    """Blender and instant-ngp leave the suffix out; .png is theirs, the others are tried after it."""
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return path
    candidates = [path.with_name(path.name + suffix) for suffix in IMAGE_SUFFIXES]
    return next((p for p in candidates if p.is_file()), candidates[0])
