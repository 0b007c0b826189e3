"""Nearest hits of many rays in a table of solids: a uniform grid over the ground plane, walked cell by cell.

A city is flat: a 2-D grid whose cells know their highest point skips the air above the roofs, and one row of
cells rarely holds more than a few solids. All rays of a chunk walk in step; each step tests every
(ray, solid) pair of the cells the rays are in, one kind of solid at a time.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from neural.scenes.synthetic.intersect import enter, normal, pack, to_local, to_world
from neural.scenes.synthetic.primitives import Primitives

_CHUNK = 1 << 15
_SLACK = 1e-6  # metres by which a solid may lie outside the height range of a ray in a cell and still be tested


@dataclass(frozen=True)
class _Bins:
    """Solids of one kind by cell: those of cell c are items[start[c] : start[c + 1]]."""

    kind: int
    start: Int64[np.ndarray, "cells_plus_1"]
    items: Int64[np.ndarray, "entries"]


class Tracer:
    """Casts rays at a fixed set of solids.

    Args:
        solids: What can be hit.
        cell: Edge of a grid cell in metres; about the size of a small solid is best.
    """

    def __init__(self, solids: Primitives, *, cell: float = 4.0) -> None:
        self.solids = solids
        low, high = solids.bounds()
        self.low, self.high = low.min(0), high.max(0)
        self._cell = cell
        self._shape = np.maximum(np.ceil((self.high[:2] - self.low[:2]) / cell).astype(np.int64), 1)
        self._packed = pack(solids)
        self._z_low, self._z_high = low[:, 2] - _SLACK, high[:, 2] + _SLACK
        self._top = np.full(self._shape.prod(), -np.inf)
        self._bins = [self._bin(int(kind), low, high) for kind in np.unique(solids.kind)]

    def _bin(self, kind: int, low: np.ndarray, high: np.ndarray) -> _Bins:
        members = np.flatnonzero(self.solids.kind == kind)
        first = self._cell_of(low[members, :2] - 1e-9)
        count = self._cell_of(high[members, :2] + 1e-9) - first + 1
        owner, rank = _expand(count.prod(1))
        ix = first[owner, 0] + rank % count[owner, 0]
        iy = first[owner, 1] + rank // count[owner, 0]
        cells = iy * self._shape[0] + ix
        np.maximum.at(self._top, cells, self._z_high[members[owner]])
        order = np.argsort(cells, kind="stable")
        start = np.zeros(self._shape.prod() + 1, dtype=np.int64)
        np.cumsum(np.bincount(cells, minlength=self._shape.prod()), out=start[1:])
        return _Bins(kind, start, members[owner[order]])

    def _cell_of(self, points: Float[np.ndarray, "N 2"]) -> Int64[np.ndarray, "N 2"]:
        return np.clip(np.floor((points - self.low[:2]) / self._cell).astype(np.int64), 0, self._shape - 1)

    def nearest(
        self, origins: Float64[np.ndarray, "R 3"], directions: Float64[np.ndarray, "R 3"]
    ) -> tuple[Float64[np.ndarray, "R"], Int64[np.ndarray, "R"]]:
        """Ray parameter of the first entry into a solid (inf: none) and the solid's row (-1: none)."""
        return self._chunked(origins, directions, any_hit=False)

    def occluded(
        self, origins: Float64[np.ndarray, "R 3"], directions: Float64[np.ndarray, "R 3"]
    ) -> Bool[np.ndarray, "R"]:
        """Whether anything is hit at all; cheaper than `nearest`, for shadow rays."""
        return self._chunked(origins, directions, any_hit=True)[1] >= 0

    def normals(
        self,
        origins: Float64[np.ndarray, "R 3"],
        directions: Float64[np.ndarray, "R 3"],
        t: Float64[np.ndarray, "R"],
        rows: Int64[np.ndarray, "R"],
    ) -> tuple[Float64[np.ndarray, "R 3"], Float64[np.ndarray, "R 3"], Float64[np.ndarray, "R 3"]]:
        """At hits (rows >= 0): world normals, local normals and local points of the solids hit."""
        packed = self._packed[:, rows]
        d = to_local(packed, directions.T, vector=True)
        points = to_local(packed, (origins + t[:, None] * directions).T)
        local = np.zeros_like(points)
        for kind in np.unique(self.solids.kind[rows]):
            of_kind = self.solids.kind[rows] == kind
            local[:, of_kind] = normal(int(kind), packed[:, of_kind], points[:, of_kind], d[:, of_kind])
        return to_world(packed, local).T, local.T, points.T

    def _chunked(self, origins: np.ndarray, directions: np.ndarray, *, any_hit: bool):
        t = np.full(len(origins), np.inf)
        rows = np.full(len(origins), -1, dtype=np.int64)

        def work(begin: int) -> None:
            part = slice(begin, begin + _CHUNK)
            t[part], rows[part] = self._march(origins[part].T, directions[part].T, any_hit)

        starts = range(0, len(origins), _CHUNK)
        if len(starts) <= 1:
            for begin in starts:
                work(begin)
        else:
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                list(pool.map(work, starts))
        return t, rows

    def _march(self, origins: np.ndarray, directions: np.ndarray, any_hit: bool):
        best = np.full(origins.shape[1], np.inf)
        row = np.full(origins.shape[1], -1, dtype=np.int64)
        with np.errstate(divide="ignore", invalid="ignore"):
            ray, state, cells = self._enter_grid(origins, directions)
        while ray.size:
            oz, dz, t_in, t_end, next_x, next_y = state[:6]
            t_out = np.minimum(np.minimum(next_x, next_y), t_end)
            z_in, z_out = oz + dz * t_in, oz + dz * t_out
            z_low, z_high = np.minimum(z_in, z_out), np.maximum(z_in, z_out)
            cell = cells[1] * self._shape[0] + cells[0]
            look = np.flatnonzero(z_low <= self._top[cell])
            for bins in self._bins if look.size else ():
                self._test_cell(bins, cell[look], z_low[look], z_high[look], ray[look], origins, directions, best, row)
            over = (row[ray] >= 0) if any_hit else (best[ray] <= t_out)
            over |= t_out >= t_end
            along_x = next_x <= next_y
            cells[0] += np.where(along_x, cells[2], 0)
            cells[1] += np.where(along_x, 0, cells[3])
            state[2] = t_out
            state[4] = np.where(along_x, next_x + state[6], next_x)
            state[5] = np.where(along_x, next_y, next_y + state[7])
            over |= (cells[:2] < 0).any(0) | (cells[:2] >= self._shape[:, None]).any(0)
            if over.any():
                keep = ~over
                ray, state, cells = ray[keep], state[:, keep], cells[:, keep]
        return best, row

    def _enter_grid(self, origins: np.ndarray, directions: np.ndarray):
        """The rays that meet the city's box, and their walk: see the unpacking in `_march`."""
        inverse = 1.0 / directions
        low = (self.low[:, None] - origins) * inverse
        high = (self.high[:, None] - origins) * inverse
        level = directions == 0.0
        inside = (origins >= self.low[:, None]) & (origins <= self.high[:, None])
        near = np.where(level, np.where(inside, -np.inf, np.inf), np.minimum(low, high))
        far = np.where(level, np.where(inside, np.inf, -np.inf), np.maximum(low, high))
        t_in = np.maximum(near.max(0), 0.0)
        t_end = far.min(0) + _SLACK
        ray = np.flatnonzero(t_in <= t_end)
        o, d, inverse = origins[:, ray], directions[:, ray], inverse[:, ray]
        t_in, t_end = t_in[ray], t_end[ray]
        cell = self._cell_of((o[:2] + t_in * d[:2]).T).T
        forward = d[:2] > 0.0
        border = self.low[:2, None] + (cell + forward) * self._cell
        crossing = np.where(d[:2] == 0.0, np.inf, (border - o[:2]) * inverse[:2])
        pace = np.where(d[:2] == 0.0, np.inf, self._cell * np.abs(inverse[:2]))
        state = np.stack([o[2], d[2], t_in, t_end, *crossing, *pace])
        return ray, state, np.concatenate([cell, np.where(forward, 1, -1)])

    def _test_cell(self, bins, cell, z_low, z_high, ray, origins, directions, best, row) -> None:
        """Test each ray against its cell's solids and keep what is nearer; of equals, the first found."""
        start = bins.start[cell]
        owner, rank = _expand(bins.start[cell + 1] - start)
        if not owner.size:
            return
        item = bins.items[start[owner] + rank]
        near = (z_low[owner] <= self._z_high[item]) & (z_high[owner] >= self._z_low[item])
        item, pair_ray = item[near], ray[owner[near]]
        t = enter(
            bins.kind,
            self._packed.take(item, axis=1),
            origins.take(pair_ray, axis=1),
            directions.take(pair_ray, axis=1),
        )
        hit = t < best[pair_ray]
        t, item, pair_ray = t[hit], item[hit], pair_ray[hit]
        np.minimum.at(best, pair_ray, t)
        first = (t == best[pair_ray])[::-1]
        row[pair_ray[::-1][first]] = item[::-1][first]


def _expand(counts: Int64[np.ndarray, "N"]) -> tuple[Int64[np.ndarray, "M"], Int64[np.ndarray, "M"]]:
    """(owner, rank) of each of sum(counts) items: [2, 0, 1] -> [0, 0, 2], [0, 1, 0]."""
    owner = np.repeat(np.arange(len(counts)), counts)
    ends = np.cumsum(counts)
    return owner, np.arange(len(owner)) - np.repeat(ends - counts, counts)
