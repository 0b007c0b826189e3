"""The solids a city is made of, as one table of arrays, and the builder that fills it block by block.

Four convex solids suffice. All stand upright and are turned about z by a yaw; in the local frame the centre
is the origin and `half` the half-size:

    BOX        |x| <= hx, |y| <= hy, |z| <= hz
    ROOF       the box, cut by  z + a |x| <= p  and  z + b |y| <= q        (profile = a, p, b, q)
    ELLIPSOID  (x/hx)^2 + (y/hy)^2 + (z/hz)^2 <= 1
    FRUSTUM    (x/hx)^2 + (y/hy)^2 <= r(z)^2, r from 1 at the bottom to k at the top   (profile = k, 0, 0, 0)
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, UInt32

from neural.scenes.synthetic.noise import zigzag

BOX, ROOF, ELLIPSOID, FRUSTUM = range(4)
INSTANCES_PER_BLOCK = 4096

Numbers = Sequence[float | int]
Colour = tuple[float, float, float]
"""sRGB in [0, 1], as one would pick it on a screen."""


@dataclass(frozen=True)
class Primitives:
    """P solids. Lengths in metres, z up; colours linear."""

    kind: Int64[np.ndarray, "P"]
    centre: Float64[np.ndarray, "P 3"]
    half: Float64[np.ndarray, "P 3"]
    yaw: Float64[np.ndarray, "P"]
    profile: Float64[np.ndarray, "P 4"]
    material: Int64[np.ndarray, "P"]
    colour: Float32[np.ndarray, "P 3"]
    accent: Float32[np.ndarray, "P 3"]
    params: Float32[np.ndarray, "P 6"]
    """What the material needs besides colours; see `materials`."""
    seed: UInt32[np.ndarray, "P"]
    instance: Int64[np.ndarray, "P"]
    """Id of the object this solid is a part of; 0 for the ground and what lies on it."""
    owner_class: Int64[np.ndarray, "P"]
    """Class of that object; 0 for the ground."""

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, index: np.ndarray | slice) -> "Primitives":
        return Primitives(*(getattr(self, field.name)[index] for field in fields(self)))

    @staticmethod
    def concatenate(parts: Sequence["Primitives"]) -> "Primitives":
        """Join tables, in order."""
        names = [field.name for field in fields(Primitives)]
        return Primitives(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def bounds(self) -> tuple[Float64[np.ndarray, "P 3"], Float64[np.ndarray, "P 3"]]:
        """Axis-aligned world boxes (low, high)."""
        cos, sin = np.abs(np.cos(self.yaw)), np.abs(np.sin(self.yaw))
        reach = np.stack(
            [
                cos * self.half[:, 0] + sin * self.half[:, 1],
                sin * self.half[:, 0] + cos * self.half[:, 1],
                self.half[:, 2],
            ],
            axis=1,
        )
        return self.centre - reach, self.centre + reach


@dataclass(frozen=True)
class Instance:
    """One object of the layout: an oriented box around all its solids."""

    id: int
    class_id: int
    kind: str
    block: tuple[int, int]
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw: float


class Builder:
    """Collects the solids and objects of one block.

    Between `begin` and `end` positions are local to the object: x and y turned by its yaw about its place.

    Args:
        block: Index (i, j) of the block; with a running number it makes the instance ids.
        rng: The block's own generator.
    """

    def __init__(self, block: tuple[int, int], rng: np.random.Generator) -> None:
        self.block = block
        self.rng = rng
        self.instances: list[Instance] = []
        self._rows: list[tuple] = []
        self._place = (0.0, 0.0, 0.0, 0.0)
        self._open: tuple[int, str, int] | None = None

    def begin(self, class_id: int, kind: str, x: float, y: float, z: float, yaw: float = 0.0) -> None:
        """Open an object standing at (x, y, z) in the world, turned by yaw radians."""
        assert self._open is None, "objects do not nest"
        self._place = (x, y, z, yaw)
        self._open = (class_id, kind, len(self._rows))

    def end(self) -> None:
        """Close the object: its id goes to its solids, its box into the layout."""
        assert self._open is not None
        class_id, kind, first = self._open
        x, y, z, yaw = self._place
        low, high = np.full(3, np.inf), np.full(3, -np.inf)
        for row in self._rows[first:]:
            local = np.array(row[1]) - (x, y, z)
            cos, sin = np.cos(yaw), np.sin(yaw)
            local[:2] = cos * local[0] + sin * local[1], cos * local[1] - sin * local[0]
            turn = row[3] - yaw
            cos, sin = abs(np.cos(turn)), abs(np.sin(turn))
            hx, hy, hz = row[2]
            reach = np.array([cos * hx + sin * hy, sin * hx + cos * hy, hz])
            low, high = np.minimum(low, local - reach), np.maximum(high, local + reach)
        middle, half = (low + high) / 2, (high - low) / 2
        cos, sin = np.cos(yaw), np.sin(yaw)
        centre = (
            x + cos * middle[0] - sin * middle[1],
            y + sin * middle[0] + cos * middle[1],
            z + middle[2],
        )
        number = _pair(zigzag(self.block[0]), zigzag(self.block[1])) * INSTANCES_PER_BLOCK
        identity = number + len(self.instances) + 1
        assert len(self.instances) + 1 < INSTANCES_PER_BLOCK
        self.instances.append(
            Instance(identity, class_id, kind, self.block, _floats(centre), _floats(half.tolist()), float(yaw))
        )
        self._rows[first:] = [(*row[:-2], identity, class_id) for row in self._rows[first:]]
        self._place, self._open = (0.0, 0.0, 0.0, 0.0), None

    def add(
        self,
        kind: int,
        centre: Numbers,
        half: Numbers,
        material: int,
        colour: Colour,
        *,
        accent: Colour | None = None,
        yaw: float = 0.0,
        profile: Numbers = (),
        params: Numbers = (),
    ) -> None:
        """Add one solid; centre and yaw are local to the open object, if any."""
        x, y, z, turn = self._place
        cos, sin = np.cos(turn), np.sin(turn)
        cx, cy, cz = centre
        world = (x + cos * cx - sin * cy, y + sin * cx + cos * cy, z + cz)
        self._rows.append(
            (
                kind,
                world,
                tuple(half),
                yaw + turn,
                (*profile, 0.0, 0.0, 0.0, 0.0)[:4],
                material,
                colour,
                accent or colour,
                (*params, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)[:6],
                int(self.rng.integers(2**32)),
                0,
                0,
            )
        )

    def box(self, low: Numbers, high: Numbers, material: int, colour: Colour, **more) -> None:
        """Add a box by its two corners, in the frame of the open object."""
        a, b = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        self.add(BOX, ((a + b) / 2).tolist(), ((b - a) / 2).tolist(), material, colour, **more)

    def primitives(self) -> Primitives:
        """All solids so far, as a table."""
        columns = list(zip(*self._rows, strict=True))
        return Primitives(
            kind=np.array(columns[0], dtype=np.int64),
            centre=np.array(columns[1], dtype=np.float64),
            half=np.array(columns[2], dtype=np.float64),
            yaw=np.array(columns[3], dtype=np.float64),
            profile=np.array(columns[4], dtype=np.float64),
            material=np.array(columns[5], dtype=np.int64),
            colour=to_linear(np.array(columns[6], dtype=np.float32)),
            accent=to_linear(np.array(columns[7], dtype=np.float32)),
            params=np.array(columns[8], dtype=np.float32),
            seed=np.array(columns[9], dtype=np.uint32),
            instance=np.array(columns[10], dtype=np.int64),
            owner_class=np.array(columns[11], dtype=np.int64),
        )


def to_linear(srgb: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(srgb.dtype)


def to_srgb(linear: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
    """Linear light to sRGB; values are clipped to [0, 1] first."""
    x = np.clip(linear, 0.0, 1.0)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055).astype(linear.dtype)


def _pair(a: int, b: int) -> int:
    """Szudzik's pairing: two natural numbers to one, small for small arguments."""
    return a * a + a + b if a >= b else b * b + a


def _floats(values: Numbers) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
