"""Which photographs say nothing new or nothing sharp: found among the others, never by an absolute measure."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

THUMBNAIL = 32  # pixels a side
_BLURRED = 0.4  # of the sharpness that is usual in the set
_SAME = 1.5  # grey levels by which two thumbnails of one picture differ, root mean square
_FEWEST = 8  # photographs that make a usual sharpness


def sharpness(grey: UInt8[np.ndarray, "H W"]) -> float:
    """Fine detail over coarse detail, eight times as large: about the same for any content, low for blur.

    A blurred picture has lost its fine detail, whatever it shows, and keeps what is coarse; a smooth one has little of
    either. Fine is two pixels: single ones are the sensor's noise, or the JPEG's.
    """
    fine = _detail(_reduced(grey, 2))
    return float(fine / max(_detail(_reduced(grey, 16)), 0.1))


def blurred(values: Sequence[float]) -> list[int]:
    """Indices of those far less sharp than is usual; none where photographs are too few to know, or too many differ."""
    if len(values) < _FEWEST:
        return []
    found = np.flatnonzero(np.asarray(values) < _BLURRED * np.median(values))
    return [] if len(found) > 0.3 * len(values) else found.tolist()


def duplicates(thumbnails: UInt8[np.ndarray, "N T T"]) -> list[tuple[int, int]]:
    """Pairs (later, earlier) of pictures that show the same to the grey level; compared with every earlier one kept."""
    flat: Float[np.ndarray, "N P"] = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    squares = (flat**2).mean(axis=1)
    pairs: list[tuple[int, int]] = []
    gone: set[int] = set()
    for later in range(1, len(flat)):
        distances = squares[:later] + squares[later] - 2 * (flat[:later] @ flat[later]) / flat.shape[1]
        for earlier in np.flatnonzero(distances < _SAME**2).tolist():
            if earlier not in gone:
                pairs.append((later, earlier))
                gone.add(later)
                break
    return pairs


def _detail(grey: Float[np.ndarray, "H W"]) -> float:
    """Mean size of the Laplacian."""
    if min(grey.shape) < 3:
        return 0.0
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.abs(4 * middle - around).mean())


def _reduced(grey: UInt8[np.ndarray, "H W"], n: int) -> Float[np.ndarray, "h w"]:
    """Means of n x n pixels; as they are where the picture is too small for that."""
    height, width = (side // n * n for side in grey.shape)
    if min(height, width) < 3 * n:
        return grey.astype(np.float32)
    return grey[:height, :width].reshape(height // n, n, width // n, n).mean(axis=(1, 3), dtype=np.float32)
