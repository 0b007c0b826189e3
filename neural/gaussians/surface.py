"""Points spread evenly over a triangle mesh, with its colours and normals."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from neural.scenes.files.mesh import Mesh, areas


class Samples(NamedTuple):
    """Places on a surface.

    Attributes:
        points: float64, in the mesh's frame.
        normals: float64, of length 1; those of the faces.
        rgb: sRGB.
    """

    points: Float[Tensor, "N 3"]
    normals: Float[Tensor, "N 3"]
    rgb: UInt8[Tensor, "N 3"]


def sample(mesh: Mesh, n: int, generator: torch.Generator) -> Samples:
    """`n` places, as many to each part of the surface as its area asks for.

    Areas are laid end to end and cut into n equal pieces, and a place is drawn from each: no face has more than one too
    many or too few.

    Args:
        mesh: With an area above 0.
        n: How many.
        generator: Of the random numbers, on the CPU.

    Source: Osada et al. 2002, "Shape Distributions", eq. 1, for the place in a triangle.
    """
    ends = np.cumsum(areas(mesh.vertices, mesh.faces))
    draw = torch.rand(n, 3, generator=generator, dtype=torch.float64).numpy()
    along = (np.arange(n) + draw[:, 0]) / n * ends[-1]
    chosen = np.searchsorted(ends, along, side="right").clip(max=len(ends) - 1)
    root = np.sqrt(draw[:, 1])
    weights = np.stack([1 - root, root * (1 - draw[:, 2]), root * draw[:, 2]], axis=1)
    corners = mesh.vertices[mesh.faces[chosen]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    rgb = np.einsum("nk,nkc->nc", weights, mesh.rgb[mesh.faces[chosen]].astype(np.float64))
    return Samples(
        torch.from_numpy(np.einsum("nk,nkc->nc", weights, corners)), torch.from_numpy(normals),
        torch.from_numpy((rgb + 0.5).astype(np.uint8)),
    )  # fmt: skip


def turned_to(normals: Float[Tensor, "N 3"]) -> Float[Tensor, "N 4"]:
    """Quaternions w x y z of the smallest turns that take the z axis to `normals`, or to their opposites.

    Args:
        normals: Of length 1.
    """
    x, y, z = torch.where(normals[:, 2:] < 0, -normals, normals).unbind(dim=1)
    return torch.nn.functional.normalize(torch.stack([1 + z, -y, x, torch.zeros_like(z)], dim=1), dim=1)
