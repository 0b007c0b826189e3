"""Where the field is empty: a grid of optical thickness that follows the field and steers the ray march."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from neural.cuda import occupancy, philox
from neural.cuda.ray_march import Samples, ray_march

DRAW_STREAM = 0x64726177  # Philox stream of which cells are looked at
_BLOCK = 4  # cells per side of the blocks that mark_unseen looks at


class Views(Protocol):
    """What `mark_unseen` needs of the cameras; `neural.cameras.Cameras` has it."""

    @property
    def c2w(self) -> Float[Tensor, "C 4 4"]: ...
    @property
    def intrinsics(self) -> Float[Tensor, "C 4"]: ...
    @property
    def sizes(self) -> Int[Tensor, "C 2"]: ...
    def __len__(self) -> int: ...
    def project(self, points: Float[Tensor, "P 3"], index: int) -> tuple[Float[Tensor, "P 2"], Float[Tensor, " P"]]: ...


@dataclass(frozen=True)
class OccupancyConfig:
    """How the grid follows the field."""

    update_every: int = 16  # steps between updates
    warm_up: int = 256  # steps in which an update looks at every cell
    decay: float = 0.95  # of old values per update
    max_threshold: float = 1e-2  # optical thickness at the minimum step above which a cell is always occupied
    uniform_share: float = 0.25  # of all cells, looked at in an update after the warm-up
    occupied_share: float = 0.25  # of all cells; as many occupied cells are looked at, at most
    chunk: int = 1 << 18  # points per call of the field


class OccupancyGrid:
    """Cascaded grid of cells, each with the largest optical thickness seen lately, and one bit: worth sampling.

    After a warm-up that looks at every cell, an update looks at one random cell of each run of 4 in Morton order, and
    at the occupied cells (spread evenly when they are too many). Draws without replacement reach every cell equally
    often and keep the field's reads coherent; nerfacc and instant-ngp draw with replacement instead. Points and draws
    depend on (seed, step) only, so that a resume needs nothing but the state here and the step.

    Args:
        centre: Centre of all cascades, world units.
        half_extent: Half the side of cascade 0; cascade k is 2^k times as large.
        min_step: The march's shortest step, world units.
        seed: The run's seed.
        n_cascades: 1 for a bounded scene.
        resolution: Cells per side, a power of two from 16 to 1024.
        config: The schedule.
        device: Where the grid lies.

    Attributes:
        thickness: float32 [n_cascades, resolution^3] in Morton order; density times min_step, -1 where unseen.
        threshold: float32 scalar: a cell above it is occupied.
        bitfield: uint8 [n_cascades, resolution^3 / 8]; all ones until the first update.

    Source: Mueller et al. 2022, arXiv:2201.05989, appendix E.2.
    """

    def __init__(
        self,
        *,
        centre: Sequence[float],
        half_extent: float,
        min_step: float,
        seed: int,
        n_cascades: int = 1,
        resolution: int = 128,
        config: OccupancyConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not (16 <= resolution <= 1024 and resolution & (resolution - 1) == 0):
            raise ValueError(f"OccupancyGrid: resolution must be a power of two from 16 to 1024, got {resolution}")
        if not (math.isfinite(half_extent) and half_extent > 0 and math.isfinite(min_step) and min_step > 0):
            raise ValueError(
                f"OccupancyGrid: half_extent and min_step must be positive, got {half_extent} and {min_step}"
            )
        if not 1 <= n_cascades <= 16:
            raise ValueError(f"OccupancyGrid: n_cascades must be 1 to 16, got {n_cascades}")
        x, y, z = (float(c) for c in centre)
        self.centre = (x, y, z)
        self.half_extent = float(half_extent)
        self.min_step = float(min_step)
        self.seed = seed
        self.resolution = resolution
        self.config = config or OccupancyConfig()
        self.thickness = torch.zeros((n_cascades, resolution**3), dtype=torch.float32, device=device)
        self.threshold = torch.zeros((), dtype=torch.float32, device=device)
        self.bitfield = torch.full((n_cascades, resolution**3 // 8), 255, dtype=torch.uint8, device=device)

    @property
    def n_cascades(self) -> int:
        return self.thickness.shape[0]

    def occupied_share(self) -> float:
        """Share of the cells above the threshold."""
        return float((self.thickness > self.threshold).float().mean())

    def march(
        self,
        origins: Float[Tensor, "R 3"],
        directions: Float[Tensor, "R 3"],
        t_min: Float[Tensor, " R"],
        t_max: Float[Tensor, " R"],
        *,
        cone_angle: float = 0.0,
        max_step: float = math.inf,
        jitter: Float[Tensor, " R"] | tuple[int, int] | None = None,
        max_samples: int | None = None,
    ) -> Samples:
        """Samples of the rays in occupied cells; arguments as in `neural.cuda.ray_march.ray_march`."""
        return ray_march(
            origins, directions, t_min, t_max, self.bitfield, centre=self.centre, half_extent=self.half_extent,
            resolution=self.resolution, step=self.min_step, max_step=max_step, cone_angle=cone_angle, jitter=jitter,
            max_samples=max_samples,
        )  # fmt: skip

    @torch.no_grad()
    def update(self, step: int, density: Callable[[Float[Tensor, "n 3"]], Tensor]) -> bool:
        """Looks at the field, if an update is due at this step.

        Args:
            step: Training step, from 0.
            density: Gives the density, 1 / world unit, [n] or [n, 1], at world positions [n, 3].

        Returns:
            Whether an update was due.

        Raises:
            ValueError: `density` gives another number of values.
        """
        if step % self.config.update_every != 0:
            return False
        cells = None if step < self.config.warm_up else self._draw(step)
        looked_at = torch.arange(self.thickness.numel(), device=self.thickness.device) if cells is None else cells
        values = torch.empty(looked_at.shape, dtype=torch.float32, device=self.thickness.device)
        for first in range(0, len(looked_at), self.config.chunk):
            part = looked_at[first : first + self.config.chunk]
            points = occupancy.cell_points(
                part, seed=self.seed, step=step, resolution=self.resolution, centre=self.centre,
                half_extent=self.half_extent,
            )  # fmt: skip
            found = density(points).detach()
            if found.numel() != len(part):
                raise ValueError(
                    f"OccupancyGrid.update: density must give [{len(part)}] values for [{len(part)}, 3] positions, "
                    f"got {list(found.shape)}"
                )
            values[first : first + len(part)] = found.reshape(-1).float() * self.min_step
        occupancy.update(self.thickness, cells, values, self.config.decay)
        # Just below the mean, so that a field that is the same everywhere, as a new one may be, stays sampled.
        self.threshold = 0.999 * occupancy.mean(self.thickness).clamp(max=self.config.max_threshold)
        self.bitfield = occupancy.pack(self.thickness, self.threshold)
        return True

    def mark_unseen(self, cameras: Views) -> float:
        """Gives up the cells that no camera sees: they are set to -1 and never sampled again.

        Blocks of 4^3 cells are tested by their bounding sphere, with a quarter of its projected radius to spare: only
        a block that is clearly outside every image or behind every camera is given up. Pinhole fields of view must be
        below 140 degrees.

        Args:
            cameras: The training cameras, in world units.

        Returns:
            The share of cells that no camera sees.
        """
        code = torch.arange(0, self.thickness.shape[1], _BLOCK**3)
        per_side = self.resolution // _BLOCK
        for k in range(self.n_cascades):
            half = self.half_extent * 2.0**k
            block = _compact(code // _BLOCK**3)
            centres = torch.tensor(self.centre).double() + ((block.double() + 0.5) / per_side * 2 - 1) * half
            seen = _seen(cameras, centres, math.sqrt(3) * half / per_side)
            unseen = (~seen).repeat_interleave(_BLOCK**3).to(self.thickness.device)
            self.thickness[k].masked_fill_(unseen, -1.0)
        seen_bits = occupancy.pack(
            (self.thickness >= 0).float(), torch.full_like(self.threshold, 0.5)
        )  # also what a finer cascade keeps
        self.bitfield &= seen_bits
        return float((self.thickness < 0).float().mean())

    def mask_within(self, box: Float[Tensor, "2 3"]) -> UInt8[Tensor, "L C"]:
        """Bits of the cells whose centres lie in a box, as in `bitfield`: their conjunction leaves out all others.

        Args:
            box: Smallest and largest corner, world units.
        """
        code = torch.arange(self.thickness.shape[1], device=self.thickness.device)
        unit = (_compact(code).double() + 0.5) / self.resolution * 2 - 1
        low, high = box.to(unit)
        inside = torch.empty_like(self.thickness)
        for k in range(self.n_cascades):
            centres = unit.new_tensor(self.centre) + unit * (self.half_extent * 2.0**k)
            inside[k] = ((centres >= low) & (centres <= high)).all(-1)
        return occupancy.pack(inside, torch.full_like(self.threshold, 0.5))

    def masked(self, mask: UInt8[Tensor, "L C"]) -> "OccupancyGrid":
        """The same grid for looking at, without the cells that are 0 in a mask; made anew after each update."""
        shown = copy.copy(self)
        shown.bitfield = self.bitfield & mask
        return shown

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint, named `occupancy/...`."""
        return {
            "occupancy/thickness": self.thickness,
            "occupancy/threshold": self.threshold,
            "occupancy/bitfield": self.bitfield,
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes what `state_dict` gave.

        Raises:
            ValueError: A tensor is missing, or its shape or dtype is that of another grid.
        """
        for name, mine in self.state_dict().items():
            if name not in state:
                raise ValueError(
                    f"OccupancyGrid: the checkpoint has no {name}; it was written without an occupancy grid"
                )
            given = state[name]
            if given.shape != mine.shape or given.dtype != mine.dtype:
                raise ValueError(
                    f"OccupancyGrid: {name} must be {list(mine.shape)} {mine.dtype}, got {list(given.shape)} "
                    f"{given.dtype}; resume with the resolution and n_cascades of the checkpoint"
                )
            mine.copy_(given)

    def _draw(self, step: int) -> Int[Tensor, " n"]:
        """The cells of an update after the warm-up: int64, ascending in each of the two parts."""
        n_cells = self.thickness.numel()
        device = self.thickness.device
        occupied = (self.thickness > self.threshold).view(-1).nonzero()[:, 0]
        parts = []
        for word, (cells, share) in enumerate(
            ((None, self.config.uniform_share), (occupied, self.config.occupied_share))
        ):
            available = n_cells if cells is None else len(cells)
            n = min(round(n_cells * share), available)
            chosen = _spread(n, available, self.seed, DRAW_STREAM + word, step, device)
            parts.append(chosen if cells is None else cells[chosen])
        return torch.cat(parts)


def _spread(n: int, available: int, seed: int, stream: int, step: int, device: torch.device) -> Int[Tensor, " n"]:
    """n of the indices 0 .. available-1, each once: a random one of each of n equal runs."""
    if n == 0:
        return torch.empty(0, dtype=torch.int64, device=device)
    edges = torch.arange(n + 1, device=device) * available // n
    runs = edges[1:] - edges[:-1]
    offset = philox.uniform(n, seed=seed, stream=stream, step=step, device=device)[:, 0]
    return edges[:-1] + torch.minimum((offset * runs).long(), runs - 1)


def _compact(code: Int[Tensor, " n"]) -> Int[Tensor, "n 3"]:
    """Integer coordinates of Morton codes below 2^30."""
    axes = []
    for axis in range(3):
        v = (code >> axis) & 0x09249249
        v = (v | (v >> 2)) & 0x030C30C3
        v = (v | (v >> 4)) & 0x0300F00F
        v = (v | (v >> 8)) & 0x030000FF
        axes.append((v | (v >> 16)) & 0x3FF)
    return torch.stack(axes, -1)


def _seen(cameras: Views, centres: Float[Tensor, "n 3"], radius: float) -> Tensor:
    """Which cubes, of this bounding sphere, may show in an image."""
    seen = torch.zeros(len(centres), dtype=torch.bool)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 3) * (radius / math.sqrt(3))
    for index in range(len(cameras)):
        rest = (~seen).nonzero()[:, 0]
        points = centres[rest]
        fx, fy, cx, cy = cameras.intrinsics[index].detach().cpu().double()
        pixels, depth = (t.detach().cpu().double() for t in cameras.project(points, index))
        distance = (points - cameras.c2w[index, :3, 3].detach().cpu().double()).norm(dim=-1)
        angle = torch.asin((radius / distance).clamp(max=1.0))
        slope = (pixels - torch.stack((cx, cy))).norm(dim=-1) / torch.minimum(fx, fy)  # tan of the angle off axis
        margin = 1.25 * torch.maximum(fx, fy) * angle * (1 + slope**2)  # d tan = (1 + tan^2) d angle
        shows = _inside(cameras, index, pixels, depth, margin)
        shows |= (depth > -radius) & (distance <= 4 * radius)  # about the camera, where the margin says little
        hidden = (~torch.isfinite(pixels).all(-1) & ~shows).nonzero()[:, 0]  # the lens maps the centre nowhere
        around = (points[hidden][:, None] + corners).view(-1, 3)
        pixels, depth = (t.detach().cpu().double() for t in cameras.project(around, index))
        shows[hidden] = _inside(cameras, index, pixels, depth, torch.zeros_like(depth)).view(-1, 8).any(1)
        seen[rest[shows]] = True
    return seen


def _inside(cameras: Views, index: int, pixels: Tensor, depth: Tensor, margin: Tensor) -> Tensor:
    """Which pixels are in front of the camera and within `margin` of the image; NaN is not."""
    size = cameras.sizes[index].detach().cpu().double()
    return ((pixels > -margin[:, None]) & (pixels < size + margin[:, None])).all(-1) & (depth > 0)
