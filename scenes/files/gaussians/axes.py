"""Gaussians in a frame whose axes point the other way: positions, rotations and colours together.

Directions are named by letters: right or left, down or up, forward or back. Scenes are kept as `RDF`, the axes of
training on OpenCV cameras, of 3DGS `.ply` files and of all others here but `.spz`, whose axes are `RUB`.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from neural.scenes.files.gaussians.record import SplatRecord

Axes = Literal["RDF", "RUB", "LUF", "RUF", "LDB", "RDB", "LUB", "LDF"]
# Axes in which each real spherical harmonic above degree 0 is odd, in their order: it changes its sign with theirs.
_ODD = ("y", "z", "x", "xy", "yz", "", "xz", "", "y", "xyz", "y", "z", "x", "z", "x")


def flipped(record: SplatRecord, between: tuple[Axes, Axes]) -> SplatRecord:
    """The scene with other axes; the same both ways, and exact.

    Args:
        record: In one frame.
        between: The names of the two.
    """
    x, y, z = (1.0 if a == b else -1.0 for a, b in zip(*between, strict=True))
    if x == y == z == 1:
        return record
    sign = {"x": x, "y": y, "z": z}
    harmonics = [np.prod([sign[axis] for axis in odd]) for odd in _ODD[: record.shN.shape[1]]]
    return replace(
        record,
        means=record.means * np.array([x, y, z], dtype=np.float32),
        quats=record.quats * np.array([1, y * z, x * z, x * y], dtype=np.float32),
        shN=record.shN * np.array(harmonics, dtype=np.float32)[:, None],
    )
