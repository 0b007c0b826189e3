"""Distance fields to triangle meshes: marching cubes, a slab at a time, so that memory does not grow with the cube."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from neural.errors import BackendUnavailable

SLAB_VALUES = 1 << 24  # values of the field that are held at once
Progress = Callable[[int, int], object]


@torch.no_grad()
def march(
    distance: Callable[[Tensor], Tensor], resolution: int, *, slab_values: int = SLAB_VALUES
) -> tuple[Float64[np.ndarray, "V 3"], Int64[np.ndarray, "F 3"]]:
    """The surface at distance 0 in the unit cube; faces counterclockwise from outside.

    Where the body reaches a face of the cube, the mesh is open there.

    Args:
        distance: Signed distances [N] at points [N, 3] of the unit cube, negative inside.
        resolution: Cells along each side; values are taken at their corners.
        slab_values: Values that are held at once, at least two layers of the cube.

    Returns:
        Corners in the unit cube, and triangles; none where there is no surface.

    Raises:
        BackendUnavailable: scikit-image is not there.
        ValueError: A resolution below 2.

    Source: Lewiner et al. 2003, "Efficient implementation of Marching Cubes' cases with topological guarantees".
    """
    marching_cubes = _marching_cubes()
    if resolution < 2:
        raise ValueError(f"resolution must be 2 or more, got {resolution}")
    axis = torch.linspace(0, 1, resolution + 1)
    layer = torch.cartesian_prod(axis, axis)
    cells = max(1, slab_values // len(layer) - 1)
    vertices: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    n_vertices, last = 0, _layer(distance, layer, 0.0)
    for start in range(0, resolution, cells):
        stop = min(start + cells, resolution)
        values = np.stack([last, *(_layer(distance, layer, float(axis[i])) for i in range(start + 1, stop + 1))])
        last = values[-1]
        if values.min() < 0 <= values.max():
            found, triangles, _, _ = marching_cubes(values, level=0.0, gradient_direction="descent")
            vertices.append((found.astype(np.float64) + np.array([start, 0, 0])) / resolution)
            faces.append(triangles.astype(np.int64) + n_vertices)
            n_vertices += len(found)
    if not vertices:
        return np.empty((0, 3)), np.empty((0, 3), np.int64)
    return _sewn(np.concatenate(vertices), np.concatenate(faces), resolution)


def _layer(distance: Callable[[Tensor], Tensor], plane: Tensor, x: float) -> Float32[np.ndarray, "R R"]:
    """Values over one layer of corners; zeros, which marching cubes takes for neither side, a hair above."""
    side = round(len(plane) ** 0.5)
    values = distance(torch.cat([torch.full((len(plane), 1), x), plane], dim=1)).numpy().reshape(side, side)
    return np.where(values == 0, np.float32(1e-12), values)


def _sewn(
    vertices: Float64[np.ndarray, "V 3"], faces: Int64[np.ndarray, "F 3"], resolution: int
) -> tuple[Float64[np.ndarray, "V 3"], Int64[np.ndarray, "F 3"]]:
    """Corners that two slabs share become one: both found them from the same two values."""
    places = np.round(vertices * resolution * 2**16).astype(np.int64)
    _, first, merged = np.unique(places, axis=0, return_index=True, return_inverse=True)
    joined = merged.reshape(-1)[faces]
    whole = (joined != np.roll(joined, 1, axis=1)).all(1)
    return vertices[first], joined[whole]


def _marching_cubes() -> Callable:
    try:
        from skimage.measure import marching_cubes
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "skimage":
            raise
        raise BackendUnavailable("marching cubes need scikit-image: pip install 'neural[mesh]'") from error
    return marching_cubes
