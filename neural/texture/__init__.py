"""A picture for a mesh: each corner of each triangle gets a place in a square, which shows what the cameras see there.

Any triangles will do: `charts` cuts them into patches that look one way, `layout` lays those beside one another,
`painting` colours each pixel of the square from the cameras and `filling` the gaps. Laying out needs NumPy only; which
camera sees what is asked of Open3D (extra [mesh]).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from neural.cameras import Cameras
from neural.surfaces import Render, Surface
from neural.texture.charts import face_normals
from neural.texture.filling import filled
from neural.texture.layout import MARGIN, laid_out
from neural.texture.painting import Points, painted

_LEAST_AREA = 1e-12  # of the extent's square: less than a texture shows, and hardly to be told from a line


class Texture(NamedTuple):
    """A picture and where the triangles lie in it.

    Attributes:
        uv: Per corner of each triangle, from 0 at the left and at the top to 1.
        rgb: sRGB.
    """

    uv: Float[np.ndarray, "F 3 2"]
    rgb: UInt8[np.ndarray, "S S 3"]


def textured(
    render: Render,
    cameras: Cameras,
    found: Surface,
    *,
    size: int = 2048,
    each: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> tuple[Surface, Texture]:
    """Lays a mesh out on a square and paints it.

    Args:
        render: Gives a camera's picture.
        cameras: Taken as pinholes of the same field of view; float64.
        found: A mesh in their frame; triangles with next to no area are left out.
        size: Pixels along a side.
        each: Wraps the camera indices, for a progress bar.

    Returns:
        The mesh that is left, and its texture.

    Raises:
        BackendUnavailable: Open3D is not there.
        ValueError: More charts than there is room for.
    """
    middle = (found.vertices.min(0) + found.vertices.max(0)) / 2
    vertices = found.vertices - middle
    whole = face_normals(vertices, found.faces)[1] > _LEAST_AREA * np.ptp(vertices, axis=0).max() ** 2
    faces = found.faces[whole]
    layout = laid_out(vertices, faces, size)
    texels = layout.texels
    corners = faces[texels.face]
    places, normals, rgb = (
        np.einsum("tk,tkc->tc", texels.weights, of.astype(np.float32)[corners])
        for of in (vertices, found.normals, found.rgb / 255)
    )
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    flat = Cameras.pinhole(cameras.c2w.double(), cameras.intrinsics.double(), cameras.sizes)
    near = flat.relative_to(torch.from_numpy(middle))
    points = Points(places, normals, texels.face, rgb)
    colors = painted(lambda _, index: render(flat, index), near, vertices, faces, points, each=each)
    picture, known = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), bool)
    picture[texels.row, texels.column], known[texels.row, texels.column] = colors, True
    uv = (layout.corners / size).astype(np.float32)
    return found._replace(faces=faces), Texture(uv, filled(picture, known, 2 * MARGIN))
