"""Scores of a signed distance field against the mesh that it stands for."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from neural import atomic
from neural.render.sphere_trace import normals

Distance = Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N"]]


@dataclass(frozen=True)
class SdfScores:
    """How well a field has the distances to a mesh.

    Attributes:
        iou: Intersection over union of what is inside by the field and by the mesh: of the middles of cells.
        resolution: Cells along each side of the unit cube.
        mae_near: Mean absolute error at points near the surface, sides of the unit cube.
        mae_anywhere: The same, at points anywhere in the cube.
        mae_surface: Mean absolute value on the surface itself, where the distance is 0.
        normals: Mean angle between the field's normals and the faces', on the surface, degrees.
        unit: Side of the unit cube, in the mesh's unit of length.
        sign: How the mesh's inside was told.
    """

    iou: float
    resolution: int
    mae_near: float
    mae_anywhere: float
    mae_surface: float
    normals: float
    unit: float
    sign: str

    def __str__(self) -> str:
        return (
            f"IoU {self.iou:.4f} ({self.resolution}^3 cells, sign of the mesh by {self.sign}), "
            f"normals {self.normals:.2f} degrees\n"
            f"mean absolute error, in sides of the unit cube ({self.unit:.4g} of the mesh's units): near the surface "
            f"{self.mae_near:.2e}, anywhere {self.mae_anywhere:.2e}, on the surface {self.mae_surface:.2e}"
        )

    def tiles(self) -> dict[str, str]:
        """The numbers that lead a report: label -> value."""
        return {"IoU": f"{self.iou:.4f}", "near error": f"{self.mae_near:.1e}", "normals": f"{self.normals:.1f}°"}

    def as_dict(self) -> dict[str, Any]:
        """As in `eval.json`."""
        return {
            "summary": str(self).partition("\n")[0],
            "iou": self.iou,
            "resolution": self.resolution,
            "mae": {"near": self.mae_near, "anywhere": self.mae_anywhere, "surface": self.mae_surface},
            "normals_degrees": self.normals,
            "unit_cube_side": self.unit,
            "sign": self.sign,
            "protocol": "IoU of the signs at the middles of the cells of the unit cube; errors in its sides; normals "
            "by differences over 1/1024 of it, against the faces'",
        }

    def write(self, folder: Path) -> None:
        """Replaces the folder's `eval.json`."""
        atomic.write_json(folder / "eval.json", self.as_dict())


def overlap(distance: Distance, inside: Bool[np.ndarray, "R R R"], *, progress: bool = True) -> float:
    """IoU of a field's inside with a grid's, at the middles of its cells; 1 where both are empty.

    Args:
        distance: Signed distances at points of the unit cube.
        inside: Of the mesh, [x, y, z].
        progress: Whether to draw a progress bar.
    """
    resolution = len(inside)
    middles = (torch.arange(resolution) + 0.5) / resolution
    plane = torch.cartesian_prod(middles, middles)
    both = either = 0
    for x in tqdm(range(resolution), desc="comparing", unit="layer", disable=not progress, leave=False):
        points = torch.cat([middles[x].expand(len(plane), 1), plane], dim=1)
        found, true = (distance(points) < 0).numpy(), inside[x].reshape(-1)
        both, either = both + int((found & true).sum()), either + int((found | true).sum())
    return both / either if either else 1.0


def normal_error(distance: Distance, points: Float[Tensor, "N 3"], true: Float[Tensor, "N 3"]) -> float:
    """Mean angle between a field's normals and true ones, degrees."""
    cosines = (normals(distance, points).double() * true.double()).sum(1).clamp(-1, 1)
    return math.degrees(float(torch.acos(cosines).mean()))
