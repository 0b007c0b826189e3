"""Arrays of a .npy or .npz file, mapped where they lie: a .npz that is not compressed holds .npy files as they are."""

import math
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from neural import memory
from neural.errors import SceneFormatError, TooLarge

DTYPES = ("float16", "float32", "float64", "uint8", "uint16")
EXPECTED = (
    "expected densities [X, Y, Z], densities and albedos [X, Y, Z, 4], or a .npz with density [X, Y, Z] and albedo "
    "[X, Y, Z, 3]"
)
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Stored:
    """What a file holds: the grid, four-dimensional once it is `checked`."""

    density: np.ndarray
    albedo: np.ndarray | None
    density_scale: float | None

    def checked(self, path: Path) -> "Stored":
        """With an axis of channels, in the order and the byte order of the machine.

        Raises:
            SceneFormatError: Another rank, dtype or number of channels; no voxel; sizes that do not agree.
            TooLarge: It has to be copied and does not fit.
        """
        density = self.density[..., None] if self.density.ndim == 3 else self.density
        channels = (1, 4) if self.albedo is None else (1,)
        if density.ndim != 4 or density.shape[3] not in channels:
            raise SceneFormatError(path, f"{EXPECTED}, got density {list(self.density.shape)}")
        if self.albedo is not None and self.albedo.shape != (*density.shape[:3], 3):
            raise SceneFormatError(
                path, f"albedo must be {[*density.shape[:3], 3]} to go with its density, got {list(self.albedo.shape)}"
            )
        if 0 in density.shape:
            raise SceneFormatError(path, f"a grid of {list(density.shape[:3])} voxels is empty")
        albedo = None if self.albedo is None else _in_order(path, self.albedo)
        return Stored(_in_order(path, density), albedo, self.density_scale)

    @staticmethod
    def tensor(array: np.ndarray) -> Tensor:
        """The same memory as a tensor; the map of a file stays one, and may not be written to."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(array)


def open_grid(path: Path) -> Stored:
    """The arrays of a file, checked but for their values.

    Raises:
        SceneFormatError, TooLarge: As `neural.scenes.volumes.voxels.load_voxels`.
    """
    if not path.is_file():
        raise SceneFormatError(path, "no such file; give a .npy or .npz of voxels")
    try:
        if zipfile.is_zipfile(path):
            return _open_npz(path).checked(path)
        with path.open("rb") as file:
            return Stored(_map(path, file, "the grid"), None, None).checked(path)
    except (zipfile.BadZipFile, EOFError, struct.error) as error:
        raise SceneFormatError(path, f"damaged: {error}; write it again with np.save or np.savez") from error


def _open_npz(path: Path) -> Stored:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        opened = {name: _member(path, archive, members[name]) for name in members if name != "density_scale"}
        scale = None
        if "density_scale" in members:
            number = _member(path, archive, members["density_scale"])
            if number.size != 1:
                raise SceneFormatError(path, f"density_scale must be one number, got {list(number.shape)}")
            scale = float(number.reshape(()))
    if "density" in opened:
        return Stored(opened["density"], opened.get("albedo"), scale)
    if len(opened) != 1:
        raise SceneFormatError(path, f"{EXPECTED}, got arrays named {', '.join(sorted(opened)) or 'nothing'}")
    return Stored(next(iter(opened.values())), None, scale)


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    if info.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as file:
            file.seek(info.header_offset)
            local = file.read(30)  # its name and extra field may be longer than the directory's
            if local[:4] != b"PK\x03\x04":
                raise zipfile.BadZipFile(f"no header of {info.filename}")
            file.seek(sum(struct.unpack("<HH", local[26:30])), 1)
            return _map(path, file, info.filename)
    require_memory(path, info.file_size, "is compressed", "np.savez instead of np.savez_compressed maps it")
    with archive.open(info) as member:
        try:
            return np.lib.format.read_array(member, allow_pickle=False)
        except ValueError as error:
            raise SceneFormatError(path, f"{info.filename}: {error}") from error


def _map(path: Path, file: BinaryIO, name: str) -> np.ndarray:
    """A read-only map of the .npy that begins where the file stands."""
    try:
        version = np.lib.format.read_magic(file)
        read: Callable[..., tuple[tuple[int, ...], bool, np.dtype]] | None = _HEADERS.get(version)
        if read is None:
            raise ValueError(f"version {version} of the format")
        shape, fortran, dtype = read(file)
    except (ValueError, TypeError) as error:
        raise SceneFormatError(path, f"{name} is no .npy array: {error}; write it with np.save or np.savez") from error
    if dtype.hasobject:
        raise SceneFormatError(path, f"{name} holds Python objects; convert it to float32 first")
    begin, needed = file.tell(), math.prod(shape) * dtype.itemsize
    there = path.stat().st_size - begin
    if there < needed:
        raise SceneFormatError(
            path, f"{name}: cut short: {list(shape)} {dtype} take {needed:,} bytes, and {there:,} are there"
        )
    if needed == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, mode="r", offset=begin, shape=shape, order="F" if fortran else "C")


def _in_order(path: Path, array: np.ndarray) -> np.ndarray:
    """As kernels read it: rows one behind the other, the machine's own byte order."""
    native = array.dtype.newbyteorder("=")
    if native.name not in DTYPES:
        raise SceneFormatError(
            path, f"voxels must be {', '.join(DTYPES)}, got {array.dtype.name}; convert with .astype"
        )
    if array.dtype == native and array.flags.c_contiguous:
        return array
    require_memory(
        path, array.nbytes, "lies in another order than rows or bytes of this machine",
        "save np.ascontiguousarray(grid, dtype) and it is mapped",
    )  # fmt: skip
    return np.ascontiguousarray(array, native)


def require_memory(path: Path, n_bytes: int, why: str, cure: str) -> None:
    """Refuses to read what does not fit, before anything is allocated.

    Raises:
        TooLarge: Says how large it is and how much is free.
    """
    left = memory.available(torch.device("cpu"))
    if n_bytes > left:
        raise TooLarge(
            f"{path}: {why} and must be read as a whole: {n_bytes / 1e9:.1f} GB, of which {left / 1e9:.1f} GB are "
            f"free; {cure}"
        )
