"""Triangle meshes in files: `.ply` with faces and `.obj`, read into `Mesh`; polygons become fans of triangles."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from neural.errors import NotSaved, SceneFormatError
from neural.scenes.files import mesh_glb, obj, ply

_GREY = 128
_CORNERS = ("vertex_indices", "vertex_index")


@dataclass(frozen=True)
class Mesh:
    """Triangles that share corners.

    Attributes:
        vertices: Corners, in the file's frame.
        rgb: Their sRGB; grey where the file has none.
        faces: Three corners each.
    """

    vertices: Float64[np.ndarray, "V 3"]
    rgb: UInt8[np.ndarray, "V 3"]
    faces: Int64[np.ndarray, "F 3"]


def read(path: Path) -> Mesh:
    """A mesh with at least one triangle.

    Raises:
        SceneFormatError: Names what is wrong: damaged, no faces, a corner that is not there or not finite, no area.
    """
    if path.suffix.lower() == ".obj":
        vertices, fractions, counts, corners = obj.read(path)
        rgb = np.full(vertices.shape, _GREY, np.uint8)
        if fractions is not None:
            rgb = (np.nan_to_num(fractions).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    else:
        vertices, rgb = ply.read_points(path)
        counts, corners = ply.read_lists(path, "face", _CORNERS)
    mesh = Mesh(vertices, rgb, _triangles(counts, corners))
    _check(path, mesh)
    return mesh


def write(
    path: Path,
    vertices: Float64[np.ndarray, "V 3"],
    faces: Int64[np.ndarray, "F 3"],
    rgb: UInt8[np.ndarray, "V 3"] | None = None,
    **texture: np.ndarray,
) -> Path:
    """Writes a mesh as a binary .ply, an .obj or a .glb, to a temporary name first; gives the path.

    Corners of a .ply are float32, or float64 where their coordinates are too large for that; those of a .glb are meant
    to be y up.

    Args:
        path: Its ending decides the format.
        vertices: Corners.
        faces: Triangles, counterclockwise seen from outside.
        rgb: sRGB of the corners, if there are colours.
        texture: Of a .glb, `uv` and `texture` in their place: see `mesh_glb.write_mesh`.

    Raises:
        ValueError: Another ending.
        NotSaved: The disk refuses.
    """
    writers: dict[str, Callable[..., None]] = {
        ".ply": ply.write_mesh, ".obj": obj.write_mesh, ".glb": mesh_glb.write_mesh,
    }  # fmt: skip
    if path.suffix.lower() not in writers:
        raise ValueError(f"a mesh is written as .ply, .obj or .glb, got {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writers[path.suffix.lower()](path, vertices, faces, rgb, **texture)
    except OSError as error:
        raise NotSaved(f"{path}: cannot be written: {error.strerror}") from error
    return path


def _triangles(counts: Int64[np.ndarray, "N"], corners: Int64[np.ndarray, "M"]) -> Int64[np.ndarray, "F 3"]:
    """A fan around the first corner of each polygon, in their order; fewer than three corners are nothing."""
    first = np.cumsum(counts) - counts
    fans = np.maximum(counts - 2, 0)
    polygon = np.repeat(np.arange(len(counts)), fans)
    place = np.arange(len(polygon)) - np.repeat(np.cumsum(fans) - fans, fans)
    start = first[polygon]
    return corners[np.stack([start, start + place + 1, start + place + 2], axis=-1)]


def _check(path: Path, mesh: Mesh) -> None:
    n = len(mesh.vertices)
    if not len(mesh.faces):
        raise SceneFormatError(path, f"has {n} corners but no faces; a point cloud is read from a .ply without faces")
    wrong = ((mesh.faces < 0) | (mesh.faces >= n)).any(1)
    if wrong.any():
        triangle = mesh.faces[int(wrong.argmax())].tolist()
        raise SceneFormatError(path, f"a face has the corners {triangle}, counted from 0, but there are {n}")
    strange = ~(np.isfinite(mesh.vertices).all(1))
    if strange.any():
        row = int(strange.argmax())
        raise SceneFormatError(
            path, f"corner {row} is at {mesh.vertices[row].tolist()} ({strange.sum()} such corners); remove them"
        )
    total = float(areas(mesh.vertices, mesh.faces).sum())
    if not 0 < total < np.inf:
        raise SceneFormatError(
            path, f"its {len(mesh.faces)} triangles have an area of {total:g}; nothing can lie on it"
        )


def areas(vertices: Float64[np.ndarray, "V 3"], faces: Int64[np.ndarray, "F 3"]) -> Float64[np.ndarray, "F"]:
    """Of triangles."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
