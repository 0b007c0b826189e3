"""Pictures of a distance field and of the mesh it stands for, from the same cameras, in the same light."""

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural.cameras import Cameras
from neural.poses import look_at
from neural.rays import Rays, image_rays
from neural.render.rendering import Rendering
from neural.render.shading import shade
from neural.render.sphere_trace import Distance, normals, sphere_trace
from neural.scenes.mesh_distance import MeshDistance
from neural.scenes.solid import Solid

FIELD_OF_VIEW = math.radians(35)
ELEVATION = math.radians(18)
UP = np.array([0.0, 1.0, 0.0])  # as models are mostly made


def turntable(solid: Solid, n: int, size: int) -> Cameras:
    """Cameras around a mesh, in the frame of its unit cube; all of it is in each picture.

    Args:
        solid: The mesh.
        n: How many, evenly.
        size: Pixels along each side.
    """
    corners = solid.to_unit(solid.vertices)
    radius = float(np.linalg.norm(corners - 0.5, axis=1).max())
    away = 1.02 * radius / math.sin(FIELD_OF_VIEW / 2)
    side, front = np.roll(UP, -1), np.roll(UP, 1)
    poses = []
    for turn in 2 * math.pi * np.arange(n) / n:
        around = math.cos(turn) * side + math.sin(turn) * front
        place = 0.5 + away * (math.cos(ELEVATION) * around + math.sin(ELEVATION) * UP)
        poses.append(look_at(place, np.full(3, 0.5), UP))
    focal = size / 2 / math.tan(FIELD_OF_VIEW / 2)
    lens = torch.tensor([[focal, focal, size / 2, size / 2]], dtype=torch.float64).repeat(n, 1)
    return Cameras.pinhole(torch.from_numpy(np.stack(poses)), lens, torch.full((n, 2), size))


def picture_of_field(
    distance: Distance, cameras: Cameras, index: int, background: Literal["white", "black"] = "white"
) -> Rendering:
    """A sphere-traced picture; `distance` takes and gives tensors of the CPU."""
    rays = image_rays(cameras, index)
    t = sphere_trace(distance, rays).t
    hit = torch.isfinite(t)
    seen = torch.zeros_like(rays.origins)
    seen[hit] = normals(distance, rays[hit].at(t[hit]))
    return _rendering(cameras, index, t, seen, background)


def picture_of_mesh(
    distance: MeshDistance, cameras: Cameras, index: int, background: Literal["white", "black"] = "white"
) -> Rendering:
    """The mesh itself, ray-cast, with the normals of its faces on the side that is seen."""
    rays: Rays = image_rays(cameras, index)
    hits = distance.cast(rays.origins.numpy(), rays.directions.numpy())
    faced = torch.from_numpy(hits.normals)
    faced = torch.where((faced * rays.directions).sum(1, keepdim=True) > 0, -faced, faced)
    return _rendering(cameras, index, torch.from_numpy(hits.t), faced, background)


def _rendering(
    cameras: Cameras, index: int, t: Float[Tensor, "R"], seen: Float[Tensor, "R 3"], background: str
) -> Rendering:
    hit = torch.isfinite(t)
    rgb = shade(seen, hit, cameras.c2w[index], 1.0 if background == "white" else 0.0)
    return Rendering(rgb, hit.float(), torch.where(hit, t, 0.0))
