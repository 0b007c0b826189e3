"""What formats of few bits share: opacities and colours in bytes, rotations by their three smallest components."""

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])  # than the largest component


def rounded(values: Float[np.ndarray, "*shape"], most: int = 255) -> Int64[np.ndarray, "*shape"]:
    """The nearest whole numbers from 0 to `most`."""
    return np.rint(values).clip(0, most).astype(np.int64)


def bytes_of(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """The nearest whole numbers from 0 to 255."""
    return np.rint(values).clip(0, 255).astype(np.uint8)


def opacities(logits: Float32[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """The sigmoid, in float64."""
    return 1 / (1 + np.exp(-logits.astype(np.float64).clip(-700, 700)))


def logits(steps: UInt8[np.ndarray, "N"]) -> Float32[np.ndarray, "N"]:
    """Of opacities in steps of 1/255; 0 and 1, whose logits are infinite, are taken a quarter of a step inside."""
    alpha = np.arange(256).clip(0.25, 254.75) / 255
    return np.log(alpha / (1 - alpha)).astype(np.float32)[steps]


def smallest_three(quats: Float32[np.ndarray, "N 4"]) -> tuple[Int64[np.ndarray, "N"], Float32[np.ndarray, "N 3"]]:
    """Which component of a rotation is largest, and the others in order, of that sign of it that makes this positive.

    The others are at most sqrt(1/2), and the largest follows from them: 1 = w^2 + x^2 + y^2 + z^2.
    """
    largest = np.abs(quats).argmax(axis=1)
    rows = np.arange(len(quats))
    lengths = np.sqrt(np.einsum("nc,nc->n", quats, quats, dtype=np.float64))
    lengths[quats[rows, largest] < 0] *= -1
    others = quats[rows[:, None], _OTHERS[largest]] / lengths[:, None]
    return largest, others.astype(np.float32)


def from_smallest_three(
    largest: Int64[np.ndarray, "N"], others: Float32[np.ndarray, "N 3"]
) -> Float32[np.ndarray, "N 4"]:
    """The rotation that `smallest_three` took apart, of length 1."""
    quats = np.empty((len(others), 4), dtype=np.float32)
    rows = np.arange(len(quats))
    quats[rows[:, None], _OTHERS[largest]] = others
    quats[rows, largest] = np.sqrt((1 - np.einsum("nc,nc->n", others, others)).clip(0, None))
    return quats
