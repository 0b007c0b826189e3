"""Pictures of a medium of density and albedo under a sun and a sky: emission and absorption along rays.

The same renderer shows a voxel grid and a field that has learnt it, so that a difference between two pictures is one of
the media. Light that reaches a point is the sun's through what lies between, kept in a grid that is made once per
medium and sun, and a sky's that grows with height. Light that scatters more than once is not traced: octaves of
the sun's light that are dimmer, softer and reach deeper stand for it.

Colours are linear until a picture is developed. Lengths are in edges: the medium lies in the unit cube.

Source: octaves: Wrenninge et al. 2013, "Oz: The Great and Volumetric", with a = b = c = 1/2; phase function: Henyey and
Greenstein 1941, eq. 2. Sky, tone curve and constants are ours.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural.cameras import Cameras
from neural.cuda.occupancy import pack
from neural.cuda.trilinear import trilinear
from neural.rays import Rays, pixel_rays
from neural.render.occupancy import OccupancyGrid
from neural.render.rendering import Rendering
from neural.render.sunlight import sun_thickness
from neural.render.volume import Marching, render_rays

Medium = Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N 4"]]
"""Positions in the unit cube to density (1 / edge) and albedo (linear)."""
OCTAVES = 3
RAYS_PER_CHUNK = 1 << 12


@dataclass(frozen=True)
class Lighting:
    """Sun, sky and the film.

    Attributes:
        azimuth: Of the sun, degrees from x towards y.
        elevation: Of the sun above the horizon, degrees.
        sun: Its colour and strength, linear.
        zenith: Colour of the sky overhead, linear; it also lights the medium from above.
        horizon: Colour of the sky at the horizon, linear; it lights the medium's foot.
        ground: What is seen straight below, linear.
        anisotropy: g of the phase function: 0 scatters alike in all directions, towards 1 ahead.
        exposure: What a picture's light is multiplied by before the tone curve.
    """

    azimuth: float = 215.0
    elevation: float = 38.0
    sun: tuple[float, float, float] = (4.2, 3.9, 3.5)
    zenith: tuple[float, float, float] = (0.13, 0.26, 0.55)
    horizon: tuple[float, float, float] = (0.50, 0.62, 0.80)
    ground: tuple[float, float, float] = (0.10, 0.14, 0.17)
    anisotropy: float = 0.35
    exposure: float = 0.8

    @property
    def to_sun(self) -> tuple[float, float, float]:
        """Unit vector."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        return math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)

    def sky(self, directions: Float[Tensor, "R 3"]) -> Float[Tensor, "R 3"]:
        """What is behind the medium, linear, along unit directions."""
        rise = directions[:, 2:]
        horizon, zenith, ground = (directions.new_tensor(c) for c in (self.horizon, self.zenith, self.ground))
        above = torch.lerp(horizon, zenith, 1 - (1 - rise.clamp(0, 1)) ** 3)
        return torch.lerp(above, ground, 1 - (1 + rise.clamp(-1, 0)) ** 3)

    def develop(self, rgb: Float[Tensor, "R 3"]) -> Float[Tensor, "R 3"]:
        """Linear light to sRGB in [0, 1]; bright light saturates gently."""
        linear = -torch.expm1(-self.exposure * rgb)
        return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055)


class Lit:
    """A medium under a light, as `neural.render.volume` renders it.

    Args:
        medium: Density and albedo.
        occupancy: Where there is anything; the rest is not looked up.
        lighting: Sun and sky.
        box: Corners of the box [2, 3] that the medium ends at, from (0, 0, 0) on.
        shadow_resolution: Cells along each edge of the grid of the sun's light.
    """

    def __init__(
        self,
        medium: Medium,
        occupancy: OccupancyGrid,
        lighting: Lighting,
        *,
        box: Float[Tensor, "2 3"],
        shadow_resolution: int = 128,
    ) -> None:
        device = occupancy.bitfield.device
        self.medium = medium
        self.lighting = lighting
        self._to_sun = torch.tensor(lighting.to_sun, device=device)
        self._end = box[1].to(device, torch.float32)
        density = _on_grid(self._ended, occupancy, shadow_resolution)
        self.shadow = torch.from_numpy(sun_thickness(density, lighting.to_sun))[..., None].to(self._to_sun.device)

    def density(self, positions: Float[Tensor, "S 3"]) -> tuple[Float[Tensor, "S"], Float[Tensor, "S 6"]]:
        """Density, and what `density_of` and `color` need: density, albedo, thickness towards the sun, height."""
        values = self._ended(positions).t()
        density = values[0]
        thickness = trilinear(positions, self.shadow, scale=float(self.shadow.shape[0])).t()
        geo = torch.cat((density[None], values[1:].clamp(0, 1), thickness, positions.t()[2:]))
        return density, geo.t()

    def _ended(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S 4"]:
        """The medium, which is nothing beyond its box; densities are not negative."""
        values = self.medium(positions).t()
        values[0] = values[0].clamp(min=0) * (positions <= self._end).all(1)
        return values.t()

    def density_of(self, geo: Float[Tensor, "S 6"]) -> Float[Tensor, "S"]:
        """The density that the features stand for."""
        return geo[:, 0]

    def color(self, directions: Float[Tensor, "S 3"], geo: Float[Tensor, "S 6"]) -> Float[Tensor, "S 3"]:
        """Linear light that is scattered towards a camera that looks along unit `directions`."""
        light = self.lighting
        thickness, height = geo[:, 4:5], geo[:, 5:].clamp(0, 1)
        cosine = directions @ self._to_sun
        sun = torch.zeros_like(thickness)
        for octave in range(OCTAVES):
            share = 0.5**octave
            sun += share * phase(cosine, light.anisotropy * share)[:, None] * torch.exp(-share * thickness)
        sky = torch.lerp(directions.new_tensor(light.horizon), directions.new_tensor(light.zenith), height.sqrt())
        return geo[:, 1:4] * (sun * directions.new_tensor(light.sun) / 2 + sky * (0.5 + height))


def phase(cosine: Float[Tensor, "S"], g: float) -> Float[Tensor, "S"]:
    """Henyey and Greenstein's phase function, times 4 pi: 1 in all directions for g = 0."""
    return (1 - g * g) / (1 + g * g - 2 * g * cosine).clamp(min=1e-6) ** 1.5


def render_picture(
    lit: Lit, cameras: Cameras, index: int, occupancy: OccupancyGrid, marching: Marching | None = None
) -> Rendering:
    """One whole picture of `cameras[index]`, sRGB before the sky; fields have H W rows, row by row from the top."""
    n = int(cameras.sizes[index].prod())
    parts = []
    for first in range(0, n, RAYS_PER_CHUNK):
        rays: Rays = pixel_rays(cameras, index, first, min(first + RAYS_PER_CHUNK, n))
        sky = lit.lighting.sky(rays.directions)
        parts.append(render_rays(lit, rays, occupancy, marching or Marching(), background=sky))
    joined = Rendering(*(torch.cat([getattr(part, name) for part in parts]) for name in ("rgb", "alpha", "depth")))
    return Rendering(lit.lighting.develop(joined.rgb), joined.alpha, joined.depth)


@torch.no_grad()
def _on_grid(medium: Medium, occupancy: OccupancyGrid, resolution: int) -> Float[np.ndarray, "R R R"]:
    """The density at the centres of cells; zero in cells of the occupancy grid where nothing is."""
    device = occupancy.bitfield.device
    steps = (torch.arange(resolution, device=device) + 0.5) / resolution
    out = torch.zeros(resolution, resolution, resolution, device=device)
    for i, x in enumerate(steps):
        y, z = torch.meshgrid(steps, steps, indexing="ij")
        points = torch.stack((x.expand(y.numel()), y.reshape(-1), z.reshape(-1)), 1)
        inside = occupied_at(occupancy, points)
        if bool(inside.any()):
            out[i].view(-1)[inside] = medium(points[inside])[:, 0]
    return out.cpu().numpy()


def occupied_at(occupancy: OccupancyGrid, points: Float[Tensor, "N 3"]) -> Tensor:
    """Whether the cells of a single cascade that points of the unit cube lie in are occupied, bool [N]."""
    resolution = occupancy.resolution
    cell = (points * resolution).long().clamp(0, resolution - 1)
    code = torch.zeros_like(cell[:, 0])
    for bit in range(resolution.bit_length() - 1):
        for axis in range(3):
            code |= (cell[:, axis] >> bit & 1) << (3 * bit + axis)
    return (occupancy.bitfield[0][code >> 3] >> (code & 7).to(torch.uint8)) & 1 == 1


def occupancy_of(
    peaks: Float[np.ndarray, "R R R"], threshold: float, *, steps: int, device: torch.device | str = "cpu"
) -> OccupancyGrid:
    """The grid of cells whose peak density is above a threshold, over the unit cube.

    Args:
        peaks: The largest density in each cell.
        threshold: In the same unit.
        steps: Samples per edge.
        device: Where it will be marched.
    """
    resolution = peaks.shape[0]
    grid = OccupancyGrid(
        centre=(0.5, 0.5, 0.5), half_extent=0.5, min_step=1 / steps, seed=0, resolution=resolution, device="cpu"
    )
    index = torch.arange(resolution)
    code = torch.zeros(resolution, dtype=torch.int64)
    for bit in range(resolution.bit_length() - 1):
        code |= (index >> bit & 1) << (3 * bit)
    place = code[:, None, None] | code[None, :, None] << 1 | code[None, None, :] << 2
    grid.thickness[0, place.view(-1)] = torch.from_numpy(np.ascontiguousarray(peaks)).view(-1) / steps
    grid.threshold = torch.tensor(threshold / steps)
    grid.bitfield = pack(grid.thickness, grid.threshold)
    for name in ("thickness", "threshold", "bitfield"):
        setattr(grid, name, getattr(grid, name).to(device))
    return grid
