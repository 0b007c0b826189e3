"""The street grid: where the centre lines run, how wide the streets are, and what each block is for.

Line k of an axis stands at the sum of the pitches before it; pitches and widths are drawn per line, so any
window of blocks is a window of one endless plan. Row j of blocks lies between lines j and j + 1.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from neural.scenes.synthetic.noise import generator, hash_unit, value_noise

BlockUse = Literal["houses", "perimeter", "towers", "park", "canal"]
BLOCK_USES: tuple[BlockUse, ...] = ("houses", "perimeter", "towers", "park", "canal")

_PITCH, _WIDTH, _USE = range(1, 4)
SIDEWALK = 3.0
"""Width of the pavement between kerb and lots, metres."""


@dataclass(frozen=True)
class CityConfig:
    """What a city is made from; equal configs make bit-equal cities.

    Args:
        seed: Everything random follows from it.
        blocks: Number of blocks along x and y.
        origin: Index of the first block; the street lines of index 0 cross at the world's origin.
        use: The use of every block, or None to let the plan decide.
        park_share: Probability that a block is a park.
        canal_period: One row of blocks in so many is a canal; 0 for none.
        tallest: Height in metres that no tower's roof exceeds.
        pitch: Shortest and longest distance between street centre lines, metres.
    """

    seed: int = 0
    blocks: tuple[int, int] = (4, 4)
    origin: tuple[int, int] = (0, 0)
    use: BlockUse | None = None
    park_share: float = 0.12
    canal_period: int = 7
    tallest: float = 60.0
    pitch: tuple[float, float] = (46.0, 78.0)

    def __post_init__(self) -> None:
        if min(self.blocks) < 1:
            raise ValueError(f"CityConfig.blocks must be at least (1, 1), got {self.blocks}")
        if not 30.0 <= self.pitch[0] <= self.pitch[1]:
            raise ValueError(f"CityConfig.pitch must be (shortest >= 30 m, longest), got {self.pitch}")
        if self.tallest < 20.0:
            raise ValueError(f"CityConfig.tallest must be at least 20 m, got {self.tallest}")
        if self.use is not None and self.use not in BLOCK_USES:
            raise ValueError(f"CityConfig.use must be one of {BLOCK_USES} or None, got {self.use!r}")


@dataclass(frozen=True)
class Block:
    """One cell of the street grid, from centre line to centre line (west, east, south, north; metres)."""

    index: tuple[int, int]
    use: BlockUse
    edges: tuple[float, float, float, float]
    """World x of the west and east centre line, world y of the south and north one."""
    roads: tuple[float, float, float, float]
    """Half width of the carriageway along each edge."""
    downtown: float
    """0 at the outskirts, 1 in the centre of a centre."""

    @cached_property
    def kerb(self) -> tuple[float, float, float, float]:
        """The rectangle inside the carriageways (x0, x1, y0, y1)."""
        (x0, x1, y0, y1), (west, east, south, north) = self.edges, self.roads
        return x0 + west, x1 - east, y0 + south, y1 - north

    @cached_property
    def lot(self) -> tuple[float, float, float, float]:
        """The rectangle inside the pavement (x0, x1, y0, y1)."""
        x0, x1, y0, y1 = self.kerb
        return x0 + SIDEWALK, x1 - SIDEWALK, y0 + SIDEWALK, y1 - SIDEWALK


class Streets:
    """The endless plan of one seed; `blocks()` cuts out the window the config asks for."""

    def __init__(self, config: CityConfig) -> None:
        self.config = config
        self._lines: dict[tuple[int, int], float] = {(0, 0): 0.0, (1, 0): 0.0}

    def line(self, axis: int, k: int) -> float:
        """World x (axis 0) or y (axis 1) of centre line k."""
        if (axis, k) not in self._lines:
            step = 1 if k > 0 else -1
            position = 0.0
            for at in range(0, k, step):
                position += step * self._pitch(axis, min(at, at + step))
                self._lines[axis, at + step] = position
        return self._lines[axis, k]

    def half_width(self, axis: int, k: int) -> float:
        """Half the carriageway of line k; every fourth or so is an avenue."""
        rng = generator(self.config.seed, _WIDTH, axis, k)
        return 7.0 if rng.random() < 0.25 else float(rng.choice([3.5, 4.0, 4.5]))

    def is_canal(self, j: int) -> bool:
        """Whether row j is water."""
        period = self.config.canal_period
        return period > 0 and (j - self.config.seed - 3) % period == 0

    def block(self, i: int, j: int) -> Block:
        """The block of column i and row j."""
        seed = np.array([self.config.seed & 0xFFFFFFFF], dtype=np.uint32)
        downtown = float(value_noise(np.array([[i / 3.0 + 0.37, j / 3.0 + 0.61]]), seed)[0])
        return Block(
            index=(i, j),
            use=self.config.use or self._use(i, j, downtown),
            edges=(self.line(0, i), self.line(0, i + 1), self.line(1, j), self.line(1, j + 1)),
            roads=(
                self.half_width(0, i),
                self.half_width(0, i + 1),
                self.half_width(1, j),
                self.half_width(1, j + 1),
            ),
            downtown=downtown,
        )

    def blocks(self) -> list[Block]:
        """The window of the config, row by row."""
        (i0, j0), (columns, rows) = self.config.origin, self.config.blocks
        return [self.block(i0 + i, j0 + j) for j in range(rows) for i in range(columns)]

    def _pitch(self, axis: int, k: int) -> float:
        if axis == 1 and self.is_canal(k) and self.config.use is None:
            return 40.0
        return float(np.round(generator(self.config.seed, _PITCH, axis, k).uniform(*self.config.pitch), 1))

    def _use(self, i: int, j: int, downtown: float) -> BlockUse:
        if self.is_canal(j):
            return "canal"
        seed = np.array([(self.config.seed + _USE * 7919) & 0xFFFFFFFF], dtype=np.uint32)
        if hash_unit(seed, np.array([i]), np.array([j]))[0] < self.config.park_share:
            return "park"
        return "towers" if downtown > 0.6 else "perimeter" if downtown > 0.35 else "houses"
