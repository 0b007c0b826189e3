"""What closes the borders of an open mesh, and the part that it takes in the winding number."""

import math

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

PAIRS = 1 << 15  # points times triangles of one pass: what stays in the caches


class Caps:
    """A fan of triangles over each border, from near its middle to its edges; mesh and fans together are closed.

    Whatever the fans look like, the winding number of the mesh is that of the closed whole, an integer that one ray
    counts, less the solid angle of the fans over 4 pi.

    Args:
        edges: Both ends of each open edge, oriented as the face that has it.
        numbers: The same as numbers of corners: edges that share one are of one border.

    Attributes:
        triangles: The fans' corners, oriented as the mesh.

    Source: Martens et al. 2026, arXiv:2605.01536, with tips at the borders in place of far away: so they hardly count
    at points that are not near a hole.
    """

    def __init__(self, edges: Float64[np.ndarray, "E 2 3"], numbers: Int64[np.ndarray, "E 2"]) -> None:
        border = _borders(numbers)
        ends = [edges[border == b] for b in range(border.max(initial=-1) + 1)]
        self._tips = np.stack([_tip(each) for each in ends] or [np.zeros(3)])
        tips = self._tips[border].reshape(-1, 3)
        self.triangles: Float64[np.ndarray, "E 3 3"] = np.stack([edges[:, 1], edges[:, 0], tips], axis=1)
        n = len(self._tips)
        reach = np.linalg.norm(edges - tips[:, None], axis=-1).max(1, initial=0)
        self._radii = np.zeros(n)
        np.maximum.at(self._radii, border, reach)
        sides = np.cross(edges[:, 0] - tips, edges[:, 1] - tips)
        self._areas = np.bincount(border, weights=np.linalg.norm(sides, axis=1) / 2, minlength=n)

    def may_matter(self, points: Float32[np.ndarray, "N 3"]) -> Bool[np.ndarray, "N"]:
        """Where the fans' part may reach 1/2; a fan of area A no nearer than g takes A / (4 pi g^2) at most."""
        bound = np.zeros(len(points))
        for tip, radius, area in zip(self._tips, self._radii, self._areas, strict=True):
            gap = np.maximum(np.linalg.norm(points - tip, axis=1) - radius, 1e-9)
            bound += area / (4 * math.pi * gap**2)
        return bound > 0.49

    def winding(self, points: Float32[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N"]:
        """The fans' part of the winding number.

        Source: Van Oosterom and Strackee 1983, "The Solid Angle of a Plane Triangle", eq. 8.
        """
        total = np.zeros(len(points))
        if not len(self.triangles):
            return total
        corners = self.triangles.transpose(1, 2, 0)[:, :, None]  # [corner, axis, 1, E]
        step = max(1, PAIRS // len(self.triangles))
        for start in range(0, len(points), step):
            at = points[start : start + step].astype(np.float64).T[:, :, None]  # [axis, n, 1]
            (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners - at
            a, b, c = (np.sqrt(x * x + y * y + z * z) for x, y, z in ((ax, ay, az), (bx, by, bz), (cx, cy, cz)))
            triple = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
            beside = a * b * c
            beside += (ax * bx + ay * by + az * bz) * c
            beside += (bx * cx + by * cy + bz * cz) * a
            beside += (cx * ax + cy * ay + cz * az) * b
            total[start : start + step] = np.arctan2(triple, beside).sum(1)
        return total / (2 * math.pi)


def _tip(edges: Float64[np.ndarray, "E 2 3"]) -> Float64[np.ndarray, "3"]:
    """The middle of a border, moved out of its plane: a fan must not lie on a flat mesh, where rays meet but one."""
    middle = edges.mean((0, 1))
    across = np.cross(edges[:, 0] - middle, edges[:, 1] - middle).sum(0)
    length = np.linalg.norm(across)
    away = across / length if length > 0 else np.array([0.0, 0.0, 1.0])
    return middle + 0.1 * np.linalg.norm(edges - middle, axis=-1).max() * away


def _borders(edges: Int64[np.ndarray, "E 2"]) -> Int64[np.ndarray, "E"]:
    """Which border each edge is of, from 0: edges that hang together are of one."""
    corners, ends = np.unique(edges, return_inverse=True)
    ends = ends.reshape(-1, 2)
    least = np.arange(len(corners))
    while True:
        before = least.copy()
        lower = least[ends].min(1)
        np.minimum.at(least, ends[:, 0], lower)
        np.minimum.at(least, ends[:, 1], lower)
        least = least[least]
        if np.array_equal(least, before):
            break
    return np.unique(least[ends[:, 0]], return_inverse=True)[1].reshape(-1)
