"""Procedural materials: the look of a surface as a pure function of where on its solid a point lies.

A painter takes a `Surface` of N points and returns a `Paint`. Nothing is stored and nothing depends on the
camera, so any number of views agree. Sizes inside painters are metres; colours are linear.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from neural.scenes.synthetic import classes
from neural.scenes.synthetic.facades import Paint, Surface, curtain_wall, roof_gravel, windows
from neural.scenes.synthetic.noise import hash_unit, value_noise

(
    STREET,
    PAVING,
    COURT,
    LAWN,
    WATER,
    PLASTER,
    GLASS,
    WALL,
    TILE,
    DECK,
    FOLIAGE,
    BARK,
    METAL,
    PAINTWORK,
    STONE,
    PANEL,
) = range(16)

_GROUND_CLASS = {
    STREET: classes.ROAD,
    PAVING: classes.SIDEWALK,
    COURT: classes.SIDEWALK,
    STONE: classes.SIDEWALK,
    LAWN: classes.LAWN,
    WATER: classes.WATER,
}
_GROUND_TABLE = np.array([_GROUND_CLASS.get(material, classes.SIDEWALK) for material in range(16)])


def class_of(
    material: Int64[np.ndarray, "N"],
    owner_class: Int64[np.ndarray, "N"],
    normals: Float[np.ndarray, "N 3"],
) -> Int64[np.ndarray, "N"]:
    """Class ids of surface points: the owner's, roof where a building looks up; by material on the ground."""
    up = normals[:, 2] > 0.1
    ground = np.where(up, _GROUND_TABLE[material], classes.SIDEWALK)
    owned = np.where(up & (owner_class == classes.FACADE), classes.ROOF, owner_class)
    return np.where(owner_class > 0, owned, ground)


def paint(material: Int64[np.ndarray, "N"], surface: Surface) -> Paint:
    """Look of N points, each of its own material."""
    result = Paint.plain(surface.colour)
    for which in np.unique(material):
        rows = np.flatnonzero(material == which)
        result.put(rows, _PAINTERS[int(which)](surface[rows]))
    return result


def _grain(surface: Surface, size: float, depth: float, dims: int = 2) -> Float32[np.ndarray, "N 1"]:
    """A factor 1 +- depth that varies over `size` metres, in the world so that it runs on across solids."""
    noise = value_noise(surface.world[:, :dims] / size, np.zeros(len(surface.seed), dtype=np.uint32))
    return (1.0 + depth * (2.0 * noise - 1.0))[:, None]


def _street(s: Surface) -> Paint:
    """Asphalt with markings. params: half width of the carriageway at the west, east, south, north edge."""
    x, y = s.local[:, 0], s.local[:, 1]
    to_edge = np.stack([x + s.half[:, 0], s.half[:, 0] - x, y + s.half[:, 1], s.half[:, 1] - y], axis=1)
    past = to_edge - s.params[:, :4]  # how far inside the block, beyond the kerb line of each edge
    west_east, south_north = past[:, :2].min(1), past[:, 2:].min(1)
    upright = (west_east < 0.0) & (south_north > 0.0)  # a stretch of a street that runs along y
    level = (south_north < 0.0) & (west_east > 0.0)
    nearest = np.where(upright, past[:, :2].argmin(1), 2 + past[:, 2:].argmin(1))
    pick = np.arange(len(x))
    across, half_width = to_edge[pick, nearest], s.params[pick, nearest]
    along = np.where(upright, s.world[:, 1], s.world[:, 0])
    to_corner = np.where(upright, south_north, west_east)
    stretch = upright | level
    avenue = half_width > 6.0
    open_road = stretch & (to_corner > 4.6)
    dash = open_road & (across < 0.10) & (along % 6.0 < 3.0) & ~avenue
    double = open_road & (np.abs(across - 0.22) < 0.08) & avenue
    lane = open_road & (np.abs(across - 3.1) < 0.08) & (along % 6.0 < 3.0) & avenue
    crossing = stretch & (to_corner > 0.9) & (to_corner < 3.4) & ((across + 0.25) % 1.0 < 0.5)
    stop = stretch & (np.abs(to_corner - 4.2) < 0.18) & (across < half_width - 0.2)
    marked = dash | double | lane | crossing | stop
    albedo = s.colour * _grain(s, 7.0, 0.12) * _grain(s, 0.7, 0.07)
    tyre = stretch & (np.abs(across - 0.5 * half_width) < 0.5)
    albedo = np.where(tyre[:, None], albedo * 0.93, albedo)
    albedo = np.where(marked[:, None], 0.62 * _grain(s, 0.6, 0.12), albedo)
    side = s.normal[:, 2] < 0.5
    albedo = np.where(side[:, None], _masonry(s, 0.9, 0.45) * np.float32(0.34), albedo)
    return Paint.plain(albedo)


def _paving(s: Surface) -> Paint:
    """Slabs of 1.2 m with a light kerb around."""
    slab = np.floor(s.world[:, :2] / 1.2).astype(np.int64)
    tone = 1.0 + 0.10 * (hash_unit(np.zeros(len(slab), np.uint32), slab[:, 0], slab[:, 1]) - 0.5)
    joint = ((s.world[:, :2] / 1.2) % 1.0 < 0.05).any(1)
    edge = (s.half[:, :2] - np.abs(s.local[:, :2])).min(1) < 0.3
    albedo = s.colour * (tone * np.where(joint, 0.85, 1.0))[:, None] * _grain(s, 4.0, 0.08)
    return Paint.plain(np.where(edge[:, None], s.accent, albedo))


def _court(s: Surface) -> Paint:
    """Two-coloured paving laid in squares of 2 m."""
    square = np.floor(s.world[:, :2] / 2.0).astype(np.int64).sum(1) % 2 == 0
    return Paint.plain(np.where(square[:, None], s.colour, s.accent) * _grain(s, 3.0, 0.10))


def _lawn(s: Surface) -> Paint:
    """Grass: patches, tufts and the stripes of the mower."""
    mown = np.sin(s.world[:, 0] * 0.9 + s.world[:, 1] * 0.9) > 0.0
    patch = value_noise(s.world[:, :2] / 5.0, np.full(len(s.seed), 7, np.uint32))[:, None]
    albedo = (1.0 - patch) * s.colour + patch * s.accent
    return Paint.plain(albedo * _grain(s, 0.6, 0.16) * np.where(mown, 1.05, 0.95)[:, None])


def _water(s: Surface) -> Paint:
    """Dark water with ripples; what it shows is mostly the sky."""
    seed = np.full(len(s.seed), 11, np.uint32)
    ripple = np.zeros_like(s.colour)
    for axis in range(2):
        phase = s.world[:, :2] / 2.2 + 17.0 * axis
        ripple[:, axis] = 0.05 * (2.0 * value_noise(phase, seed) - 1.0)
        ripple[:, axis] += 0.03 * (2.0 * value_noise(phase * 3.1, seed) - 1.0)
    return Paint(s.colour * _grain(s, 9.0, 0.15), np.ones(len(s.seed), np.float32), ripple)


def _masonry(s: Surface, length: float, height: float) -> Float32[np.ndarray, "N 1"]:
    """A factor around 1: courses of blocks with joints, on upright faces."""
    along = np.where(np.abs(s.normal[:, 0]) > np.abs(s.normal[:, 1]), s.local[:, 1], s.local[:, 0])
    course = np.floor(s.local[:, 2] / height)
    brick = np.floor(along / length + 0.5 * (course % 2))
    tone = 0.85 + 0.3 * hash_unit(s.seed, course.astype(np.int64), brick.astype(np.int64))
    joint = (s.local[:, 2] / height - course < 0.08) | (along / length + 0.5 * (course % 2) - brick < 0.05)
    return np.where(joint, 0.75, tone).astype(np.float32)[:, None]


def _wall(s: Surface) -> Paint:
    """Bare wall: chimneys, garages, parapets."""
    return Paint.plain(s.colour * _masonry(s, 0.6, 0.25) ** 0.5 * _grain(s, 2.0, 0.06, 3))


def _tile(s: Surface) -> Paint:
    """Rows of roof tiles on the slopes (colour), plastered gables on the upright faces (accent)."""
    along = np.where(np.abs(s.normal[:, 0]) > np.abs(s.normal[:, 1]), s.local[:, 1], s.local[:, 0])
    row = np.floor(s.local[:, 2] / 0.24)
    tile = np.floor(along / 0.4 + 0.5 * (row % 2)).astype(np.int64)
    tone = 0.86 + 0.22 * hash_unit(s.seed, row.astype(np.int64), tile)
    tone *= np.where(s.local[:, 2] / 0.24 - row < 0.2, 0.82, 1.0)
    roof = s.colour * tone[:, None] * _grain(s, 2.5, 0.10, 3)
    slope = s.normal[:, 2] > 0.1
    return Paint.plain(np.where(slope[:, None], roof, s.accent * _grain(s, 2.0, 0.05, 3)))


def _foliage(s: Surface) -> Paint:
    """Leaves: clumps that are light and dark and lean every way."""
    seed = np.full(len(s.seed), 23, np.uint32)
    clump = value_noise(s.world / 0.8, seed)
    twig = value_noise(s.world / 0.3, seed + np.uint32(1))
    leaf = hash_unit(seed, *np.floor(s.world.T / 0.09).astype(np.int64))
    # lower parts of a crown stand in their own shade, and gaps between leaves are dark
    lift = 0.5 + 0.5 * np.clip(s.local[:, 2] / s.half[:, 2], -1.0, 1.0).astype(np.float32)
    mix = np.clip(0.45 * clump + 0.35 * twig + 0.2 * leaf, 0.0, 1.0)[:, None]
    gaps = np.clip(0.35 + 1.3 * (0.6 * twig + 0.4 * leaf), 0.35, 1.15)[:, None]
    albedo = ((1.0 - mix) * s.colour + mix * s.accent) * gaps * (0.6 + 0.5 * lift)[:, None]
    lean = [value_noise(s.world / 0.45 + offset, seed + np.uint32(2)) for offset in (0.0, 31.7, 77.3)]
    bump = 2.2 * (np.stack(lean, axis=1) - 0.5)
    return Paint(albedo.astype(np.float32), np.zeros(len(mix), np.float32), bump.astype(np.float32))


def _plain(s: Surface) -> Paint:
    return Paint.plain(s.colour * _grain(s, 0.8, 0.08, 3))


def _metal(s: Surface) -> Paint:
    return Paint(s.colour, np.full(len(s.seed), 0.25, np.float32), None)


def _paintwork(s: Surface) -> Paint:
    """A car's body (params[0] = 0) or its cabin (1), which is glass on the sides."""
    cabin: Bool[np.ndarray, N] = (s.params[:, 0] > 0.5) & (s.normal[:, 2] < 0.9)
    pane = cabin & (np.abs(s.local[:, 2]) < 0.8 * s.half[:, 2])
    body = s.params[:, 0] < 0.5
    from_axle = np.hypot(np.abs(s.local[:, 0]) - 0.62 * s.half[:, 0], s.local[:, 2] + 0.75 * s.half[:, 2])
    flank = body & (np.abs(s.normal[:, 1]) > 0.7)
    wheel, hub = flank & (from_axle < 0.33), flank & (from_axle < 0.17)
    end = body & (np.abs(s.normal[:, 0]) > 0.7)
    lamp = end & (np.abs(s.local[:, 1]) > 0.6 * s.half[:, 1]) & (np.abs(s.local[:, 2] - 0.06) < 0.1)
    skirt = body & ~wheel & (s.normal[:, 2] < 0.5) & (s.local[:, 2] < -0.7 * s.half[:, 2])
    albedo = np.where(pane[:, None], np.float32(0.02), s.colour)
    albedo = np.where((wheel | skirt)[:, None], np.float32(0.012), albedo)
    albedo = np.where(hub[:, None], np.float32(0.35), albedo)
    lamp_colour = np.where(
        s.local[:, :1] > 0.0,
        np.array([0.75, 0.73, 0.65], np.float32),
        np.array([0.4, 0.02, 0.02], np.float32),
    )
    albedo = np.where(lamp[:, None], lamp_colour, albedo)
    return Paint(albedo.astype(np.float32), np.where(pane, 0.8, 0.35).astype(np.float32), None)


def _panel(s: Surface) -> Paint:
    """Solar panels: dark cells between light lines."""
    line = np.any((s.local[:, :2] / 0.8) % 1.0 < 0.07, axis=1)
    return Paint(
        np.where(line[:, None], s.accent, s.colour).astype(np.float32),
        np.full(len(s.seed), 0.6, np.float32),
        None,
    )


_PAINTERS: dict[int, Callable[[Surface], Paint]] = {
    STREET: _street,
    PAVING: _paving,
    COURT: _court,
    LAWN: _lawn,
    WATER: _water,
    PLASTER: windows,
    GLASS: curtain_wall,
    WALL: _wall,
    TILE: _tile,
    DECK: roof_gravel,
    FOLIAGE: _foliage,
    BARK: _plain,
    METAL: _metal,
    PAINTWORK: _paintwork,
    STONE: _plain,
    PANEL: _panel,
}
