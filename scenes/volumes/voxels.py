"""A voxel grid of density and albedo, read where it lies: what a volume is trained on and compared with."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from neural.cuda.trilinear import trilinear
from neural.errors import SceneFormatError
from neural.scenes.volumes.files import Stored, open_grid

ALBEDO = 0.9
"""Of every voxel where a file has no albedo."""
INTEGER_DENSITY = 100.0
"""1 / edge, what the largest integer stands for unless the file or the caller says otherwise."""


@dataclass(frozen=True)
class Voxels:
    """Density and albedo on a grid of cubes; between the centres of cubes they are linear in each direction.

    The frame: the grid's longest edge is 1, its first corner (0, 0, 0), axis 0 is x, axis 2 is z and up.

    Attributes:
        name: For messages and file names.
        path: The file; None for arrays.
        density: As stored, [X, Y, Z, 1], or with its albedo [X, Y, Z, 4]; perhaps the map of a file.
        albedo: As stored, [X, Y, Z, 3]; None where it is in `density` or constant.
        density_scale: What a stored density (integers as shares of the largest) is multiplied by to be in 1 / edge.
    """

    name: str
    path: Path | None
    density: Shaped[Tensor, "X Y Z C"]
    albedo: Shaped[Tensor, "X Y Z 3"] | None
    density_scale: float

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Voxels along x, y and z."""
        nx, ny, nz = self.density.shape[:3]
        return nx, ny, nz

    @property
    def scale(self) -> float:
        """Voxels along the longest edge, which has length 1."""
        return float(max(self.sizes))

    @property
    def box(self) -> Float[Tensor, "2 3"]:
        """Corners of the grid, float64."""
        return torch.tensor([[0.0] * 3, [n / self.scale for n in self.sizes]], dtype=torch.float64)

    @property
    def contents(self) -> str:
        """What is stored, in words."""
        own = self.albedo is not None or self.density.shape[3] == 4
        return "density and albedo" if own else f"density, albedo {ALBEDO} everywhere"

    @property
    def n_bytes(self) -> int:
        """Of all that is stored."""
        return sum(grid.numel() * grid.element_size() for grid in (self.density, self.albedo) if grid is not None)

    def to(self, device: torch.device | str) -> "Voxels":
        """A copy there; the same, maps of files included, where they are there already."""
        albedo = None if self.albedo is None else self.albedo.to(device)
        return replace(self, density=self.density.to(device), albedo=albedo)

    def sample(self, positions: Float[Tensor, "N 3"]) -> Float[Tensor, "N 4"]:
        """Density (1 / edge) and albedo (linear) at positions of the frame, which may be on another device.

        Returns:
            Float32, a transposed view of a [4, N] buffer, on the device of the positions.
        """
        place, positions = positions.device, positions.to(self.density.device)
        values = trilinear(positions, self.density, scale=self.scale).t()
        out = values
        if values.shape[0] == 1:
            out = values.new_full((4, positions.shape[0]), ALBEDO)
            out[0] = values[0]
            if self.albedo is not None:
                out[1:] = trilinear(positions, self.albedo, scale=self.scale).t()
        out[0] *= self.density_scale
        return out.to(place).t()

    def densities(self, positions: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Density alone, 1 / edge."""
        return self.sample(positions)[:, 0]


def load_voxels(path: str | Path, *, density_scale: float | None = None) -> Voxels:
    """Opens a .npy or .npz file; what can be mapped is mapped, not read.

    A .npy holds [X, Y, Z] densities or [X, Y, Z, 4] densities and albedos (linear, 0 to 1); a .npz either of them as
    its only array, or `density` [X, Y, Z] and perhaps `albedo` [X, Y, Z, 3] and a number `density_scale`. Floats of 2,
    4 and 8 bytes, or unsigned integers of 1 and 2 that stand for [0, 1]. Values are checked by `survey`, which reads
    them.

    Args:
        path: The file.
        density_scale: In place of the file's: what a stored density is multiplied by to be in 1 / edge, the grid's
            longest edge having length 1. Without either, 1 for floats and 100 for integers.

    Raises:
        SceneFormatError: No such grid; says what was expected, what came, and what to do.
        TooLarge: It has to be read (compressed, or in an order or byte order that is no kernel's) and does not fit.
    """
    source = Path(path)
    stored = open_grid(source)
    return _voxels(source.stem, source, stored, density_scale)


def from_arrays(
    density: np.ndarray, albedo: np.ndarray | None = None, *, density_scale: float = 1.0, name: str = "volume"
) -> Voxels:
    """A grid of arrays in memory (or maps of your own): [X, Y, Z], and [X, Y, Z, 3] or nothing.

    Raises:
        SceneFormatError: As for `load_voxels`.
    """
    return _voxels(name, None, Stored(density, albedo, None).checked(Path(name)), density_scale)


def _voxels(name: str, path: Path | None, stored: Stored, density_scale: float | None) -> Voxels:
    scale = density_scale if density_scale is not None else stored.density_scale
    if scale is None:
        scale = 1.0 if stored.density.dtype.kind == "f" else INTEGER_DENSITY
    if not (np.isfinite(scale) and scale > 0):
        raise SceneFormatError(path or name, f"density_scale must be positive and finite, got {scale}")
    albedo = None if stored.albedo is None else stored.tensor(stored.albedo)
    return Voxels(name, path, stored.tensor(stored.density), albedo, float(scale))
