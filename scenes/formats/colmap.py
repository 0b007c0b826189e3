"""COLMAP models, binary (`.bin`) and text (`.txt`): cameras, images and points3D.

Poses are w2c with OpenCV axes and a quaternion w x y z; pixels have their centres at +0.5. All numbers in the binary files
are little-endian. A count in a file is believed only after the bytes that follow it could hold so many records.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from neural.cameras import Cameras
from neural.errors import SceneFormatError
from neural.lenses import FISHEYE, OPENCV, PINHOLE
from neural.poses import rotation_from_quat
from neural.scenes import photos
from neural.scenes.capture import IMAGE_SUFFIXES, Capture, Observations, Points, keep_existing, resolve

_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", "colmap", ".")
_LONGEST_NAME = 4096


@dataclass(frozen=True)
class _Lens:
    """How a COLMAP model's parameters become fx fy cx cy and our eight coefficients (None: no such lens here)."""

    name: str
    n_params: int
    model: int | None = None
    shared_focal: bool = True
    places: tuple[int, ...] = ()  # where the parameters after the principal point go


_LENSES = {
    0: _Lens("SIMPLE_PINHOLE", 3, PINHOLE),
    1: _Lens("PINHOLE", 4, PINHOLE, shared_focal=False),
    2: _Lens("SIMPLE_RADIAL", 4, OPENCV, places=(0,)),
    3: _Lens("RADIAL", 5, OPENCV, places=(0, 1)),
    4: _Lens("OPENCV", 8, OPENCV, shared_focal=False, places=(0, 1, 2, 3)),
    5: _Lens("OPENCV_FISHEYE", 8, FISHEYE, shared_focal=False, places=(0, 1, 2, 3)),
    6: _Lens("FULL_OPENCV", 12, OPENCV, shared_focal=False, places=(0, 1, 2, 3, 4, 5, 6, 7)),
    7: _Lens("FOV", 5),
    8: _Lens("SIMPLE_RADIAL_FISHEYE", 4, FISHEYE, places=(0,)),
    9: _Lens("RADIAL_FISHEYE", 5, FISHEYE, places=(0, 1)),
    10: _Lens("THIN_PRISM_FISHEYE", 12),
}
_IDS = {lens.name: i for i, lens in _LENSES.items()}


@dataclass(frozen=True)
class _Camera:
    lens: _Lens
    size: tuple[int, int]
    params: np.ndarray


@dataclass(frozen=True)
class _Image:
    name: str
    quat: np.ndarray
    translation: np.ndarray
    camera: int
    pixels: np.ndarray  # [m, 2]
    point_ids: np.ndarray  # [m], -1: none


@dataclass(frozen=True)
class _Points3D:
    ids: np.ndarray
    xyz: np.ndarray
    rgb: np.ndarray


def found_in(path: Path) -> bool:
    """Whether `path` is a folder with a COLMAP model."""
    return _model_folder(path) is not None


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read a model and find its images and masks.

    Images come from `images_<downscale>` if there is one, else from `images`; masks from `masks`, named like the
    image, or like the image plus `.png` (COLMAP's own rule).

    Args:
        path: The capture's folder, or the folder of the model.
        downscale: The factor asked for.
        missing: What to do about posed images that are not there.

    Raises:
        SceneFormatError: Names file, record and field.
    """
    found = _model_folder(path)
    if found is None:
        raise SceneFormatError(path, "no cameras, images and points3D files (.bin or .txt)")
    folder, suffix = found
    binary = suffix == ".bin"
    cameras = (_cameras_bin if binary else _cameras_txt)(folder / f"cameras{suffix}")
    source = folder / f"images{suffix}"
    images = sorted((_images_bin if binary else _images_txt)(source), key=lambda image: image.name)
    points_file = folder / f"points3D{suffix}"
    points = (_points_bin if binary else _points_txt)(points_file) if points_file.is_file() else None
    _check_references(source, images, cameras)

    root = _capture_root(path, folder)
    image_folder, image_scale = _image_folder(source, root, downscale)
    paths = [resolve(source, image_folder, image.name, "image name") for image in images]
    kept, warnings = keep_existing(source, paths, missing)
    images, paths = [images[i] for i in kept], [paths[i] for i in kept]
    posed = _posed(images, cameras)
    if image_scale > 1:
        infos = [photos.probe(p) for p in paths]
        posed = posed.resized(torch.tensor([(info.width, info.height) for info in infos]))
    unposed = sum(p.suffix.lower() in IMAGE_SUFFIXES for p in image_folder.iterdir()) - len(images)
    if unposed > 0:
        warnings = (*warnings, f"{unposed} images in {image_folder.name}/ have no pose and are not used.")
    ratio = None
    if images:
        calibrated = np.array([cameras[image.camera].size for image in images], dtype=np.float64)
        ratio = posed.sizes.numpy() / calibrated
    return Capture(
        source=source,
        cameras=posed,
        image_paths=tuple(paths),
        image_names=tuple(image.name for image in images),
        mask_paths=_masks(root, images),
        points=points and Points(points.xyz, points.rgb, _observations(points.ids, images, ratio)),
        unbounded=True,
        image_scale=image_scale,
        warnings=warnings,
    )


def _model_folder(path: Path) -> tuple[Path, str] | None:
    """The folder of the model and the suffix of its files, binary first."""
    for name in _FOLDERS:
        for suffix in (".bin", ".txt"):
            if all((path / name / f"{part}{suffix}").is_file() for part in ("cameras", "images")):
                return path / name, suffix
    return None


def _capture_root(path: Path, folder: Path) -> Path:
    """The nearest folder above the model that has images."""
    for candidate in (path, folder, *folder.absolute().parents[:3]):
        if any((candidate / name).is_dir() for name in ("images", *(f"images_{n}" for n in (2, 4, 8)))):
            return candidate
    return path


def _image_folder(source: Path, root: Path, downscale: int) -> tuple[Path, int]:
    """Where the images are, and how many times smaller than calibrated."""
    reduced = root / f"images_{downscale}"
    if downscale > 1 and reduced.is_dir():
        return reduced, downscale
    if (root / "images").is_dir():
        return root / "images", 1
    others = sorted(p.name for p in root.glob("images_*") if p.is_dir())
    remedy = f"there is {', '.join(others)}: load with that downscale" if others else "put the images there"
    raise SceneFormatError(source, f"no folder {root / 'images'}; {remedy}")


def _masks(root: Path, images: list[_Image]) -> tuple[Path | None, ...] | None:
    folder = root / "masks"
    if not folder.is_dir():
        return None
    found = []
    for image in images:
        name = Path(image.name)
        candidates = (folder / f"{name}.png", folder / name, folder / name.with_suffix(".png"))
        found.append(next((p for p in candidates if p.is_file()), None))
    return tuple(found) if any(found) else None


def _check_references(source: Path, images: list[_Image], cameras: dict[int, _Camera]) -> None:
    names = [image.name for image in images]
    if len(set(names)) < len(names):
        twice = next(a for a, b in zip(names, names[1:], strict=False) if a == b)
        raise SceneFormatError(source, f"image {twice!r} is listed twice; remove one of them")
    for image in images:
        if image.camera not in cameras:
            raise SceneFormatError(
                source, f"image {image.name!r} has camera {image.camera}, which the cameras file does not list"
            )
        if not np.isfinite(image.quat).all() or not np.linalg.norm(image.quat) > 1e-9:
            raise SceneFormatError(
                source, f"image {image.name!r}: its quaternion {image.quat.tolist()} is not a rotation; remove it"
            )


def _posed(images: list[_Image], cameras: dict[int, _Camera]) -> Cameras:
    c2w = np.tile(np.eye(4), (len(images), 1, 1))
    intrinsics, sizes, models, distortion = [], [], [], []
    for pose, image in zip(c2w, images, strict=True):
        rotation = rotation_from_quat(image.quat)
        pose[:3, :3] = rotation.T
        pose[:3, 3] = -rotation.T @ image.translation
        camera = cameras[image.camera]
        n_focal = 1 if camera.lens.shared_focal else 2
        fx, fy = camera.params[0], camera.params[n_focal - 1]
        coefficients = np.zeros(8)
        coefficients[list(camera.lens.places)] = camera.params[n_focal + 2 :]
        # A lens without distortion needs no iterations; a fisheye bends even then.
        plain = camera.lens.model == OPENCV and not coefficients.any()
        intrinsics.append([fx, fy, *camera.params[n_focal : n_focal + 2]])
        sizes.append(camera.size)
        models.append(PINHOLE if plain else camera.lens.model)
        distortion.append(coefficients)
    return Cameras(
        torch.from_numpy(c2w),
        torch.tensor(np.array(intrinsics).reshape(-1, 4)),
        torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2),
        torch.tensor(models, dtype=torch.int64),
        torch.tensor(np.array(distortion).reshape(-1, 8)),
    )


def _observations(ids: np.ndarray, images: list[_Image], ratio: np.ndarray | None) -> Observations:
    """All features of a kept point in a kept image; a model may hold a part of its points only."""
    order = np.argsort(ids)
    points, cameras, pixels = [], [], []
    for i, image in enumerate(images):
        place = np.searchsorted(ids, image.point_ids, sorter=order).clip(max=max(len(ids) - 1, 0))
        point = order[place] if len(ids) else place
        seen = (image.point_ids >= 0) & (ids[point] == image.point_ids) if len(ids) else np.zeros(len(point), bool)
        points.append(point[seen])
        cameras.append(np.full(int(seen.sum()), i, dtype=np.int64))
        pixels.append(image.pixels[seen] * (ratio[i] if ratio is not None else 1))
    return Observations(np.concatenate(points), np.concatenate(cameras), np.concatenate(pixels))
