"""Fills one block of the plan: ground, lots, buildings, trees, cars; from the block and its own generator.

Heights: carriageways lie at z = 0 on slabs that reach down to -3; pavements at 0.15, lots at 0.18; canal
water at -1.6. Slabs overlap in depth but never share a visible plane, so no point has two surfaces.
"""

from itertools import pairwise

import numpy as np

from neural.scenes.synthetic import classes
from neural.scenes.synthetic.buildings import house, terrace, tower
from neural.scenes.synthetic.greenery import bench, broadleaf, car, conifer, hedge, lamp
from neural.scenes.synthetic.materials import COURT, LAWN, PAVING, STONE, STREET, WATER
from neural.scenes.synthetic.noise import generator
from neural.scenes.synthetic.primitives import FRUSTUM, Builder, Colour, Instance, Primitives
from neural.scenes.synthetic.streets import Block, CityConfig

GROUND_DEPTH = -3.0
KERB = 0.15
LOT = 0.18
WATER_LEVEL = -1.6
_BLOCK = 17

_ASPHALT: Colour = (0.36, 0.36, 0.37)
_SLABS: Colour = (0.68, 0.66, 0.62)
_STONE: Colour = (0.78, 0.76, 0.72)
_GRASS: Colour = (0.31, 0.42, 0.17)
_DRY_GRASS: Colour = (0.44, 0.49, 0.22)
_WATER: Colour = (0.10, 0.20, 0.22)


def fill(block: Block, config: CityConfig) -> tuple[Primitives, list[Instance]]:
    """The solids and objects of a block."""
    builder = Builder(block.index, generator(config.seed, _BLOCK, *block.index))
    if block.use == "canal":
        _canal(builder, block)
    else:
        x0, x1, y0, y1 = block.edges
        params = block.roads
        builder.box((x0, y0, GROUND_DEPTH), (x1, y1, 0.0), STREET, _ASPHALT, params=params)
        x0, x1, y0, y1 = block.kerb
        builder.box((x0, y0, -0.5), (x1, y1, KERB), PAVING, _SLABS, accent=_STONE)
        _FILL[block.use](builder, block, config)
        _street_side(builder, block)
    return builder.primitives(), builder.instances


def _houses(builder: Builder, block: Block, config: CityConfig) -> None:
    """Two rows of detached houses, back to back, each in its garden."""
    rng = builder.rng
    x0, x1, y0, y1 = block.lot
    _ground(builder, block.lot, LAWN)
    columns = max(1, int((x1 - x0) / 15.0))
    pitch = (x1 - x0) / columns
    middle = (y0 + y1) / 2
    for k in range(columns):
        left, right = x0 + k * pitch, x0 + (k + 1) * pitch
        for front, back, yaw in ((y0, middle, 0.0), (y1, middle, np.pi)):
            inward = 1.0 if back > front else -1.0
            width = rng.uniform(7.5, min(10.0, pitch - 4.5))
            depth = rng.uniform(7.0, min(9.0, abs(back - front) - 6.0))
            x = (left + right) / 2 + rng.uniform(-0.6, 0.6)
            y = front + inward * (4.0 + depth / 2 + rng.uniform(0.0, 0.8))
            path = sorted((front, y - inward * depth / 2))
            builder.box((x - 0.7, path[0], 0.0), (x + 0.7, path[1], LOT + 0.03), PAVING, _STONE)
            house(builder, x, y, LOT, yaw + rng.uniform(-0.06, 0.06), width, depth)
            _garden_tree(builder, left + rng.uniform(1.8, 3.0), back - inward * rng.uniform(2.2, 3.2))
            if rng.random() < 0.6:
                _garden_tree(builder, right - rng.uniform(1.8, 2.6), front + inward * rng.uniform(1.6, 2.4))
        if k:
            hedge(builder, (left - 0.35, y0 + 4.0, LOT - 0.1), (left + 0.35, y1 - 4.0, LOT + 1.3))
    hedge(builder, (x0 + 0.5, middle - 0.3, LOT - 0.1), (x1 - 0.5, middle + 0.3, LOT + 1.15))


def _perimeter(builder: Builder, block: Block, config: CityConfig) -> None:
    """Closed street fronts around a green court."""
    rng = builder.rng
    x0, x1, y0, y1 = block.lot
    x0, x1, y0, y1 = x0 + 0.06, x1 - 0.06, y0 + 0.06, y1 - 0.06  # off the edge of the slab
    _ground(builder, block.lot, COURT)
    depth = min(11.0, 0.3 * (y1 - y0), 0.3 * (x1 - x0))
    court = (x0 + depth + 1.5, x1 - depth - 1.5, y0 + depth + 1.5, y1 - depth - 1.5)
    builder.box((court[0], court[2], 0.0), (court[1], court[3], LOT + 0.05), LAWN, _GRASS, accent=_DRY_GRASS)
    usual = int(rng.integers(3, 5)) + int(block.downtown > 0.5)
    sides = (
        ((x0 + x1) / 2, y0 + depth / 2, 0.0, x1 - x0),
        ((x0 + x1) / 2, y1 - depth / 2, np.pi, x1 - x0),
        (x0 + depth / 2, (y0 + y1) / 2, -np.pi / 2, y1 - y0 - 2 * depth),
        (x1 - depth / 2, (y0 + y1) / 2, np.pi / 2, y1 - y0 - 2 * depth),
    )
    for cx, cy, yaw, length in sides:
        cos, sin = round(np.cos(yaw)), round(np.sin(yaw))
        for start, end in _split(rng, length, 10.0, 17.0):
            if rng.random() < 0.07 and end - start < 0.5 * length:
                continue  # a gap that lets light into the court
            shift = (start + end - length) / 2
            storeys = max(2, usual + int(rng.integers(-1, 2)))
            place = (cx + cos * shift, cy + sin * shift, LOT)
            terrace(builder, *place, yaw, end - start, depth, storeys)
    n_trees = max(2, int((court[1] - court[0]) * (court[3] - court[2]) / 90.0))
    for x, y in _scatter(rng, (court[0] + 2, court[1] - 2, court[2] + 2, court[3] - 2), n_trees, 5.5):
        broadleaf(builder, x, y, LOT, rng.uniform(5.5, 8.0))


def _towers(builder: Builder, block: Block, config: CityConfig) -> None:
    """One to four towers on a paved plaza with planted trees."""
    rng = builder.rng
    x0, x1, y0, y1 = block.lot
    _ground(builder, block.lot, COURT)
    columns, rows = max(1, round((x1 - x0) / 24.0)), max(1, round((y1 - y0) / 24.0))
    px, py = (x1 - x0) / columns, (y1 - y0) / rows
    for i in range(columns):
        for j in range(rows):
            width, depth = rng.uniform(0.68, 0.84) * px, rng.uniform(0.68, 0.84) * py
            cx, cy = x0 + (i + 0.5) * px, y0 + (j + 0.5) * py
            tallest = min(config.tallest, 20.0 + 62.0 * block.downtown)
            height = max(14.0, rng.uniform(0.3, 1.0) * (tallest - 9.0))
            tower(builder, cx, cy, LOT, 0.0, width, depth, height)
            for corner in (-1.0, 1.0):
                if rng.random() < 0.7:
                    at = (cx + corner * (width / 2 + (px - width) / 4), cy + rng.uniform(-0.3, 0.3) * depth)
                    _planter(builder, *at)


def _park(builder: Builder, block: Block, config: CityConfig) -> None:
    """Lawn, a cross of paths, a pond, trees and benches."""
    rng = builder.rng
    x0, x1, y0, y1 = block.lot
    _ground(builder, block.lot, LAWN)
    mx, my = (x0 + x1) / 2, (y0 + y1) / 2
    builder.box((mx - 1.5, y0, 0.0), (mx + 1.5, y1, LOT + 0.03), PAVING, (0.80, 0.74, 0.62), accent=_STONE)
    builder.box((x0, my - 1.5, 0.0), (x1, my + 1.5, LOT + 0.04), PAVING, (0.80, 0.74, 0.62), accent=_STONE)
    rx, ry = min(9.0, 0.22 * (x1 - x0)), min(7.0, 0.22 * (y1 - y0))
    builder.add(FRUSTUM, (mx, my, LOT), (rx + 3.0, ry + 3.0, 0.06), COURT, (0.80, 0.74, 0.62), profile=(1.0,))
    builder.add(FRUSTUM, (mx, my, LOT + 0.05), (rx + 0.5, ry + 0.5, 0.25), STONE, _STONE, profile=(0.98,))
    builder.begin(classes.WATER, "pond", mx, my, LOT)
    builder.add(FRUSTUM, (0, 0, 0.06), (rx, ry, 0.26), WATER, _WATER, profile=(1.0,))
    builder.end()
    count = int((x1 - x0) * (y1 - y0) / 55.0)
    for x, y in _scatter(rng, (x0 + 2.5, x1 - 2.5, y0 + 2.5, y1 - 2.5), count, 4.8):
        path = min(abs(x - mx), abs(y - my)) < 4.0
        pond = np.hypot((x - mx) / (rx + 5.0), (y - my) / (ry + 5.0)) < 1.0
        if not path and not pond:
            (conifer if rng.random() < 0.3 else broadleaf)(builder, x, y, LOT, rng.uniform(6.0, 10.5))
    for side in (-1.0, 1.0):
        bench(builder, mx + side * (rx + 1.8), my + 2.6, LOT, -side * np.pi / 2)
        bench(builder, mx + side * (0.25 * (x1 - x0) + rx / 2), my + 2.1, LOT, 0.0)


def _canal(builder: Builder, block: Block) -> None:
    """Water between two quays, with half a bridge at either end for the streets that cross."""
    rng = builder.rng
    x0, x1, y0, y1 = block.edges
    west, east, south, north = block.roads
    far = 1e6  # no crossing street: the quay road has no corners
    quay = 5.0
    for low, high, roads in ((y0, y0 + south, (0, 0, south, 0)), (y1 - north, y1, (0, 0, 0, north))):
        params = tuple(road or -far for road in roads)
        builder.box((x0, low, GROUND_DEPTH), (x1, high, 0.0), STREET, _ASPHALT, params=params)
    shores = (y0 + south + quay, y1 - north - quay)
    builder.box((x0, y0 + south, GROUND_DEPTH), (x1, shores[0], KERB), PAVING, _SLABS, accent=_STONE)
    builder.box((x0, shores[1], GROUND_DEPTH), (x1, y1 - north, KERB), PAVING, _SLABS, accent=_STONE)
    builder.box((x0, shores[0], GROUND_DEPTH), (x1, shores[1], WATER_LEVEL), WATER, _WATER)
    beyond = (y0 + south + 0.02, y1 - north - 0.02)
    for low, high, rail in ((x0, x0 + west, 1.0), (x1 - east, x1, -1.0)):
        crossing = (west, -far, -far, -far) if rail > 0 else (-far, east, -far, -far)
        deck = ((low, beyond[0], -0.7), (high, beyond[1], KERB + 0.02))
        builder.box(*deck, STREET, _ASPHALT, params=crossing)
        edge = high if rail > 0 else low
        walk = sorted((edge, edge + rail * 1.6))
        builder.box((walk[0], shores[0], -0.7), (walk[1], shores[1], KERB + 0.1), PAVING, _SLABS, accent=_STONE)
        wall = sorted((edge + rail * 1.3, edge + rail * 1.62))
        builder.begin(classes.FURNITURE, "parapet", (wall[0] + wall[1]) / 2, sum(shores) / 2, KERB)
        span = (shores[1] - shores[0]) / 2
        builder.box((-0.16, -span, 0.0), (0.16, span, 1.0), STONE, _STONE)
        builder.end()
    for shore, outward in ((shores[0], -1.0), (shores[1], 1.0)):
        for x in np.arange(x0 + west + 5.0, x1 - east - 4.0, 8.5):
            broadleaf(builder, float(x), shore + outward * 1.8, KERB, rng.uniform(6.0, 8.5))


def _ground(builder: Builder, lot: tuple[float, float, float, float], material: int) -> None:
    colours = (_GRASS, _DRY_GRASS) if material == LAWN else ((0.70, 0.66, 0.60), (0.62, 0.58, 0.53))
    x0, x1, y0, y1 = lot
    builder.box((x0, y0, 0.0), (x1, y1, LOT), material, colours[0], accent=colours[1])


def _street_side(builder: Builder, block: Block) -> None:
    """Street trees, lamps and parked cars along the four kerbs."""
    rng = builder.rng
    x0, x1, y0, y1 = block.kerb
    sides = (
        ((x0 + x1) / 2, y0, 0.0, x1 - x0, block.roads[2]),
        ((x0 + x1) / 2, y1, np.pi, x1 - x0, block.roads[3]),
        (x0, (y0 + y1) / 2, -np.pi / 2, y1 - y0, block.roads[0]),
        (x1, (y0 + y1) / 2, np.pi / 2, y1 - y0, block.roads[1]),
    )
    for cx, cy, yaw, length, road in sides:
        cos, sin = np.cos(yaw), np.sin(yaw)

        def place(along: float, inward: float, cx=cx, cy=cy, cos=cos, sin=sin) -> tuple[float, float]:
            return cx + cos * along - sin * inward, cy + sin * along + cos * inward

        for k, along in enumerate(np.arange(-length / 2 + 5.0, length / 2 - 4.0, 9.0)):
            if k % 3 == 1:
                lamp(builder, *place(along, 0.6), KERB, yaw - np.pi / 2)
            elif rng.random() < (0.75 if road > 4.0 else 0.35):
                broadleaf(builder, *place(along, 0.95), KERB, rng.uniform(4.6, 6.6))
        for along in np.arange(-length / 2 + 7.0, length / 2 - 6.0, 5.6):
            if rng.random() < 0.42:
                forward = 0.0 if rng.random() < 0.9 else np.pi
                spot = place(along + rng.uniform(-0.3, 0.3), -1.1)
                car(builder, *spot, 0.0, yaw + forward + rng.uniform(-0.03, 0.03))


def _garden_tree(builder: Builder, x: float, y: float) -> None:
    grow = conifer if builder.rng.random() < 0.25 else broadleaf
    grow(builder, x, y, LOT, builder.rng.uniform(4.5, 7.5))


def _planter(builder: Builder, x: float, y: float) -> None:
    builder.begin(classes.FURNITURE, "planter", x, y, LOT)
    builder.box((-1.1, -1.1, 0.0), (1.1, 1.1, 0.55), STONE, _STONE)
    builder.end()
    broadleaf(builder, x, y, LOT + 0.5, builder.rng.uniform(4.0, 5.5))


def _split(rng: np.random.Generator, length: float, shortest: float, longest: float) -> list[tuple[float, float]]:
    """Cut [0, length] into pieces of about shortest..longest."""
    count = max(1, round(length / rng.uniform(shortest, longest)))
    weights = rng.uniform(0.8, 1.2, count)
    ends = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()]) * length
    return [(float(a), float(b)) for a, b in pairwise(ends)]


def _scatter(
    rng: np.random.Generator, area: tuple[float, float, float, float], count: int, apart: float
) -> list[tuple[float, float]]:
    """Up to `count` random places at least `apart` from each other."""
    x0, x1, y0, y1 = area
    places: list[tuple[float, float]] = []
    if x1 <= x0 or y1 <= y0:
        return places
    for _ in range(6 * count):
        x, y = float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1))
        if len(places) < count and all(np.hypot(x - u, y - v) >= apart for u, v in places):
            places.append((x, y))
    return places


_FILL = {"houses": _houses, "perimeter": _perimeter, "towers": _towers, "park": _park}
