"""Volume rendering in one pass: marching, encoding, networks and compositing block by block, nothing kept per sample.

A field of the plain make (one grid or simplex lattice, no appearance) is a list of stages (`neural.cuda.stages`), which
the fused kernels run. Results are those of the op-by-op path in `neural.render.volume` to a few roundings. It is faster
where the table stays near the caches, in training also beyond them; past `INFERENCE_BYTES` and `TRAINING_BYTES` the
op-by-op path is taken, which brings all samples through one level of the table before the next. Fields with appearance,
other encodings, other devices, rays that want gradients and the distortion loss have that path only. On a GPU, one
kernel is written from the list of stages, for hash grids, for rendering alone and only where it is asked for: it has
been tested, but not yet measured there.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural.cuda import hash_grid, lattice_checks, ray_march, simplex, stages
from neural.cuda.fused import Fused, PixelLoss, fused, fused_step
from neural.encodings.hash_grid import HashGrid
from neural.encodings.pooled_table import PooledTable
from neural.encodings.simplex import Permutohedral, Simplex
from neural.fields.radiance import RadianceField
from neural.rays import Rays
from neural.render.occupancy import OccupancyGrid
from neural.render.rendering import Marching, Rendering, Traced

Path = Literal["auto", "fused", "unfused"]
# Of what lookups read, up to which one pass is taken. Measured (suite `fused`): faster from 0.5 to 49 MB, the largest
# tried.
INFERENCE_BYTES, TRAINING_BYTES = 64 << 20, 64 << 20


def chosen(path: Path, field: object, device: torch.device, most_bytes: int) -> bool:
    """Whether to render in one pass.

    Args:
        path: As asked for; `auto` takes one pass where it is faster.
        field: What is rendered.
        device: Where.
        most_bytes: Size of the table up to which one pass is faster.

    Raises:
        ValueError: `path` is `fused`, and the field has no such form.
    """
    if path == "unfused" or (path == "auto" and device.type != "cpu"):
        return False
    reason = why_not(field, device)
    if path == "fused":
        if reason is not None:
            raise ValueError(f"cannot render in one pass: {reason}; pass path='auto' or 'unfused'")
        return True
    return reason is None and table_bytes(field) <= most_bytes  # type: ignore[arg-type]


def why_not(field: object, device: torch.device) -> str | None:
    """Why a field cannot be rendered in one pass; None if it can."""
    if device.type not in ("cpu", "cuda"):
        return f"there is no kernel for {device}"
    if not isinstance(field, RadianceField):
        return f"it is a {type(field).__name__}, not a RadianceField"
    if field.appearance is not None:
        return "its colours depend on the image (appearance)"
    grid = field.encoding
    if _encode(grid) is None or grid.levels.shape[0] != 1:  # type: ignore[index]
        return f"its encoding ({type(grid).__name__}) is not one grid or simplex lattice"
    if device.type == "cuda" and not isinstance(grid, HashGrid):
        return "the CUDA kernel looks up hash grids alone"
    return None


def _encode(encoding: nn.Module) -> stages.Encode | None:
    """The stage that an encoding is; None for others."""
    if isinstance(encoding, HashGrid) and type(encoding).forward is HashGrid.forward:
        kind: Literal["hash_grid", "simplex"] = "hash_grid"
        form = hash_grid.INTERPOLATIONS.index(encoding.interpolation)
    elif isinstance(encoding, Simplex | Permutohedral):
        kind, form = "simplex", simplex.LATTICES.index(encoding.lattice)
    else:
        return None
    return stages.Encode(
        kind, encoding.n_levels, encoding.n_features_per_level, form, lattice_checks.OUTSIDES.index(encoding.outside),
        stages.TABLE_DTYPES.index(encoding.read_table().dtype),
    )  # fmt: skip


def table_bytes(field: RadianceField) -> int:
    """Size of what the field's lookups read."""
    grid = field.encoding
    assert isinstance(grid, PooledTable)
    table = grid.read_table()
    return table.numel() * table.element_size()


def stages_of(field: RadianceField) -> tuple[stages.Program, tuple[stages.Operand, ...]]:
    """The field's stages and their tensors; gradients go to the modules' buffers where they have any."""
    grid, grad = field.encoding, torch.is_grad_enabled()
    encode = _encode(grid)
    assert isinstance(grid, PooledTable) and encode is not None
    table = grid.read_table()
    program = stages.radiance(
        stages.UnitCube(field.half_side, field.contraction == "ball"), encode, stages.Network(field.density_mlp.spec),
        stages.Density(field.density_activation, field.density_bias, 1 / field.half_side),
        stages.Directions(field.direction_encoding.degree), field.color_mlp.spec,
    )  # fmt: skip
    networks = (field.density_mlp, field.color_mlp)
    return program, (
        stages.Table(grid.table, table, grid.levels, grid.level_weights, grid.gradients if grad else None),
        *[stages.Weights(network.params, network.gradients if grad else None) for network in networks],
    )


@torch.no_grad()
def render_rays(
    field: RadianceField,
    rays: Rays,
    occupancy: OccupancyGrid,
    marching: Marching,
    *,
    background: Float[Tensor, "R 3"] | Float[Tensor, "3"],
) -> Rendering:
    """`neural.render.volume.render_rays` in one pass; each ray looks the same in any company."""
    result = fused(_prepared(rays, occupancy, marching), *stages_of(field), early_stop=marching.early_stop)
    return _shown(result, background)


def trace(
    field: RadianceField,
    rays: Rays,
    occupancy: OccupancyGrid,
    marching: Marching,
    *,
    background: Float[Tensor, "R 3"] | Float[Tensor, "3"],
    jitter: Float[Tensor, "R"] | tuple[int, int] | None = None,
    max_samples: int | None = None,
) -> Traced:
    """`neural.render.volume.trace` in one pass, and another for the gradients; differentiable in the field alone.

    Raises:
        ValueError: The field has no such form, or the rays want gradients.
    """
    _require_trainable(field, rays.origins.device)
    if torch.is_grad_enabled() and (rays.origins.requires_grad or rays.directions.requires_grad):
        raise ValueError("the fused path has no gradients to rays; pass path='unfused', or detach them")
    marched = _prepared(rays, occupancy, marching, jitter)
    _, spans, n_marched, kept = ray_march.count(marched, max_samples)
    result = fused(marched, *stages_of(field), early_stop=marching.early_stop, spans=spans, n_rays=kept)
    return _traced(result, background, n_marched, kept)


@dataclass(frozen=True)
class Comparison:
    """What rays are compared with.

    Attributes:
        target: sRGB of each ray.
        background: sRGB behind the field, per ray.
        weights: 1 for rays that count, 0 for those that do not; None: all count.
        kind: `square`, or `huber` in instant-ngp's scale (see `neural.losses.huber`).
        delta: Where Huber's square ends.
    """

    target: Float[Tensor, "R 3"]
    background: Float[Tensor, "R 3"]
    weights: Float[Tensor, "R"] | None
    kind: Literal["square", "huber"]
    delta: float

    def loss(self, n_kept: int) -> PixelLoss:
        """The mean over the rays that count among the first `n_kept`, those that are not cut."""
        n = n_kept if self.weights is None else int(self.weights[:n_kept].count_nonzero())
        factor = 1.0 if self.kind == "square" else 0.2 / self.delta
        return PixelLoss(self.kind, factor / max(3 * n, 1), self.delta)


@torch.no_grad()
def train_step(
    field: RadianceField,
    rays: Rays,
    occupancy: OccupancyGrid,
    marching: Marching,
    comparison: Comparison,
    *,
    jitter: Float[Tensor, "R"] | tuple[int, int] | None = None,
    max_samples: int | None = None,
) -> Traced:
    """Renders rays and adds the gradient of the mean loss into the modules' buffers, all in one pass.

    No sample is marched or looked up twice, and what memory it takes does not depend on the number of rays. The result
    carries no graph; arguments as `neural.render.volume.trace` has them.

    Raises:
        ValueError: The field has no such form, or its modules no buffers (`gradients`).
    """
    _require_trainable(field, rays.origins.device)
    marched = _prepared(rays, occupancy, marching, jitter)
    packed_info, spans, n_marched, kept = ray_march.count(marched, max_samples)
    with torch.enable_grad():  # buffers are for gradients only
        program, operands = stages_of(field)
    result = fused_step(
        marched, program, operands, early_stop=marching.early_stop, packed_info=packed_info, spans=spans,
        loss=comparison.loss(kept), target=comparison.target, background=comparison.background,
        weights=comparison.weights,
    )  # fmt: skip
    return _traced(result, comparison.background, n_marched, kept)


def _require_trainable(field: RadianceField, device: torch.device) -> None:
    chosen("fused", field, device, 0)
    if device.type != "cpu":
        raise ValueError(f"the fused path trains on the CPU alone, not on {device}; pass path='auto' or 'unfused'")


def _prepared(
    rays: Rays, occupancy: OccupancyGrid, marching: Marching, jitter: Tensor | tuple[int, int] | None = None
) -> ray_march.Prepared:
    n, origins = len(rays), rays.origins.detach()
    return ray_march.prepare(
        origins, rays.directions.detach(), origins.new_full((n,), marching.near), origins.new_full((n,), marching.far),
        occupancy.bitfield, centre=occupancy.centre, half_extent=occupancy.half_extent,
        resolution=occupancy.resolution, step=occupancy.min_step, cone_angle=marching.cone_angle, jitter=jitter,
    )  # fmt: skip


def _shown(result: Fused, background: Tensor) -> Rendering:
    shown = torch.addcmul(result.rgb, (1.0 - result.alpha)[:, None], background)
    return Rendering(shown, result.alpha, result.depth)


def _traced(result: Fused, background: Tensor, n_marched: int, kept: int) -> Traced:
    looked_up, shaded = result.counts.sum(0).tolist()
    return Traced(_shown(result, background), n_marched, looked_up, shaded, kept, None, result.n_broken == 0)
