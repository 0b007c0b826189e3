"""Trees and what stands in a street: lamps, benches, cars. Each is one object of the layout."""

import numpy as np

from neural.scenes.synthetic import classes
from neural.scenes.synthetic.materials import BARK, FOLIAGE, METAL, PAINTWORK, STONE
from neural.scenes.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM, ROOF, Builder, Colour

_BARK: Colour = (0.36, 0.28, 0.21)
_LEAVES: tuple[tuple[Colour, Colour], ...] = (
    ((0.16, 0.27, 0.10), (0.45, 0.56, 0.22)),
    ((0.20, 0.30, 0.12), (0.52, 0.58, 0.26)),
    ((0.13, 0.25, 0.13), (0.36, 0.52, 0.25)),
    ((0.30, 0.27, 0.10), (0.66, 0.56, 0.20)),
)
_CARS: tuple[Colour, ...] = (
    (0.88, 0.88, 0.87),
    (0.12, 0.12, 0.13),
    (0.52, 0.53, 0.55),
    (0.62, 0.10, 0.10),
    (0.12, 0.22, 0.45),
    (0.30, 0.33, 0.30),
    (0.75, 0.72, 0.62),
)


def broadleaf(builder: Builder, x: float, y: float, z: float, height: float) -> None:
    """A round tree: a trunk and a crown of overlapping ellipsoids that rest on it."""
    rng = builder.rng
    dark, light = _LEAVES[int(rng.choice(len(_LEAVES), p=[0.35, 0.3, 0.25, 0.1]))]
    builder.begin(classes.TREE, "broadleaf", x, y, z, float(rng.uniform(0.0, 2 * np.pi)))
    crown = height * rng.uniform(0.30, 0.36)
    trunk = height - 1.7 * crown
    girth = 0.03 * height
    builder.add(FRUSTUM, (0, 0, (trunk + crown) / 2), (girth, girth, (trunk + crown) / 2), BARK, _BARK, profile=(0.6,))
    core = (crown, crown * 0.95, crown * 0.85)
    builder.add(ELLIPSOID, (0, 0, height - crown * 0.85), core, FOLIAGE, dark, accent=light)
    n_lobes = 5
    for lobe in range(n_lobes):
        angle = 2 * np.pi * (lobe + rng.uniform(-0.3, 0.3)) / n_lobes
        reach, size = crown * rng.uniform(0.5, 0.7), crown * rng.uniform(0.45, 0.62)
        at = (reach * np.cos(angle), reach * np.sin(angle), height - crown * rng.uniform(0.7, 1.15))
        builder.add(ELLIPSOID, at, (size, size, size * 0.85), FOLIAGE, dark, accent=light)
    builder.end()


def conifer(builder: Builder, x: float, y: float, z: float, height: float) -> None:
    """A fir: a short trunk under three cones, one growing out of the other."""
    rng = builder.rng
    tone = rng.uniform(0.85, 1.1)
    dark, light = (0.09 * tone, 0.19 * tone, 0.12 * tone), (0.24 * tone, 0.38 * tone, 0.22 * tone)
    radius = height * rng.uniform(0.19, 0.24)
    builder.begin(classes.TREE, "conifer", x, y, z)
    builder.add(FRUSTUM, (0, 0, height * 0.1), (0.2, 0.2, height * 0.1), BARK, _BARK, profile=(0.9,))
    for foot, top, share in ((0.12, 0.55, 1.0), (0.36, 0.78, 0.74), (0.60, 1.0, 0.48)):
        half = height * (top - foot) / 2
        size = (radius * share, radius * share, half)
        builder.add(FRUSTUM, (0, 0, height * foot + half), size, FOLIAGE, dark, accent=light, profile=(0.06,))
    builder.end()


def hedge(builder: Builder, low: tuple[float, float, float], high: tuple[float, float, float]) -> None:
    """A clipped hedge between two corners."""
    builder.begin(classes.TREE, "hedge", (low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2])
    half = ((high[0] - low[0]) / 2, (high[1] - low[1]) / 2, (high[2] - low[2]) / 2)
    builder.add(BOX, (0, 0, half[2]), half, FOLIAGE, (0.15, 0.26, 0.11), accent=(0.34, 0.46, 0.20))
    builder.end()


def car(builder: Builder, x: float, y: float, z: float, yaw: float) -> None:
    """A parked car, nose along local +x."""
    rng = builder.rng
    colour = _CARS[int(rng.integers(len(_CARS)))]
    length, height = rng.uniform(3.9, 4.7), rng.uniform(0.55, 0.8)
    hx, hy = length / 2, 0.88
    builder.begin(classes.CAR, "car", x, y, z, yaw)
    builder.box((-hx, -hy, 0.12), (hx, hy, 0.85), PAINTWORK, colour, params=(0.0,))
    half = height / 2
    slope_x, slope_y = height / 0.75, height / 0.18
    profile = (slope_x, half + slope_x * (0.55 * hx - 0.75), slope_y, half + slope_y * (hy - 0.06 - 0.18))
    builder.add(
        ROOF,
        (-0.12 * hx, 0, 0.85 + half),
        (0.62 * hx, hy - 0.06, half),
        PAINTWORK,
        colour,
        profile=profile,
        params=(1.0,),
    )
    builder.end()


def lamp(builder: Builder, x: float, y: float, z: float, yaw: float) -> None:
    """A street lamp whose arm reaches along local +x."""
    builder.begin(classes.FURNITURE, "lamp", x, y, z, yaw)
    steel: Colour = (0.30, 0.32, 0.33)
    builder.add(FRUSTUM, (0, 0, 2.97), (0.11, 0.11, 2.97), METAL, steel, profile=(0.6,))
    builder.box((-0.05, -0.05, 5.9), (1.5, 0.05, 6.0), METAL, steel)
    builder.box((0.9, -0.16, 5.78), (1.6, 0.16, 5.9), METAL, (0.85, 0.85, 0.80))
    builder.end()


def bench(builder: Builder, x: float, y: float, z: float, yaw: float) -> None:
    """A bench that looks along local -y."""
    builder.begin(classes.FURNITURE, "bench", x, y, z, yaw)
    wood: Colour = (0.55, 0.38, 0.24)
    builder.box((-0.9, -0.25, 0.4), (0.9, 0.25, 0.48), STONE, wood)
    builder.box((-0.9, 0.2, 0.48), (0.9, 0.27, 0.9), STONE, wood)
    for side in (-0.7, 0.7):
        builder.box((side - 0.06, -0.2, 0.0), (side + 0.06, 0.2, 0.4), METAL, (0.25, 0.25, 0.25))
    builder.end()
