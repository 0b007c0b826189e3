"""The smallest depth that is drawn: around a camera it is clear, up to a share of what the photographs see closest.

Gaussians of a wall that a photographer leans against reach past the camera, and would veil the whole picture. They are
seen from elsewhere, where they are right, so that no training takes them away.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural.lenses import FISHEYE
from neural.scenes.scene import Scene

NEAR = 0.01  # of the scene's extent, at least
_CLOSEST = 0.01  # quantile of the depths of a photograph's points: some are wrong
_FEWEST = 50  # points from which a photograph says how close things are
_MOST = 20_000  # points that are looked at where the capture does not say which photograph sees which


def reach(scene: Scene) -> float:
    """The length that rates follow: the scene's extent, or half its box where all cameras are in one place."""
    box = float((scene.aabb[1] - scene.aabb[0]).max()) / 2
    return scene.extent if scene.extent > 1e-3 * box else box


@dataclass(frozen=True)
class Near:
    """Smallest depths that are drawn, in the scene's unit.

    Attributes:
        least: Anywhere.
        closest: From where a photograph was taken.
        centres: Where that was; float64, on the CPU.
    """

    least: float
    closest: float
    centres: Float[Tensor, "C 3"]

    @classmethod
    def of(cls, scene: Scene, share: float = 0.5) -> Self:
        """A share of the depth of the closest points, 0.01 extents at least.

        The depth of a photograph's closest points is the first hundredth of those that it sees; of all photographs the
        smallest counts. Behind a fisheye depths are distances.

        Raises:
            ValueError: A share outside 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"clear: the share of the closest depth must be 0 to 1, got {share:g}")
        closest, least = math.inf, NEAR * reach(scene)
        for index in range(len(scene.cameras) if share > 0 else 0):
            depths = _depths(scene, index)
            if len(depths) >= _FEWEST:
                closest = min(closest, float(np.quantile(depths, _CLOSEST)))
        return cls(least, max(least, share * closest) if math.isfinite(closest) else least, scene.cameras.origins)

    @classmethod
    def everywhere(cls, depth: float) -> Self:
        """The same from any place."""
        return cls(depth, depth, torch.full((1, 3), math.inf, dtype=torch.float64))

    def at(self, eye: Float[Tensor, "3"]) -> float:
        """Seen from a place of the scene: the clear space of a camera shrinks with the distance to it."""
        away = float((self.centres - eye.to(self.centres)).norm(dim=1).min())
        return max(self.least, self.closest - away)


def _depths(scene: Scene, index: int) -> np.ndarray:
    """Of the points that a photograph has seen; without observations, of those in its picture, behind walls or not."""
    if scene.points is None:
        return np.empty(0)
    xyz, seen = scene.points.xyz, scene.points.observations
    xyz = xyz[:: max(1, -(-len(xyz) // _MOST))] if seen is None else xyz[seen.points[seen.cameras == index]]
    if len(xyz) == 0:
        return np.empty(0)
    if seen is None:
        width, height = scene.cameras.sizes[index].tolist()
        pixels, _ = scene.cameras.project(torch.from_numpy(xyz), index)
        inside = (pixels >= 0).all(-1) & (pixels < torch.tensor([width, height])).all(-1)
        xyz = xyz[inside.numpy()]
    w2c = scene.cameras[index].w2c[0].numpy()
    place = xyz @ w2c[:3, :3].T + w2c[:3, 3]
    depths = np.linalg.norm(place, axis=1) if int(scene.cameras.models[index]) == FISHEYE else place[:, 2]
    return depths[depths > 0]
