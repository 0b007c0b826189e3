"""Colours of points on a surface from what cameras see of them.

A camera counts where the point lies in its picture, turned towards it, with nothing of the surface before it and at
the depth that the picture shows; so something thin that the surface lacks does not get painted on what is behind it.
The more pixels see a patch the more a camera counts; towards the rim of pictures less.

Source: Callieri, Cignoni, Corsini and Scopigno 2008, "Masked photo blending: mapping dense photographic data set on
high-resolution sampled 3D models", section 4 (masks of angle, distance, border and occlusion); that of the depth of the
picture is ours.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from neural.cameras import Cameras
from neural.surfaces import Render, open3d, z_depth

SHARPNESS = 2.0  # power of a camera's weight: sharp by those that see most pixels, no step where one takes over
_CORNERS = 1e-12  # weight of the colours of corners: they show where no camera sees
_STEEPEST = 0.1  # cosine between a normal and where it is seen from, above which it is
_RIM = 0.04  # part of a picture's shorter side over which it fades
_EDGES = 2.0  # mean edges of the surface by which a picture's depth may differ; at three times that nothing counts
_PART = 1 << 18  # points at once: what the processor's caches hold


class Points(NamedTuple):
    """Where colours are looked for.

    Attributes:
        places: About `textured`'s middle.
        normals: Smooth ones, of length 1.
        face: The triangle of each.
        rgb: From 0 to 1, where no camera sees it.
    """

    places: Float32[np.ndarray, "T 3"]
    normals: Float32[np.ndarray, "T 3"]
    face: Int64[np.ndarray, "T"]
    rgb: Float32[np.ndarray, "T 3"]


def painted(
    render: Render,
    cameras: Cameras,
    vertices: Float64[np.ndarray, "V 3"],
    faces: Int64[np.ndarray, "F 3"],
    points: Points,
    *,
    each: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> UInt8[np.ndarray, "T 3"]:
    """sRGB of points.

    Args:
        render: Gives a camera's picture.
        cameras: Pinholes; float64. Those of `render` and `vertices` are the same.
        vertices: Corners, near 0.
        faces: Triangles, counterclockwise seen from outside.
        points: On them.
        each: Wraps the camera indices, for a progress bar.

    Raises:
        BackendUnavailable: Open3D is not there.
    """
    o3d = open3d()
    scene = o3d.t.geometry.RaycastingScene(nthreads=torch.get_num_threads())
    scene.add_triangles(o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(faces.astype(np.uint32)))
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    outward, edge = np.cross(b - a, c - a), float(np.linalg.norm(b - a, axis=1).mean())
    total = np.full((len(points.face), 4), _CORNERS, np.float32)
    total[:, :3] *= points.rgb
    for index in each(range(len(cameras))):
        picture, depth = z_depth(render, cameras, index)
        image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        view = _View(cameras[index], image, depth, _first(scene, o3d, cameras, index), edge)
        eye = cameras.c2w[index, :3, 3].numpy()
        near = np.flatnonzero((((eye - a) * outward).sum(1) > 0)[points.face])
        for start in range(0, len(near), _PART):
            part = near[start : start + _PART]
            weight, rgb, kept = view.of(points.places[part], points.normals[part])
            total[part[kept], 3] += weight
            total[part[kept], :3] += weight[:, None] * rgb
    return (total[:, :3] / total[:, 3:] * 255 + 0.5).clip(0, 255).astype(np.uint8)


class _View(NamedTuple):
    """One camera, its picture with depths, the depths of the surface and the mean length of its edges."""

    camera: Cameras
    picture: Float[Tensor, "1 3 H W"]
    depth: Float32[np.ndarray, "H W"]
    first: Float32[np.ndarray, "H W"]
    edge: float

    def of(
        self, places: Float32[np.ndarray, "N 3"], normals: Float32[np.ndarray, "N 3"]
    ) -> tuple[Float32[np.ndarray, "M"], Float32[np.ndarray, "M 3"], Int64[np.ndarray, "M"]]:
        """Weights and colours of the points that are seen, and which those are."""
        c2w = self.camera.c2w[0].numpy()
        fx, fy, cx, cy = self.camera.intrinsics[0].tolist()
        height, width = self.depth.shape
        away = places - c2w[:3, 3].astype(np.float32)
        x, y, z = (away @ c2w[:3, :3].astype(np.float32)).T
        with np.errstate(divide="ignore", invalid="ignore"):
            column, row = x / z * np.float32(fx) + np.float32(cx), y / z * np.float32(fy) + np.float32(cy)
        rim = np.minimum(np.minimum(column, width - column), np.minimum(row, height - row))
        kept = np.flatnonzero((z > 0) & (rim > 0.5))
        away, z, column, row, rim = away[kept], z[kept], column[kept], row[kept], rim[kept]
        cosine = -(away * normals[kept]).sum(1) / np.linalg.norm(away, axis=1)
        left, top = (column - 0.5).astype(np.int64), (row - 0.5).astype(np.int64)
        before = np.full(len(z), np.inf, np.float32)
        beside = np.zeros(len(z), np.float32)
        for right, below in ((0, 0), (0, 1), (1, 0), (1, 1)):
            pixel = np.minimum(top + below, height - 1) * width + np.minimum(left + right, width - 1)
            before = np.minimum(before, self.first.reshape(-1)[pixel])
            beside = np.maximum(beside, np.abs(self.depth.reshape(-1)[pixel] - z))  # all four pixels show it
        slope = np.sqrt(np.maximum(1 - cosine**2, 0)) / np.maximum(cosine, _STEEPEST)
        slack = 2 * z / np.float32(min(fx, fy)) * (1 + slope) + np.float32(0.05 * self.edge)
        open_ = np.flatnonzero((z < before + slack) & (cosine > _STEEPEST))
        kept, z, cosine, rim = kept[open_], z[open_], cosine[open_], rim[open_]
        off = np.maximum(beside[open_] - slack[open_], 0)
        off /= np.float32(_EDGES * self.edge)
        agreement = np.where(off < 3, np.exp(-(off**2)), 0)
        fade = np.minimum(rim / np.float32(_RIM * min(width, height)), 1)
        many = cosine * np.float32(fx * fy * self.edge**2) / z**2  # pixels that see a patch of the surface
        grid = np.stack([column[open_] * 2 / width - 1, row[open_] * 2 / height - 1], axis=-1)
        at = torch.from_numpy(grid)[None, None]
        rgb = grid_sample(self.picture, at, padding_mode="border", align_corners=False)
        return (many**SHARPNESS * fade * agreement, rgb[0, :, 0].T.numpy(), kept)


def _first(scene: Any, o3d: Any, cameras: Cameras, index: int) -> Float32[np.ndarray, "H W"]:
    """Depths along the view of what each pixel meets first, infinite where it meets nothing."""
    fx, fy, cx, cy = cameras.intrinsics[index].tolist()
    width, height = cameras.sizes[index].tolist()
    c2w = cameras.c2w[index].numpy()
    rows, columns = np.mgrid[:height, :width] + 0.5
    local = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones_like(rows)], axis=-1)
    rays = np.concatenate([np.broadcast_to(c2w[:3, 3], local.shape), local @ c2w[:3, :3].T], axis=-1)
    return scene.cast_rays(o3d.core.Tensor(rays.astype(np.float32)))["t_hit"].numpy()  # of vectors 1 along the view
