"""Pixels of a picture that nothing covers, filled from those around them: bilinear and coarser levels read them too.

Source: Gortler, Grzeszczuk, Szeliski and Cohen 1996, "The lumigraph", section 3.4 (pull and push).
"""

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt8


def filled(rgb: UInt8[np.ndarray, "S S 3"], known: Bool[np.ndarray, "S S"], rings: int) -> UInt8[np.ndarray, "S S 3"]:
    """A picture without holes.

    Args:
        rgb: The picture.
        known: Where it is one.
        rings: Pixels around what is known that take the mean of their neighbours; what is farther is smooth.
    """
    rgb, known = rgb.copy(), known.copy()
    for _ in range(rings):
        _ring(rgb, known)
    smooth = (_pushed(*_halved(rgb, known)) + 0.5).astype(np.uint8)
    return np.where(known[..., None], rgb, smooth.repeat(2, 0).repeat(2, 1)[: len(rgb), : rgb.shape[1]])


def _ring(rgb: UInt8[np.ndarray, "S S 3"], known: Bool[np.ndarray, "S S"]) -> None:
    """The unknown neighbours of the known become their mean, in place."""
    around = np.zeros_like(known)
    around[1:] |= known[:-1]
    around[:-1] |= known[1:]
    around[:, 1:] |= known[:, :-1]
    around[:, :-1] |= known[:, 1:]
    row, column = np.nonzero(around & ~known)
    total, count = np.zeros((len(row), 3), np.int64), np.zeros((len(row), 1), np.int64)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            y, x = (row + down).clip(0, len(known) - 1), (column + right).clip(0, known.shape[1] - 1)
            there = known[y, x][:, None]
            total += np.where(there, rgb[y, x], 0)
            count += there
    rgb[row, column] = (total + count // 2) // count
    known[row, column] = True


def _pushed(mean: Float32[np.ndarray, "H W 3"], weight: Float32[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W 3"]:
    """Where there is nothing, what half the size has there, itself so filled."""
    if max(weight.shape) == 1:
        return mean
    rough = _pushed(*_halved(mean, weight)).repeat(2, 0).repeat(2, 1)[: len(mean), : mean.shape[1]]
    return np.where(weight[..., None] > 0, mean, rough)


def _halved(
    values: Shaped[np.ndarray, "H W 3"], weight: Shaped[np.ndarray, "H W"]
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Means of what is there in each two by two pixels, and how much that is, 1 at most."""
    height, width = (-(-n // 2) for n in weight.shape)
    total, light = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    for down in (0, 1):
        for right in (0, 1):
            part = weight[down::2, right::2]
            rows, columns = part.shape
            total[:rows, :columns] += part[..., None] * values[down::2, right::2]
            light[:rows, :columns] += part
    return total / np.maximum(light, 1e-12)[..., None], np.minimum(light, 1)
