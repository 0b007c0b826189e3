"""JPEG, PNG, WebP, GIF, BMP and whatever else Pillow decodes: 8 bits, or 16 of grey."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from neural.errors import SceneFormatError
from neural.scenes.pictures.source import Header, Source

_WIDE = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # modes of 16-bit grey
_BAND = 1024  # rows that are converted at once
_OPENING = threading.Lock()  # Pillow's limit on pixels is one for the process


def source(path: Path) -> Source:
    """A file that Pillow knows.

    Raises:
        SceneFormatError: Not a picture, damaged, or of a kind that has no agreed range.
    """
    with _opened(path) as image:
        if image.mode == "F":
            raise SceneFormatError(path, "floating-point values without a range; convert it to EXR, TIFF or 16 bits")
        said = []
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            said.append(f"{path.name} has {frames} pictures; the first is used.")
        if image.mode == "CMYK":
            said.append(f"{path.name} is CMYK; it is converted to RGB without its colour profile.")
        wide, target = image.mode in _WIDE, _target(image)
        exif = Image.Image.getexif(image)  # a PNG's own form would decode it first
        turned = exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        width, height = image.size[::-1] if turned else image.size
        # Pillow decodes to 1, 3 or 4 bytes a pixel, three taking four; a turned picture is there twice
        each = 4 if wide or len(image.getbands()) > 1 else 1
        header = Header(
            path, width, height, 1 if wide else {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[target],
            "uint16" if wide else "uint8", memory=image.width * image.height * each * 2, warnings=tuple(said),
        )  # fmt: skip

    def fill(out: np.ndarray) -> None:
        with _opened(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.size != (header.width, header.height):
                raise ValueError(f"{upright.width} x {upright.height} pixels, {header.width} x {header.height} said")
            for top in range(0, header.height, _BAND):
                bottom = min(top + _BAND, header.height)
                band = upright.crop((0, top, header.width, bottom))
                if wide:
                    out[top:bottom, :, 0] = _sixteen_bits(path, np.asarray(band))
                else:
                    values = np.asarray(band if band.mode == target else band.convert(target))
                    out[top:bottom] = values.reshape(bottom - top, header.width, header.channels)

    return Source(header, fill)


def _target(image: Image.Image) -> str:
    alpha = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
    grey = image.mode in ("1", "L", "LA", "La")
    return {(True, False): "L", (True, True): "LA", (False, False): "RGB", (False, True): "RGBA"}[grey, alpha]


def _sixteen_bits(path: Path, values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 65535:
        raise SceneFormatError(
            path,
            f"integers from {values.min()} to {values.max()}, expected 0 to 65535; convert it to 16 bits or to EXR",
        )
    return values.astype(np.uint16)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An open picture of any size, whose decoding errors become SceneFormatError with the file's name."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # sizes are checked against memory and disk here
        try:
            image = Image.open(path)
        except UnidentifiedImageError:
            raise SceneFormatError(
                path, "not a picture that can be read; there are JPEG, PNG, WebP, TIFF, EXR, HDR and what Pillow reads"
            ) from None
        except (OSError, ValueError, SyntaxError) as error:
            raise SceneFormatError(path, f"cannot be opened as a picture: {error}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield image
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk, say, while the pixels are written
        raise SceneFormatError(
            path, f"damaged or truncated picture ({error}); copy it again from its source"
        ) from error
    finally:
        image.close()
