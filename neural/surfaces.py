"""Surfaces of rendered scenes: depths of many cameras fused into one signed distance, its zero as triangles or points.

Every camera says of each voxel that it sees in front of, on or behind what it renders; the mean of what all say is the
distance. Open3D (extra [mesh]) keeps the voxels.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from neural.cameras import Cameras
from neural.errors import BackendUnavailable
from neural.rays import image_rays
from neural.render.rendering import Rendering

Render = Callable[[Cameras, int], Rendering]
LEAST_ALPHA = 0.5  # of a pixel whose depth is believed
_TRUNCATION = 4.0  # voxels before and behind a surface that a depth says something about
_NOTHING = "no surface in the box: train longer, choose a finer or coarser resolution or a larger box"
_LEAST_WEIGHT = 0.5  # depths that a voxel must have had: one
_BLOCKS = 10_000  # of 16^3 voxels that there is room for at first; the table grows


class Surface(NamedTuple):
    """Triangles, or points where there are no faces.

    Attributes:
        vertices: Corners or points, in the frame of the cameras.
        faces: Counterclockwise seen from outside.
        rgb: sRGB of the corners.
        normals: Of the corners, of length 1.
    """

    vertices: Float64[np.ndarray, "V 3"]
    faces: Int64[np.ndarray, "F 3"]
    rgb: UInt8[np.ndarray, "V 3"]
    normals: Float64[np.ndarray, "V 3"]


def fused(
    render: Render,
    cameras: Cameras,
    box: Float[Tensor, "2 3"],
    *,
    resolution: int = 256,
    points: bool = False,
    faces: int | None = None,
    least_part: float = 0.01,
    each: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Surface:
    """What the cameras see inside a box, as a mesh or as points with normals.

    Args:
        render: Gives a camera's picture; depths are distances along rays, not divided by alpha.
        cameras: Taken as pinholes of the same field of view; float64.
        box: Nothing beyond it is kept.
        resolution: Voxels along its longest side.
        points: Only the points.
        faces: Triangles to simplify to, the error kept small; all of them by default.
        least_part: Parts with less than this share of the triangles of the largest are left out as floaters.
        each: Wraps the camera indices, for a progress bar.

    Raises:
        BackendUnavailable: Open3D is not there.
        ValueError: No surface in the box.

    Source: Curless and Levoy 1996, "A volumetric method for building complex models from range images".
    """
    o3d = open3d()
    low, high = box.double().numpy()
    middle, voxel = (low + high) / 2, float((high - low).max()) / resolution
    core = o3d.core
    volume = o3d.t.geometry.VoxelBlockGrid(
        attr_names=("tsdf", "weight", "color"), attr_dtypes=(core.float32,) * 3, attr_channels=(1, 1, 3),
        voxel_size=voxel, block_resolution=16, block_count=_BLOCKS, device=core.Device("CPU:0"),
    )  # fmt: skip
    flat = Cameras.pinhole(cameras.c2w.double(), cameras.intrinsics.double(), cameras.sizes)
    reach = float(np.linalg.norm(high - low))
    seen = False
    for index in each(range(len(flat))):
        rgb, z = z_depth(render, flat, index)
        z = _within(z, flat, index, low - _TRUNCATION * voxel, high + _TRUNCATION * voxel)
        if not z.any():
            continue
        seen = True
        w2c = core.Tensor(np.linalg.inv(flat.relative_to(torch.from_numpy(middle)).c2w[index].numpy()))
        lens, color = core.Tensor(pinhole(flat, index)), o3d.t.geometry.Image(core.Tensor(rgb.astype(np.float32) / 255))
        depth = o3d.t.geometry.Image(core.Tensor(z))
        farthest = float(np.linalg.norm(flat.c2w[index, :3, 3].numpy() - middle)) + reach
        blocks = volume.compute_unique_block_coordinates(depth, lens, w2c, 1.0, farthest, _TRUNCATION)
        volume.integrate(blocks, depth, color, lens, lens, w2c, 1.0, farthest, _TRUNCATION)
    if not seen:
        raise ValueError(_NOTHING)
    inside = o3d.geometry.AxisAlignedBoundingBox(low - middle, high - middle)
    extract = volume.extract_point_cloud if points else volume.extract_triangle_mesh
    found = extract(weight_threshold=_LEAST_WEIGHT).to_legacy().crop(inside)
    if not points:
        found = _cleaned(found, least_part, faces)
    return _surface(found, middle, points)


def z_depth(
    render: Render, cameras: Cameras, index: int
) -> tuple[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]:
    """A picture and its depths along the view, 0 where less than half of the light is stopped; float32."""
    width, height = cameras.sizes[index].tolist()
    shown = render(cameras, index)
    forward = cameras.c2w[index, :3, 2].float()
    along = image_rays(cameras, index).directions.float().cpu() @ forward.cpu()
    alpha = shown.alpha.detach().float().cpu().reshape(-1)
    z = shown.depth.detach().float().cpu().reshape(-1) / alpha.clamp_min(1e-6) * along
    z = torch.where((alpha >= LEAST_ALPHA) & z.isfinite() & (z > 0), z, 0.0)
    rgb = (shown.rgb.detach().float().cpu().clamp(0, 1) * 255 + 0.5).byte().reshape(height, width, 3)
    return np.ascontiguousarray(rgb.numpy()), np.ascontiguousarray(z.reshape(height, width).numpy())


def normals_of(z: Float[np.ndarray, "H W"], cameras: Cameras, index: int) -> Float[np.ndarray, "H W 3"]:
    """Normals of a depth picture in the camera's axes, towards the camera; 0 where a neighbour has no depth."""
    fx, fy, cx, cy = cameras.intrinsics[index].tolist()
    rows, columns = np.mgrid[: z.shape[0], : z.shape[1]] + 0.5
    places = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones_like(z)], axis=-1) * z[..., None].astype(
        np.float64
    )
    across, down = np.zeros_like(places), np.zeros_like(places)
    across[:, 1:-1] = places[:, 2:] - places[:, :-2]
    down[1:-1] = places[2:] - places[:-2]
    normal = np.cross(down, across)
    whole = z > 0
    whole[:, 1:-1] &= (z[:, 2:] > 0) & (z[:, :-2] > 0)
    whole[1:-1] &= (z[2:] > 0) & (z[:-2] > 0)
    whole[[0, -1]] = whole[:, [0, -1]] = False
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.where(whole[..., None] & (length > 0), normal / np.where(length > 0, length, 1), 0).astype(np.float32)


def _cleaned(mesh: Any, least_part: float, faces: int | None) -> Any:
    labels, counts, _ = (np.asarray(part) for part in mesh.cluster_connected_triangles())
    if len(counts):
        mesh.remove_triangles_by_mask(counts[labels] < least_part * counts.max())
        mesh.remove_unreferenced_vertices()
    if faces is not None and len(mesh.triangles) > faces:
        mesh = mesh.simplify_quadric_decimation(faces)
    mesh.compute_vertex_normals()
    return mesh


def _surface(found: Any, middle: Float64[np.ndarray, "3"], points: bool) -> Surface:
    vertices = np.asarray(found.points if points else found.vertices, dtype=np.float64)
    triangles = np.zeros((0, 3), np.int64) if points else np.asarray(found.triangles, dtype=np.int64)
    if not len(vertices) or not (points or len(triangles)):
        raise ValueError(_NOTHING)
    colors = np.asarray(found.colors if points else found.vertex_colors, dtype=np.float64)
    normals = np.asarray(found.normals if points else found.vertex_normals, dtype=np.float64)
    rgb = (colors.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return Surface(vertices + middle, triangles, rgb, normals)


def _within(
    z: Float[np.ndarray, "H W"], cameras: Cameras, index: int, low: Float64[np.ndarray, "3"],
    high: Float64[np.ndarray, "3"],
) -> Float[np.ndarray, "H W"]:  # fmt: skip
    """Depths of what lies between two corners, others 0: what is far beyond the box takes no voxels."""
    fx, fy, cx, cy = cameras.intrinsics[index].tolist()
    rows, columns = np.mgrid[: z.shape[0], : z.shape[1]] + 0.5
    local = np.stack([(columns - cx) / fx * z, (rows - cy) / fy * z, z], axis=-1)
    c2w = cameras.c2w[index].numpy()
    places = local @ c2w[:3, :3].T + c2w[:3, 3]
    return np.where(((places >= low) & (places <= high)).all(-1), z, np.float32(0))


def pinhole(cameras: Cameras, index: int) -> Float64[np.ndarray, "3 3"]:
    """Projection with the centre of the first pixel at 0, as Open3D has it."""
    fx, fy, cx, cy = cameras.intrinsics[index].tolist()
    return np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])


def open3d() -> Any:
    """The package.

    Raises:
        BackendUnavailable: It is not there.
    """
    try:
        import open3d as package
    except ImportError as error:
        raise BackendUnavailable(
            f"surfaces of rendered depths need Open3D ({error}): pip install 'neural[mesh]'; on Debian apt install "
            "libusb-1.0-0 too"
        ) from error
    return package
