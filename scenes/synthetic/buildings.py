"""Buildings, each an object of a few solids: houses, terraces around a court, towers.

Every function opens one object at a place, adds its solids in local metres (ground: z = 0), closes it.
"""

import numpy as np

from neural.scenes.synthetic import classes
from neural.scenes.synthetic.facades import DOORS, SHOPS, UPPER
from neural.scenes.synthetic.materials import DECK, GLASS, METAL, PANEL, PLASTER, STONE, TILE, WALL
from neural.scenes.synthetic.primitives import FRUSTUM, ROOF, Builder, Colour

_PLASTER: tuple[Colour, ...] = (
    (0.88, 0.82, 0.68),
    (0.85, 0.70, 0.50),
    (0.80, 0.55, 0.42),
    (0.90, 0.88, 0.84),
    (0.68, 0.74, 0.78),
    (0.75, 0.78, 0.66),
    (0.84, 0.71, 0.65),
)
_BRICK: tuple[Colour, ...] = ((0.58, 0.38, 0.31), (0.64, 0.46, 0.37), (0.52, 0.39, 0.34), (0.72, 0.60, 0.49))
_TILES: tuple[Colour, ...] = ((0.62, 0.37, 0.27), (0.55, 0.32, 0.25), (0.42, 0.31, 0.27), (0.37, 0.39, 0.42))
_CURTAIN: tuple[Colour, ...] = (
    (0.62, 0.66, 0.68),
    (0.36, 0.46, 0.52),
    (0.70, 0.64, 0.54),
    (0.30, 0.34, 0.38),
)
_TRIM: Colour = (0.93, 0.91, 0.87)
_GRAVEL: Colour = (0.60, 0.58, 0.56)
_STOREY = 3.1


def house(builder: Builder, x: float, y: float, z: float, yaw: float, width: float, depth: float) -> None:
    """A detached house of one or two storeys with a gabled or hipped roof; its front looks along local -y."""
    rng = builder.rng
    storeys = 2 if rng.random() < 0.7 else 1
    height = storeys * 2.9 + 0.3
    wall = _pick(rng, _PLASTER + _BRICK)
    tiles = _pick(rng, _TILES)
    builder.begin(classes.FACADE, "house", x, y, z, yaw)
    hx, hy = width / 2, depth / 2
    style = (2.9, 2.9, 0.44, 0.46, -0.3, DOORS)
    builder.box((-hx, -hy, -0.3), (hx, hy, height), PLASTER, wall, accent=_TRIM, params=style)
    if rng.random() < 0.45:  # a wing or a garage
        side, reach = rng.choice([-1.0, 1.0]), rng.uniform(2.6, 3.4)
        low, high = sorted((side * (hx - 0.1), side * (hx + reach)))
        builder.box((low, -hy + 1.0, -0.3), (high, hy - 1.4, 2.8), WALL, wall)
        builder.box((low - 0.15, -hy + 0.85, 2.8), (high + 0.15, hy - 1.25, 3.0), DECK, _GRAVEL)
    rise = hy * rng.uniform(0.62, 0.85)
    hip = rng.random() < 0.4
    _pitched_roof(builder, hx + 0.45, hy + 0.45, height - 0.15, rise, tiles, wall, hip=hip)
    cx, cy = rng.uniform(-0.5, 0.5) * hx, rng.choice([-1.0, 1.0]) * hy * 0.3
    builder.box((cx - 0.35, cy - 0.35, height), (cx + 0.35, cy + 0.35, height + rise + 0.7), WALL, (0.5, 0.3, 0.25))
    builder.box((-1.1, -hy - 1.3, -0.1), (1.1, -hy, 0.22), STONE, (0.7, 0.68, 0.64))
    builder.box((-1.3, -hy - 1.3, 2.35), (1.3, -hy, 2.5), DECK, tiles)
    for side in (-1.0, 1.0):
        builder.add(FRUSTUM, (side * 1.05, -hy - 1.15, 1.25), (0.09, 0.09, 1.1), METAL, _TRIM, profile=(1.0,))
    builder.end()


def terrace(
    builder: Builder, x: float, y: float, z: float, yaw: float, width: float, depth: float, storeys: int
) -> None:
    """A house of a closed street front: shops or doors below, flat or pitched roof; front along -y."""
    rng = builder.rng
    height = storeys * _STOREY + rng.uniform(0.2, 0.7)
    wall = _pick(rng, _PLASTER + _BRICK)
    tiles = _pick(rng, _TILES)
    hx, hy = width / 2, depth / 2
    ground = SHOPS if rng.random() < 0.55 else DOORS
    style = (rng.uniform(2.3, 3.2), _STOREY, rng.uniform(0.40, 0.55), rng.uniform(0.46, 0.58), -0.3, ground)
    builder.begin(classes.FACADE, "terrace", x, y, z, yaw)
    builder.box((-hx, -hy, -0.3), (hx, hy, height), PLASTER, wall, accent=_TRIM, params=style)
    builder.box((-hx + 0.02, -hy - 0.35, height - 0.25), (hx - 0.02, -hy, height + 0.05), STONE, _TRIM)
    if rng.random() < 0.6:
        rise = hy * rng.uniform(0.55, 0.8)
        _pitched_roof(builder, hx, hy + 0.3, height, rise, tiles, wall, hip=False)
        for _ in range(int(rng.integers(1, 3))):
            _chimney(builder, rng.uniform(-0.8, 0.8) * hx, 0.25 * hy, height, rise + 0.2)
        slots = np.arange(-hx + 2.4, hx - 2.0, 3.4)
        if rng.random() < 0.7:
            for slot in slots:
                _dormer(builder, float(slot), hy, height, rise, tiles)
    else:
        _flat_roof(builder, hx, hy, height, wall)
    if rng.random() < 0.5 and storeys > 2:
        for column in np.arange(-hx + 2.2, hx - 2.0, 5.0):
            for storey in range(1, storeys):
                _balcony(builder, float(column), -hy, storey * _STOREY)
    builder.end()


def tower(
    builder: Builder, x: float, y: float, z: float, yaw: float, width: float, depth: float, height: float
) -> None:
    """A tower that steps back once or twice: glass or windows, plant on the roof, sometimes a mast."""
    rng = builder.rng
    builder.begin(classes.FACADE, "tower", x, y, z, yaw)
    glazed = rng.random() < 0.6
    material = GLASS if glazed else PLASTER
    wall = _pick(rng, _CURTAIN if glazed else _PLASTER + _BRICK)
    accent: Colour = (0.82, 0.82, 0.80) if glazed else _TRIM
    storey = 3.6 if glazed else _STOREY
    bay = rng.uniform(1.5, 2.2) if glazed else rng.uniform(2.2, 3.0)
    shares = (rng.uniform(0.5, 0.7), rng.uniform(0.45, 0.56))
    tiers = int(rng.integers(1, 4)) if height > 24.0 else 1
    podium = height > 20.0 and rng.random() < 0.7
    foot = 0.0
    hx, hy = width / 2, depth / 2
    if podium:
        top = 2 * storey
        style = (bay * 1.5, storey, 0.6, 0.5, -0.3, SHOPS)
        builder.box((-hx, -hy, -0.3), (hx, hy, top), PLASTER, (0.72, 0.70, 0.67), accent=_TRIM, params=style)
        _parapet(builder, hx, hy, top, (0.72, 0.70, 0.67))
        foot, hx, hy = top, hx * 0.82, hy * 0.82
    for tier in range(tiers):
        storeys = max(1, int((height - foot) / (tiers - tier) / storey))
        top = foot + storeys * storey
        low = foot - 0.3 if foot == 0.0 else foot
        kind = UPPER if foot > 0.0 else DOORS
        style = (bay, storey, *shares, low, kind)
        builder.box((-hx, -hy, low), (hx, hy, top), material, wall, accent=accent, params=style)
        last = tier == tiers - 1
        _parapet(builder, hx, hy, top, accent)
        if not last:
            shrink = rng.uniform(0.68, 0.86)
            foot, hx, hy = top, hx * shrink, hy * shrink
    _plant(builder, hx, hy, top)
    if height > 30.0 and rng.random() < 0.6:
        builder.add(FRUSTUM, (0.0, 0.0, top + 4.5), (0.28, 0.28, 4.5), METAL, (0.8, 0.8, 0.8), profile=(0.25,))
    builder.end()


def _pitched_roof(
    builder: Builder, hx: float, hy: float, z: float, rise: float, tiles: Colour, gable: Colour, *, hip: bool
) -> None:
    """A ridge along local x over the rectangle, from the eaves at z to z + rise."""
    half = rise / 2
    slope = rise / hy
    run = min(hy, 0.8 * hx) if hip else 0.0
    across = (rise / run, half + rise / run * (hx - run)) if hip else (0.0, np.inf)
    profile = (*across, slope, half)
    builder.add(ROOF, (0.0, 0.0, z + half), (hx, hy, half), TILE, tiles, accent=gable, profile=profile)


def _dormer(builder: Builder, x: float, hy: float, z: float, rise: float, tiles: Colour) -> None:
    front = -hy * 0.78
    sill = z + rise * 0.12
    style = (1.5, 1.75, 0.62, 0.55, sill, UPPER)
    builder.box((x - 0.75, front, z), (x + 0.75, 0.0, sill + 1.5), PLASTER, _TRIM, accent=_TRIM, params=style)
    profile = (0.6, 0.3, 0.0, np.inf)
    builder.add(
        ROOF,
        (x, front / 2, sill + 1.8),
        (1.0, -front / 2 + 0.2, 0.3),
        TILE,
        tiles,
        accent=_TRIM,
        profile=profile,
    )


def _chimney(builder: Builder, x: float, y: float, z: float, rise: float) -> None:
    builder.box((x - 0.5, y - 0.3, z), (x + 0.5, y + 0.3, z + rise + 0.6), WALL, (0.55, 0.36, 0.29))
    for shift in (-0.25, 0.25):
        builder.add(
            FRUSTUM,
            (x + shift, y, z + rise + 0.85),
            (0.15, 0.15, 0.25),
            STONE,
            (0.62, 0.36, 0.26),
            profile=(0.8,),
        )


def _balcony(builder: Builder, x: float, y: float, z: float) -> None:
    builder.box((x - 1.2, y - 1.1, z - 0.12), (x + 1.2, y, z + 0.08), STONE, (0.80, 0.79, 0.77))
    builder.box((x - 1.2, y - 1.1, z + 0.08), (x + 1.2, y - 1.04, z + 1.0), METAL, (0.42, 0.45, 0.48))


def _parapet(builder: Builder, hx: float, hy: float, z: float, colour: Colour, rise: float = 0.8) -> None:
    t = 0.3
    for side in (-1.0, 1.0):
        y0, y1 = sorted((side * hy, side * (hy - t)))
        builder.box((-hx, y0, z), (hx, y1, z + rise), WALL, colour)
        x0, x1 = sorted((side * hx, side * (hx - t)))
        builder.box((x0, -hy + t, z), (x1, hy - t, z + rise), WALL, colour)


def _flat_roof(builder: Builder, hx: float, hy: float, z: float, wall: Colour) -> None:
    rng = builder.rng
    _parapet(builder, hx, hy, z, wall)
    sx, sy = rng.uniform(-0.4, 0.4) * hx, rng.uniform(0.0, 0.4) * hy
    builder.box((sx - 1.6, sy - 1.3, z), (sx + 1.6, sy + 1.3, z + 2.4), WALL, wall)
    builder.box((sx - 1.8, sy - 1.5, z + 2.4), (sx + 1.8, sy + 1.5, z + 2.6), DECK, _GRAVEL)
    if rng.random() < 0.5 and hx > 5.0:
        for row in range(2):
            low = (-hx + 1.2, -hy + 1.2 + 2.2 * row, z + 0.5)
            high = (min(sx - 2.2, hx - 1.0), -hy + 2.7 + 2.2 * row, z + 0.62)
            if high[0] - low[0] > 2.0 and high[1] < sy - 1.6:
                builder.box(low, high, PANEL, (0.10, 0.14, 0.26), accent=(0.6, 0.62, 0.65))
    _vents(builder, hx, hy, z, 2)


def _plant(builder: Builder, hx: float, hy: float, z: float) -> None:
    """Lift house, cooling units and sometimes a water tank."""
    rng = builder.rng
    wx, wy = 0.42 * hx, 0.36 * hy
    builder.box((-wx, -wy, z), (wx, wy, z + 3.0), WALL, (0.66, 0.65, 0.63))
    builder.box((-wx - 0.2, -wy - 0.2, z + 3.0), (wx + 0.2, wy + 0.2, z + 3.2), DECK, _GRAVEL)
    _vents(builder, hx, hy, z, 4)
    if rng.random() < 0.35 and hx > 5.0:
        at = (0.68 * hx, -0.62 * hy)
        builder.add(FRUSTUM, (*at, z + 2.2), (1.3, 1.3, 1.2), STONE, (0.50, 0.36, 0.26), profile=(1.0,))
        builder.add(FRUSTUM, (*at, z + 3.9), (1.4, 1.4, 0.5), DECK, (0.35, 0.30, 0.27), profile=(0.05,))
        builder.box((at[0] - 0.9, at[1] - 0.9, z), (at[0] + 0.9, at[1] + 0.9, z + 1.0), METAL, (0.3, 0.3, 0.3))


def _vents(builder: Builder, hx: float, hy: float, z: float, count: int) -> None:
    rng = builder.rng
    for k in range(count):
        x = hx * rng.uniform(0.55, 0.75) * (1.0 if k % 2 else -1.0)
        y = hy * rng.uniform(-0.7, 0.75)
        size = rng.uniform(0.5, 0.9)
        builder.box((x - size, y - size, z), (x + size, y + size, z + 1.1), METAL, (0.72, 0.73, 0.74))


def _pick(rng: np.random.Generator, palette: tuple[Colour, ...]) -> Colour:
    base = palette[int(rng.integers(len(palette)))]
    r, g, b = np.clip(np.array(base) * rng.uniform(0.93, 1.06) + rng.uniform(-0.015, 0.015, 3), 0.0, 1.0)
    return float(r), float(g), float(b)
