"""A trained volume back into a voxel grid, for programs that know no fields."""

import os
from pathlib import Path

import numpy as np
import torch

from neural.render.cloud import Medium, occupied_at
from neural.render.occupancy import OccupancyGrid

LARGEST_HALF = 65504.0  # of half precision


def write_grid(medium: Medium, occupancy: OccupancyGrid, sizes: tuple[int, int, int], path: Path) -> Path:
    """Writes density (1 / edge) and albedo at the centres of voxels, [X, Y, Z, 4] in half precision, plane by plane.

    Densities are those that pictures show: none where the mask says that nothing is, none below zero. The file is
    complete or not there at all, and is read back by `neural.scenes.volumes.voxels.load_voxels`.

    Args:
        medium: Positions in the unit cube to density and albedo.
        occupancy: Where there is anything.
        sizes: Voxels along x, y and z; the longest edge has length 1.
        path: The .npy file to write.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    device = occupancy.bitfield.device
    y, z = torch.meshgrid(*((torch.arange(n, device=device) + 0.5) / max(sizes) for n in sizes[1:]), indexing="ij")
    try:
        grid = np.lib.format.open_memmap(temporary, "w+", np.float16, (*sizes, 4))
        for index in range(sizes[0]):
            points = torch.stack((torch.full_like(y, (index + 0.5) / max(sizes)), y, z), -1).reshape(-1, 3)
            inside = occupied_at(occupancy, points)
            values = torch.zeros(len(points), 4, device=device)
            if bool(inside.any()):
                found = medium(points[inside])
                values[inside] = torch.cat((found[:, :1].clamp(0, LARGEST_HALF), found[:, 1:].clamp(0, 1)), 1)
            grid[index] = values.cpu().numpy().reshape(*sizes[1:], 4)
        grid.flush()
        del grid
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path
