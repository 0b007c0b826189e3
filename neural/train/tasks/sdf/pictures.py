"""Pictures of a distance field and of the mesh it stands for, from the same cameras, in the same light."""

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural.cameras import Cameras
from neural.poses import look_at
from neural.rays import Rays, image_rays
from neural.render.rendering import Rendering
from neural.render.shading import shade
from neural.render.sphere_trace import Distance, Span, normals, sphere_trace, within_unit_cube
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


class Met(NamedTuple):
    """Where rays meet a surface.

    Attributes:
        t: Distance along the ray; inf where it misses.
        normals: Unit vectors, outwards; 0 where it misses. Of a body that is cut through, towards where the ray begins.
    """

    t: Float[Tensor, "R"]
    normals: Float[Tensor, "R 3"]


def field_met(distance: Distance, rays: Rays, span: Span | None = None) -> Met:
    """Where rays meet the surface of a field; `distance` takes and gives tensors of the CPU.

    Args:
        distance: As in `sphere_trace`.
        rays: In the frame of the unit cube.
        span: Of the rays that is looked at, within the unit cube; all of that without it.
    """
    first, last = within_unit_cube(rays) if span is None else span
    t = sphere_trace(distance, rays, span=(first, last)).t
    hit = torch.isfinite(t)
    seen = torch.zeros_like(rays.origins)
    seen[hit] = normals(distance, rays[hit].at(t[hit]))
    return Met(t, torch.where((hit & (t == first))[:, None], -rays.directions, seen))


def mesh_met(distance: MeshDistance, rays: Rays, span: Span | None = None) -> Met:
    """Where rays meet the mesh itself, with the normals of its faces on the side that is seen; see `field_met`."""
    begin = torch.zeros_like(rays.directions[:, 0])
    cut, end = torch.zeros_like(begin, dtype=torch.bool), torch.full_like(begin, torch.inf)
    if span is not None:
        followed = span[1] > span[0]
        begin, end = torch.where(followed, span[0], 0.0), torch.where(followed, span[1], -torch.inf)
    begun = rays.at(begin)
    if span is not None:
        cut = torch.from_numpy(distance.inside(begun.numpy())) & followed
    hits = distance.cast(begun.numpy(), rays.directions.numpy())
    t = torch.where(cut, begin, begin + torch.from_numpy(hits.t))
    hit = t <= end
    faced = torch.from_numpy(hits.normals)
    faced = torch.where((faced * rays.directions).sum(1, keepdim=True) > 0, -faced, faced)
    faced = torch.where(cut[:, None], -rays.directions, faced)
    return Met(torch.where(hit, t, torch.inf), torch.where(hit[:, None], faced, 0.0))


def picture_of_field(
    distance: Distance, cameras: Cameras, index: int, background: Literal["white", "black"] = "white"
) -> Rendering:
    """A sphere-traced picture; `distance` takes and gives tensors of the CPU."""
    return shaded(field_met(distance, image_rays(cameras, index)), cameras.c2w[index], background)


def picture_of_mesh(
    distance: MeshDistance, cameras: Cameras, index: int, background: Literal["white", "black"] = "white"
) -> Rendering:
    """The mesh itself, ray-cast."""
    return shaded(mesh_met(distance, image_rays(cameras, index)), cameras.c2w[index], background)


def shaded(met: Met, c2w: Float[Tensor, "4 4"], background: Literal["white", "black"] = "white") -> Rendering:
    """What a camera with that pose sees of a surface that its rays meet."""
    hit = torch.isfinite(met.t)
    rgb = shade(met.normals, hit, c2w, 1.0 if background == "white" else 0.0)
    return Rendering(rgb, hit.float(), torch.where(hit, met.t, 0.0))
