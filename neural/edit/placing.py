"""Gaussians somewhere else: moved, turned, scaled, given other axes; their colours turn with them."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from neural.gaussians.model import Gaussians
from neural.gaussians.similarity import transformed
from neural.poses import rotation_from_quat
from neural.scenes.files.gaussians.record import Placement

# What a letter says of an axis: where it points, as right, up, back.
_POINTS_TO = {"R": (1, 0, 0), "L": (-1, 0, 0), "U": (0, 1, 0), "D": (0, -1, 0), "B": (0, 0, 1), "F": (0, 0, -1)}


def transform(gaussians: Gaussians, matrix: Float64[np.ndarray, "4 4"]) -> Gaussians:
    """Copies in another frame that look from every place of it as the old ones did.

    They no longer lie where a file said that they lie in the world (CRS, offset); metres per unit follow the scale.

    Args:
        gaussians: Stay as they are.
        matrix: From the old frame to the new one: rotation, uniform scale, translation; `similarity` makes it.

    Raises:
        ValueError: Not a similarity, or one that mirrors.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or (matrix[3] != [0, 0, 0, 1]).any():
        raise ValueError(
            f"transform: a matrix of 4 x 4 finite numbers with the last row 0 0 0 1, got {matrix.tolist()}"
        )
    moved = transformed(gaussians, matrix)
    metres, axes = gaussians.placement.metres_per_unit, gaussians.placement.axes
    if metres is not None:
        metres /= float(np.cbrt(np.linalg.det(matrix[:3, :3])))
    moved.placement = Placement(metres, axes=axes)
    return moved


def similarity(
    *,
    scale: float = 1.0,
    rotate: Sequence[float] | None = None,
    translate: Sequence[float] | None = None,
    about: Sequence[float] = (0.0, 0.0, 0.0),
    axes: tuple[str, str] | None = None,
) -> Float64[np.ndarray, "4 4"]:
    """The matrix that changes axes, scales, turns and moves, in this order.

    Args:
        scale: Above 0.
        rotate: An axis, of any length above 0, and degrees about it, counterclockwise as seen from its tip.
        translate: Added last, in units after scaling.
        about: The point that scaling and turning leave in its place, after the change of axes.
        axes: Names of the axes now and afterwards, as in ("RDF", "RUB"): where x, y and z point, each Right or Left, Up
            or Down, Forward or Back.

    Raises:
        ValueError: A number out of range; names of axes that would mirror.
    """
    if not 0 < scale < math.inf:
        raise ValueError(
            f"the scale must be above 0, got {scale:g}; a mirrored scene has other colours and no rotations"
        )
    linear = scale * (np.eye(3) if rotate is None else turn(rotate))
    fixed, moved = (np.asarray(p, dtype=np.float64) for p in (about, (0, 0, 0) if translate is None else translate))
    if fixed.shape != (3,) or moved.shape != (3,) or not np.isfinite([fixed, moved]).all():
        raise ValueError(f"translate and about must be three finite numbers, got {translate} and {about}")
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = fixed - linear @ fixed + moved
    if axes is not None:
        matrix[:3, :3] = matrix[:3, :3] @ between(*axes)
    return matrix


def turn(rotate: Sequence[float]) -> Float64[np.ndarray, "3 3"]:
    """The rotation by degrees about an axis: x, y, z, degrees.

    Raises:
        ValueError: An axis without direction.
    """
    values = np.asarray(rotate, dtype=np.float64)
    length = np.linalg.norm(values[:3]) if values.shape == (4,) and np.isfinite(values).all() else 0.0
    if length < 1e-12:
        raise ValueError(f"a turn needs an axis of some length and degrees about it, as 0 0 1 90; got {list(rotate)}")
    half = math.radians(values[3]) / 2
    return rotation_from_quat(np.array([math.cos(half), *(math.sin(half) * values[:3] / length)]))


def between(source: str, target: str) -> Float64[np.ndarray, "3 3"]:
    """The rotation from coordinates along some axes to those along others, by their names; see `similarity`.

    Raises:
        ValueError: No such axes, or one of the two is right-handed and the other left-handed.
    """
    rotation = _axes(target).T @ _axes(source)
    if np.linalg.det(rotation) < 0:
        raise ValueError(
            f"from axes {source} to {target} everything would be mirrored (one is left-handed); turn round one letter"
        )
    return rotation


def _axes(name: str) -> Float64[np.ndarray, "3 3"]:
    """Columns: where x, y and z point."""
    if len(name) == 3 and set(name.upper()) <= _POINTS_TO.keys():
        columns = np.array([_POINTS_TO[letter] for letter in name.upper()], dtype=np.float64).T
        if abs(np.linalg.det(columns)) == 1:
            return columns
    raise ValueError(
        f"axes are named by three letters that say where x, y and z point, one each of R or L, U or D, F or B, "
        f"as in RDF; got {name!r}"
    )
