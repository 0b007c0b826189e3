"""Volume rendering of a radiance field: march through occupied space, shade what can be seen, composite."""

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
from neural.render import fused
from neural.render.fused import Path
from neural.render.occupancy import OccupancyGrid
from neural.render.rendering import Marching, Radiant, Rendering, Traced
from neural.render.waves import densities_along, next_wave


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
    path: Path = "unfused",
) -> Traced:
    """Renders rays for training; differentiable with respect to the field and the rays.

    Op by op, densities of the samples in occupied space are looked up first, front to back and without gradients; only
    samples in front of the early stop are then shaded and differentiated.

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
        path: `fused` marches and evaluates in one pass and again for the gradients: memory does not grow with the
            samples, the time is about the same; gradients go to the field alone. See `neural.render.fused`, also for
            the faster way where the loss is known.

    Raises:
        ValueError: `path` is `fused`, and the field or what is asked for has no such form.
    """
    if path == "fused":
        if with_distortion:
            raise ValueError("the fused path gives no distortion; pass path='unfused'")
        return fused.trace(
            field, rays, occupancy, marching, background=background, jitter=jitter, max_samples=max_samples
        )
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
    """Samples of the rays in occupied space; the outermost cascade is a limit too."""
    n = len(rays)
    origins = rays.origins
    return occupancy.march(
        origins.detach(), rays.directions.detach(), origins.new_full((n,), marching.near),
        origins.new_full((n,), marching.far), cone_angle=marching.cone_angle, jitter=jitter, max_samples=max_samples,
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
    path: Path = "auto",
) -> Rendering:
    """Renders rays to look at, without gradients: wave after wave is looked up, shaded and laid behind what is there.

    The result is `trace`'s; op by op, it keeps what that leaves behind the early stop within the last wave of a ray.
    Memory is that of one wave, in one pass that of one block.

    Args:
        field: Density and colour; images look as on average.
        rays: Origins and unit directions, scene units.
        occupancy: Where samples are worth taking.
        marching: Steps and stops.
        background: sRGB behind the scene, per ray or for all.
        path: In one pass, op by op, or what is faster (see `neural.render.fused`).

    Raises:
        ValueError: `path` is `fused`, and the field has no such form.
    """
    if fused.chosen(path, field, rays.origins.device, fused.INFERENCE_BYTES):
        assert isinstance(field, RadianceField)
        return fused.render_rays(field, rays, occupancy, marching, background=background)
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
    path: Path = "auto",
) -> Rendering:
    """One whole image of `cameras[index]`; fields of the result have H W rows, row by row from the top."""
    n = int(cameras.sizes[index].prod())
    parts = []
    for first in range(0, n, rays_per_chunk):
        rays = pixel_rays(cameras, index, first, min(first + rays_per_chunk, n))
        parts.append(render_rays(field, rays, occupancy, marching, background=background, path=path))
    return Rendering(*(torch.cat([getattr(p, name) for p in parts]) for name in ("rgb", "alpha", "depth")))
