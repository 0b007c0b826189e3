"""Exact signed distances to a mesh, and rays against it, by Open3D's ray-casting scene (extra [mesh]).

All points are in the unit cube of a `Solid`, distances in units of its side; inside is negative.
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64

from neural.errors import BackendUnavailable, SceneFormatError
from neural.scenes.caps import Caps
from neural.scenes.solid import Solid

Sign = Literal["auto", "parity", "winding"]
CHUNK = 1 << 16  # points of one query; bounds what Open3D allocates
# Three directions that no model is built along.
DIRECTIONS = np.array([[0.5377, 0.6719, 0.5093], [-0.7131, 0.3067, 0.6304], [0.2279, -0.8117, 0.5377]])


class Hits(NamedTuple):
    """Where rays first meet the mesh.

    Attributes:
        t: Distance along the ray; inf where it misses.
        normals: Of the face, unit length, outwards; zeros where it misses.
    """

    t: Float32[np.ndarray, "R"]
    normals: Float32[np.ndarray, "R 3"]


class MeshDistance:
    """Distances to a solid. The same points give the same bits, in any company and for any number of threads.

    Args:
        solid: The mesh.
        sign: What is inside. `parity`: rays that leave the point cross the mesh an odd number of times, by the majority
            of three. `winding`: the generalised winding number, exact, is above 1/2; it fills holes smoothly, and parts
            that overlap are inside. `auto`: parity for a closed mesh, winding for an open one.

    Attributes:
        sign: The one that is used.

    Raises:
        BackendUnavailable: Open3D is not there.
        ValueError: No such sign.

    Source: Jacobson et al. 2013, "Robust Inside-Outside Segmentation using Generalized Winding Numbers" (winding
    number); Martens et al. 2026, arXiv:2605.01536 (from the crossings of one ray and the mesh's borders).
    """

    def __init__(self, solid: Solid, sign: Sign = "auto") -> None:
        if sign not in ("auto", "parity", "winding"):
            raise ValueError(f"sign must be auto, parity or winding, got {sign!r}")
        self.solid = solid
        self.sign = ("parity" if solid.closed else "winding") if sign == "auto" else sign
        self._core, geometry = _open3d()
        unit = solid.to_unit(solid.vertices)
        corners = unit[solid.faces]
        self._normals = _normals(corners)
        self._scene = self._scene_of(geometry, unit, solid.faces)
        self._caps = Caps(unit[solid.open_edges], solid.open_edges)
        self._closed, self._closed_normals = self._scene, self._normals
        if self.sign == "winding" and len(solid.open_edges):
            whole = np.concatenate([corners, self._caps.triangles])
            self._closed = self._scene_of(geometry, whole.reshape(-1, 3), np.arange(3 * len(whole)).reshape(-1, 3))
            self._closed_normals = _normals(whole)

    def unsigned(self, points: Float32[np.ndarray, "N 3"]) -> Float32[np.ndarray, "N"]:
        """Distance to the nearest point of the mesh."""
        return self._by_chunks(points, lambda part: self._scene.compute_distance(self._tensor(part)).numpy())

    def inside(self, points: Float32[np.ndarray, "N 3"]) -> Bool[np.ndarray, "N"]:
        """Whether points are inside, as `sign` has it."""
        return self._by_chunks(points, self._inside)

    def signed(self, points: Float32[np.ndarray, "N 3"]) -> Float32[np.ndarray, "N"]:
        """Distance, negative inside."""
        return np.where(self.inside(points), -1, 1).astype(np.float32) * self.unsigned(points)

    def winding_number(
        self, points: Float32[np.ndarray, "N 3"], direction: Float64[np.ndarray, "3"] = DIRECTIONS[0]
    ) -> Float64[np.ndarray, "N"]:
        """How many times the mesh winds around points; a fraction near holes.

        Args:
            points: Anywhere.
            direction: Of the ray whose crossings are counted; it hardly matters.
        """
        return self._crossings(points, direction) - self._caps.winding(points)

    def cast(self, origins: Float32[np.ndarray, "R 3"], directions: Float32[np.ndarray, "R 3"]) -> Hits:
        """Where rays with unit directions first meet the mesh."""
        found = self._scene.cast_rays(self._tensor(np.concatenate([origins, directions], axis=1)))
        t, faces = found["t_hit"].numpy(), found["primitive_ids"].numpy().astype(np.int64)
        missed = ~np.isfinite(t)
        normals = self._normals[np.where(missed, 0, faces)].astype(np.float32)
        normals[missed] = 0
        return Hits(t, normals)

    def _odd(self, points: Float32[np.ndarray, "N 3"], direction: Float64[np.ndarray, "3"]) -> Bool[np.ndarray, "N"]:
        return self._scene.count_intersections(self._rays(points, direction)).numpy() % 2 == 1

    def _crossings(
        self, points: Float32[np.ndarray, "N 3"], direction: Float64[np.ndarray, "3"]
    ) -> Float64[np.ndarray, "N"]:
        """How often rays leave the mesh with its borders capped, less how often they enter it."""
        hits = self._closed.list_intersections(self._rays(points, direction))
        faces, rays = (hits[name].numpy().astype(np.int64) for name in ("primitive_ids", "ray_ids"))
        return np.bincount(rays, weights=np.sign(self._closed_normals[faces] @ direction), minlength=len(points))

    def _inside(self, points: Float32[np.ndarray, "N 3"]) -> Bool[np.ndarray, "N"]:
        if self.sign == "parity":
            return np.sum([self._odd(points, direction) for direction in DIRECTIONS], axis=0) >= 2
        winding = np.median([self._crossings(points, direction) for direction in DIRECTIONS], axis=0)
        near = self._caps.may_matter(points)
        winding[near] -= self._caps.winding(points[near])
        return winding > 0.5

    def _scene_of(self, geometry: Any, vertices: np.ndarray, faces: np.ndarray) -> Any:
        scene = geometry.RaycastingScene()
        scene.add_triangles(self._tensor(vertices), self._core.Tensor(faces.astype(np.uint32)))
        return scene

    def _rays(self, points: Float32[np.ndarray, "N 3"], direction: Float64[np.ndarray, "3"]) -> Any:
        rays = np.empty((len(points), 6), np.float32)
        rays[:, :3], rays[:, 3:] = points, direction
        return self._tensor(rays)

    def _tensor(self, values: Float32[np.ndarray, "..."]) -> Any:
        return self._core.Tensor(np.ascontiguousarray(values, np.float32))

    def _by_chunks(self, points: np.ndarray, query: Any) -> np.ndarray:
        parts = [query(points[start : start + CHUNK]) for start in range(0, max(len(points), 1), CHUNK)]
        return np.concatenate(parts)


def _normals(corners: Float64[np.ndarray, "F 3 3"]) -> Float64[np.ndarray, "F 3"]:
    """Unit normals of triangles; zeros where one has no area."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)


def inside_of_grid(distance: MeshDistance, resolution: int) -> Bool[np.ndarray, "R R R"]:
    """Whether the middles of the cells of a grid over the unit cube are inside, [x, y, z].

    Blocks that the surface is farther from than their corners have the sign of their middle throughout.

    Args:
        distance: To the mesh.
        resolution: Cells along each side, a multiple of 8.

    Raises:
        ValueError: Another resolution.
    """
    side = 8
    if resolution < side or resolution % side:
        raise ValueError(f"resolution must be a multiple of {side}, got {resolution}")
    n = resolution // side
    blocks = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    result = np.empty((n, n, n, side, side, side), bool)
    flat = result.reshape(-1, side, side, side)
    numbers = np.arange(len(blocks))
    middles = ((blocks + 0.5) / n).astype(np.float32)
    near = distance.unsigned(middles) <= math.sqrt(3) / 2 / n * (1 + 1e-4)
    flat[numbers[~near]] = distance.inside(middles[~near])[:, None, None, None]
    cells = np.stack(np.meshgrid(*[np.arange(side) + 0.5] * 3, indexing="ij"), axis=-1).reshape(1, -1, 3)
    step = max(1, CHUNK // side**3)
    for part in np.array_split(numbers[near], max(1, math.ceil(near.sum() / step))):
        points = ((blocks[part][:, None] * side + cells) / resolution).astype(np.float32)
        flat[part] = distance.inside(points.reshape(-1, 3)).reshape(-1, side, side, side)
    return result.transpose(0, 3, 1, 4, 2, 5).reshape(resolution, resolution, resolution)


def refuse_hollow(distance: MeshDistance, points: Float32[np.ndarray, "N 3"]) -> None:
    """Raises where none of many points about the surface is inside: a sheet bounds no body.

    Raises:
        SceneFormatError: Says so.
    """
    if not distance.inside(points).any():
        solid = distance.solid
        raise SceneFormatError(
            solid.name,
            f"encloses nothing (sign by {distance.sign}): none of {len(points):,} points about its "
            f"{len(solid.faces):,} faces is inside; a signed distance needs a body, so close the mesh",
        )


def _open3d() -> tuple[Any, Any]:
    """Open3D's tensors and geometry.

    Raises:
        BackendUnavailable: It cannot be imported; the message names the remedy.
    """
    try:
        from open3d import core
        from open3d.t import geometry
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "open3d":
            raise
        raise BackendUnavailable("distances to a mesh need Open3D: pip install 'neural[mesh]'") from error
    except (ImportError, OSError) as error:  # a system library: libusb-1.0, libGL, libgomp
        raise BackendUnavailable(
            f"Open3D is installed but cannot be loaded ({error}); on Debian and Ubuntu: apt install "
            "libusb-1.0-0 libgl1 libgomp1"
        ) from error
    return core, geometry
