"""Decoded pixels in a file: written once, complete or not there, memory-mapped from then on."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike

from neural.file_lock import try_lock

_LEFT = re.compile(r"(images|masks|picture)-[0-9a-f]{20}\.(u8|raw)\.\d+\.tmp")  # names of unfinished cache files

Fill = Callable[[np.memmap], object]


def kept(target: Path, shape: tuple[int, ...], dtype: DTypeLike, fill: Fill, cure: str) -> np.ndarray:
    """The pixels in a file, made by `fill` if they are not there yet; read only.

    Args:
        target: File; its name holds a digest of everything that determines the pixels.
        shape: Of the array.
        dtype: Of its values.
        fill: Writes every value of the array that it is given.
        cure: What the user may do for want of room.

    Raises:
        OSError: No room for it; says how much is needed.
    """
    if not (target.is_file() and target.stat().st_size == _n_bytes(shape, dtype)):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            with _locked(temporary) as file:
                _written(file, shape, dtype, fill, target.parent, cure)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    # A plain array over the map: memmap's own indexing costs more than the read of a small batch.
    return np.asarray(np.memmap(target, dtype=dtype, mode="r", shape=shape))


def passing(shape: tuple[int, ...], dtype: DTypeLike, fill: Fill, cure: str) -> np.ndarray:
    """The pixels in a nameless file that vanishes with the process."""
    with tempfile.TemporaryFile(prefix="neural-images-") as file:  # nameless: cannot be left behind
        return np.asarray(_written(file, shape, dtype, fill, Path(tempfile.gettempdir()), cure))


def _written(
    file: IO[bytes], shape: tuple[int, ...], dtype: DTypeLike, fill: Fill, folder: Path, cure: str
) -> np.memmap:
    """Fills a file whose space is reserved first: a full disk is an error here, not a crash later."""
    n_bytes = _n_bytes(shape, dtype)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        else:
            file.truncate(n_bytes)
    except OSError as error:
        raise OSError(
            error.errno,
            f"no room for {n_bytes / 1e6:.0f} MB of decoded images in {folder} ({error.strerror}); {cure}",
        ) from error
    pixels: np.memmap = np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    fill(pixels)
    pixels.flush()
    return pixels


def _n_bytes(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _locked(path: Path) -> IO[Any]:
    """Opens a file anew that others will not sweep away; begins again if one is just doing so."""
    for _ in range(20):
        file = path.open("w+b")
        try:
            mine = try_lock(file.fileno())
        except OSError:
            return file  # a file system without locks, where nothing is swept either
        with contextlib.suppress(FileNotFoundError):
            if mine and os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        file.close()
    return path.open("w+b")


def _sweep(folder: Path) -> None:
    """Removes what processes that were killed while they decoded have left in a cache."""
    for left in folder.glob("*.tmp"):
        if not _LEFT.fullmatch(left.name):
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, not ours to remove, or no locks here
            with left.open("rb") as file:
                dead = try_lock(file.fileno())
            if dead:
                left.unlink()
