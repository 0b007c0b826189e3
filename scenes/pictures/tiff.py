"""TIFF through tifffile: mapped as it lies in the file where it lies plainly, else strip by strip or tile by tile."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from neural.errors import BackendUnavailable, SceneFormatError
from neural.scenes.pictures.source import Header, Source

SUFFIXES = (".tif", ".tiff", ".btf")
_SUPPORTED = ("uint8", "uint16", "float32", "float16", "float64")
_RGB, _GREY, _GREY_INVERTED = 2, 1, 0  # PhotometricInterpretation


def source(path: Path) -> Source:
    """A TIFF or BigTIFF; its first page.

    Raises:
        SceneFormatError: Damaged, or of values that have no agreed range.
        BackendUnavailable: tifffile is not installed.
    """
    page, plain = _page(path)
    said = []
    if str(page.dtype) not in _SUPPORTED or int(page.photometric) not in (_RGB, _GREY, _GREY_INVERTED):
        raise SceneFormatError(
            path, f"values of type {page.dtype}, photometric interpretation {int(page.photometric)}; convert it to RGB "
            "or grey of 8 or 16 bits, or float32",
        )  # fmt: skip
    colours = 3 if int(page.photometric) == _RGB else 1
    samples = int(page.samplesperpixel)
    alpha = samples > colours and bool(page.extrasamples) and int(page.extrasamples[0]) in (1, 2)
    channels = colours + alpha
    if samples > channels:
        said.append(f"{path.name} has {samples} channels; the first {channels} are used.")
    dtype = "float32" if str(page.dtype).startswith("float") else str(page.dtype)
    header = Header(
        path, int(page.imagewidth), int(page.imagelength), channels, dtype, linear=dtype == "float32",
        warnings=tuple(said),
    )  # fmt: skip
    if int(getattr(page, "imagedepth", 1)) != 1 or samples < colours:
        raise SceneFormatError(path, f"{samples} channels of depth {page.imagedepth}; a flat picture is expected")
    inverted = int(page.photometric) == _GREY_INVERTED
    plain = plain and int(page.planarconfig) == 1 and channels == samples and not inverted
    if plain and str(page.dtype) == dtype:
        import tifffile

        values = np.asarray(tifffile.memmap(path, page=0, mode="r"))
        if values.dtype.isnative:
            return Source(header, lambda out: None, values.reshape(header.height, header.width, channels))

    def fill(out: np.ndarray) -> None:
        try:
            _fill(path, out, channels, inverted)
        except (ValueError, RuntimeError, IndexError, KeyError, zlib.error) as error:
            raise SceneFormatError(
                path, f"damaged or truncated picture ({error}); copy it again from its source"
            ) from error

    return Source(header, fill)


def _fill(path: Path, out: np.ndarray, channels: int, inverted: bool) -> None:
    page, _ = _page(path)
    planar = int(page.planarconfig) == 2
    with page.parent.filehandle as file:
        file.open()
        for values, index, shape in page.segments(maxworkers=1):
            if values is None:
                raise ValueError("a strip or tile is missing")
            plane, _, top, left, _ = index  # (sample, depth, row, column, channel)
            _, rows, columns, _ = shape
            part = values[0, :rows, :columns]
            if inverted:
                part = np.iinfo(part.dtype).max - part if part.dtype.kind == "u" else -part
            rows, columns = min(rows, out.shape[0] - top), min(columns, out.shape[1] - left)
            place = out[top : top + rows, left : left + columns]
            if planar:
                if plane < channels:
                    place[..., plane] = part[:rows, :columns, 0]
            else:
                place[:] = part[:rows, :columns, :channels]


def _page(path: Path) -> tuple[Any, bool]:
    """The first page, and whether its pixels lie plainly in the file."""
    try:
        import tifffile
    except ImportError as error:
        raise BackendUnavailable(
            f"{path}: TIFF needs tifffile: pip install 'neural[images]', or convert the file to PNG"
        ) from error
    try:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            return page, bool(page.is_memmappable)
    except (tifffile.TiffFileError, ValueError, IndexError, KeyError, TypeError) as error:
        raise SceneFormatError(path, f"not a TIFF that can be read ({error}); copy it again from its source") from error
