"""Ray marching in plain torch, dense: every lattice point of every ray is tested, nothing is skipped.

The lattice and the lookup are the definitions at the head of cuda/ray_march.cuh, written once more; there is no block,
no exit and no rounding bound here. `settings` is the float32 buffer of cuda/ray_march.py.
"""

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

MAX_POINTS = 1 << 23  # lattice points per ray


def depth(settings: Float[Tensor, " 18"], x: Float[Tensor, "*n"], cone: bool) -> Float[Tensor, "*n"]:
    """Distance of the lattice index x: linear, exponential, linear."""
    step, max_step, rate = settings[4], settings[6], settings[8]
    if not cone:
        return x * step
    t1, n1, t2, n2 = settings[10:14]
    middle = torch.exp((x - n1) * rate) * t1
    return torch.where(x < n1, x * step, torch.where(x < n2, middle, (x - n2) * max_step + t2))


def morton(cell: Int[Tensor, "*n 3"], bits: int) -> Int[Tensor, "*n"]:
    """Interleaves the low `bits` bits of x, y, z, x lowest."""
    code = torch.zeros_like(cell[..., 0])
    for bit in range(bits):
        for axis in range(3):
            code |= (cell[..., axis] >> bit & 1) << (3 * bit + axis)
    return code


def occupied(
    position: Float[Tensor, "*n 3"], voxels: Float[Tensor, "*n"], bitfield: UInt8[Tensor, "K B"], resolution: int
) -> Bool[Tensor, "*n"]:
    """Looks points up: `position` in grid coordinates (cascade 0 is [-1/2, 1/2]^3), `voxels` the step in its voxels."""
    n_cascades = bitfield.shape[0]
    reach = position.abs().amax(-1)
    level, inside = torch.zeros_like(reach, dtype=torch.int64), torch.zeros_like(reach, dtype=torch.bool)
    for k in reversed(range(n_cascades)):
        holds = reach < 0.5 * 2**k
        level, inside = torch.where(holds, k, level), inside | holds
    for k in range(n_cascades - 1):
        level = torch.where((level == k) & (voxels > 2**k), k + 1, level)
    side = torch.pow(2.0, -level.to(position.dtype))
    cell = ((position * side[..., None] + 0.5) * resolution).long().clamp(0, resolution - 1)
    code = morton(cell, resolution.bit_length() - 1)
    byte = bitfield[level, code >> 3]
    return inside & ((byte >> (code & 7).to(torch.uint8)) & 1).bool()


def lattice(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    t_min: Float[Tensor, " R"],
    t_max: Float[Tensor, " R"],
    jitter: Float[Tensor, " R"] | None,
    bitfield: UInt8[Tensor, "K B"],
    settings: Float[Tensor, " 18"],
    resolution: int,
    cone: bool,
) -> tuple[Bool[Tensor, "R X"], Float[Tensor, "R X"], Float[Tensor, "R X"]]:
    """For lattice indices 0 .. X-1 of each ray: is it a sample, where does it start and end."""
    finite = (
        torch.isfinite(origins).all(-1) & torch.isfinite(directions).all(-1) & (directions.square().sum(-1) > 1e-12)
    )
    o = (origins - settings[:3]) * settings[3]
    d = directions * settings[3]
    # No point of the grid is farther from the origin than this.
    farthest = (o.norm(dim=-1) + 2.0 ** bitfield.shape[0]) / d.norm(dim=-1)
    limit = torch.where(finite, torch.minimum(t_max, farthest), 0.0).nan_to_num(0.0).amax() if len(o) else 0.0
    n = 1
    while n < MAX_POINTS and depth(settings, torch.tensor(n - 1.0, device=o.device), cone) < limit:
        n *= 2
    x = torch.arange(n, dtype=torch.float32, device=o.device) + (0.0 if jitter is None else jitter[:, None])
    x = x.expand(len(o), n)
    starts, ends = depth(settings, x, cone), depth(settings, x + 1.0, cone)
    middle = (starts + ends) * 0.5
    position = o[:, None, :] + middle[..., None] * d[:, None, :]
    voxels = settings[4] * settings[3] * resolution  # of the step, and of the cone's below
    steps = torch.clamp(middle * settings[14], max=settings[16]) if cone else torch.zeros_like(middle)
    found = occupied(position, torch.maximum(steps, voxels), bitfield, resolution)
    found &= (middle >= t_min[:, None]) & (middle < t_max[:, None]) & finite[:, None]
    return found, starts, ends


def count(*rays: object) -> tuple[Int[Tensor, "R 2"], Float[Tensor, "2 R"]]:
    """(0, samples) per ray, and the index of the first and behind the last; arguments as in `lattice`."""
    found, _, _ = lattice(*rays)  # type: ignore[arg-type]
    n = found.shape[1]
    index = torch.arange(n, device=found.device)
    first = torch.where(found, index, n).amin(1)
    last = torch.where(found, index + 1, 0).amax(1)
    first = torch.where(last > 0, first, 0)
    counts = found.sum(1)
    return torch.stack((torch.zeros_like(counts), counts), 1), torch.stack((first, last)).float()


def write(*rays: object) -> tuple[Float[Tensor, " S"], Float[Tensor, " S"], Int[Tensor, " S"]]:
    """The samples of the rays that `packed_info`, the last argument, keeps; the others as in `lattice`."""
    packed_info = rays[-1]
    assert isinstance(packed_info, Tensor)
    found, starts, ends = lattice(*rays[:-1])  # type: ignore[arg-type]
    found &= packed_info[:, 1:] > 0
    return starts[found], ends[found], found.nonzero()[:, 0]
