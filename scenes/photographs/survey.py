"""What a folder of photographs holds: those to reconstruct from, and those left out with the reason for each."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from neural.errors import SceneFormatError
from neural.scenes import photos
from neural.scenes.capture import PHOTO_SUFFIXES
from neural.scenes.photographs import exif, masks, quality
from neural.scenes.photographs.exif import Exif

SMALLEST = 64  # pixels of the shorter side that a photograph must have
LOOKED_AT = 1024  # pixels of the longer side at which sharpness is judged
MOST = 20_000  # photographs in a folder
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mts", ".3gp")


@dataclass(frozen=True)
class Photograph:
    """A picture file that can be used.

    Attributes:
        path: Of the file.
        name: Relative to the folder of all, with forward slashes.
        width: In pixels, as stored: the orientation of EXIF is not applied, here or anywhere.
        height: In pixels, as stored.
        exif: What the camera wrote.
        mask: File of the same size; white counts.
        sharpness: See `quality.sharpness`.
    """

    path: Path
    name: str
    width: int
    height: int
    exif: Exif
    mask: Path | None
    sharpness: float


@dataclass(frozen=True)
class Survey:
    """A folder's photographs.

    Attributes:
        root: The folder.
        photographs: In the order of their names.
        left_out: Name of a file and why it is not used.
        warnings: What else the user should know, a sentence each.
    """

    root: Path
    photographs: tuple[Photograph, ...]
    left_out: dict[str, str]
    warnings: tuple[str, ...] = ()


def survey(root: Path, *, weed: bool = True, without: Path | None = None, progress: bool = True) -> Survey:
    """Looks at every picture in a folder and its sub-folders, decoding each once at a small size.

    Args:
        root: The folder.
        weed: Whether to leave out blurred photographs and duplicates.
        without: A folder inside that is not looked into: that of the run.
        progress: Whether to draw a progress bar.

    Raises:
        SceneFormatError: No such folder, or none of its files is a photograph.
    """
    left_out: dict[str, str] = {}
    pictures = []
    there = files(root, without=without)
    chosen = [path for path in there if not masks.is_mask(path, root)]
    for path in chosen or there:  # where all are named so, somebody has photographed a mask
        name = path.relative_to(root).as_posix()
        if "\\" in name or not name.isprintable():  # lone surrogates, which stand for what is no UTF-8, are neither
            left_out[name.encode("utf-8", "replace").decode()] = "its name has a backslash or is no text; rename it"
        else:
            pictures.append(path)
    of = {masks.mask_of(path, root) for path in chosen}
    for path in there:
        if chosen and path not in of and masks.is_mask(path, root):
            name = path.relative_to(root).as_posix().encode("utf-8", "replace").decode()
            left_out[name] = "named like a mask, and no photograph is there that it could be the mask of"
    warnings: list[str] = []
    found: list[tuple[Photograph, bytes, np.ndarray]] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        looks = threads.map(lambda path: _look(path, root), pictures)
        for path, look in zip(
            pictures, tqdm(looks, "photographs", len(pictures), disable=not progress, leave=False), strict=True
        ):
            if isinstance(look, str):
                left_out[path.relative_to(root).as_posix()] = look
            else:
                found.append(look)
    found = _one_of_each(found, left_out, weed)
    photographs = [photograph for photograph, _, _ in found]
    if weed:
        for index in reversed(quality.blurred([p.sharpness for p in photographs])):
            left_out[photographs.pop(index).name] = "blurred, compared with the others"
    photographs = _checked_masks(photographs, warnings)
    if not photographs:
        raise SceneFormatError(root, _nothing(left_out))
    return Survey(root, tuple(photographs), left_out, tuple(warnings))


def files(root: Path, *, without: Path | None = None) -> list[Path]:
    """The picture files of a folder and its sub-folders, masks among them, in the order of their names.

    Raises:
        SceneFormatError: No such folder, no pictures, or too many.
    """
    if not root.is_dir():
        raise SceneFormatError(root, "no such folder of photographs")
    found: list[Path] = []
    skipped = None if without is None else without.resolve()
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(
            name for name in inner if not name.startswith(".") and Path(folder, name).resolve() != skipped
        )
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    pictures = sorted(path for path in found if path.suffix.lower() in PHOTO_SUFFIXES)
    if not pictures:
        kinds = Counter(path.suffix.lower() for path in found).most_common(3)
        there = ", ".join(f"{n} {suffix or 'without ending'}" for suffix, n in kinds)
        videos = [path for path in found if path.suffix.lower() in VIDEO_SUFFIXES]
        hint = f"; for a video give its file: {videos[0]}" if videos else ""
        raise SceneFormatError(
            root,
            f"no photographs here ({there or 'the folder is empty'}); there may be {', '.join(PHOTO_SUFFIXES)}{hint}",
        )
    if len(pictures) > MOST:
        raise SceneFormatError(root, f"{len(pictures)} pictures are more than {MOST}; give a sub-folder")
    return pictures


def cameras_of(
    photographs: Sequence[Photograph], cameras: Literal["auto", "one", "each"] = "auto"
) -> tuple[list[int], list[float | None]]:
    """Which photographs share a camera.

    Args:
        photographs: Of a survey.
        cameras: "auto": one for each make, model, zoom and size; "one": by size alone (no lens spans two sizes);
            "each": every photograph has its own.

    Returns:
        Per photograph the number of its camera, and per camera the focal length in pixels that EXIF states, if any.
    """
    keys: list[object] = []
    for index, one in enumerate(photographs):
        size, said = (one.width, one.height), one.exif
        if cameras == "each":
            keys.append(index)
        else:
            keys.append(size if cameras == "one" else (said.make, said.model, said.focal_mm, size))
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    of_each = [numbers[key] for key in keys]
    focals: list[float | None] = []
    for number in range(len(numbers)):
        stated = [p.exif.focal for p, own in zip(photographs, of_each, strict=True) if own == number and p.exif.focal]
        focals.append(float(np.median(stated)) if stated else None)
    return of_each, focals


def _look(path: Path, root: Path) -> tuple[Photograph, bytes, np.ndarray] | str:
    """A photograph with a digest of its file and a thumbnail, or why it cannot be used."""
    try:
        if path.stat().st_size == 0:
            return "the file is empty"
        with photos.opened(path) as image:
            width, height, said = image.width, image.height, exif.read(image)
            if min(width, height) < SMALLEST:
                return f"{width} x {height} pixels are too few"
            image.draft("L", (LOOKED_AT, LOOKED_AT))  # a JPEG is decoded smaller, but all of it is read
            grey = image.convert("L")
        small = grey.copy()
        small.thumbnail((LOOKED_AT, LOOKED_AT), Image.Resampling.BOX)
        sharp = quality.sharpness(np.asarray(small))
        thumbnail = np.asarray(grey.resize((quality.THUMBNAIL, quality.THUMBNAIL), Image.Resampling.BOX))
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "blake2b").digest()
    except SceneFormatError as error:
        return error.reason
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    name = path.relative_to(root).as_posix()
    return Photograph(path, name, width, height, said, masks.mask_of(path, root), sharp), digest, thumbnail


def _one_of_each(
    found: list[tuple[Photograph, bytes, np.ndarray]], left_out: dict[str, str], weed: bool
) -> list[tuple[Photograph, bytes, np.ndarray]]:
    """Without files that are the same byte for byte and, where asked, pictures that look the same."""
    first: dict[bytes, str] = {}
    kept = []
    for one in found:
        photograph, digest, _ = one
        if digest in first:
            left_out[photograph.name] = f"the same file as {first[digest]}"
        else:
            first[digest] = photograph.name
            kept.append(one)
    if not weed or len(kept) < 2:
        return kept
    best_first = sorted(kept, key=lambda one: (-one[0].width * one[0].height, one[0].exif == Exif(), one[0].name))
    pairs = quality.duplicates(np.stack([thumbnail for _, _, thumbnail in best_first]))
    for later, earlier in pairs:
        left_out[best_first[later][0].name] = f"the same picture as {best_first[earlier][0].name}"
    return [one for one in kept if one[0].name not in left_out]


def _checked_masks(photographs: list[Photograph], warnings: list[str]) -> list[Photograph]:
    """Masks of another size than their photographs, or broken ones, are not used, and named."""
    checked = []
    for one in photographs:
        fault = None if one.mask is None else _fault(one.mask, one)
        if one.mask is not None and fault is not None:
            warnings.append(f"the mask {one.mask.name} is not used: {fault}")
            one = replace(one, mask=None)
        checked.append(one)
    return checked


def _fault(mask: Path, one: Photograph) -> str | None:
    try:
        info = photos.probe(mask)
    except SceneFormatError as error:
        return error.reason
    if (info.width, info.height) == (one.width, one.height):
        return None
    return f"it is {info.width} x {info.height}, its photograph {one.width} x {one.height} as stored"


def _nothing(left_out: dict[str, str]) -> str:
    shown = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
    return f"none of its {len(left_out)} pictures can be used ({shown}); copy them again from the camera"
