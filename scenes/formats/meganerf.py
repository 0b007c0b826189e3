"""Mega-NeRF's captures of city blocks: coordinates.pt, and metadata and photographs of two parts.

    coordinates.pt                 {origin_drb, pose_scale_factor}
    {train,val}/metadata/NAME.pt   {W, H, intrinsics (fx fy cx cy), c2w (3 x 4)}
    {train,val}/rgbs/NAME.jpg      undistorted

The world is x down, y right, z back; camera axes are OpenGL's (x right, y up, z back); pixels are counted from the
corner. Positions in the files are (world - origin_drb) / pose_scale_factor, with the world in metres.

Source: Turki et al. 2022, "Mega-NeRF", arXiv:2112.10703, code `ray_utils.py`, `runner.py`, `colmap_to_mega_nerf.py`.
"""

import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture, keep_existing
from neural.scenes.formats.views import OPENCV_FROM_OPENGL, Lens, View, capture, homogeneous, with_any_suffix

_SPLITS = ("train", "val")
_LARGEST_FILE = 1 << 20  # bytes; these hold a dozen numbers
# What torch's reader lets through for a damaged file. It runs no code of the file's: weights_only.
_DAMAGE = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError,
    AssertionError, OverflowError, MemoryError, OSError, ModuleNotFoundError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip


def found_in(path: Path) -> tuple[Path, ...]:
    """coordinates.pt, if `path` is it or its folder, and a training part lies beside it."""
    file = path / "coordinates.pt" if path.is_dir() else path
    there = file.name == "coordinates.pt" and file.is_file() and (file.parent / "train" / "metadata").is_dir()
    return (file,) if there else ()


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read both parts; the validation part is held out whole.

    Args:
        path: The folder or its coordinates.pt.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about cameras whose image is not there.

    Raises:
        SceneFormatError: Names the file and the entry at fault.
    """
    source = found_in(path)[0]
    root = source.parent
    shared = _load(source)
    origin = _numbers(source, shared, "origin_drb", (3,))
    scale = float(_numbers(source, shared, "pose_scale_factor", ()))
    if not 1e-9 < scale < 1e9:
        raise SceneFormatError(source, f"pose_scale_factor is {scale:g}, expected metres per unit; correct it")
    world_to_scene = np.diag([1 / scale, 1 / scale, 1 / scale, 1.0])
    world_to_scene[:3, 3] = -origin / scale
    files = [f for part in _SPLITS for f in sorted((root / part / "metadata").glob("*.pt"), key=lambda p: p.name)]
    images = [with_any_suffix(f.parents[1] / "rgbs", f.stem) for f in files]
    kept, warnings = keep_existing(source, images, missing) if files else ([], ())
    views = []
    for i in kept:
        file, image = files[i], images[i]
        entry = _load(file)
        width, height = (float(_numbers(file, entry, key, ())) for key in "WH")
        if not (1 <= width < 1e6 and 1 <= height < 1e6):
            raise SceneFormatError(file, f"W H are {width:g} {height:g}; correct them")
        lens = Lens(*_numbers(file, entry, "intrinsics", (4,)).tolist())
        c2w = homogeneous(_numbers(file, entry, "c2w", (3, 4), (4, 4))) * OPENCV_FROM_OPENGL
        part = file.parents[1].name
        views.append(View(f"{part}/{image.name}", image, c2w, (int(width), int(height)), lens, split=part))
    return capture(
        source, views, world_to_scene=world_to_scene, metres_per_unit=scale, unbounded=True, warnings=warnings
    )


def _load(path: Path) -> dict[str, Any]:
    """The entries of one .pt file, whose parts' checksums must be right."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise SceneFormatError(path, f"has more than {_LARGEST_FILE} bytes; is it the file that it should be?")
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_FILE:
                raise SceneFormatError(path, f"unpacks to more than {_LARGEST_FILE} bytes")
            if archive.testzip() is not None:
                raise SceneFormatError(path, "has a part whose checksum is wrong; copy it again from its source")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:120]
        raise SceneFormatError(path, f"is not a whole file of torch.save with plain tensors ({reason})") from error
    if not isinstance(content, dict):
        raise SceneFormatError(path, f"holds a {type(content).__name__}, expected a dictionary")
    return content


def _numbers(path: Path, content: dict[str, Any], key: str, *shapes: tuple[int, ...]) -> np.ndarray:
    value = content.get(key)
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_complex():
        value = value.detach().to(torch.float64).numpy() if not value.is_quantized else None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        value = None
    array = np.array(np.nan if value is None else value, dtype=np.float64)
    if array.shape == (1,) and () in shapes:
        array = array.reshape(())
    if value is None or array.shape not in shapes or not np.isfinite(array).all():
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise SceneFormatError(path, f"{key} is missing or not finite numbers of shape {expected}; write it again")
    return array
