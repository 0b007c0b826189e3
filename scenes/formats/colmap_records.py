"""The records of a COLMAP model, whatever the form of its files, and the lens models that they may name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from neural.errors import SceneFormatError
from neural.lenses import FISHEYE, OPENCV, PINHOLE


@dataclass(frozen=True)
class Lens:
    """How a COLMAP model's parameters become fx fy cx cy and our eight coefficients.

    Args:
        name: COLMAP's.
        n_params: Focal lengths, principal point, coefficients, in this order.
        model: Index into our `CAMERA_MODELS`; None for a lens that we do not have.
        shared_focal: Whether one focal length serves both axes.
        places: Where each coefficient goes among our eight.
    """

    name: str
    n_params: int
    model: int | None = None
    shared_focal: bool = True
    places: tuple[int, ...] = ()


LENSES = {
    0: Lens("SIMPLE_PINHOLE", 3, PINHOLE),
    1: Lens("PINHOLE", 4, PINHOLE, shared_focal=False),
    2: Lens("SIMPLE_RADIAL", 4, OPENCV, places=(0,)),
    3: Lens("RADIAL", 5, OPENCV, places=(0, 1)),
    4: Lens("OPENCV", 8, OPENCV, shared_focal=False, places=(0, 1, 2, 3)),
    5: Lens("OPENCV_FISHEYE", 8, FISHEYE, shared_focal=False, places=(0, 1, 2, 3)),
    6: Lens("FULL_OPENCV", 12, OPENCV, shared_focal=False, places=(0, 1, 2, 3, 4, 5, 6, 7)),
    7: Lens("FOV", 5),
    8: Lens("SIMPLE_RADIAL_FISHEYE", 4, FISHEYE, places=(0,)),
    9: Lens("RADIAL_FISHEYE", 5, FISHEYE, places=(0, 1)),
    10: Lens("THIN_PRISM_FISHEYE", 12),
}


@dataclass(frozen=True)
class Camera:
    """A lens with its parameters and image size (width, height)."""

    lens: Lens
    size: tuple[int, int]
    params: Float64[np.ndarray, "n_params"]


@dataclass(frozen=True)
class Image:
    """A posed image: w2c, and its features (`point_ids` -1: no point)."""

    name: str
    quat: Float64[np.ndarray, "4"]
    translation: Float64[np.ndarray, "3"]
    camera: int
    pixels: Float64[np.ndarray, "M 2"]
    point_ids: Int64[np.ndarray, "M"]


@dataclass(frozen=True)
class Points3D:
    """The sparse points; their tracks are left out, since the images list the same observations."""

    ids: Int64[np.ndarray, "P"]
    xyz: Float64[np.ndarray, "P 3"]
    rgb: UInt8[np.ndarray, "P 3"]


def usable_lens(path: Path, model: int | str) -> Lens:
    """The lens of a model id or name.

    Raises:
        SceneFormatError: Unknown, or known and not among our lenses.
    """
    lens = next((lens for i, lens in LENSES.items() if model in (i, lens.name)), None)
    if lens is None or lens.model is None:
        usable = ", ".join(lens.name for lens in LENSES.values() if lens.model is not None)
        raise SceneFormatError(
            path,
            f"camera model {lens.name if lens else model} is not supported (supported: {usable}); "
            "undistort with colmap image_undistorter",
        )
    return lens
