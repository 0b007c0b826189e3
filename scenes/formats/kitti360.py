"""KITTI-360: the rectified perspective cameras of one drive.

    calibration/perspective.txt              S_rect (size), R_rect, P_rect of cameras 00 and 01
    calibration/calib_cam_to_pose.txt        image_00: 3 x 4, image_01: ..., camera to vehicle
    data_poses/DRIVE/poses.txt               frame number and 3 x 4, vehicle to world (metres, z up)
    data_2d_raw/DRIVE/image_00/data_rect/    %010d.png

c2w = pose cam_to_pose R_rect^-1, OpenCV axes. Pixels are counted from the centre of the first, as the authors' scripts
do. Cameras 02 and 03 are fisheyes of Mei's model, which is none of our lenses; they are left out.

Source: Liao et al. 2022, "KITTI-360", documentation; `kitti360scripts/helpers/project.py`.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture, keep_existing
from neural.scenes.formats.fields import numbers, read_rows, read_text
from neural.scenes.formats.views import Lens, View, capture, homogeneous

_CALIBRATION = Path("calibration/perspective.txt")
_CAMERAS = ("00", "01")


def found_in(path: Path) -> tuple[Path, ...]:
    """poses.txt of each drive that has images, if `path` is the root, a drive under data_2d_raw, or such a file."""
    if path.is_file():
        return (path,) if path.name == "poses.txt" and (path.parents[2] / _CALIBRATION).is_file() else ()
    if (path / _CALIBRATION).is_file():
        drives = sorted((path / "data_poses").glob("*/poses.txt"))
        return tuple(file for file in drives if (path / "data_2d_raw" / file.parent.name).is_dir())
    root, above = path.absolute().parent.parent, path.absolute().parent.name
    file = root / "data_poses" / path.absolute().name / "poses.txt"
    there = above in ("data_2d_raw", "data_poses") and (root / _CALIBRATION).is_file() and file.is_file()
    return (file,) if there else ()


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read every posed frame of both perspective cameras, or of the one that was unpacked.

    Args:
        path: The root if it holds one drive, else data_2d_raw/DRIVE or data_poses/DRIVE/poses.txt.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about posed frames whose image is not there.

    Raises:
        SceneFormatError: Names the file, line and entry at fault.
    """
    source = found_in(path)[0]
    root, drive = source.parents[2], source.parent.name
    frames, poses = _poses(source)
    lines = _entries(root / _CALIBRATION)
    mounts = _entries(root / "calibration" / "calib_cam_to_pose.txt")
    images, names, views_of = [], [], []
    for camera in _CAMERAS:
        folder = root / "data_2d_raw" / drive / f"image_{camera}" / "data_rect"
        if not folder.is_dir():
            continue
        lens, size, rectified = _camera(root / _CALIBRATION, lines, camera)
        mount_file = root / "calibration" / "calib_cam_to_pose.txt"
        mount = homogeneous(_entry(mount_file, mounts, f"image_{camera}", 12).reshape(3, 4))
        for frame, pose in zip(frames, poses, strict=True):
            images.append(folder / f"{frame:010d}.png")
            names.append(f"image_{camera}/{frame:010d}.png")
            views_of.append((pose @ mount @ rectified, size, lens))
    if not images:
        raise SceneFormatError(root / "data_2d_raw" / drive, "has no image_00/data_rect; unpack the perspective images")
    kept, warnings = keep_existing(source, images, missing)
    views = [View(names[i], images[i], *views_of[i]) for i in kept]
    return capture(source, views, metres_per_unit=1.0, unbounded=True, warnings=warnings)


def _poses(path: Path) -> tuple[list[int], list[np.ndarray]]:
    frames, poses = [], []
    for number, row in enumerate(read_rows(path), start=1):
        if len(row) != 13 or not np.isfinite(row).all() or not 0 <= row[0] < 1e9 or row[0] != int(row[0]):
            raise SceneFormatError(path, f"row {number} is not a frame number and 12 finite numbers; was it cut off?")
        if np.abs(row[1:]).max() > 1e12:
            raise SceneFormatError(path, f"row {number}: its pose exceeds 1e12; the file is damaged")
        frames.append(int(row[0]))
        poses.append(homogeneous(row[1:].reshape(3, 4)))
    return frames, poses


def _entries(path: Path) -> dict[str, list[str]]:
    """The lines `name: numbers`."""
    return {
        name.strip(): rest.split() for name, _, rest in (line.partition(":") for line in read_text(path).splitlines())
    }


def _entry(path: Path, entries: dict[str, list[str]], name: str, count: int) -> np.ndarray:
    values = numbers(path, entries.get(name, []), name)
    if len(values) != count or not (np.abs(values) < 1e12).all():
        raise SceneFormatError(path, f"{name} is not {count} finite numbers; copy the calibration again")
    return values


def _camera(path: Path, entries: dict[str, list[str]], camera: str) -> tuple[Lens, tuple[int, int], np.ndarray]:
    """Lens, size, and rectified camera to camera."""
    width, height = _entry(path, entries, f"S_rect_{camera}", 2)
    if not (1 <= width < 1e6 and 1 <= height < 1e6):
        raise SceneFormatError(path, f"S_rect_{camera} is {width:g} x {height:g}; copy the calibration again")
    size = int(width), int(height)
    rotation = _entry(path, entries, f"R_rect_{camera}", 9).reshape(3, 3)
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3:
        raise SceneFormatError(path, f"R_rect_{camera} is not a rotation; copy the calibration again")
    projection = _entry(path, entries, f"P_rect_{camera}", 12).reshape(3, 4)
    rectified = np.eye(4)
    rectified[:3, :3] = rotation.T
    return Lens.calibration(path, projection[:, :3], size, shift=0.5), size, rectified
