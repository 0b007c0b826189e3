"""Open any supported capture: detect the format, read it, check it, and give it a box and splits."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from neural.cameras import Cameras
from neural.errors import SceneFormatError
from neural.scenes import photos, splits
from neural.scenes.boxes import scene_box
from neural.scenes.capture import Capture, Observations, Points
from neural.scenes.checks import checked_cameras
from neural.scenes.formats import detect
from neural.scenes.images import ImageStack
from neural.scenes.scene import Scene


def load(
    path: str | Path,
    *,
    downscale: int = 1,
    cache: Path | None = None,
    test_every: int = 8,
    missing: Literal["refuse", "skip"] = "refuse",
) -> Scene:
    """Read a capture. Its frame is the file's: nothing is recentred or rescaled.

    Images are checked by their headers here and decoded at first use.

    Args:
        path: The capture's folder, or the file in it that lists its cameras.
        downscale: Integer factor by which images and lenses are reduced.
        cache: Folder for the decoded images, for example RUN/cache; see `ImageStack.from_files`.
        test_every: Hold out every n-th image where the files name no splits; 0 holds out none.
        missing: Whether listed images that are not there are an error or left out with a warning.

    Raises:
        SceneFormatError: Names the file, the field and the remedy.
    """
    path = Path(path)
    if downscale < 1 or test_every < 0:
        raise ValueError(f"load needs downscale >= 1 and test_every >= 0, got {downscale} and {test_every}")
    capture = detect.read(path, downscale, missing)
    cameras, warnings = checked_cameras(capture.source, capture.cameras, capture.image_names)
    infos = [photos.probe(p) for p in capture.image_paths]
    _check_sizes(capture, cameras, infos)
    points, point_warnings = _finite(capture.points)
    alpha = any(info.alpha for info in infos)
    unbounded = not alpha if capture.unbounded is None else capture.unbounded
    aabb = capture.aabb
    if aabb is None:
        aabb = scene_box(cameras, points, whole_object=not unbounded)
    members, split_warnings = _splits(capture, test_every)
    if downscale % capture.image_scale:
        raise SceneFormatError(
            capture.source,
            f"its images are already reduced by {capture.image_scale}; use a multiple of that, not {downscale}",
        )
    factor = downscale // capture.image_scale
    if int(cameras.sizes.min()) < factor:
        raise SceneFormatError(capture.source, f"an image vanishes at downscale {downscale}; use a smaller factor")
    sizes = cameras.sizes.numpy()
    scene = Scene(
        name=path.absolute().name if path.is_dir() else path.absolute().parent.name,
        path=path,
        cameras=cameras.scaled(1 / factor),
        images=ImageStack.from_files(
            capture.image_paths, sizes, "rgba" if alpha else "rgb", downscale=factor, cache=cache
        ),
        masks=_masks(capture, sizes, factor, cache),
        image_names=capture.image_names,
        splits=members,
        points=_scaled(points, factor),
        aabb=torch.from_numpy(aabb),
        world_to_scene=capture.world_to_scene,
        metres_per_unit=capture.metres_per_unit,
        crs=capture.crs,
        axes=capture.axes,
        background="white" if alpha else None,
        unbounded=unbounded,
        warnings=(*capture.warnings, *warnings, *point_warnings, *split_warnings),
        format=f"{capture.format} ({_within(capture.source, path)})",
        image_paths=capture.image_paths,
    )
    return scene


def _within(source: Path, path: Path) -> str:
    """The file that listed the cameras, as seen from what was given."""
    source, path = source.absolute(), path.absolute()
    return source.relative_to(path).as_posix() if source.is_relative_to(path) and source != path else source.name


def _check_sizes(capture: Capture, cameras: Cameras, infos: list[photos.PhotoInfo]) -> None:
    for name, file, info, (width, height) in zip(
        capture.image_names, capture.image_paths, infos, cameras.sizes.tolist(), strict=True
    ):
        if (info.width, info.height) != (width, height):
            raise SceneFormatError(
                file,
                f"is {info.width} x {info.height}, but {capture.source.name} calibrates {name!r} for "
                f"{width} x {height}; put the matching image there or scale the calibration",
            )


def _splits(capture: Capture, test_every: int) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """The files' splits, completed by the every-n-th rule where they name training images only."""
    names = capture.image_names
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise SceneFormatError(capture.source, f"image {twice!r} is listed twice; remove one of its frames")
    listed = capture.splits
    warnings: tuple[str, ...] = ()
    if listed is None or set(listed) == {"train"}:
        members = splits.every_nth(names, test_every)
    else:
        members, warnings = splits.named(capture.source, names, listed)
    splits.check(capture.source, members, allow_empty_test=test_every == 0)
    return {"train": (), "test": (), **members}, warnings


def _masks(capture: Capture, sizes: np.ndarray, factor: int, cache: Path | None) -> ImageStack | None:
    if capture.mask_paths is None:
        return None
    for mask, (width, height) in zip(capture.mask_paths, sizes.tolist(), strict=True):
        if mask is not None:
            info = photos.probe(mask)
            if (info.width, info.height) != (width, height):
                raise SceneFormatError(
                    mask, f"the mask is {info.width} x {info.height}, its image {width} x {height}; resize it"
                )
    return ImageStack.from_files(capture.mask_paths, sizes, "mask", downscale=factor, cache=cache)


def _finite(points: Points | None) -> tuple[Points | None, tuple[str, ...]]:
    """Points without those at NaN or infinity, none if all are in one place, and a warning if there were any."""
    if points is None:
        return None, ()
    good = np.isfinite(points.xyz).all(axis=1) & (np.abs(points.xyz).max(axis=1, initial=0) < 1e12)
    warnings: tuple[str, ...] = ()
    if not good.all():
        moved = np.cumsum(good) - 1
        seen = points.observations
        if seen is not None:
            keep = good[seen.points]
            seen = Observations(moved[seen.points[keep]], seen.cameras[keep], seen.pixels[keep])
        warnings = (f"{int((~good).sum())} of {len(points)} points are not finite and were dropped.",)
        points = Points(points.xyz[good], points.rgb[good], seen)
    if len(points) > 1 and not points.apart:
        return None, (*warnings, f"All {len(points)} points are in one place and were dropped.")
    return points, warnings


def _scaled(points: Points | None, factor: int) -> Points | None:
    if points is None or points.observations is None:
        return points
    return replace(points, observations=replace(points.observations, pixels=points.observations.pixels / factor))
