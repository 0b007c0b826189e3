"""DTU and other objects as prepared for IDR and NeuS: cameras_sphere.npz with image/ and mask/.

`world_mat_<i>` is K [R | t] (4 x 4, of any scale) for the i-th image in the order of sorted names, in the world of
the capture; `scale_mat_<i>` takes the unit sphere that holds the object to that world. The scene stays in that world,
and the sphere becomes its box. Pixels are counted from the centre of the first one, as the authors' code does; 9100
feature matches in DTU's scan 24 agree least badly with each other within a tenth of a pixel of that, on both axes.

Source: Yariv et al. 2020, "Multiview Neural Surface Reconstruction by Disentangling Geometry and Appearance", DATA.md;
Wang et al. 2021, "NeuS", code `models/dataset.py` (`gen_rays_at`).
"""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture
from neural.scenes.formats.arrays import read_npz
from neural.scenes.formats.views import View, capture, images_in, sized_by_image

NAMES = ("cameras_sphere.npz", "cameras.npz")


def found_in(path: Path) -> tuple[Path, ...]:
    """The archive, if `path` is one or a folder that holds one."""
    files = [path / name for name in NAMES] if path.is_dir() else [path] if path.suffix == ".npz" else []
    return tuple(file for file in files if file.is_file())[:1]


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read the archive and find its images and masks.

    Args:
        path: The folder or its archive.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: Of no meaning here: the file names no images, so their number must be right.

    Raises:
        SceneFormatError: Names the file and the matrix at fault.
    """
    source = found_in(path)[0]
    arrays = read_npz(source)
    images, masks = (_first(source.parent, names) for names in (("image", "images"), ("mask", "masks")))
    count = sum(name.startswith("world_mat_") and not name.startswith("world_mat_inv") for name in arrays)
    if len(images) != count or (masks and len(masks) != count):
        raise SceneFormatError(
            source,
            f"has {count} cameras for {len(images)} images in image/ and {len(masks)} masks in mask/, which it does "
            "not name; restore exactly the images that it was made for",
        )
    views = []
    for i, image in enumerate(images):
        calibration, c2w = decompose(source, f"world_mat_{i}", _matrix(source, arrays, f"world_mat_{i}"))
        size, lens = sized_by_image(source, calibration, image, shift=0.5)
        views.append(View(image.name, image, c2w, size, lens, mask=masks[i] if masks else None))
    aabb = _box(source, [_matrix(source, arrays, f"scale_mat_{i}") for i in range(count)]) if count else None
    return capture(source, views, aabb=aabb, unbounded=not masks)


def decompose(
    source: Path, where: str, matrix: Float64[np.ndarray, "4 4"]
) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "4 4"]]:
    """Calibration and c2w of a projection matrix K [R | t] of any scale and sign.

    R must be a rotation and K have a positive diagonal, which fixes both and the sign.

    Raises:
        SceneFormatError: The matrix projects onto less than a plane.
    """
    linear = matrix[:3, :3]
    size = np.abs(linear).max()
    # Columns of K may differ by the focal length, so singular means far beyond that.
    if not (1e-100 < size < 1e100) or abs(np.linalg.det(linear / size)) < 1e-14:
        raise SceneFormatError(source, f"{where} is singular and no projection; export it again")
    if np.linalg.det(linear / size) < 0:
        matrix, linear = -matrix, -linear
    q, r = np.linalg.qr(np.linalg.inv(linear / size))  # (K R)^-1 = R^T K^-1: orthogonal times upper triangular
    signs = np.where(np.diag(r) < 0, -1.0, 1.0)
    q, r = q * signs, r * signs[:, None]
    c2w = np.eye(4)
    c2w[:3, :3] = q
    c2w[:3, 3] = -np.linalg.solve(linear / size, matrix[:3, 3] / size)
    return np.linalg.inv(r), c2w


def _first(root: Path, names: tuple[str, str]) -> list[Path]:
    return next((found for name in names if (found := images_in(root / name))), [])


def _matrix(source: Path, arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise SceneFormatError(source, f"has no {name}; its cameras must be numbered from 0 without gaps")
    matrix = arrays[name]
    if matrix.shape not in ((3, 4), (4, 4)) or not np.isfinite(matrix).all():
        raise SceneFormatError(source, f"{name} is not a finite 4 x 4 matrix; export it again")
    return matrix


def _box(source: Path, scales: list[np.ndarray]) -> np.ndarray:
    """The cube about the sphere that holds the object."""
    first = scales[0]
    if any(not np.allclose(scale, first, rtol=1e-4, atol=1e-4 * np.abs(first).max()) for scale in scales):
        raise SceneFormatError(source, "its scale_mat differ between cameras; give all of them one sphere")
    radii = np.linalg.norm(first[:3, :3], axis=0)
    if not (radii.min() > 0 and radii.max() < 1.01 * radii.min() and np.abs(first[:3]).max() < 1e12):
        raise SceneFormatError(source, "scale_mat_0 does not take a sphere to a sphere; give it one scale for all axes")
    return np.stack([first[:3, 3] - radii.mean(), first[:3, 3] + radii.mean()])
