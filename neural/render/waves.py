"""Samples of rays from front to back, in waves: what lies behind an opaque surface is never looked up."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural.cuda import packed
from neural.cuda.compact import compact
from neural.cuda.ray_march import Samples
from neural.cuda.ray_points import ray_points
from neural.fields.radiance import RadianceField
from neural.rays import Rays

FIRST = 12  # samples of each ray in the first wave: in a trained scene most rays end within them
GROWTH, LONGEST = 3, 128  # each further wave reaches so many times deeper, by at most so many samples


@dataclass(frozen=True)
class Wave:
    """The samples [`first`, `last`) of every ray that goes on.

    Attributes:
        samples: They alone; rays that have ended hold none.
        indices: Their numbers among the samples of all waves, ascending.
        first: Rank along the ray of the first one.
        last: Rank behind the last one.
    """

    samples: Samples
    indices: Int[Tensor, "M"]
    first: int
    last: int


def next_wave(samples: Samples, goes_on: Bool[Tensor, "R"], wave: Wave | None) -> Wave | None:
    """The wave behind `wave` (None: the first one); None where no ray that goes on has samples left.

    The bounds of waves do not depend on the rays, so that a ray renders the same in any company.

    Args:
        samples: Of the whole rays.
        goes_on: Rays whose light is not used up.
        wave: What was looked up last.
    """
    first = 0 if wave is None else wave.last
    last = FIRST if wave is None else min(first * GROWTH, first + LONGEST)
    starts, counts = samples.packed_info.unbind(1)
    counts = (counts.clamp(max=last) - first).clamp(min=0) * goes_on
    packed_info = torch.stack((torch.zeros_like(counts), counts), 1)
    n, _ = packed.starts(packed_info)
    if n == 0:
        return None
    offsets = starts + first - packed_info[:, 0]
    indices = torch.repeat_interleave(offsets, counts, output_size=n)
    indices += torch.arange(n, device=indices.device)
    kept = compact(indices, samples.t_starts, samples.t_ends, samples.ray_indices, samples.t_starts[:, None][:, :0])
    part = Samples(kept.t_starts, kept.t_ends, kept.ray_indices, packed_info, samples.n_rays_kept)
    return Wave(part, indices, first, last)


@torch.no_grad()
def densities_along(
    field: RadianceField, rays: Rays, samples: Samples, *, early_stop: float
) -> tuple[Float[Tensor, "S"], int]:
    """Density of every sample that light reaches, 0 behind opaque surfaces, and how many were looked up.

    Args:
        field: Density.
        rays: Those that were marched.
        samples: Packed, ray by ray.
        early_stop: Share of the light below which a ray ends.
    """
    densities = samples.t_starts.new_zeros(len(samples))
    thickness = densities.new_zeros(len(rays))
    limit = -math.log(max(early_stop, 1e-30))
    n_looked_up, wave = 0, None
    while (wave := next_wave(samples, ~(thickness > limit), wave)) is not None:  # NaN goes on, to be seen
        part = wave.samples
        found, _ = field.density(ray_points(rays.origins, rays.directions, part)[0])
        densities[wave.indices] = found
        thickness.index_add_(0, part.ray_indices, found * (part.t_ends - part.t_starts))
        n_looked_up += len(part)
    return densities, n_looked_up
