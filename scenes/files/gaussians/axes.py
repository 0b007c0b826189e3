"""Gaussians in a frame whose axes have other directions: positions, rotations and colours together.

A frame is named by where its axes point, x y z in turn, by one letter each: right or left, down or up, forward or
back. `RDF` is what scenes are kept in: the axes of training on OpenCV cameras and of 3DGS `.ply` files. `RUB` are
those of OpenGL and three.js, `RFU` those of Blender, `FLU` those of robots, `RUF` (a mirror) those of Unity.
"""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
from jaxtyping import Float64

from neural.poses import quat_from_rotation
from neural.scenes.files.gaussians import harmonics
from neural.scenes.files.gaussians.record import SplatRecord

Axes = str  # one of NAMES
_DIRECTIONS = {"R": (0, 1), "L": (0, -1), "D": (1, 1), "U": (1, -1), "F": (2, 1), "B": (2, -1)}  # in RDF
NAMES = tuple("".join(letters) for order in permutations(("RL", "DU", "FB")) for letters in product(*order))
# Axes in which each real spherical harmonic above degree 0 is odd, in their order: it changes its sign with theirs.
_ODD = ("y", "z", "x", "xy", "yz", "", "xz", "", "y", "xyz", "y", "z", "x", "z", "x")


def change(between: tuple[Axes, Axes]) -> Float64[np.ndarray, "3 3"]:
    """What takes coordinates of one frame to those of the other: a permutation with signs.

    Raises:
        ValueError: A name that is none.
    """
    before, after = (_basis(name) for name in between)
    return after @ before.T


def is_mirror(between: tuple[Axes, Axes]) -> bool:
    """Whether one frame is right-handed and the other left-handed."""
    return bool(np.linalg.det(change(between)) < 0)


def flipped(record: SplatRecord, between: tuple[Axes, Axes]) -> SplatRecord:
    """The scene with other axes; exact both ways where the axes keep their order.

    Args:
        record: In one frame.
        between: The names of the two.

    Raises:
        ValueError: A name that is none.
    """
    matrix = change(between)
    if between[0] == between[1]:
        return record
    offset = tuple((matrix @ np.array(record.placement.offset)).tolist())
    record = replace(record, placement=replace(record.placement, offset=offset))
    signs = np.diagonal(matrix)
    if np.abs(signs).sum() == 3:
        return _with_signs(record, signs)
    mirror = np.array([1.0, 1.0, np.round(np.linalg.det(matrix))])
    return rotated(_with_signs(record, mirror), matrix * mirror)


def own(record: SplatRecord) -> SplatRecord:
    """A record that was read in the axes that its file says, in which other programs show its coordinates."""
    return flipped(record, ("RDF", record.placement.axes))


def up(name: Axes) -> Float64[np.ndarray, "3"]:
    """The direction of a frame that is up, a unit vector."""
    return -_basis(name)[:, 1]


def rotated(record: SplatRecord, rotation: Float64[np.ndarray, "3 3"]) -> SplatRecord:
    """The scene turned about its origin; the placement stays as it is."""
    w, *v = quat_from_rotation(rotation)
    own, vector = record.quats[:, :1].astype(np.float64), record.quats[:, 1:].astype(np.float64)
    turned = np.concatenate(
        [w * own - vector @ np.array(v)[:, None], w * vector + own * v + np.cross(np.array(v), vector)], axis=1
    )
    return replace(
        record,
        means=record.means @ rotation.T.astype(np.float32),
        quats=turned.astype(np.float32),
        shN=harmonics.turned(record.shN, rotation),
    )


def _basis(name: Axes) -> Float64[np.ndarray, "3 3"]:
    """The frame's axes in RDF, one a row."""
    if name not in NAMES:
        raise ValueError(
            f"axes are named by three letters such as RDF, RUB or FLU, one each of right or left, down or up and "
            f"forward or back, got {name!r}"
        )
    rows = np.zeros((3, 3))
    for row, letter in zip(rows, name, strict=True):
        axis, sign = _DIRECTIONS[letter]
        row[axis] = sign
    return rows


def _with_signs(record: SplatRecord, signs: Float64[np.ndarray, "3"]) -> SplatRecord:
    x, y, z = signs
    if x == y == z == 1:
        return record
    sign = {"x": x, "y": y, "z": z}
    odd = [np.prod([sign[axis] for axis in axes]) for axes in _ODD[: record.shN.shape[1]]]
    return replace(
        record,
        means=record.means * np.array([x, y, z], dtype=np.float32),
        quats=record.quats * np.array([1, y * z, x * z, x * y], dtype=np.float32),
        shN=record.shN * np.array(odd, dtype=np.float32)[:, None],
    )
