"""LLFF's poses_bounds.npy: one row of 17 numbers per image of `images/`, in the order of sorted names.

A row is a 3 x 5 matrix by rows, [down | right | back | centre | (height, width, focal length)], and the nearest and
farthest depth seen, which are not needed here. The principal point is the middle of the image; pixels are square.

Source: Mildenhall et al. 2019, "Local Light Field Fusion", code `imgs2poses.py`; README, "Using your own poses".
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture
from neural.scenes.formats.arrays import read_npy
from neural.scenes.formats.views import Lens, View, capture, images_in, reduced_folder, size_of

NAME = "poses_bounds.npy"
_COLUMNS = 17


def found_in(path: Path) -> tuple[Path, ...]:
    """The file, if `path` is it or a folder that holds it."""
    file = path / NAME if path.is_dir() else path
    return (file,) if file.name == NAME and file.is_file() else ()


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read poses and find their images in `images`, or in `images_<downscale>` if there is one.

    Args:
        path: The folder or its poses_bounds.npy.
        downscale: The factor asked for.
        missing: Of no meaning here: the file names no images, so their number must be right.

    Raises:
        SceneFormatError: Names file, row and field.
    """
    source = found_in(path)[0]
    rows = read_npy(source)
    if rows.ndim != 2 or rows.shape[1] != _COLUMNS:
        raise SceneFormatError(
            source, f"holds an array of {list(rows.shape)}, expected one row of {_COLUMNS} per image"
        )
    folder, scale = reduced_folder(source, source.parent, downscale)
    images = images_in(folder)
    if len(images) != len(rows):
        raise SceneFormatError(
            source,
            f"has {len(rows)} poses for {len(images)} images in {folder}, which it does not name; "
            "restore exactly the images that were posed",
        )
    views = []
    for row, image in zip(rows, images, strict=True):
        down, right, back, centre, (height, width, focal) = row[:15].reshape(3, 5).T
        if not (np.isfinite(row[:15]).all() and 1 <= width < 1e6 and 1 <= height < 1e6):
            raise SceneFormatError(source, f"the row of {image.name} is not finite or has no size; repeat its pose")
        c2w = np.eye(4)
        c2w[:3] = np.stack([right, down, -back, centre], axis=1)
        lens = Lens(focal, focal, width / 2, height / 2)
        views.append(View(image.name, image, c2w, (round(width), round(height)), lens))
    result = capture(source, views, unbounded=True, image_scale=scale)
    if scale == 1:
        return result
    sizes = torch.tensor([size_of(image) for image in images])
    return Capture(**{**vars(result), "cameras": result.cameras.resized(sizes)})
