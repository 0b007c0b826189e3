"""Volume rendering of a radiance field: march through occupied space, shade what can be seen, composite."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cameras import Cameras
from neural.cuda.compact import compact, visible_samples
from neural.cuda.composite import composite
from neural.cuda.distortion import distortion
from neural.cuda.ray_march import Samples
from neural.cuda.ray_points import ray_points
from neural.fields.radiance import RadianceField
from neural.rays import Rays, pixel_rays
from neural.render.occupancy import OccupancyGrid
from neural.render.rendering import Radiant, Rendering
from neural.render.waves import densities_along, next_wave


@dataclass(frozen=True)
class Marching:
    """How rays are sampled; the shortest step is the occupancy grid's.

    Attributes:
        cone_angle: Growth of the step with distance; 0 for a box.
        near: No sample closer to the origin than this, scene units.
        early_stop: A ray ends where less than this share of the light gets through.
    """

    cone_angle: float = 0.0
    near: float = 0.0
    early_stop: float = 1e-4


@dataclass(frozen=True)
class Traced:
    """A rendering and what training needs beside it.

    Attributes:
        rendering: Colours, opacity and depth.
        n_marched: Samples in occupied space.
        n_looked_up: Those of them whose density was looked up: none behind an opaque surface.
        n_shaded: Those of them that could be seen.
        n_rays: Rays [0, n_rays) were rendered; the rest did not fit `max_samples` and show the background.
        distortion: Per-ray distortion of the samples, or None where it was not asked for.
        healthy: Whether every density was a number; a sample whose density is NaN is not seen, and would go unnoticed.
    """

    rendering: Rendering
    n_marched: int
    n_looked_up: int
    n_shaded: int
    n_rays: int
    distortion: Float[Tensor, "R"] | None
    healthy: bool


def trace(
    field: RadianceField,
    rays: Rays,
    occupancy: OccupancyGrid,
    marching: Marching,
    *,
    background: Float[Tensor, "R 3"] | Float[Tensor, "3"],
    jitter: Float[Tensor, "R"] | tuple[int, int] | None = None,
    image_indices: Int[Tensor, "R"] | None = None,
    max_samples: int | None = None,
    with_distortion: bool = False,
) -> Traced:
    """Renders rays for training; differentiable with respect to the field and the rays.

    Densities of the samples in occupied space are looked up first, front to back and without gradients; only samples in
    front of the early stop are then shaded and differentiated.

    Args:
        field: Density and colour.
        rays: Origins and unit directions, scene units.
        occupancy: Where samples are worth taking.
        marching: Steps and stops.
        background: sRGB behind the scene, per ray or for all.
        jitter: Offset of each ray's samples in steps, or (seed, step) to draw it; None for none.
        image_indices: Image whose appearance each ray shows; None for the mean appearance.
        max_samples: Bound on marched samples; rays beyond it are left out.
        with_distortion: Whether the distortion of each ray is wanted too.
    """
    samples = march(rays, occupancy, marching, jitter=jitter, max_samples=max_samples)
    found, n_looked_up = densities_along(field, rays, samples, early_stop=marching.early_stop)
    total = found.sum()  # NaN if any is; read at the end, so that a GPU need not be waited for here
    visible, _ = _visible(samples, found, marching, found[:, None][:, :0])
    positions, directions = ray_points(rays.origins, rays.directions, visible)
    densities, geo = field.density(positions)
    images = None if image_indices is None else image_indices[visible.ray_indices]
    rgb = field.color(directions, geo, images)
    # the early stop has been applied; a second one on slightly other roundings would only lose gradients
    result = composite(densities, rgb, visible.t_starts, visible.t_ends, visible.packed_info, early_stop=0.0)
    shown = torch.addcmul(result.rgb, (1.0 - result.alpha)[:, None], background)
    spread = None
    if with_distortion:
        spread = distortion(result.weights, visible.t_starts, visible.t_ends, visible.packed_info)
    healthy = not bool(total.isnan())
    return Traced(
        Rendering(shown, result.alpha, result.depth), len(samples), n_looked_up, len(visible),
        samples.n_rays_kept, spread, healthy,
    )  # fmt: skip


def march(
    rays: Rays,
    occupancy: OccupancyGrid,
    marching: Marching,
    *,
    jitter: Float[Tensor, "R"] | tuple[int, int] | None = None,
    max_samples: int | None = None,
) -> Samples:
    """Samples of the rays in occupied space; the outermost cascade is the limit."""
    n = len(rays)
    origins = rays.origins
    return occupancy.march(
        origins.detach(), rays.directions.detach(), origins.new_full((n,), marching.near),
        origins.new_full((n,), math.inf), cone_angle=marching.cone_angle, jitter=jitter, max_samples=max_samples,
    )  # fmt: skip


def _visible(
    samples: Samples, densities: Float[Tensor, "S"], marching: Marching, features: Float[Tensor, "S K"]
) -> tuple[Samples, Float[Tensor, "M K"]]:
    """The samples in front of the early stop, and their features."""
    seen = visible_samples(
        densities, samples.t_starts, samples.t_ends, samples.packed_info, early_stop=marching.early_stop
    )
    kept = compact(seen.indices, samples.t_starts, samples.t_ends, samples.ray_indices, features)
    visible = Samples(kept.t_starts, kept.t_ends, kept.ray_indices, seen.packed_info, samples.n_rays_kept)
    return visible, kept.features


@torch.no_grad()
def render_rays(
    field: Radiant,
    rays: Rays,
    occupancy: OccupancyGrid,
    marching: Marching,
    *,
    background: Float[Tensor, "R 3"] | Float[Tensor, "3"],
) -> Rendering:
    """Renders rays to look at, without gradients: wave after wave is looked up, shaded and laid behind what is there.

    The result is `trace`'s, and keeps what that leaves behind the early stop within the last wave of a ray. Memory
    is that of one wave.

    Args:
        field: Density and colour; images look as on average.
        rays: Origins and unit directions, scene units.
        occupancy: Where samples are worth taking.
        marching: Steps and stops.
        background: sRGB behind the scene, per ray or for all.
    """
    samples = march(rays, occupancy, marching)
    light = rays.origins.new_ones(len(rays))
    rgb, depth = torch.zeros_like(rays.origins), torch.zeros_like(light)
    wave = None
    while (wave := next_wave(samples, light >= marching.early_stop, wave)) is not None:
        densities, geo = field.density(ray_points(rays.origins, rays.directions, wave.samples)[0])
        visible, geo = _visible(wave.samples, densities, marching, geo)
        _, directions = ray_points(rays.origins, rays.directions, visible)
        seen = composite(
            field.density_of(geo), field.color(directions, geo), visible.t_starts, visible.t_ends, visible.packed_info,
            early_stop=0.0,
        )  # fmt: skip
        rgb.addcmul_(light[:, None], seen.rgb)
        depth.addcmul_(light, seen.depth)
        light = light * (1.0 - seen.alpha)
    return Rendering(torch.addcmul(rgb, light[:, None], background.expand_as(rgb)), 1.0 - light, depth)


def render_image(
    field: Radiant,
    cameras: Cameras,
    index: int,
    occupancy: OccupancyGrid,
    marching: Marching,
    *,
    background: Float[Tensor, "3"],
    rays_per_chunk: int = 1 << 12,
) -> Rendering:
    """One whole image of `cameras[index]`; fields of the result have H W rows, row by row from the top."""
    n = int(cameras.sizes[index].prod())
    parts = []
    for first in range(0, n, rays_per_chunk):
        rays = pixel_rays(cameras, index, first, min(first + rays_per_chunk, n))
        parts.append(render_rays(field, rays, occupancy, marching, background=background))
    return Rendering(*(torch.cat([getattr(p, name) for p in parts]) for name in ("rgb", "alpha", "depth")))
