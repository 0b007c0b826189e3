"""What a reader finds in a capture's files, before any image is decoded, and the rules for its file names."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from neural.cameras import Cameras
from neural.errors import SceneFormatError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
PHOTO_SUFFIXES = (*IMAGE_SUFFIXES, ".heic", ".heif", ".hif")  # the last with the extra [photos]


@dataclass(frozen=True)
class Observations:
    """Which image saw which point where, for captures that say so (COLMAP).

    Args:
        points: Index into the scene's points.
        cameras: Index into the scene's cameras.
        pixels: Where the feature was found, in the scene's (possibly downscaled) images.
    """

    points: Int64[np.ndarray, "M"]
    cameras: Int64[np.ndarray, "M"]
    pixels: Float64[np.ndarray, "M 2"]


@dataclass(frozen=True)
class Points:
    """A coloured point cloud in the scene's frame.

    Args:
        xyz: Positions in scene units.
        rgb: sRGB.
        observations: None unless the capture lists them.
    """

    xyz: Float64[np.ndarray, "P 3"]
    rgb: UInt8[np.ndarray, "P 3"]
    observations: Observations | None = None

    def __len__(self) -> int:
        return len(self.xyz)

    @property
    def apart(self) -> bool:
        """Whether there are two that are not in one place."""
        return len(self) > 1 and bool((self.xyz != self.xyz[0]).any())


@dataclass(frozen=True)
class Capture:
    """The result of a reader; `neural.scenes.load` checks it and turns it into a `Scene`.

    Args:
        source: The file to name in errors.
        cameras: For the image files as they are on disk, poses as the file gives them (OpenCV axes).
        image_paths: One per camera.
        image_names: One per camera, unique, as the files name them.
        mask_paths: One per camera (None: nothing masked in that image), or None for a capture without masks.
        splits: Names per split where the files say so; None for the every-8th rule.
        points: Sparse or dense points, if any.
        aabb: A box that the files state.
        world_to_scene: From the world before any transform that the files say was applied already.
        metres_per_unit: Where the files say so.
        crs: Where the files say so.
        axes: Of the world, where the files say so.
        unbounded: Whether something beyond the box is seen; None when only the images can tell (alpha).
        image_scale: How many times smaller than the calibrated size the image files already are.
        warnings: What the user should know, a sentence each.
        format: Name of the kind of capture, from readers that know several; else `detect` names it.
    """

    source: Path
    cameras: Cameras
    image_paths: tuple[Path, ...]
    image_names: tuple[str, ...]
    mask_paths: tuple[Path | None, ...] | None = None
    splits: dict[str, tuple[str, ...]] | None = None
    points: Points | None = None
    aabb: Float64[np.ndarray, "2 3"] | None = None
    world_to_scene: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    metres_per_unit: float | None = None
    crs: str | None = None
    axes: str = "RDF"
    unbounded: bool | None = None
    image_scale: int = 1
    warnings: tuple[str, ...] = ()
    format: str | None = None


def resolve(source: Path, folder: Path, name: str, what: str) -> Path:
    """The path of a file that a capture's text names, kept inside the capture.

    A name may climb out of `folder` only as far as the folder's parent, because captures do keep images
    beside the folder of their JSON (`../images/0001.jpg`) and some tools write absolute paths. Anything
    further is refused: a downloaded capture has no business reading `/etc` or another user's photographs.
    The rule looks at names, not at links: links inside a capture were put there by its owner.

    Args:
        source: File that contains the name, for the error.
        folder: Folder that relative names start from.
        name: As written in the file, with either kind of slash.
        what: The field, for the error.

    Raises:
        SceneFormatError: The name is empty, holds a NUL, or leads outside.
    """
    name = name.replace("\\", "/")
    if not name.strip() or "\0" in name:
        raise SceneFormatError(source, f"{what}: {name!r} is not a file name")
    base = os.path.abspath(folder)
    allowed = os.path.dirname(base)
    if allowed == os.path.dirname(allowed):  # a parent that is the file system's root would allow everything
        allowed = base
    path = os.path.normpath(os.path.join(base, name))
    if os.path.commonpath([allowed, path]) != allowed:
        raise SceneFormatError(
            source,
            f"{what}: {name!r} leads outside the capture and its parent folder {allowed}; "
            "move the file into the capture or correct the name",
        )
    return Path(path)


def keep_existing(
    source: Path,
    paths: list[Path],
    missing: Literal["refuse", "skip"],
) -> tuple[list[int], tuple[str, ...]]:
    """Indices of the image files that exist, and a warning if some were skipped.

    Raises:
        SceneFormatError: A file is missing and `missing` is "refuse", or none is there at all.
    """
    present = [i for i, path in enumerate(paths) if path.is_file()]
    absent = len(paths) - len(present)
    if not absent:
        return present, ()
    first = next(path for path in paths if not path.is_file())
    if not present or missing == "refuse":
        remedy = "restore them, or load with missing='skip' to go on without"
        raise SceneFormatError(source, f"{absent} of {len(paths)} images are missing, the first is {first}; {remedy}")
    return present, (f"{absent} of {len(paths)} listed images are missing and were skipped ({first} ...).",)
