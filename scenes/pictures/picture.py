"""A picture of any size, memory-mapped: decoded once into a raw file, read a few pixels or a tile at a time."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from neural import memory
from neural.errors import SceneFormatError
from neural.scenes import pixel_cache
from neural.scenes.pictures import exr, pillow, png16, rgbe, tiff
from neural.scenes.pictures.source import Header, Source

Space = Literal["srgb", "linear"]
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".npy", ".exr", *tiff.SUFFIXES, *rgbe.SUFFIXES)
_FORMAT = 1  # part of the cache key: raise it when decoding changes
_CURE = "free space, or choose another folder"


@dataclass(frozen=True)
class Picture:
    """Pixels of a picture, mapped or in memory.

    Attributes:
        name: For titles.
        path: The file; None for one made in Python.
        pixels: uint8 or uint16 in sRGB, float32 in linear light; 1 or 3 channels, and straight alpha as a last one.
        linear: Whether values are linear light.
        warnings: What was noticed while reading.
    """

    name: str
    path: Path | None
    pixels: Shaped[np.ndarray, "H W C"]
    linear: bool
    warnings: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Pixels."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.pixels.shape[0]

    @property
    def alpha(self) -> bool:
        """Whether there is an alpha channel."""
        return self.pixels.shape[2] in (2, 4)

    @property
    def n_colours(self) -> int:
        """Channels without alpha: 1 or 3."""
        return self.pixels.shape[2] - self.alpha

    @staticmethod
    def from_array(pixels: Shaped[np.ndarray, "H W *C"], name: str = "picture") -> "Picture":
        """A picture made in Python.

        Raises:
            ValueError: Another type or shape.
        """
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or pixels.dtype not in (np.uint8, np.uint16, np.float32):
            raise ValueError(
                f"a picture is uint8, uint16 or float32 [H, W] or [H, W, 1 to 4], got {pixels.dtype} "
                f"{list(pixels.shape)}"
            )
        if not pixels.size:
            raise ValueError(f"a picture of {pixels.shape[1]} x {pixels.shape[0]} pixels is empty")
        return Picture(name, None, pixels, pixels.dtype == np.float32)

    def gather(self, rows: Int64[np.ndarray, "N"], columns: Int64[np.ndarray, "N"]) -> Shaped[np.ndarray, "N C"]:
        """Pixels by row and column, which must lie in the picture."""
        pixels = self.pixels
        step, rest = divmod(pixels.strides[0], pixels.strides[1])
        if rest or step < self.width or pixels[0, 0].strides[0] != pixels.itemsize:  # flipped or thinned in Python
            return pixels[rows, columns]
        # as one column of pixels, with what lies between the rows of a crop: a view, where reshape would copy
        column = np.lib.stride_tricks.as_strided(
            pixels, ((self.height - 1) * step + self.width, pixels.shape[2]), pixels.strides[1:], writeable=False
        )
        return column.take(rows * step + columns, axis=0)

    def cropped(self, left: int, top: int, width: int, height: int) -> "Picture":
        """A part, sharing the pixels.

        Raises:
            ValueError: It lies outside.
        """
        if not (0 <= left < left + width <= self.width and 0 <= top < top + height <= self.height):
            raise ValueError(
                f"a crop of {width} x {height} at {left}, {top} is not within {self.width} x {self.height} pixels"
            )
        part = self.pixels[top : top + height, left : left + width]
        return Picture(f"{self.name} {width}x{height}+{left}+{top}", self.path, part, self.linear, self.warnings)


def open_picture(path: str | Path, cache: Path | None = None) -> Picture:
    """A picture file, mapped; formats whose pixels do not lie plainly in the file are decoded into `cache` once.

    JPEG, PNG, WebP and what else Pillow reads; TIFF and BigTIFF, strip by strip; EXR and Radiance HDR; .npy. The EXIF
    orientation is applied, a palette resolved, CMYK converted; colour profiles are not looked at.

    Args:
        path: The file.
        cache: Folder for decoded pixels (RUN/cache); without one they go to a file that vanishes with the process.

    Raises:
        SceneFormatError: Missing, empty, damaged, no picture, or larger than memory to decode.
        BackendUnavailable: The format needs a package that is not installed.
        OSError: No room for the decoded pixels.
    """
    path = Path(path)
    source = _source(path)
    header = source.header
    if source.mapped is not None:
        return Picture(path.stem, path, source.mapped, header.linear, header.warnings)
    left = memory.available(torch.device("cpu"))
    if header.memory > left:
        raise SceneFormatError(
            path, f"decoding {header.width} x {header.height} pixels needs {header.memory / 1e9:.1f} GB of memory, "
            f"{left / 1e9:.1f} GB are free; convert it to a tiled or striped TIFF, which is read piece by piece",
        )  # fmt: skip
    shape = (header.height, header.width, header.channels)
    if cache is None:
        pixels = pixel_cache.passing(shape, header.dtype, source.fill, _CURE)
    else:
        pixels = pixel_cache.kept(cache / _cache_name(path, header), shape, header.dtype, source.fill, _CURE)
    return Picture(path.stem, path, pixels, header.linear, header.warnings)


def probe(path: str | Path) -> Header:
    """What a picture file says of itself, without decoding.

    Raises:
        SceneFormatError: As `open_picture`.
    """
    return _source(Path(path)).header


def unit_values(values: Shaped[np.ndarray, "*B"]) -> Float[Tensor, "*B"]:
    """Stored values as float32: integers to [0, 1], floats as they are."""
    scale = {"uint8": 1 / 255, "uint16": 1 / 65535}.get(str(values.dtype))
    unit = torch.from_numpy(values.astype(np.float32))  # a copy: mapped pixels cannot be written
    return unit if scale is None else unit.mul_(scale)


def _source(path: Path) -> Source:
    if path.is_dir() or not path.exists():
        raise SceneFormatError(path, "a folder, not a picture" if path.is_dir() else "there is no such file")
    if path.stat().st_size == 0:
        raise SceneFormatError(path, "the file is empty (0 bytes); copy it again from its source")
    suffix = path.suffix.lower()
    if suffix in tiff.SUFFIXES:
        return tiff.source(path)
    if suffix == ".exr":
        return exr.source(path)
    if suffix in rgbe.SUFFIXES:
        return rgbe.source(path)
    if suffix == ".npy":
        return _array(path)
    return png16.source(path) if png16.applies(path) else pillow.source(path)


def _array(path: Path) -> Source:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        picture = Picture.from_array(np.asarray(values), path.stem)
    except (ValueError, EOFError) as error:
        raise SceneFormatError(path, f"not an array of pixels: {error}") from error
    header = Header(path, picture.width, picture.height, picture.pixels.shape[2], str(values.dtype), picture.linear)
    return Source(header, lambda out: None, picture.pixels)


def _cache_name(path: Path, header: Header) -> str:
    stat = path.stat()
    recipe = json.dumps([_FORMAT, str(path.resolve()), stat.st_size, stat.st_mtime_ns, header.n_bytes])
    return f"picture-{hashlib.sha256(recipe.encode()).hexdigest()[:20]}.raw"
