"""Rays through pixels, and where they meet the scene box."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cameras import Cameras


@dataclass(frozen=True)
class Rays:
    """R rays.

    Args:
        origins: Where the rays start, scene units, float32.
        directions: Unit length, float32.
    """

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, index: slice | Tensor) -> "Rays":
        return Rays(self.origins[index], self.directions[index])

    def to(self, device: torch.device | str) -> "Rays":
        return Rays(self.origins.to(device), self.directions.to(device))

    def at(self, t: Float[Tensor, "R"]) -> Float[Tensor, "R 3"]:
        """Points at distance `t` along each ray."""
        return self.origins + t[:, None] * self.directions


def generate(cameras: Cameras, camera_indices: Int[Tensor, "R"], pixels: Float[Tensor, "R 2"]) -> Rays:
    """Rays through given pixels of given cameras, on the cameras' device.

    Args:
        cameras: Computed in their dtype; the rays are float32. Gradients reach `c2w` if it asks for them.
        camera_indices: One camera per ray.
        pixels: Column and row; the centre of the first pixel is (0.5, 0.5).
    """
    directions = cameras.directions(camera_indices, pixels)
    return Rays(cameras.origins.index_select(0, camera_indices).float(), directions.float())


def pixel_rays(cameras: Cameras, index: int, first: int, last: int) -> Rays:
    """The rays through the pixel centres `first` to `last` - 1 of one camera, counted row by row."""
    width = int(cameras.sizes[index, 0])
    number = torch.arange(first, last, device=cameras.c2w.device)
    pixels = torch.stack([number % width, number // width], dim=-1) + 0.5
    return generate(cameras, torch.full_like(number, index), pixels)


def image_rays(cameras: Cameras, index: int) -> Rays:
    """The rays through all pixel centres of one camera, row by row."""
    return pixel_rays(cameras, index, 0, int(cameras.sizes[index].prod()))


def intersect_aabb(rays: Rays, aabb: Float[Tensor, "2 3"]) -> tuple[Float[Tensor, "R"], Float[Tensor, "R"]]:
    """Distances at which rays enter and leave a box; `t_max < t_min` where they miss it.

    A ray that starts inside enters at 0; a box behind the origin is missed. A ray parallel to a face is
    inside that slab or misses, never NaN.

    Source: Kay and Kajiya 1986, "Ray Tracing Complex Scenes", section 3 (slabs).
    """
    aabb = aabb.to(rays.origins)
    parallel = rays.directions.abs() < 1e-20  # smaller still, 1 / d overflows and 0 * inf is NaN
    inverse = 1 / torch.where(parallel, 1.0, rays.directions)
    t_low = (aabb[0] - rays.origins) * inverse
    t_high = (aabb[1] - rays.origins) * inverse
    outside = parallel & ((rays.origins < aabb[0]) | (rays.origins > aabb[1]))
    near = torch.where(parallel, -torch.inf, torch.minimum(t_low, t_high))
    far = torch.where(parallel, torch.inf, torch.maximum(t_low, t_high))
    far = torch.where(outside, -torch.inf, far)
    return near.amax(-1).clamp(min=0), far.amin(-1)
