"""A picture for a mesh: each corner of each triangle gets a place in a square, which shows what the cameras see there.

Open3D (extra [mesh]) cuts the surface into charts that hardly stretch, lays them out, and projects the pictures of all
cameras onto them. What no camera sees, and the margins of the charts, take the colours of the corners.

Source: Zhou, Snyder, Guo and Shum 2004, "Iso-charts: stretch-driven mesh parameterization using spectral analysis".
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from neural.cameras import Cameras
from neural.surfaces import Render, Surface, open3d, pinhole, z_depth

GUTTER = 3.0  # pixels between charts
_REPAIRS = 20  # rounds; each may open what was closed
MOST_BYTES = 1 << 30  # of pictures that are held at once; of more cameras every n-th is taken


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
        found: A mesh in their frame. Triangles where more than two meet at an edge are left out: they have no chart.
        size: Pixels along a side.
        each: Wraps the camera indices, for a progress bar.

    Returns:
        The mesh that is left, and its texture.

    Raises:
        BackendUnavailable: Open3D is not there.
        ValueError: The surface cannot be laid out.
    """
    o3d = open3d()
    middle = (found.vertices.min(0) + found.vertices.max(0)) / 2
    legacy = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(found.vertices - middle), o3d.utility.Vector3iVector(found.faces.astype(np.int32))
    )
    legacy.vertex_colors = o3d.utility.Vector3dVector(found.rgb / 255)
    legacy.vertex_normals = o3d.utility.Vector3dVector(found.normals)
    _repair(legacy)
    mesh = o3d.t.geometry.TriangleMesh.from_legacy(legacy)
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        try:
            mesh.compute_uvatlas(size=size, gutter=GUTTER)
        except RuntimeError as error:
            raise ValueError("the surface cannot be laid out on a square") from error
        painted = _projected(o3d, mesh, render, cameras, middle, size, each)
        corners = mesh.bake_vertex_attr_textures(
            size, {"colors"}, margin=GUTTER, fill=0.5, update_material=False
        )["colors"].numpy()  # fmt: skip
    unseen = ~painted.any(-1, keepdims=True)  # black there
    rgb = np.where(unseen, (corners.clip(0, 1) * 255 + 0.5).astype(np.uint8), painted)
    uv = mesh.triangle["texture_uvs"].numpy() * [1, -1] + [0, 1]  # Open3D has 0 at the bottom
    left = Surface(
        np.asarray(legacy.vertices) + middle, np.asarray(legacy.triangles, np.int64),
        (np.asarray(legacy.vertex_colors) * 255 + 0.5).astype(np.uint8), np.asarray(legacy.vertex_normals),
    )  # fmt: skip
    return left, Texture(uv.astype(np.float32), np.ascontiguousarray(rgb))


def _repair(mesh: Any) -> None:
    """Leaves out what has no chart: edges of three triangles, corners where sheets only touch, until there is none."""
    for repair in ("duplicated_vertices", "degenerate_triangles", "duplicated_triangles"):
        getattr(mesh, f"remove_{repair}")()
    for _ in range(_REPAIRS):
        mesh.remove_non_manifold_edges()
        touching = mesh.get_non_manifold_vertices()
        if not len(touching) and mesh.is_edge_manifold():
            break
        mesh.remove_vertices_by_index(touching)
    mesh.remove_unreferenced_vertices()


def _projected(
    o3d: Any, mesh: Any, render: Render, cameras: Cameras, middle: np.ndarray, size: int,
    each: Callable[[Iterable[int]], Iterable[int]],
) -> UInt8[np.ndarray, "S S 3"]:  # fmt: skip
    """What the cameras see of each pixel of the texture, blended."""
    flat = Cameras.pinhole(cameras.c2w.double(), cameras.intrinsics.double(), cameras.sizes)
    w2c = np.linalg.inv(flat.relative_to(torch.from_numpy(middle)).c2w.numpy())
    step = max(1, -(-int(cameras.sizes.prod(1).sum()) * 3 // MOST_BYTES))
    pictures, lenses, poses = [], [], []
    for index in each(range(0, len(flat), step)):
        pictures.append(o3d.t.geometry.Image(o3d.core.Tensor(z_depth(render, flat, index)[0])))
        lenses.append(o3d.core.Tensor(pinhole(flat, index)))
        poses.append(o3d.core.Tensor(w2c[index]))
    return mesh.project_images_to_albedo(pictures, lenses, poses, size, False).as_tensor().numpy()[..., :3]
