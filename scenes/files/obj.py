"""OBJ files: corners with their colours, and faces; materials, texture coordinates and normals are left out.

Format: Wavefront 1992, "Object Files (.obj)", appendix B1; colours behind the coordinates as MeshLab writes them.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from neural.atomic import replacing
from neural.errors import SceneFormatError


class Lines(NamedTuple):
    """What the lines `v` and `f` hold.

    Attributes:
        xyz: Corners.
        rgb: Their sRGB in [0, 1]; None unless all have one.
        counts: How many corners each face has.
        corners: Those of all faces after one another, counted from 0.
    """

    xyz: Float64[np.ndarray, "V 3"]
    rgb: Float64[np.ndarray, "V 3"] | None
    counts: Int64[np.ndarray, "N"]
    corners: Int64[np.ndarray, "M"]


def read(path: Path) -> Lines:
    """Corners and faces of a mesh.

    Raises:
        SceneFormatError: Names the line that cannot be read.
    """
    try:
        lines = path.read_bytes().replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").splitlines()
    except OSError as error:
        raise SceneFormatError(path, f"cannot be read: {error.strerror}") from error
    corners: list[list[float]] = []
    counts: list[int] = []
    indices: list[int] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0] not in (b"v", b"f"):
            continue
        try:
            if words[0] == b"v":
                corners.append([float(word) for word in words[1:7]])
                if len(corners[-1]) < 3:
                    raise ValueError
            else:
                face = [int(word.partition(b"/")[0]) for word in words[1:]]
                if len(face) < 3 or 0 in face:  # 0 would be the corner that comes next
                    raise ValueError
                counts.append(len(face))
                indices += [index - 1 if index > 0 else len(corners) + index for index in face]
        except ValueError:
            wanted = "x y z and perhaps r g b"
            if words[0] == b"f":
                wanted = "three corners or more, such as 1/1/1, counted from 1 or back from -1"
            raise SceneFormatError(path, f"line {number} is {line[:60]!r}, expected {wanted}") from None
    xyz = np.array([corner[:3] for corner in corners], np.float64).reshape(-1, 3)
    colored = bool(corners) and all(len(corner) == 6 for corner in corners)
    rgb = np.array([corner[3:] for corner in corners], np.float64) if colored else None
    try:
        return Lines(xyz, rgb, np.array(counts, np.int64), np.array(indices, np.int64))
    except OverflowError:
        raise SceneFormatError(path, "a face names a corner beyond 64 bits; it is damaged") from None


def write_mesh(
    path: Path,
    vertices: Float64[np.ndarray, "V 3"],
    faces: Int64[np.ndarray, "F 3"],
    rgb: UInt8[np.ndarray, "V 3"] | None = None,
) -> None:
    """Writes corners, to nine digits, with their colours behind them, and triangles."""
    with replacing(path) as file:
        if rgb is None:
            np.savetxt(file, vertices, fmt="v %.9g %.9g %.9g")
        else:
            rows = np.concatenate([vertices, rgb / 255], axis=1)
            np.savetxt(file, rows, fmt="v %.9g %.9g %.9g %.4f %.4f %.4f")
        np.savetxt(file, faces + 1, fmt="f %d %d %d")
