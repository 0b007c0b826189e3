"""OpenSfM's reconstruction.json, and the copy of it that OpenDroneMap keeps in its opensfm/ folder.

The file lists reconstructions; in each, `shots` have a world to camera pose (axis-angle `rotation`, `translation`,
OpenCV axes), `cameras` their lenses, and `points` colours and places. Lenses work in coordinates whose origin is the
image's middle and in which its longer side is 1. With GPS, the world is metres east, north and up of `reference_lla`.

Source: OpenSfM documentation, "Geometric Models" (`doc/source/geometry.rst`) and "Reconstruction file".
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture, Points, keep_existing, resolve
from neural.scenes.formats.fields import Fields, read_json
from neural.scenes.formats.views import Lens, View, capture, size_of

NAME = "reconstruction.json"
_FOLDERS = (".", "opensfm")  # ODM's project folder
_SHAPE = 0.01  # how far an image's proportions may be from its camera's
# projection_type -> names of the coefficients in the order that our lens has them
_OPENCV = {
    "perspective": ("k1", "k2"),
    "simple_radial": ("k1",),
    "radial": ("k1", "k2"),
    "brown": ("k1", "k2", "p1", "p2", "k3"),
}
_FISHEYE = {"fisheye": ("k1", "k2"), "fisheye_opencv": ("k1", "k2", "k3", "k4")}


def found_in(path: Path) -> tuple[Path, ...]:
    """The file, if `path` is it or a folder that holds it."""
    files = [path / folder / NAME for folder in _FOLDERS] if path.is_dir() else [path] if path.name == NAME else []
    return tuple(file for file in files if file.is_file())[:1]


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read the largest reconstruction of the file and find its images.

    Args:
        path: The folder or its reconstruction.json.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about shots whose image is not there.

    Raises:
        SceneFormatError: Names file, shot or camera, and field; or a lens that we do not have.
    """
    source = found_in(path)[0]
    content = read_json(source)
    if not isinstance(content, list) or not content:
        raise SceneFormatError(source, "is not a list of reconstructions; is it OpenSfM's?")
    parts = [Fields.of(source, f"[{i}]", part) for i, part in enumerate(content)]
    largest = max(parts, key=lambda part: len(part.child("shots").content))
    shots = sorted(largest.items("shots"))
    cameras = dict(largest.items("cameras"))
    folder = _image_folder(source, [name for name, _ in shots])
    images = [resolve(source, folder, name, f"{largest.place('shots')}") for name, _ in shots]
    kept, warnings = keep_existing(source, images, missing) if shots else ([], ())
    views = []
    for i in kept:
        name, shot = shots[i]
        camera = cameras.get(shot.text("camera"))
        if camera is None:
            raise shot.fault("camera", f"names {shot.text('camera')!r}, which is not among the cameras")
        size = size_of(images[i])
        views.append(View(name, images[i], _pose(shot), size, _lens(camera, size)))
    if len(parts) > 1:
        others = sum(len(part.child("shots").content) for part in parts) - len(shots)
        warnings = (*warnings, f"{others} images are in {len(parts) - 1} other reconstructions and are not used.")
    crs = _reference(source, largest)
    return capture(
        source,
        views,
        points=_points(largest),
        metres_per_unit=None if crs is None else 1.0,
        crs=crs,
        unbounded=True,
        warnings=warnings,
    )


def _pose(shot: Fields) -> np.ndarray:
    rotation = _rotation(shot.array("rotation", (3,)))
    c2w = np.eye(4)
    c2w[:3, :3] = rotation.T
    c2w[:3, 3] = -rotation.T @ shot.array("translation", (3,))
    return c2w


def _rotation(vector: np.ndarray) -> np.ndarray:
    """The rotation about `vector` by its length in radians (Rodrigues)."""
    if np.abs(vector).max() > 1e6:  # of such an angle no digit is left to trust
        return np.full((3, 3), np.nan)
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _lens(camera: Fields, size: tuple[int, int]) -> Lens:
    """A lens in pixels: from the image's corner, its middle is half its size, whatever the format counts from."""
    width, height = size
    stated = camera.number("width", 0.0), camera.number("height", 0.0)
    if min(stated) > 0 and abs(stated[0] / stated[1] * height / width - 1) > _SHAPE:
        raise camera.fault(
            "width", f"and height are {stated[0]:g} x {stated[1]:g}, of other proportions than its {width} x {height} "
            "image; put the image there that was calibrated"
        )  # fmt: skip
    kind = camera.content.get("projection_type", "perspective")
    names = _OPENCV.get(kind, _FISHEYE.get(kind)) if isinstance(kind, str) else None
    if names is None:
        known = ", ".join([*_OPENCV, *_FISHEYE])
        raise camera.fault(
            "projection_type", f"is {str(kind)[:40]!r}, a lens that we do not have (supported: {known}); undistort "
            "with opensfm undistort and load undistorted/"
        )  # fmt: skip
    longer = max(size)
    one = "focal" in camera.content
    fx, fy = (longer * camera.number("focal" if one else f"focal_{axis}") for axis in "xy")
    cx, cy = (longer * camera.number(f"c_{axis}", 0.0) for axis in "xy")
    make = Lens.fisheye if kind in _FISHEYE else Lens.opencv
    return make(fx, fy, cx + width / 2, cy + height / 2, *(camera.number(name, 0.0) for name in names))


def _image_folder(source: Path, names: list[str]) -> Path:
    """`images` beside the file (OpenSfM) or beside its folder (ODM), whichever has the first image."""
    candidates = [source.parent / "images", source.parent.parent / "images", source.parent]
    there = (c for c in candidates for name in names[:1] if resolve(source, c, name, "shots").is_file())
    return next(there, next((c for c in candidates if c.is_dir()), candidates[0]))


def _points(part: Fields) -> Points | None:
    if not part.content.get("points"):
        return None
    listed = list(part.items("points"))
    xyz = np.stack([point.array("coordinates", (3,), finite=False) for _, point in listed])
    rgb = np.stack(
        [point.array("color", (3,)) if "color" in point.content else np.full(3, 128.0) for _, point in listed]
    )
    return Points(xyz, rgb.clip(0, 255).astype(np.uint8))


def _reference(source: Path, part: Fields) -> str | None:
    """The world as PROJ says it; None without GPS, for which OpenSfM writes a reference of zeros, or none."""
    value: Any = part.content.get("reference_lla")
    file = source.parent / "reference_lla.json"
    if value is None and file.is_file():
        part, value = Fields.of(file, "", {"reference_lla": read_json(file)}), True
    if value is None:
        return None
    reference = part.child("reference_lla")
    latitude, longitude, altitude = (reference.number(key) for key in ("latitude", "longitude", "altitude"))
    if not (abs(latitude) <= 90 and abs(longitude) <= 360):
        raise reference.fault("latitude", f"and longitude are {latitude:g} {longitude:g}, not degrees; correct them")
    if latitude == longitude == 0:
        return None
    return f"+proj=topocentric +ellps=WGS84 +lat_0={latitude!r} +lon_0={longitude!r} +h_0={altitude!r}"
