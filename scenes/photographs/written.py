"""Cameras that were found, as a scene that `neural.load` reads: OUT/cameras.json (transforms.json form), points.ply
and tracks.npy, which photograph saw which point where.

Photographs stay where they are: OUT/photographs is a link to their folder (hard links or copies where the system has no
links), so that the scene holds all that it names.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from neural import atomic
from neural.errors import NotSaved, SceneFormatError
from neural.scenes.files import ply
from neural.scenes.photographs.sfm.stages import Inputs, Model

CAMERAS, POINTS, TRACKS, PHOTOGRAPHS, MASKS = "cameras.json", "points.ply", "tracks.npy", "photographs", "masks"
FORMAT = "neural-cameras"
_OPENGL = np.array([1.0, -1.0, -1.0, 1.0])  # x right, y up, z back, as the file form wants
_PARAMS = {  # COLMAP's order of parameters
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}


def lens(model: Model, row: int, inputs: Inputs) -> dict[str, float | int | str]:
    """Fields of a frame: the lens in pixels of the stored picture."""
    index = int(model.indices[row])
    one, (width, height) = inputs.photographs[index], inputs.size(index)
    named = dict(zip(_PARAMS[str(model.lenses[row])], model.params[row].tolist(), strict=False))
    x, y = one.width / width, one.height / height
    return {
        "w": one.width,
        "h": one.height,
        "fl_x": named.get("fx", named.get("f", 0.0)) * x,
        "fl_y": named.get("fy", named.get("f", 0.0)) * y,
        "cx": named["cx"] * x,
        "cy": named["cy"] * y,
        **{name: named[name] for name in ("k1", "k2", "p1", "p2") if name in named},
    }


def colours(model: Model, features: Sequence[Path | None]) -> UInt8[np.ndarray, "P 3"]:
    """The mean colour of each point in the photographs that see it."""
    total = np.zeros((len(model.points), 3))
    count = np.zeros(len(model.points))
    for row, index in enumerate(model.indices.tolist()):
        file, seen = features[index], model.camera_of == row
        if file is None:
            continue
        with np.load(file) as arrays:
            np.add.at(total, model.point_of[seen], arrays["rgb"][model.feature_of[seen]].astype(np.float64))
        np.add.at(count, model.point_of[seen], 1.0)
    return (total / np.maximum(count, 1)[:, None] + 0.5).astype(np.uint8)


def tracks(
    model: Model, features: Sequence[Path | None], inputs: Inputs, kept: Bool[np.ndarray, "P"]
) -> Float64[np.ndarray, "M 4"]:
    """Rows of tracks.npy: number among the kept points, row of `model.indices`, and the place in the stored picture."""
    number = np.cumsum(kept) - 1
    rows = []
    for row, index in enumerate(model.indices.tolist()):
        file, seen = features[index], (model.camera_of == row) & kept[model.point_of]
        if file is None:
            continue
        with np.load(file) as arrays:
            places = arrays["places"][model.feature_of[seen], :2].astype(np.float64)
        one, (width, height) = inputs.photographs[index], inputs.size(index)
        places *= one.width / width, one.height / height
        rows.append(np.column_stack([number[model.point_of[seen]], np.full(len(places), row), places]))
    return np.concatenate(rows) if rows else np.empty((0, 4))


def write(
    out: Path,
    frames: Sequence[Mapping[str, Any]],
    c2w: Float64[np.ndarray, "N 4 4"],
    points: Float64[np.ndarray, "P 3"],
    rgb: UInt8[np.ndarray, "P 3"],
    seen: Float64[np.ndarray, "M 4"],
    about: Mapping[str, Any],
) -> Path:
    """Writes the three files, the cameras last; gives the path of the cameras.

    Args:
        out: Folder; must exist.
        frames: Per photograph `file_path`, the lens, `mask_path` where there is one.
        c2w: Poses, OpenCV axes.
        points: Positions.
        rgb: Their colours.
        seen: Per observation the point, the frame and where in its picture.
        about: Further fields of the whole file.

    Raises:
        NotSaved: No room, or no right to write there.
    """
    document = {
        "format": FORMAT,
        **about,
        "camera_model": "OPENCV",
        "ply_file_path": POINTS,
        "tracks_file_path": TRACKS,
        "frames": [
            {**frame, "transform_matrix": (pose * _OPENGL).tolist()} for frame, pose in zip(frames, c2w, strict=True)
        ],
    }
    try:
        ply.write_points(out / POINTS, points, rgb)
        with atomic.replacing(out / TRACKS) as file:
            np.save(file, seen)
        atomic.write_json(out / CAMERAS, document)
    except OSError as error:
        raise NotSaved(f"{out}: {CAMERAS}, {POINTS} and {TRACKS} cannot be written: {error.strerror}") from error
    return out / CAMERAS


def link(folder: Path, place: Path, names: Sequence[str]) -> None:
    """Makes `place` show the photographs of `folder`: a link, or the files themselves where links are not to be had.

    Raises:
        SceneFormatError: There is something else already.
        NotSaved: It cannot be made.
    """
    folder = folder.absolute()
    try:
        if place.is_symlink():
            if Path(os.path.realpath(place)) == Path(os.path.realpath(folder)):
                return
            if not place.exists():  # they were moved
                place.unlink()
        if place.is_symlink():
            raise SceneFormatError(
                place, f"shows the photographs of {os.readlink(place)}, not of {folder}; choose another --out"
            )
        if not place.exists():
            try:
                place.symlink_to(folder, target_is_directory=True)
                return
            except (OSError, NotImplementedError):
                place.mkdir()
        for name in names:
            copy = place / name
            if _alike(folder / name, copy):
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            try:
                os.link(folder / name, copy)
            except OSError:
                shutil.copy2(folder / name, copy)
    except OSError as error:
        raise NotSaved(f"{place}: the photographs cannot be shown there: {error.strerror}") from error


def _alike(file: Path, copy: Path) -> bool:
    """Whether a copy is one of the file as it is now."""
    if not copy.exists():
        return False
    now, then = file.stat(), copy.stat()
    return now.st_size == then.st_size and abs(now.st_mtime - then.st_mtime) <= 2  # which some file systems round to
