"""Meshes as bodies with an inside: small faults repaired and said, and the similarity into the unit cube."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from neural.errors import SceneFormatError
from neural.scenes.files.mesh import Mesh, areas

FILL = 0.9  # of the unit cube's side that the longest side of the mesh takes


@dataclass(frozen=True)
class Solid:
    """A triangle mesh whose corners are shared, whose faces have an area and point outwards as a whole.

    The unit cube holds the mesh in its middle: `(x - centre) / side + 1/2`, with the same factor along each axis.

    Attributes:
        name: For people.
        vertices: Corners, in the mesh's own frame.
        faces: Three corners each, counterclockwise seen from outside.
        centre: Middle of the mesh's box, in its own frame.
        side: Of the unit cube, in the mesh's own unit of length.
        open_edges: Oriented edges that faces on one side alone have: where the mesh has borders. An edge that
            is left n times is there n times.
        closed: Whether every edge has an even number of faces.
        repairs: What was mended, one sentence each.
    """

    name: str
    vertices: Float64[np.ndarray, "V 3"]
    faces: Int64[np.ndarray, "F 3"]
    centre: Float64[np.ndarray, "3"]
    side: float
    open_edges: Int64[np.ndarray, "E 2"]
    closed: bool
    repairs: tuple[str, ...]

    def to_unit(self, points: Float[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
        """From the mesh's own frame into the unit cube."""
        return (np.asarray(points, np.float64) - self.centre) / self.side + 0.5

    def from_unit(self, points: Float[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
        """From the unit cube into the mesh's own frame."""
        return (np.asarray(points, np.float64) - 0.5) * self.side + self.centre

    def corners(self) -> Float64[np.ndarray, "F 3 3"]:
        """The corners of each face in the unit cube."""
        return self.to_unit(self.vertices)[self.faces]


def build(mesh: Mesh, source: str | Path) -> Solid:
    """Mends a mesh and finds its place in the unit cube.

    Corners at one place become one, faces without an area, second copies of a face and faces back to back go, and a
    mesh that is inside out is turned. Borders stay; `neural.scenes.mesh_distance` says what inside means then.

    Args:
        mesh: As read.
        source: The file, or a name.

    Raises:
        SceneFormatError: No face has an area.
    """
    repairs = []
    vertices, faces = mesh.vertices, mesh.faces
    used, places = np.unique(faces, return_inverse=True)
    vertices, first, merged = np.unique(vertices[used] + 0.0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # in the order of the file
    vertices, rank = vertices[order], np.argsort(order)
    faces = rank[merged.reshape(-1)][places].reshape(-1, 3)
    if len(vertices) < len(used):
        repairs.append(f"{_count(len(used) - len(vertices), 'duplicate corner')} merged")

    distinct = (faces != np.roll(faces, 1, axis=1)).all(1)
    _, kept = np.unique(_turned(faces[distinct]), axis=0, return_index=True)
    if len(kept) < distinct.sum():
        repairs.append(f"{_count(int(distinct.sum()) - len(kept), 'duplicate face')} removed")
    faces_once = faces[distinct][np.sort(kept)]
    back_to_back = _opposed(faces_once)
    if back_to_back.any():
        repairs.append(f"{_count(int(back_to_back.sum()) // 2, 'pair')} of faces back to back removed")
        faces_once = faces_once[~back_to_back]
    open_edges, closed = _borders(faces_once)  # before faces without an area go: they may close a seam
    flat = areas(vertices, faces_once) == 0
    n_flat = int(flat.sum() + (~distinct).sum())
    if n_flat:
        repairs.append(f"{_count(n_flat, 'face')} without an area removed")
    faces_once = faces_once[~flat]
    if not len(faces_once):
        raise SceneFormatError(source, "has no face with an area; a signed distance needs a surface")

    low, high = vertices.min(0), vertices.max(0)
    centre, side = (low + high) / 2, float((high - low).max()) / FILL
    if _volume((vertices - centre) / side, faces_once, open_edges) < 0:
        faces_once, open_edges = faces_once[:, ::-1].copy(), open_edges[:, ::-1].copy()
        repairs.append("faces pointed inwards and were turned")
    name = Path(source).stem if isinstance(source, Path) else source
    return Solid(name, vertices, faces_once, centre, side, open_edges, closed, tuple(repairs))


def _turned(faces: Int64[np.ndarray, "F 3"]) -> Int64[np.ndarray, "F 3"]:
    """The same faces, each beginning with its smallest corner."""
    start = faces.argmin(1)[:, None]
    return np.take_along_axis(faces, (start + np.arange(3)) % 3, axis=1)


def _opposed(faces: Int64[np.ndarray, "F 3"]) -> Bool[np.ndarray, "F"]:
    """Faces that another one turned the other way covers: between the two there is nothing."""
    _, place, counts = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True, return_counts=True)
    return counts[place.reshape(-1)] == 2


def _borders(faces: Int64[np.ndarray, "F 3"]) -> tuple[Int64[np.ndarray, "E 2"], bool]:
    """The oriented edges that do not cancel, and whether every edge has an even number of faces."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = edges[:, 0] < edges[:, 1]
    undirected, place, counts = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True, return_counts=True)
    net = np.bincount(place.reshape(-1), weights=np.where(forward, 1, -1), minlength=len(undirected)).astype(np.int64)
    oriented = np.where((net > 0)[:, None], undirected, undirected[:, ::-1])
    return np.repeat(oriented, np.abs(net), axis=0), bool((counts % 2 == 0).all())


def _volume(
    vertices: Float64[np.ndarray, "V 3"], faces: Int64[np.ndarray, "F 3"], open_edges: Int64[np.ndarray, "E 2"]
) -> float:
    """Signed volume of the mesh with its borders closed by a fan from their middle; positive if faces look out."""
    apex = vertices[open_edges].mean((0, 1)) if len(open_edges) else np.zeros(3)
    a, b, c = (vertices[faces[:, corner]] - apex for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
