"""What most formats come down to: posed photographs one by one, and how they make a capture."""

from collections.abc import Sequence
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
from neural.scenes.capture import IMAGE_SUFFIXES, Capture

# Multiplies the columns of a c2w whose camera axes are x right, y up, z back: then they are x right, y down, z forward.
OPENCV_FROM_OPENGL = np.array([1.0, -1.0, -1.0, 1.0])
UNSEEN = 0.1  # pixels; the most that a term we cannot carry may move a point of the image


@dataclass(frozen=True)
class Lens:
    """Focal lengths, principal point (pixels from the image's corner), model and coefficients as in `neural.lenses`."""

    fx: float
    fy: float
    cx: float
    cy: float
    model: int = PINHOLE
    coefficients: tuple[float, ...] = ()

    @classmethod
    def opencv(cls, fx: float, fy: float, cx: float, cy: float, *coefficients: float) -> "Lens":
        """k1 k2 p1 p2 k3 k4 k5 k6, as many as there are; a pinhole where all are 0."""
        return cls(fx, fy, cx, cy, OPENCV if any(coefficients) else PINHOLE, coefficients)

    @classmethod
    def fisheye(cls, fx: float, fy: float, cx: float, cy: float, *coefficients: float) -> "Lens":
        """k1 k2 k3 k4 of Kannala and Brandt, as many as there are."""
        return cls(fx, fy, cx, cy, FISHEYE, coefficients)

    @classmethod
    def calibration(
        cls, source: Path, matrix: Float64[np.ndarray, "3 3"], size: tuple[int, int], shift: float = 0.0
    ) -> "Lens":
        """A pinhole from a calibration matrix, of any scale.

        Args:
            source: File to name in errors.
            matrix: Upper triangular.
            size: Width and height of the image.
            shift: Added to the principal point; 0.5 where the file counts pixels from the centre of the first.

        Raises:
            SceneFormatError: Its axes are not perpendicular, which no lens of ours can say.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scaled = matrix / matrix[2, 2]
            skewed = abs(scaled[0, 1] / scaled[1, 1]) * size[1] / 2
        if not np.isfinite(scaled).all():
            raise SceneFormatError(source, "its calibration matrix is not finite or has no last entry; correct it")
        if not skewed < UNSEEN:
            raise SceneFormatError(
                source,
                f"its calibration matrix has a skew that moves pixels by {skewed:.3g}; undistort the images to square "
                "pixels first",
            )
        return cls(float(scaled[0, 0]), float(scaled[1, 1]), float(scaled[0, 2] + shift), float(scaled[1, 2] + shift))


def sized_by_image(
    source: Path, matrix: Float64[np.ndarray, "3 3"], image: Path, shift: float = 0.0
) -> tuple[tuple[int, int], Lens]:
    """Size and pinhole of an image whose format states no size, so that its file must be as it was calibrated.

    Raises:
        SceneFormatError: As of `Lens.calibration`; or the principal point lies outside the image, which was resized.
    """
    size = size_of(image)
    lens = Lens.calibration(source, matrix, size, shift)
    if not (0 < lens.cx < size[0] and 0 < lens.cy < size[1]):
        raise SceneFormatError(
            source,
            f"its principal point ({lens.cx:.6g}, {lens.cy:.6g}) lies outside {image.name}, which is "
            f"{size[0]} x {size[1]}; put the images there that were calibrated, or scale the calibration",
        )
    return size, lens


@dataclass(frozen=True)
class View:
    """One photograph: its c2w has OpenCV axes; width and height are those that the lens was calibrated for."""

    name: str
    image: Path
    c2w: Float64[np.ndarray, "4 4"]
    size: tuple[int, int]
    lens: Lens
    mask: Path | None = None
    split: str | None = None


def capture(source: Path, views: Sequence[View], **fields: Any) -> Capture:
    """Views as a capture; splits are kept where every view names one.

    Args:
        source: The file to name in errors.
        views: Whose images exist.
        fields: More of `Capture`'s.

    Raises:
        SceneFormatError: There are no views.
    """
    if not views:
        raise SceneFormatError(source, "lists no view with a pose; nothing can be trained from it")
    coefficients = [list(v.lens.coefficients) + [0.0] * (8 - len(v.lens.coefficients)) for v in views]
    cameras = Cameras(
        c2w=torch.from_numpy(np.stack([v.c2w for v in views])),
        intrinsics=torch.tensor([[v.lens.fx, v.lens.fy, v.lens.cx, v.lens.cy] for v in views], dtype=torch.float64),
        sizes=torch.tensor([v.size for v in views], dtype=torch.int64),
        models=torch.tensor([v.lens.model for v in views], dtype=torch.int64),
        distortion=torch.tensor(coefficients, dtype=torch.float64),
    )
    masks = tuple(v.mask for v in views)
    splits: dict[str, list[str]] = {}
    for view in views:
        splits.setdefault(view.split or "", []).append(view.name)
    return Capture(
        source=source,
        cameras=cameras,
        image_paths=tuple(v.image for v in views),
        image_names=tuple(v.name for v in views),
        mask_paths=masks if any(masks) else None,
        splits=None if "" in splits else {split: tuple(names) for split, names in splits.items()},
        **fields,
    )


def size_of(image: Path) -> tuple[int, int]:
    """Width and height of an image file, for formats that do not state them."""
    info = photos.probe(image)
    return info.width, info.height


def images_in(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name; empty where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=lambda p: p.name)


def with_any_suffix(folder: Path, stem: str) -> Path:
    """The image of that name whatever its kind; the .png that should be there if none is."""
    spelt = (s for suffix in IMAGE_SUFFIXES for s in (suffix, suffix.upper()))
    candidates = [folder / f"{stem}{suffix}" for suffix in spelt]
    return next((p for p in candidates if p.is_file()), candidates[0])


def reduced_folder(source: Path, root: Path, downscale: int) -> tuple[Path, int]:
    """Where images are that a tool may have reduced already (`images_4`), and how many times smaller than calibrated.

    Raises:
        SceneFormatError: There is no `images`, and no `images_<downscale>`.
    """
    reduced = root / f"images_{downscale}"
    if downscale > 1 and reduced.is_dir():
        return reduced, downscale
    if (root / "images").is_dir():
        return root / "images", 1
    others = sorted(p.name for p in root.glob("images_*") if p.is_dir())
    remedy = f"there is {', '.join(others)}: load with that downscale" if others else "put the images there"
    raise SceneFormatError(source, f"no folder {root / 'images'}; {remedy}")


def homogeneous(matrix: Float64[np.ndarray, "3 4"]) -> Float64[np.ndarray, "4 4"]:
    """A pose with its last row; one that has it already is left as it is."""
    return matrix if matrix.shape == (4, 4) else np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
