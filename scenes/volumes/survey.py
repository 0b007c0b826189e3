"""One pass over a voxel grid: are its values what they must be, how dense is it, and where is anything at all."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural.errors import SceneFormatError
from neural.scenes.volumes.voxels import Voxels

SLAB_BYTES = 64 << 20
"""Of a grid that is looked at in one go."""
FAINT = 1e-3
"""Density, 1 / edge, that is not worth a sample: through the whole box it takes a thousandth of the light."""
ALBEDO_SLACK = 1e-3  # above 1, as half precision and noise reduction leave it


@dataclass(frozen=True)
class Survey:
    """What a pass over all voxels found.

    Attributes:
        densest: The largest density, 1 / edge.
        mean: Mean density over all voxels, 1 / edge.
        mean_square: Mean of its square.
        peaks: The largest density that interpolation can give anywhere in each cell of a grid of R^3 cells over the
            unit cube that the box lies in, 1 / edge.
    """

    densest: float
    mean: float
    mean_square: float
    peaks: Float[np.ndarray, "R R R"]

    @property
    def occupied_share(self) -> float:
        """Of the unit cube's cells, those worth a sample."""
        return float((self.peaks > FAINT).mean())

    @property
    def box(self) -> Float[Tensor, "2 3"]:
        """Corners of the smallest box of cells that holds all of them, float64."""
        there = self.peaks > FAINT
        ends = []
        for axis in range(3):
            hit = np.flatnonzero(there.any(tuple(a for a in range(3) if a != axis)))
            ends.append((hit[0] / len(there), (hit[-1] + 1) / len(there)))
        return torch.tensor(ends, dtype=torch.float64).t()


def survey(voxels: Voxels, resolution: int) -> Survey:
    """Reads every voxel once, slab after slab.

    Args:
        voxels: Of any size.
        resolution: R, cells along each edge of the unit cube.

    Raises:
        SceneFormatError: NaN, infinite or negative densities, albedos outside [0, 1], or nothing but empty space; says
            how many and where the first is.
    """
    nx, ny, nz = voxels.sizes
    cells = [_covering(n, voxels.scale, resolution) for n in (nx, ny, nz)]
    density, albedo = voxels.density.numpy(), None if voxels.albedo is None else voxels.albedo.numpy()
    unit = 1.0 / np.iinfo(density.dtype).max if density.dtype.kind == "u" else 1.0
    planes = np.zeros((nx, resolution, resolution), np.float32)
    total = square = 0.0
    thick = max(1, SLAB_BYTES // max(1, density[:1].nbytes))
    for first in range(0, nx, thick):
        slab = density[first : first + thick]
        values = slab[..., 0]
        bad = np.asarray(~np.isfinite(values) | (values < 0))
        _refuse(voxels, first, values, bad, "density", "must be finite and at least 0")
        tint = slab[..., 1:] if albedo is None else albedo[first : first + thick]
        if tint.dtype.kind == "f" and tint.size:
            wrong = np.asarray(~((tint >= -ALBEDO_SLACK) & (tint <= 1 + ALBEDO_SLACK)).all(-1))
            _refuse(voxels, first, tint, wrong, "albedo", "must be 0 to 1, linear")
        exact = values.astype(np.float64) * (unit * voxels.density_scale)
        total += float(exact.sum())
        square += float(np.square(exact).sum())
        planes[first : first + thick] = _largest(_largest(exact.astype(np.float32), 2, cells[2]), 1, cells[1])
    peaks = _largest(planes, 0, cells[0])
    found = Survey(float(peaks.max()), total / (nx * ny * nz), square / (nx * ny * nz), peaks)
    if not found.densest > FAINT:
        raise SceneFormatError(
            _source(voxels), f"no density above {FAINT:g} per edge, so there is nothing to see; give a larger density "
            "scale if its unit is another"
        )  # fmt: skip
    return found


def _covering(n: int, scale: float, resolution: int) -> list[tuple[int, int]]:
    """For each cell of an axis, the voxels whose values interpolation may use there: first, and behind the last."""
    found = []
    for cell in range(resolution):
        low, high = cell * scale / resolution, (cell + 1) * scale / resolution  # in voxels
        first, last = int(np.floor(low - 0.5)), int(np.floor(high - 0.5)) + 1
        if low >= n:
            found.append((0, 0))
        else:
            found.append((min(max(first, 0), n - 1), min(max(last, 0), n - 1) + 1))
    return found


def _largest(values: np.ndarray, axis: int, cells: list[tuple[int, int]]) -> np.ndarray:
    """The largest value of each cell along an axis, 0 where no voxel lies."""
    moved = np.moveaxis(values, axis, 0)
    out = np.zeros((len(cells), *moved.shape[1:]), values.dtype)
    for cell, (first, last) in enumerate(cells):
        if last > first:
            moved[first:last].max(axis=0, out=out[cell])
    return np.moveaxis(out, 0, axis)


def _refuse(voxels: Voxels, first: int, values: np.ndarray, wrong: np.ndarray, name: str, rule: str) -> None:
    if not wrong.any():
        return
    at = np.argwhere(wrong)[0]
    voxel = [int(at[0]) + first, int(at[1]), int(at[2])]
    raise SceneFormatError(
        _source(voxels),
        f"{name} {rule}: {int(wrong.sum()):,} voxels or more are not, the first at {voxel} is "
        f"{np.asarray(values[tuple(at)]).tolist()}; mend them, with np.nan_to_num and np.clip for one",
    )


def _source(voxels: Voxels) -> Path | str:
    return voxels.path or voxels.name
