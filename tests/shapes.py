"""Small meshes with known distances, and what can be wrong with them."""

import numpy as np

from neural.scenes.files.mesh import Mesh


def mesh_of(vertices, faces) -> Mesh:
    """A grey mesh."""
    vertices = np.asarray(vertices, np.float64)
    return Mesh(vertices, np.full(vertices.shape, 128, np.uint8), np.asarray(faces, np.int64).reshape(-1, 3))


def icosphere(subdivisions: int = 3, radius: float = 1.0, centre=(0.0, 0.0, 0.0)) -> Mesh:
    """20 * 4^n triangles, all corners on the sphere."""
    phi = (1 + 5**0.5) / 2
    corners = [(-1, phi, 0), (1, phi, 0), (-1, -phi, 0), (1, -phi, 0), (0, -1, phi), (0, 1, phi), (0, -1, -phi),
               (0, 1, -phi), (phi, 0, -1), (phi, 0, 1), (-phi, 0, -1), (-phi, 0, 1)]  # fmt: skip
    faces = [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2),
             (10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5), (2, 4, 11),
             (6, 2, 10), (8, 6, 7), (9, 8, 1)]  # fmt: skip
    vertices = np.array(corners, np.float64)
    triangles = np.array(faces)
    for _ in range(subdivisions):
        edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
        unique, place = np.unique(edges, axis=0, return_inverse=True)
        ab, bc, ca = np.split(place.reshape(-1) + len(vertices), 3)
        vertices = np.concatenate([vertices, vertices[unique].mean(1)])
        a, b, c = triangles.T
        triangles = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
    vertices *= radius / np.linalg.norm(vertices, axis=1, keepdims=True)
    return mesh_of(vertices + np.asarray(centre), triangles)


def box(low=(0.0, 0.0, 0.0), high=(1.0, 1.0, 1.0)) -> Mesh:
    """Twelve triangles."""
    sides = np.array([low, high], np.float64)
    corners = np.array([[sides[i, 0], sides[j, 1], sides[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return mesh_of(corners, [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])


def joined(*parts: Mesh) -> Mesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    faces = [part.faces + start for part, start in zip(parts, starts, strict=True)]
    return mesh_of(np.concatenate([part.vertices for part in parts]), np.concatenate(faces))


def inverted(mesh: Mesh) -> Mesh:
    """With its faces the other way round."""
    return mesh_of(mesh.vertices, mesh.faces[:, ::-1])


def without(mesh: Mesh, faces) -> Mesh:
    """With some faces gone."""
    return mesh_of(mesh.vertices, np.delete(mesh.faces, faces, axis=0))


def soup(mesh: Mesh) -> Mesh:
    """Every triangle with corners of its own, as an .stl has them."""
    return mesh_of(mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3))
