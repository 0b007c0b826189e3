"""Ray marching through a cascaded occupancy grid: packed samples on a fixed lattice of depths."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from neural.cuda import checks, jit, library, packed, philox
from neural.cuda.native import lib, threads
from neural.cuda.reference import ray_march as reference

JITTER_STREAM = 0x6A697474  # Philox stream of the per-ray offsets
MAX_CASCADES = 16
MAX_RESOLUTION = 1024


@dataclass(frozen=True)
class Samples:
    """Intervals along rays, packed: those of ray r are [start, start + count) with `packed_info[r] = (start, count)`.

    The sample's point is its middle, (t_start + t_end) / 2: that is what was tested against the grid.
    """

    t_starts: Float[Tensor, " S"]  # float32, distance from the origin, ascending within a ray
    t_ends: Float[Tensor, " S"]
    ray_indices: Int[Tensor, " S"]  # int64
    packed_info: Int[Tensor, "R 2"]  # int64; count 0 for rays without samples and for those that were cut
    n_rays_kept: int  # rays [n_rays_kept, R) were cut because max_samples was reached

    def __len__(self) -> int:
        return self.t_starts.shape[0]


def ray_march(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    t_min: Float[Tensor, " R"],
    t_max: Float[Tensor, " R"],
    bitfield: UInt8[Tensor, "K B"],
    *,
    centre: Sequence[float],
    half_extent: float,
    resolution: int,
    step: float,
    max_step: float = math.inf,
    cone_angle: float = 0.0,
    jitter: Float[Tensor, " R"] | tuple[int, int] | None = None,
    max_samples: int | None = None,
) -> Samples:
    """Finds the samples of each ray whose middle lies in an occupied voxel.

    Depths lie on a lattice t_k with steps clamp(cone_angle t, step, max_step), the same wherever the march starts.
    The point is looked up in the finest cascade that holds it and whose voxels are no shorter than the step. Empty
    and full blocks are crossed in one stride, yet the result equals testing every lattice point.

    Args:
        origins: World units, float32.
        directions: Unit vectors.
        t_min: Distance from which middles count, world units; negative values mean 0.
        t_max: Distance before which they count; infinity leaves only the outermost cascade as the limit.
        bitfield: uint8, one bit per voxel: [n_cascades, resolution^3 / 8] in Morton order (x lowest).
        centre: Centre of all cascades, world units.
        half_extent: Half the side of cascade 0; cascade k is 2^k times as large.
        resolution: Voxels per side of each cascade, a power of two from 16 to 1024.
        step: Shortest step, world units.
        max_step: Longest step; matters with a cone only.
        cone_angle: Growth of the step with distance; 0 for a bounded scene.
        jitter: Offset of each ray's lattice in steps, in [0, 1); or (seed, step) to draw it with Philox; or None for 0.
        max_samples: Rays from the first one on that does not fit are cut whole; None for no limit.

    Returns:
        The samples, not differentiable. A ray with a NaN, an infinite or a zero direction has none, and no ray goes
        beyond 2^23 steps.

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or setting.

    Source: lattice as in Mueller et al. 2022, arXiv:2201.05989, appendix E.
    """
    marched = prepare(
        origins, directions, t_min, t_max, bitfield, centre=centre, half_extent=half_extent, resolution=resolution,
        step=step, max_step=max_step, cone_angle=cone_angle, jitter=jitter, max_samples=max_samples,
    )  # fmt: skip
    packed_info, spans, n_samples, kept = count(marched, max_samples)
    write = torch.ops.neural.ray_march_write if torch.compiler.is_compiling() else _write
    t_starts, t_ends, ray_indices = write(*marched, spans, packed_info, n_samples)
    return Samples(t_starts, t_ends, ray_indices, packed_info, kept)


class Prepared(NamedTuple):
    """Rays and the grid that they go through, checked, in the order in which kernels take them."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    t_min: Float[Tensor, " R"]
    t_max: Float[Tensor, " R"]
    jitter: Float[Tensor, " R"] | None
    bitfield: UInt8[Tensor, "K B"]
    settings: Float[Tensor, " W"]  # the buffer of cuda/ray_march.cuh
    resolution: int
    cone: bool


def prepare(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    t_min: Float[Tensor, " R"],
    t_max: Float[Tensor, " R"],
    bitfield: UInt8[Tensor, "K B"],
    *,
    centre: Sequence[float],
    half_extent: float,
    resolution: int,
    step: float,
    max_step: float = math.inf,
    cone_angle: float = 0.0,
    jitter: Float[Tensor, " R"] | tuple[int, int] | None = None,
    max_samples: int | None = None,
) -> Prepared:
    """Checks the arguments of `ray_march` and draws the jitter.

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or setting.
    """
    n = origins.shape[0] if isinstance(origins, Tensor) and origins.ndim else 0
    checks.require("ray_march", "origins", origins, ("R", 3))
    device = origins.device
    checks.require("ray_march", "directions", directions, (n, 3), device=device)
    checks.require("ray_march", "t_min", t_min, (n,), device=device)
    checks.require("ray_march", "t_max", t_max, (n,), device=device)
    if not (16 <= resolution <= MAX_RESOLUTION and resolution & (resolution - 1) == 0):
        raise ValueError(f"ray_march: resolution must be a power of two from 16 to 1024, got {resolution}")
    checks.require("ray_march", "bitfield", bitfield, ("K", resolution**3 // 8), torch.uint8, device)
    n_cascades = bitfield.shape[0]
    if not 1 <= n_cascades <= MAX_CASCADES:
        raise ValueError(f"ray_march: bitfield must have 1 to {MAX_CASCADES} cascades, got {n_cascades}")
    if max_samples is not None and max_samples < 0:
        raise ValueError(f"ray_march: max_samples must be 0 or more, got {max_samples}; None means no limit")
    box = _settings(
        tuple(map(float, centre)),
        float(half_extent),
        resolution,
        float(step),
        float(max_step),
        float(cone_angle),
        device,
    )
    if isinstance(jitter, tuple):
        jitter = philox.uniform(n, seed=jitter[0], stream=JITTER_STREAM, step=jitter[1], device=device)[:, 0]
    if jitter is not None:
        checks.require("ray_march", "jitter", jitter, (n,), device=device)
    bitfield = bitfield if bitfield.is_contiguous() and bitfield.data_ptr() % 8 == 0 else bitfield.clone()
    return Prepared(origins, directions, t_min, t_max, jitter, bitfield, box, resolution, cone_angle > 0)


def count(marched: Prepared, max_samples: int | None) -> tuple[Int[Tensor, "R 2"], Float[Tensor, "2 R"], int, int]:
    """How many samples each ray has.

    Returns:
        (start, count) of each ray in packed arrays, 0 for rays that are cut; lattice indices at which each ray's
        samples begin and end; samples of all kept rays; how many rays are kept.
    """
    counting = torch.ops.neural.ray_march_count if torch.compiler.is_compiling() else _count
    packed_info, spans = counting(*marched)
    n_samples, kept = packed.starts(packed_info, max_samples)
    return packed_info, spans, n_samples, kept


@functools.lru_cache(maxsize=64)
def _settings(
    centre: tuple[float, ...],
    half_extent: float,
    resolution: int,
    step: float,
    max_step: float,
    cone_angle: float,
    device: torch.device,
) -> Tensor:
    """The settings buffer of cuda/ray_march.cuh, in its order."""
    if len(centre) != 3 or not all(map(math.isfinite, centre)):
        raise ValueError(f"ray_march: centre must be three finite numbers, got {centre}")
    for name, value in (("half_extent", half_extent), ("step", step)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"ray_march: {name} must be positive and finite, got {value}")
    if not max_step >= step:
        raise ValueError(f"ray_march: max_step must be at least step ({step}), got {max_step}")
    if not (cone_angle == 0 or 1e-6 <= cone_angle <= 1):
        raise ValueError(f"ray_march: cone_angle must be 0 or in [1e-6, 1], got {cone_angle}")
    voxel = 2 * half_extent / resolution
    lowest = max(0, math.ceil(math.log2(step / voxel) - 1e-9))
    head = (*centre, 0.5 / half_extent, step, 1 / step, max_step, 1 / max_step)
    if cone_angle == 0:
        lattice = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, math.inf, 0.0)
    else:
        rate = math.log1p(cone_angle)
        t1, t2 = step / rate, max_step / rate
        n2 = (1 + math.log(max_step / step)) / rate
        lattice = (rate, 1 / rate, t1, 1 / rate, t2, n2, cone_angle / voxel, voxel / cone_angle, max_step / voxel)
    return torch.tensor((*head, *lattice, float(lowest)), dtype=torch.float32, device=device)


def _count(
    origins: Tensor,
    directions: Tensor,
    t_min: Tensor,
    t_max: Tensor,
    jitter: Tensor | None,
    bitfield: Tensor,
    settings: Tensor,
    resolution: int,
    cone: bool,
) -> tuple[Tensor, Tensor]:
    """(0, samples) of each ray, and where its first and last one lie."""
    rays = (origins, directions, t_min, t_max, jitter, bitfield, settings, resolution, cone)
    packed_info, spans = _empty_counts(origins)
    if origins.shape[0] == 0:
        return packed_info, spans
    if checks.backend(origins) == "reference":
        return reference.count(*rays)
    _run("ray_march_count", *rays, packed_info, spans)
    return packed_info, spans


def _write(
    origins: Tensor,
    directions: Tensor,
    t_min: Tensor,
    t_max: Tensor,
    jitter: Tensor | None,
    bitfield: Tensor,
    settings: Tensor,
    resolution: int,
    cone: bool,
    spans: Tensor,
    packed_info: Tensor,
    n_samples: int,
) -> tuple[Tensor, Tensor, Tensor]:
    rays = (origins, directions, t_min, t_max, jitter, bitfield, settings, resolution, cone)
    samples = _empty_samples(origins, n_samples)
    if n_samples == 0:
        return samples
    if checks.backend(origins) == "reference":
        return reference.write(*rays, packed_info)
    _run("ray_march_write", *rays, spans, packed_info, *samples)
    return samples


def _run(
    kernel: str,
    origins: Tensor,
    directions: Tensor,
    t_min: Tensor,
    t_max: Tensor,
    jitter: Tensor | None,
    bitfield: Tensor,
    settings: Tensor,
    resolution: int,
    cone: bool,
    *outputs: Tensor,
) -> None:
    """Runs a kernel of ray_march.h; `outputs` are its arguments behind the bitfield."""
    o, on, ok = checks.rows(origins)
    d, dn, dk = checks.rows(directions)
    near, far, offset = t_min.contiguous(), t_max.contiguous(), None if jitter is None else jitter.contiguous()
    n, k = origins.shape[0], bitfield.shape[0]
    if checks.backend(origins) == "cpu":
        getattr(lib, kernel)(
            o.data_ptr(), on, ok, d.data_ptr(), dn, dk, near.data_ptr(), far.data_ptr(), checks.pointer(offset), n,
            settings.data_ptr(), k, resolution, cone, bitfield.data_ptr(), *[x.data_ptr() for x in outputs], threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "ray_march", kernel, {"CONE": int(cone)}, n,
            (o, on, ok, d, dn, dk, near, far, offset, n, settings, k, resolution, bitfield, *outputs),
        )  # fmt: skip


def _empty_counts(origins: Tensor) -> tuple[Tensor, Tensor]:
    n = origins.shape[0]
    return origins.new_empty(n, 2, dtype=torch.int64), origins.new_empty(2, n)


def _empty_samples(origins: Tensor, n_samples: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        origins.new_empty(n_samples),
        origins.new_empty(n_samples),
        origins.new_empty(n_samples, dtype=torch.int64),
    )


_RAYS = (
    "Tensor origins, Tensor directions, Tensor t_min, Tensor t_max, Tensor? jitter, Tensor bitfield, Tensor settings, "
    "int resolution, bool cone"
)
library.define(
    "ray_march_count",
    f"({_RAYS}) -> (Tensor, Tensor)",
    implementation=_count,
    fake=lambda origins, *_: _empty_counts(origins),
)
library.define(
    "ray_march_write",
    f"({_RAYS}, Tensor spans, Tensor packed_info, SymInt n_samples) -> (Tensor, Tensor, Tensor)",
    implementation=_write,
    fake=lambda origins, *rest: _empty_samples(origins, rest[-1]),
)
