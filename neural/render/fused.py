"""Volume rendering in one pass, where a field is made of stages that the fused kernels have."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import hash_grid, ray_march, stages
from neural.cuda.fused import Fused, fused
from neural.encodings.hash_grid import HashGrid
from neural.fields.radiance import RadianceField
from neural.rays import Rays
from neural.render.occupancy import OccupancyGrid


def render(
    field: RadianceField,
    rays: Rays,
    occupancy: OccupancyGrid,
    *,
    near: float,
    cone_angle: float,
    early_stop: float,
    jitter=None,
    max_samples=None,
    counted=False,
) -> tuple[Fused, int, int]:
    n = len(rays)
    marched = ray_march.prepare(
        rays.origins, rays.directions, rays.origins.new_full((n,), near), rays.origins.new_full((n,), math.inf),
        occupancy.bitfield, centre=occupancy.centre, half_extent=occupancy.half_extent,
        resolution=occupancy.resolution, step=occupancy.min_step, cone_angle=cone_angle, jitter=jitter,
    )  # fmt: skip
    spans, n_marched, kept = None, 0, n
    if counted:
        _, spans, n_marched, kept = ray_march.count(marched, max_samples)
    program, operands = stages_of(field)
    return fused(marched, program, operands, early_stop=early_stop, spans=spans, n_rays=kept), n_marched, kept


def stages_of(field: RadianceField):
    grid = field.encoding
    assert isinstance(grid, HashGrid)
    grad = torch.is_grad_enabled()
    copy = grid._current_copy()
    source = grid.table if copy is None else copy
    program = stages.radiance(
        stages.UnitCube(field.half_side, field.contraction == "ball"),
        stages.Encode("hash_grid", grid.n_levels, grid.n_features_per_level, hash_grid.INTERPOLATIONS.index(grid.interpolation),
                      hash_grid.OUTSIDES.index(grid.outside), hash_grid._DTYPES.index(source.dtype)),
        stages.Network(field.density_mlp.spec),
        stages.Density(field.density_activation, field.density_bias, 1 / field.half_side),
        stages.Directions(field.direction_encoding.degree),
        field.color_mlp.spec,
    )
    operands = (
        stages.Table(grid.table, source, grid.levels, grid.level_weights, grid.gradients if grad else None),
        stages.Weights(field.density_mlp.params, field.density_mlp.gradients if grad else None),
        stages.Weights(field.color_mlp.params, field.color_mlp.gradients if grad else None),
    )
    return program, operands
