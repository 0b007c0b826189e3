"""A cumulus of density and albedo at any resolution: `python -m neural.scenes.synthetic.cloud --out cloud.npy`.

A heap of balls on a flat base, wide below and narrow above, gives the shape; layered value noise, folded so that its
ridges point outwards, carves it into the heads of a cauliflower. What a voxel holds depends on the seed and on where
its centre is, never on the resolution of others or on the tiles in which the file is written: two resolutions are the
same cloud, and equal arguments give equal bytes.

The frame is the grid's: longest edge 1, z up; density in 1 / edge, albedo linear. The grid is [N, N, N/2 rounded up,
4], wider than high, as half precision. Form, colours and constants are ours.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import Float

from neural.errors import TooLarge
from neural.scenes.synthetic.noise import generator, hash_unit

PUFFS, OCTAVES = 61, 6  # of the noise's seeds and keys; a change of a number changes the cloud
TILE = 16  # planes of x that are made in one go
BASE = 0.07  # height of the flat bottom
SHELL = 0.035  # depth over which density rises to full


@dataclass(frozen=True)
class CloudRecipe:
    """What cloud to make.

    Attributes:
        resolution: Voxels along x and y; half as many along z.
        seed: Another one is another cloud.
        density: In its core, 1 / edge; 60 hides what is behind a tenth of its width.
        detail: How deep noise carves, as a share of the edge.
    """

    resolution: int = 192
    seed: int = 0
    density: float = 60.0
    detail: float = 0.09

    def __post_init__(self) -> None:
        if not 8 <= self.resolution <= 8192:
            raise ValueError(f"resolution must be 8 to 8192, got {self.resolution}")
        if not (0 < self.density <= 60000 and 0 <= self.detail <= 1):
            raise ValueError(f"density must be 0 to 60000 and detail 0 to 1, got {self.density} and {self.detail}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the grid."""
        return self.resolution, self.resolution, (self.resolution + 1) // 2, 4


def cloud(recipe: CloudRecipe) -> Float[np.ndarray, "X Y Z 4"]:
    """The whole grid in memory, float16: density and albedo."""
    return np.concatenate(list(_tiles(recipe)))


def write(recipe: CloudRecipe, path: Path, *, overwrite: bool = False) -> None:
    """Writes the grid tile by tile into a .npy file that grows nowhere but on the disk; complete or not there at all.

    Raises:
        FileExistsError: There is such a file.
        TooLarge: The disk has no room for it.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass --overwrite to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)
    needed, free = int(np.prod(recipe.shape)) * 2, shutil.disk_usage(path.parent).free
    if needed > free:
        raise TooLarge(f"{path}: the cloud takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        grid = np.lib.format.open_memmap(temporary, "w+", np.float16, recipe.shape)
        for index, tile in enumerate(_tiles(recipe)):
            grid[index * TILE : (index + 1) * TILE] = tile
        grid.flush()
        del grid
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _tiles(recipe: CloudRecipe) -> Iterator[Float[np.ndarray, "x Y Z 4"]]:
    nx, ny, nz, _ = recipe.shape
    axes = [(np.arange(n) + 0.5) / recipe.resolution for n in (nx, ny, nz)]
    puffs = _puffs(recipe.seed)
    for first in range(0, nx, TILE):
        yield _tile(recipe, puffs, axes[0][first : first + TILE], axes[1], axes[2])


def _puffs(seed: int) -> Float[np.ndarray, "B 4"]:
    """Balls of the heap: centre and radius."""
    draw = generator(seed, PUFFS)
    balls = []
    for layer, (count, reach, height, radius) in enumerate(
        ((22, 0.37, 0.12, 0.115), (16, 0.28, 0.185, 0.11), (9, 0.18, 0.245, 0.09), (5, 0.09, 0.29, 0.065))
    ):
        turn = 2 * np.pi * (np.arange(count) + draw.random(count)) / count
        distance = reach * np.sqrt(draw.uniform(0.25 if layer else 0.05, 1.0, count))
        x, y = 0.5 + distance * np.cos(turn), 0.5 + 0.8 * distance * np.sin(turn)
        z = height + 0.025 * draw.uniform(-1, 1, count)
        r = radius * draw.uniform(0.7, 1.25, count) * (1.1 - 0.5 * distance / 0.37)
        balls.append(np.stack([x, y, z, r], 1))
    return np.concatenate(balls)


def _tile(recipe: CloudRecipe, puffs: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    depth = np.full((len(x), len(y), len(z)), -1.0, np.float32)  # below the surface of the heap, in edges
    for cx, cy, cz, r in puffs.tolist():
        squares = [np.square(axis - c).astype(np.float32) for axis, c in ((x, cx), (y, cy), (z, cz))]
        far = np.sqrt(squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :])
        np.maximum(depth, np.float32(r) - far, out=depth)
    carved = np.zeros_like(depth)
    for octave in range(5):
        ridges = 1.0 - np.abs(2.0 * _layer(recipe.seed, octave, 9.0 * 2.0**octave, x, y, z) - 1.0)
        carved += (ridges - np.float32(0.55)) * np.float32(recipe.detail * 0.55**octave)
    floor = np.float32(1.0) - _smooth(
        (np.float32(BASE) + 0.15 * carved - z[None, None, :].astype(np.float32)) / 0.02 + 1
    )
    solid = _smooth((depth + carved) / np.float32(SHELL)) * floor
    mottle = _layer(recipe.seed, OCTAVES, 24.0, x, y, z)
    density = solid * (np.float32(0.65) + np.float32(0.35) * mottle) * np.float32(recipe.density)
    out = np.empty((*depth.shape, 4), np.float16)
    out[..., 0] = density
    warm = 1.0 - _smooth((z.astype(np.float32) - np.float32(0.08)) / np.float32(0.3))[None, None, :]
    shade = warm * (np.float32(0.6) + np.float32(0.4) * _layer(recipe.seed, OCTAVES + 1, 6.0, x, y, z))
    for channel, (high, low) in enumerate(((0.99, 0.96), (0.99, 0.78), (0.99, 0.66))):
        out[..., 1 + channel] = np.float32(high) + shade * np.float32(low - high)
    return out


def _layer(seed: int, octave: int, frequency: float, *axes: np.ndarray) -> Float[np.ndarray, "x y z"]:
    """Smooth noise in [0, 1) with one random number per corner of a lattice of `frequency` cells per edge.

    On a grid its weights are products of one factor per axis, so that corners are blended along one axis after another.
    """
    places = [axis * frequency for axis in axes]
    floors = [np.floor(place).astype(np.int64) for place in places]
    corners = [np.arange(floor[0], floor[-1] + 2) for floor in floors]
    mesh = np.meshgrid(*corners, indexing="ij")
    key = np.full(mesh[0].size, (seed * 7919 + octave * 104729 + 1) % 2**32, np.uint32)
    values = hash_unit(key, *(axis.reshape(-1) for axis in mesh)).reshape(mesh[0].shape)
    for axis, (place, floor) in enumerate(zip(places, floors, strict=True)):
        t = (place - floor).astype(np.float32)
        weight = t * t * t * (t * (t * 6 - 15) + 10)  # Perlin's quintic: no kink at the corners
        weight = weight.reshape([-1 if a == axis else 1 for a in range(3)])
        lower = np.take(values, floor - corners[axis][0], axis)
        upper = np.take(values, floor - corners[axis][0] + 1, axis)
        values = lower + weight * (upper - lower)
    return values


def _smooth(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, without a kink."""
    t = np.clip(t, 0, 1).astype(np.float32)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Arguments:
    """Write a synthetic cloud as a voxel grid.

    Args:
        out: The .npy file to write.
        overwrite: Replace it if it exists.
        recipe: What cloud.
    """

    out: Path
    overwrite: bool = False
    recipe: tyro.conf.OmitArgPrefixes[CloudRecipe] = field(default_factory=CloudRecipe)


def main(args: list[str] | None = None) -> int:
    """Exit code 0 when the cloud is written, 2 for arguments that make no sense."""
    try:
        arguments = tyro.cli(Arguments, args=args, prog="python -m neural.scenes.synthetic.cloud")
        write(arguments.recipe, arguments.out, overwrite=arguments.overwrite)
    except (ValueError, FileExistsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
