"""A COLMAP model with its images and masks, as a capture.

Poses in the files are w2c with OpenCV axes and a quaternion w x y z; pixels have their centres at +0.5, as
here.
"""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from neural.cameras import Cameras
from neural.errors import SceneFormatError
from neural.lenses import OPENCV, PINHOLE
from neural.poses import rotation_from_quat
from neural.scenes import photos
from neural.scenes.capture import IMAGE_SUFFIXES, Capture, Observations, Points, keep_existing, resolve
from neural.scenes.formats import colmap_binary, colmap_text
from neural.scenes.formats.colmap_records import Camera, Image
from neural.scenes.formats.views import reduced_folder

_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", "colmap", ".")


def found_in(path: Path) -> tuple[Path, ...]:
    """The file of the images, if `path` is a folder with a COLMAP model, or one of the model's files."""
    if path.is_file():
        path = path.parent if path.stem in ("cameras", "images", "points3D") else path
    found = _model_folder(path)
    return () if found is None else (found[0] / f"images{found[1]}",)


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read a model and find its images and masks.

    Images come from `images_<downscale>` if there is one, else from `images`; masks from `masks`, named
    like the image, or like the image plus `.png` (COLMAP's own rule).

    Args:
        path: The capture's folder, the folder of the model, or one of its files.
        downscale: The factor asked for.
        missing: What to do about posed images that are not there.

    Raises:
        SceneFormatError: Names file, record and field.
    """
    path = path.parent if path.is_file() else path
    found = _model_folder(path)
    if found is None:
        raise SceneFormatError(path, "no cameras, images and points3D files (.bin or .txt)")
    folder, suffix = found
    files = colmap_binary if suffix == ".bin" else colmap_text
    cameras = files.read_cameras(folder / f"cameras{suffix}")
    source = folder / f"images{suffix}"
    images = sorted(files.read_images(source), key=lambda image: image.name)
    points_file = folder / f"points3D{suffix}"
    points = files.read_points(points_file) if points_file.is_file() else None
    _check_references(source, images, cameras)

    root = _capture_root(path, folder)
    image_folder, image_scale = reduced_folder(source, root, downscale)
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
    ratio = posed.sizes.numpy() / np.array([cameras[image.camera].size for image in images])
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


def _masks(root: Path, images: list[Image]) -> tuple[Path | None, ...] | None:
    folder = root / "masks"
    if not folder.is_dir():
        return None
    found = []
    for image in images:
        name = Path(image.name)
        candidates = (folder / f"{name}.png", folder / name, folder / name.with_suffix(".png"))
        found.append(next((p for p in candidates if p.is_file()), None))
    return tuple(found) if any(found) else None


def _check_references(source: Path, images: list[Image], cameras: dict[int, Camera]) -> None:
    names = [image.name for image in images]
    if len(set(names)) < len(names):
        twice = next(a for a, b in pairwise(names) if a == b)
        raise SceneFormatError(source, f"image {twice!r} is listed twice; remove one of them")
    for image in images:
        if image.camera not in cameras:
            raise SceneFormatError(
                source,
                f"image {image.name!r} has camera {image.camera}, which the cameras file does not list",
            )
        if not np.isfinite(image.quat).all() or not np.linalg.norm(image.quat) > 1e-9:
            raise SceneFormatError(
                source,
                f"image {image.name!r}: its quaternion {image.quat.tolist()} is not a rotation; remove it",
            )


def _posed(images: list[Image], cameras: dict[int, Camera]) -> Cameras:
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


def _observations(ids: np.ndarray, images: list[Image], ratio: np.ndarray) -> Observations:
    """All features of a kept point in a kept image; a model may hold a part of its points only."""
    order = np.argsort(ids)
    points, cameras, pixels = [], [], []
    for i, image in enumerate(images):
        place = np.searchsorted(ids, image.point_ids, sorter=order)
        known = place < len(ids)
        point = order[np.where(known, place, 0)] if len(ids) else place
        seen = known if not len(ids) else known & (ids[point] == image.point_ids)
        points.append(point[seen])
        cameras.append(np.full(int(seen.sum()), i, dtype=np.int64))
        pixels.append(image.pixels[seen] * ratio[i])
    return Observations(np.concatenate(points), np.concatenate(cameras), np.concatenate(pixels))
