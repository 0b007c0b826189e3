"""Walls with windows, curtain walls and flat roofs: painters for the faces of buildings.

A wall is divided into whole bays and storeys, counted from the ground of the building, so windows never fall
on an edge and stacked tiers line up. What stands in a window is hashed from (solid, side, bay, storey).
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt32

from neural.scenes.synthetic.noise import hash_unit, value_noise

UPPER, DOORS, SHOPS = range(3)
"""What the lowest storey of a wall is: a tier above the ground, dwellings with doors, shops."""


@dataclass(frozen=True)
class Surface:
    """N points on solids, for painters."""

    local: Float[np.ndarray, "N 3"]
    """Position in the frame of the solid."""
    half: Float[np.ndarray, "N 3"]
    normal: Float[np.ndarray, "N 3"]
    """Outward, in the frame of the solid."""
    world: Float[np.ndarray, "N 3"]
    colour: Float32[np.ndarray, "N 3"]
    accent: Float32[np.ndarray, "N 3"]
    params: Float32[np.ndarray, "N 6"]
    seed: UInt32[np.ndarray, "N"]

    def __getitem__(self, index: np.ndarray) -> "Surface":
        return Surface(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass
class Paint:
    """How N points look: linear diffuse albedo, share of mirror reflection, tilt of the shading normal."""

    albedo: Float32[np.ndarray, "N 3"]
    gloss: Float32[np.ndarray, "N"]
    bump: Float32[np.ndarray, "N 3"] | None

    @staticmethod
    def plain(albedo: Float[np.ndarray, "N 3"]) -> "Paint":
        """A matt, even surface."""
        return Paint(albedo.astype(np.float32), np.zeros(len(albedo), np.float32), None)

    def put(self, rows: Int64[np.ndarray, "M"], paint: "Paint") -> None:
        """Write the paint of some of the points."""
        self.albedo[rows], self.gloss[rows] = paint.albedo, paint.gloss
        if paint.bump is not None:
            if self.bump is None:
                self.bump = np.zeros_like(self.albedo)
            self.bump[rows] = paint.bump


@dataclass(frozen=True)
class _Raster:
    """A wall in bays and storeys."""

    bay: Int64[np.ndarray, "N"]
    storey: Int64[np.ndarray, "N"]
    across: Float[np.ndarray, "N"]
    """Distance from the middle of the bay, metres."""
    pitch: Float[np.ndarray, "N"]
    up: Float[np.ndarray, "N"]
    """Height above the storey's floor, as a share of the storey."""
    height: Float[np.ndarray, "N"]
    """Height above the building's ground, metres."""
    whole: Bool[np.ndarray, "N"]
    """Whether the storey fits below the top of the wall."""
    chance: Float32[np.ndarray, "N"]
    """A random number per window."""


def windows(s: Surface) -> Paint:
    """Plaster or brick with windows, sills, doors or shops; gravel on top.

    params: bay width, storey height, window width and height as shares, height of the wall's foot above the
    building's ground, kind of the lowest storey (`UPPER`, `DOORS`, `SHOPS`).
    """
    r = _raster(s)
    side = _side(s)
    ground = (r.storey == 0) & (s.params[:, 5] > 0.5)
    shops = ground & (s.params[:, 5] > 1.5)
    wall = s.colour * (0.94 + 0.12 * value_noise(s.local / 2.5, s.seed))[:, None]
    wall = wall * (0.97 + 0.06 * hash_unit(s.seed, *_grid(r, 0.3, 0.12)))[:, None]
    band = (r.up < 0.05) & (r.storey > 0)
    albedo = np.where(band[:, None], 0.5 * (wall + s.accent), wall)
    plinth = (r.height < 0.7) & (s.params[:, 5] > 0.5)
    albedo = np.where(plinth[:, None], albedo * 0.6, albedo)

    half_width = 0.5 * s.params[:, 2] * r.pitch
    half_width = np.where(shops, 0.43 * r.pitch, half_width)
    sill, head = np.where(shops, 0.14, 0.30), np.where(shops, 0.70, 0.30 + s.params[:, 3])
    inside = np.minimum(half_width - np.abs(r.across), np.minimum(r.up - sill, head - r.up) * s.params[:, 1])
    ledge = (r.up < sill) & (r.up > sill - 0.05) & (np.abs(r.across) < half_width + 0.12) & ~shops & r.whole
    albedo = np.where(ledge[:, None], s.accent, albedo)
    opening = (inside > 0.0) & r.whole
    frame = opening & ((inside < 0.09) | ((np.abs(r.across) < 0.04) & ~shops))
    pane = opening & ~frame
    glass = (0.03 + 0.05 * r.chance)[:, None] * np.array([0.75, 0.95, 1.15], np.float32)
    curtain = (hash_unit(s.seed, side, r.bay, r.storey + 977) < 0.3) & ~shops & (r.up > 0.5 * (sill + head))
    glass = np.where(curtain[:, None], np.array([0.42, 0.37, 0.29], np.float32), glass)
    shade = np.where((head - r.up) * s.params[:, 1] < 0.28, 0.45, 1.0)  # the lintel's shadow on the pane
    albedo = np.where(pane[:, None], glass * shade[:, None], albedo)
    albedo = np.where(frame[:, None], s.accent, albedo)

    sign = shops & (r.up > 0.74) & (r.up < 0.93) & (np.abs(r.across) < 0.46 * r.pitch)
    albedo = np.where(sign[:, None], _sign_colour(hash_unit(s.seed, side, r.bay // 2, r.bay * 0 + 5)), albedo)
    door = ground & (hash_unit(s.seed, side, r.bay, r.bay * 0 + 31) < 0.34) & (np.abs(r.across) < 0.62)
    door &= r.height < 2.25
    door_colour = (0.35 + 0.65 * hash_unit(s.seed, side, r.bay, r.bay * 0 + 37))[:, None]
    albedo = np.where(door[:, None], door_colour * np.array([0.20, 0.09, 0.05], np.float32), albedo)

    gloss = np.where(pane & ~curtain & ~door, 0.55, 0.0)
    return _with_roof(s, albedo, gloss)


def curtain_wall(s: Surface) -> Paint:
    """Glass between slabs: panes, mullions, spandrels. params as for `windows`; the shares are unused."""
    r = _raster(s)
    spandrel = r.up < 0.24
    mullion = (r.pitch * 0.5 - np.abs(r.across) < 0.07) | (np.abs(r.up - 0.24) * s.params[:, 1] < 0.06)
    lobby = (r.storey == 0) & (s.params[:, 5] > 0.5)
    tone = (0.35 + 0.65 * r.chance)[:, None]
    glass = np.array([0.05, 0.075, 0.095], np.float32) * tone + 0.10 * s.colour
    blind = (hash_unit(s.seed, _side(s), r.bay, r.storey + 411) < 0.18) & (r.up > 0.55)
    glass = np.where(blind[:, None], np.float32(0.30), glass)
    albedo = np.where((spandrel & ~lobby)[:, None], s.colour, glass)
    albedo = np.where(mullion[:, None], s.accent, albedo)
    crown = ~r.whole
    albedo = np.where(crown[:, None], s.accent, albedo)
    gloss = np.where(mullion | crown | blind, 0.0, np.where(spandrel, 0.25, 0.8))
    return _with_roof(s, albedo, gloss)


def roof_gravel(s: Surface) -> Paint:
    """Flat roofs: gravel or felt in sheets, stained where water stands."""
    seed = np.full(len(s.seed), 41, np.uint32)
    stain = value_noise(s.world[:, :2] / 3.5, seed)
    grit = hash_unit(seed, *np.floor(s.world[:, :2].T / 0.4).astype(np.int64))
    sheet = (s.local[:, 0] + s.half[:, 0]) % 2.0 < 0.07
    tone = (0.82 + 0.28 * stain) * (0.94 + 0.12 * grit) * np.where(sheet, 0.85, 1.0)
    return Paint.plain(s.colour * tone[:, None])


def _with_roof(s: Surface, albedo: np.ndarray, gloss: np.ndarray) -> Paint:
    top = np.abs(s.normal[:, 2]) > 0.5
    pale = (
        np.array([0.30, 0.29, 0.28], np.float32)
        * (0.6 + 0.8 * hash_unit(s.seed, np.zeros(len(top), np.int64)))[:, None]
    )
    gravel = roof_gravel(Surface(s.local, s.half, s.normal, s.world, pale, s.accent, s.params, s.seed)).albedo
    return Paint(
        np.where(top[:, None], gravel, albedo).astype(np.float32),
        np.where(top, 0.0, gloss).astype(np.float32),
        None,
    )


def _raster(s: Surface) -> _Raster:
    across_x = np.abs(s.normal[:, 0]) > np.abs(s.normal[:, 1])
    along = np.where(across_x, s.local[:, 1], s.local[:, 0])
    width = 2.0 * np.where(across_x, s.half[:, 1], s.half[:, 0])
    n_bays = np.maximum(np.rint(width / s.params[:, 0]), 1.0)
    pitch = width / n_bays
    position = (along + 0.5 * width) / pitch
    bay = np.clip(np.floor(position), 0.0, n_bays - 1.0)
    height = s.local[:, 2] + s.half[:, 2] + s.params[:, 4]
    storey = np.floor(height / s.params[:, 1])
    top = 2.0 * s.half[:, 2] + s.params[:, 4]
    bay_index, storey_index = bay.astype(np.int64), storey.astype(np.int64)
    return _Raster(
        bay=bay_index,
        storey=storey_index,
        across=(position - bay - 0.5) * pitch,
        pitch=pitch,
        up=height / s.params[:, 1] - storey,
        height=height,
        whole=(storey + 1.0) * s.params[:, 1] <= top + 0.05,
        chance=hash_unit(s.seed, _side(s), bay_index, storey_index),
    )


def _side(s: Surface) -> Int64[np.ndarray, "N"]:
    """0-3: which upright face."""
    x_side = np.abs(s.normal[:, 0]) > np.abs(s.normal[:, 1])
    return 2 * x_side + (np.where(x_side, s.normal[:, 0], s.normal[:, 1]) > 0.0)


def _grid(r: _Raster, length: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    course = np.floor(r.height / height).astype(np.int64)
    return course, np.floor((r.across + r.bay * r.pitch) / length + 0.5 * (course % 2)).astype(np.int64)


def _sign_colour(chance: Float32[np.ndarray, "N"]) -> Float32[np.ndarray, "N 3"]:
    palette = np.array(
        [
            [0.45, 0.03, 0.03],
            [0.02, 0.18, 0.08],
            [0.02, 0.08, 0.30],
            [0.55, 0.35, 0.03],
            [0.04, 0.04, 0.05],
            [0.5, 0.5, 0.46],
        ],
        np.float32,
    )
    return palette[(chance * len(palette)).astype(np.int64)]
