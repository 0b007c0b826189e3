"""How many bytes JPEG and WebP take for a picture as good as a field's."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, features

MOST_PIXELS = 1 << 22  # beyond it a mosaic stands for the picture
TILE = 256  # pixels, sides of the mosaic's pieces
WEBP_SIDE = 16383  # pixels, by the format


@dataclass(frozen=True)
class Coded:
    """A picture in another format.

    Attributes:
        name: The format.
        quality: The lowest that is as good; None if even the highest is worse.
        n_bytes: Of the whole picture.
        psnr: dB, on 8 bits.
    """

    name: str
    quality: int | None
    n_bytes: int
    psnr: float


def at_equal_psnr(pixels: UInt8[np.ndarray, "H W C"], psnr: float, n_pixels: int) -> list[Coded]:
    """The smallest files that reach a PSNR.

    Args:
        pixels: sRGB or grey; the picture or a mosaic of it.
        psnr: To be reached, dB.
        n_pixels: Of the whole picture: sizes are scaled to it.
    """
    formats = ["JPEG"]
    if features.check("webp") and max(pixels.shape[:2]) <= WEBP_SIDE:
        formats.append("WebP")
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    scale = n_pixels / (pixels.shape[0] * pixels.shape[1])
    return [_lowest(image, name, psnr, scale) for name in formats]


def mosaic(read: Callable[[int, int], np.ndarray], width: int, height: int) -> UInt8[np.ndarray, "H W C"]:
    """The picture, or evenly spaced tiles of it, `MOST_PIXELS` at most.

    Args:
        read: First row and row behind the last -> uint8 pixels.
        width: Of the picture, pixels.
        height: As `width`.
    """
    if width * height <= MOST_PIXELS or min(width, height) < TILE:
        return read(0, height)
    side = math.isqrt(MOST_PIXELS // TILE**2)
    down, across = min(side, height // TILE), min(side, width // TILE)
    lefts = np.linspace(0, width - TILE, across).astype(int).tolist()
    rows = []
    for top in np.linspace(0, height - TILE, down).astype(int).tolist():
        band = read(top, top + TILE)
        rows.append(np.concatenate([band[:, left : left + TILE] for left in lefts], 1))
    return np.concatenate(rows)


def _lowest(image: Image.Image, name: str, psnr: float, scale: float) -> Coded:
    """Bisection: a higher quality is not worse."""
    low, high, best = 1, 100, None
    while low <= high:
        quality = (low + high) // 2
        coded = _coded(image, name, quality, scale)
        if coded.psnr >= psnr:
            best, high = coded, quality - 1
        else:
            low = quality + 1
    if best is not None:
        return best
    highest = _coded(image, name, 100, scale)
    return Coded(name, None, highest.n_bytes, highest.psnr)


def _coded(image: Image.Image, name: str, quality: int, scale: float) -> Coded:
    buffer = io.BytesIO()
    more = {"optimize": True} if name == "JPEG" else {"method": 4}
    image.save(buffer, name, quality=quality, **more)
    n_bytes = buffer.tell()
    buffer.seek(0)
    with Image.open(buffer) as decoded:
        error = np.asarray(decoded.convert(image.mode), np.float32) - np.asarray(image, np.float32)
    square = float(np.square(error, dtype=np.float32).mean(dtype=np.float64)) / 255**2
    return Coded(name, quality, round(n_bytes * scale), math.inf if square == 0 else -10 * math.log10(square))
