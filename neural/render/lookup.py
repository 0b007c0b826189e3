"""Densities along rays from front to back: what lies behind an opaque surface is never looked up."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda.ray_march import Samples
from neural.fields.radiance import RadianceField

FIRST_BATCH = 12  # samples of each ray in the first batch: in a trained scene most rays end within them
GROWTH = 3  # each further batch reaches so many times deeper


@dataclass(frozen=True)
class Lookup:
    """What was found.

    Attributes:
        densities: Per sample, 1 / scene unit; 0 where the sample lies behind an opaque surface.
        geo: The field's features per sample, a transposed view of a [G, S] buffer, or None; undefined behind surfaces.
        n_looked_up: Samples at which the field was evaluated.
    """

    densities: Float[Tensor, "S"]
    geo: Float[Tensor, "S G"] | None
    n_looked_up: int


@torch.no_grad()
def front_to_back(
    field: RadianceField, positions: Float[Tensor, "S 3"], samples: Samples, *, early_stop: float, with_geo: bool
) -> Lookup:
    """Evaluates the field in batches of ever deeper samples; rays whose light is used up drop out between them.

    Args:
        field: Density.
        positions: Of the samples, scene units.
        samples: Packed, ray by ray.
        early_stop: Share of the light below which a ray ends.
        with_geo: Whether the field's features are wanted too (shading without gradients).
    """
    n = len(samples)
    rank = torch.arange(n, device=positions.device) - samples.packed_info[samples.ray_indices, 0]
    rows = positions.t()
    densities = positions.new_zeros(n)
    thickness = positions.new_zeros(samples.packed_info.shape[0])
    lengths = samples.t_ends - samples.t_starts
    limit = -math.log(max(early_stop, 1e-30))
    geo: Tensor | None = None
    remaining = torch.arange(n, device=positions.device)
    reach, n_looked_up = FIRST_BATCH, 0
    while len(remaining):
        near = rank[remaining] < reach
        batch, remaining = remaining[near], remaining[~near]
        found, features = field.density(rows[:, batch].t())
        n_looked_up += len(batch)
        densities[batch] = found
        if with_geo:
            if geo is None:
                geo = positions.new_empty((features.shape[1], n))
            geo[:, batch] = features.t()
        if len(remaining):
            rays = samples.ray_indices[batch]
            thickness.index_add_(0, rays, found * lengths[batch])
            remaining = remaining[~(thickness[samples.ray_indices[remaining]] > limit)]  # NaN goes on, to be seen
        reach *= GROWTH
    if with_geo and geo is None:
        geo = positions.new_empty((field.n_geo, 0))
    return Lookup(densities, None if geo is None else geo.t(), n_looked_up)
