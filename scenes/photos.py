"""One photograph: its size without decoding, and its pixels as uint8."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from neural.errors import SceneFormatError

Layout = Literal["rgb", "rgba", "mask"]
CHANNELS: dict[Layout, int] = {"rgb": 3, "rgba": 4, "mask": 1}
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
_LARGEST = 2**31  # pixels; far above any camera, far below what would exhaust a disk


@dataclass(frozen=True)
class PhotoInfo:
    """What a file's header says: size in pixels, and whether it has transparency."""

    width: int
    height: int
    alpha: bool


def probe(path: Path) -> PhotoInfo:
    """Read an image's header.

    Raises:
        SceneFormatError: Missing, not an image, or of an absurd size.
    """
    with opened(path) as image:
        alpha = "A" in image.getbands() or "transparency" in image.info
        return PhotoInfo(image.width, image.height, alpha)


def decode(path: Path, layout: Layout, downscale: int = 1) -> UInt8[np.ndarray, "H W C"]:
    """Decode an image, reduced by an integer factor with an area filter (on sRGB values, as is usual).

    Rows and columns that do not fill a block of `downscale` are cut off, so that dividing fx fy cx cy by
    the same number is exact. The EXIF orientation is not applied: poses and lenses were estimated on the
    stored pixel grid, and turning the image would silently separate the two. Alpha is straight; colours are
    averaged weighted by it.

    Raises:
        SceneFormatError: Missing, damaged or truncated.
    """
    with opened(path) as image:
        if image.mode in ("I;16", "I;16L", "I;16B", "I", "F"):
            image = _to_8_bits(path, image)
        image = image.convert({"rgb": "RGB", "rgba": "RGBA", "mask": "L"}[layout])
    if downscale > 1:
        width, height = (side // downscale * downscale for side in image.size)
        if not width or not height:
            raise SceneFormatError(path, f"{image.width} x {image.height} pixels vanish at 1/{downscale}")
        image = image.crop((0, 0, width, height))
        if layout == "rgba":
            return reduce_rgba(np.asarray(image), downscale)
        image = image.reduce(downscale)
    pixels = np.asarray(image)
    return np.where(pixels >= 128, 255, 0).astype(np.uint8)[..., None] if layout == "mask" else pixels


def _learn_heif(path: Path) -> None:
    """Teaches Pillow the photographs of telephones; they come upright, with the orientation already applied."""
    if not path.is_file():
        return
    try:
        import pillow_heif
    except ImportError:
        raise SceneFormatError(
            path, "a HEIC photograph needs pillow-heif: pip install 'neural[photos]', or convert it to JPEG"
        ) from None
    pillow_heif.register_heif_opener()


def thumbnail(path: Path, side: int) -> UInt8[np.ndarray, "H W 3"]:
    """A small copy, at most `side` pixels wide and high, on white; a large JPEG is decoded small in the first place.

    Raises:
        SceneFormatError: Missing, damaged or truncated.
    """
    with opened(path) as image:
        image.draft("RGB", (2 * side, 2 * side))
        if image.mode in ("I;16", "I;16L", "I;16B", "I", "F"):
            image = _to_8_bits(path, image)
        if "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(image)


class opened:
    """Context: an open image whose decoding errors become SceneFormatError with the file's name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Image.Image:
        if self.path.suffix.lower() in HEIF_SUFFIXES:
            _learn_heif(self.path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                self.image = Image.open(self.path)
        except FileNotFoundError:
            raise SceneFormatError(self.path, "no such image; restore it or remove its frame") from None
        except UnidentifiedImageError:
            raise SceneFormatError(self.path, "not an image that Pillow can read; convert it to PNG or JPEG") from None
        except Image.DecompressionBombError as error:
            raise SceneFormatError(self.path, f"{error}; cut it into smaller images") from None
        except (OSError, ValueError, SyntaxError) as error:
            raise SceneFormatError(self.path, f"cannot be opened as an image: {error}") from error
        if self.image.width * self.image.height > _LARGEST:
            raise SceneFormatError(self.path, f"{self.image.width} x {self.image.height} pixels are too many")
        return self.image

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self.image.close()
        # Pillow reports damage by these (SyntaxError: broken PNG; struct and zlib errors arrive as OSError).
        if isinstance(error, (OSError, ValueError, SyntaxError, EOFError)):
            raise SceneFormatError(
                self.path, f"damaged or truncated image ({error}); copy it again from its source"
            ) from error


def _to_8_bits(path: Path, image: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits; other wide formats have no agreed range and are refused."""
    if image.mode == "F":
        raise SceneFormatError(path, "floating-point images have no fixed range; convert to 8 or 16 bits")
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray((values.clip(0, 65535) / 257 + 0.5).astype(np.uint8))


def reduce_rgba(pixels: UInt8[np.ndarray, "H W 4"], n: int) -> UInt8[np.ndarray, "h w 4"]:
    """Area filter with colours weighted by alpha; fully transparent blocks keep their mean colour."""
    height, width = pixels.shape[0] // n, pixels.shape[1] // n
    blocks = pixels.reshape(height, n, width, n, 4).astype(np.float32)
    alpha = blocks[..., 3:]
    total = alpha.sum(axis=(1, 3))
    weighted = (blocks[..., :3] * alpha).sum(axis=(1, 3)) / np.maximum(total, 1)
    rgb = np.where(total > 0, weighted, blocks[..., :3].mean(axis=(1, 3)))
    return np.concatenate([rgb + 0.5, total / (n * n) + 0.5], axis=-1).astype(np.uint8)
