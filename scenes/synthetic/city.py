"""A synthetic city: build it from a config, ask rays about it.

    city = City(CityConfig(seed=7, blocks=(3, 3)))
    hits = city.cast(origins, directions)

World frame: metres, x east, y north, z up, carriageways at z = 0.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from neural.scenes.synthetic import blocks, materials
from neural.scenes.synthetic.facades import Surface
from neural.scenes.synthetic.light import Daylight
from neural.scenes.synthetic.primitives import Instance, Primitives
from neural.scenes.synthetic.streets import Block, CityConfig, Streets
from neural.scenes.synthetic.trace import Tracer

_LIFT = 1e-4
"""Metres by which shadow rays start off their surface."""
_OPENNESS_CELL = 2.0


@dataclass(frozen=True)
class Hits:
    """What R rays met."""

    t: Float64[np.ndarray, "R"]
    """Ray parameter of the hit: the distance, for unit directions; inf for the sky."""
    rgb: Float32[np.ndarray, "R 3"]
    """Linear light before exposure."""
    normal: Float32[np.ndarray, "R 3"]
    """World normal of the solid, towards the ray; 0 for the sky."""
    class_id: Int64[np.ndarray, "R"]
    """See `classes`; 0 for the sky."""
    instance_id: Int64[np.ndarray, "R"]
    """Id in the layout; 0 for sky and ground."""


class City:
    """The blocks of a config, ready to be seen.

    Args:
        config: The plan.
        light: The day.

    Solids, instances and maps of a block do not depend on how many blocks surround it. Its colours do by a
    little near the rim, where a neighbour's shadow and the narrowing of its sky are missing.
    """

    def __init__(self, config: CityConfig, light: Daylight | None = None) -> None:
        self.config = config
        self.light = light or Daylight()
        self.blocks: list[Block] = Streets(config).blocks()
        parts = [blocks.fill(block, config) for block in self.blocks]
        self.solids = Primitives.concatenate([solids for solids, _ in parts])
        self.instances: list[Instance] = [instance for _, found in parts for instance in found]
        self.tracer = Tracer(self.solids)

    @property
    def ground(self) -> tuple[float, float, float, float]:
        """The rectangle of all blocks, x0, x1, y0, y1."""
        edges = np.array([block.edges for block in self.blocks])
        return (
            float(edges[:, 0].min()),
            float(edges[:, 1].max()),
            float(edges[:, 2].min()),
            float(edges[:, 3].max()),
        )

    @property
    def aabb(self) -> Float64[np.ndarray, "2 3"]:
        """A box around everything."""
        return np.stack([self.tracer.low, self.tracer.high])

    def cast(
        self,
        origins: Float[np.ndarray, "R 3"],
        directions: Float[np.ndarray, "R 3"],
        *,
        colour: bool = True,
    ) -> Hits:
        """Cast rays.

        Args:
            origins: World positions, metres.
            directions: World directions; `t` is in units of their length.
            colour: False leaves `rgb` zero and spares the shadow rays.

        Returns:
            One hit per ray. Solids are one-sided: a ray that starts inside one leaves it unseen.
        """
        origins, directions = _rays(origins, "origins"), _rays(directions, "directions")
        if origins.shape != directions.shape:
            raise ValueError(f"cast: {len(origins)} origins but {len(directions)} directions")
        t, rows = self.tracer.nearest(origins, directions)
        found = np.flatnonzero(rows >= 0)
        hits = Hits(
            t=t,
            rgb=np.zeros((len(t), 3), np.float32),
            normal=np.zeros((len(t), 3), np.float32),
            class_id=np.zeros(len(t), np.int64),
            instance_id=np.zeros(len(t), np.int64),
        )
        if colour:
            missed = np.flatnonzero(rows < 0)
            hits.rgb[missed] = self.light.sky_colour(_unit(directions[missed]))
        if not found.size:
            return hits
        o, d, rows = origins[found], directions[found], rows[found]
        world_normal, local_normal, local = self.tracer.normals(o, d, t[found], rows)
        hits.normal[found] = world_normal
        owner, material = self.solids.owner_class[rows], self.solids.material[rows]
        hits.class_id[found] = materials.class_of(material, owner, world_normal)
        hits.instance_id[found] = self.solids.instance[rows]
        if colour:
            points = o + t[found, None] * d
            hits.rgb[found] = self._colour(points, _unit(d), world_normal, local_normal, local, rows)
        return hits

    def _colour(
        self,
        points: Float64[np.ndarray, "N 3"],
        directions: Float64[np.ndarray, "N 3"],
        world_normal: Float64[np.ndarray, "N 3"],
        local_normal: Float64[np.ndarray, "N 3"],
        local: Float64[np.ndarray, "N 3"],
        rows: Int64[np.ndarray, "N"],
    ) -> Float32[np.ndarray, "N 3"]:
        solids = self.solids
        surface = Surface(
            local=local,
            half=solids.half[rows],
            normal=local_normal,
            world=points,
            colour=solids.colour[rows],
            accent=solids.accent[rows],
            params=solids.params[rows],
            seed=solids.seed[rows],
        )
        paint = materials.paint(solids.material[rows], surface)
        lit = self.lit(points, world_normal)
        return self.light.shade(paint, world_normal, directions, lit, self._openness(points, world_normal))

    def lit(self, points: Float64[np.ndarray, "N 3"], normals: Float64[np.ndarray, "N 3"]) -> np.ndarray:
        """Whether surface points with these outward normals see the sun."""
        towards_sun = self.light.towards_sun
        lit = normals @ towards_sun > 0.0
        front = np.flatnonzero(lit)
        starts = points[front] + _LIFT * normals[front]
        lit[front] = ~self.tracer.occluded(starts, np.broadcast_to(towards_sun, starts.shape))
        return lit

    def _openness(
        self, points: Float64[np.ndarray, "N 3"], normals: Float64[np.ndarray, "N 3"]
    ) -> Float32[np.ndarray, "N"]:
        """Share of the sky in view, from how far the neighbourhood rises above the point on average."""
        heights, low = self._neighbourhood
        outside = points + 2.5 * normals
        position = (outside[:, :2] - low) / _OPENNESS_CELL - 0.5
        position = np.clip(position, 0.0, np.array(heights.shape) - 1.001)
        corner = position.astype(np.int64)
        fx, fy = (position - corner).T
        ix, iy = corner.T
        mean = (heights[ix, iy] * (1 - fx) + heights[ix + 1, iy] * fx) * (1 - fy)
        mean += (heights[ix, iy + 1] * (1 - fx) + heights[ix + 1, iy + 1] * fx) * fy
        rise = np.maximum(mean - points[:, 2], 0.0)
        return (1.0 / (1.0 + rise / 8.0)).astype(np.float32)

    @cached_property
    def _neighbourhood(self) -> tuple[Float64[np.ndarray, "X Y"], Float64[np.ndarray, "2"]]:
        """Surface heights on a 2 m raster, averaged over 14 m."""
        low, high = self.tracer.low[:2], self.tracer.high[:2]
        nx, ny = np.maximum(np.ceil((high - low) / _OPENNESS_CELL).astype(int), 2)
        x, y = np.meshgrid(np.arange(nx) + 0.5, np.arange(ny) + 0.5, indexing="ij")
        top = self.tracer.high[2] + 1.0
        origins = np.stack([low[0] + _OPENNESS_CELL * x, low[1] + _OPENNESS_CELL * y, np.full_like(x, top)], -1)
        origins = origins.reshape(-1, 3)
        t, _ = self.tracer.nearest(origins, np.broadcast_to([0.0, 0.0, -1.0], origins.shape))
        heights = np.where(np.isfinite(t), top - t, 0.0).reshape(nx, ny)
        for _ in range(2):
            heights = _box_mean(_box_mean(heights, 2).T, 2).T
        return heights, low


def _box_mean(values: Float64[np.ndarray, "X Y"], radius: int) -> Float64[np.ndarray, "X Y"]:
    """Mean over 2 radius + 1 rows, edges repeated."""
    padded = np.pad(values, ((radius + 1, radius), (0, 0)), mode="edge")
    total = np.cumsum(padded, axis=0)
    return (total[2 * radius + 1 :] - total[: -2 * radius - 1]) / (2 * radius + 1)


def _rays(values: Float[np.ndarray, "R 3"], name: str) -> Float64[np.ndarray, "R 3"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"cast: {name} must be [R, 3], got {list(array.shape)}; reshape(-1, 3) first")
    if not np.isfinite(array).all():
        raise ValueError(f"cast: {name} hold NaN or Inf in {int((~np.isfinite(array)).any(1).sum())} rays")
    return array


def _unit(vectors: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
