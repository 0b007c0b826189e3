"""Rigid poses in float64 NumPy: checking what files claim, looking at points, turning smoothly."""

import numpy as np
from jaxtyping import Float64

_SHEAR = 0.01  # largest relative spread of the column lengths that rounding in text files explains
_LYING = 0.5  # sine between the axis of a camera and up from which a picture has a top
_FAR = 1e12  # scene units; beyond it float64 keeps less than a tenth of a millimetre per metre


def nearest_rigid(matrix: Float64[np.ndarray, "4 4"]) -> tuple[Float64[np.ndarray, "4 4"], float]:
    """Strip rounding errors and a uniform scale from a pose.

    Returns:
        The pose with the nearest rotation, and the scale its axes had (1 in a well-formed file).

    Raises:
        ValueError: Not a pose; the message is a sentence that says what is wrong and what to do.
    """
    if not np.isfinite(matrix).all():
        raise ValueError("it contains NaN or infinity; remove this frame or repeat the pose estimation")
    if np.abs(matrix[:3]).max() > _FAR:
        raise ValueError(f"its entries exceed {_FAR:g}; the file is damaged or in a wrong unit")
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise ValueError(f"its last row is {matrix[3].tolist()} instead of [0, 0, 0, 1]; is the matrix transposed?")
    u, singular, vt = np.linalg.svd(matrix[:3, :3])
    if singular[2] <= 1e-6 * singular[0] or singular[0] == 0:
        raise ValueError("its rotation is singular (axes vanish or coincide); repeat the pose estimation")
    if np.linalg.det(u) * np.linalg.det(vt) < 0:
        raise ValueError("its axes are left-handed (determinant < 0); export right-handed poses or negate one axis")
    if singular[0] / singular[2] > 1 + _SHEAR:
        raise ValueError(
            f"its axes are sheared or scaled unevenly (by {singular[0] / singular[2]:.3g}); "
            "a pose may hold only rotation and translation"
        )
    rigid = np.eye(4)
    rigid[:3, :3] = u @ vt
    rigid[:3, 3] = matrix[:3, 3]
    return rigid, float(singular.mean())


def quarter_turns(c2w: Float64[np.ndarray, "R 4"], up: Float64[np.ndarray, "3"]) -> int:
    """Turns of a camera's picture, anticlockwise as `np.rot90` counts, that bring up nearest to its top; 0 to 3.

    Photographs of telephones may be stored on their sides. A camera that looks along up has no top: 0.

    Args:
        c2w: Pose, x right and y down.
        up: Unit vector.
    """
    right, down = up @ c2w[:3, 0], up @ c2w[:3, 1]
    if max(abs(right), abs(down)) < _LYING:
        return 0
    return int(np.argmax([-down + 1e-6, right, down, -right]))  # halfway it stays as it is


def rotation_from_quat(quat: Float64[np.ndarray, "... 4"]) -> Float64[np.ndarray, "... 3 3"]:
    """Rotation matrix of a quaternion w x y z of any length but zero."""
    w, x, y, z = np.moveaxis(quat / np.linalg.norm(quat, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quat_from_rotation(rotation: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "4"]:
    """Unit quaternion w x y z, w >= 0.

    The eigenvector of a symmetric 4 x 4 matrix: no case distinctions, and stable for half turns.

    Source: Bar-Itzhack 2000, "New method for extracting the quaternion from a rotation matrix", version 2.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    quat = np.linalg.eigh(symmetric)[1][:, -1]
    return -quat if quat[0] < 0 else quat


def slerp(start: Float64[np.ndarray, "4"], end: Float64[np.ndarray, "4"], t: float) -> Float64[np.ndarray, "4"]:
    """Constant-speed turn from `start` (t = 0) to `end` (t = 1), the short way round."""
    cosine = float(start @ end)
    if cosine < 0:
        end, cosine = -end, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-6:  # sin(angle) would divide by nothing; here the chord is the arc
        mixed = (1 - t) * start + t * end
    else:
        mixed = np.sin((1 - t) * angle) * start + np.sin(t * angle) * end
    return mixed / np.linalg.norm(mixed)


def look_at(
    origin: Float64[np.ndarray, "3"], target: Float64[np.ndarray, "3"], up: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
    """A c2w (OpenCV axes) at `origin` whose z axis meets `target` and whose image top is towards `up`."""
    forward = target - origin
    distance = np.linalg.norm(forward)
    if distance == 0:
        raise ValueError("look_at: origin and target are the same point")
    forward = forward / distance
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-9:  # looking along `up`: any roll will do
        right = np.cross(forward, np.eye(3)[np.argmin(np.abs(forward))])
    right /= np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    c2w[:3, 3] = origin
    return c2w
