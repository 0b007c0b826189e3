"""Depths of the capture's points as a weak guide: what structure from motion has measured in each photograph."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.errors import SceneFormatError
from neural.lenses import FISHEYE
from neural.losses import steady_mean
from neural.scenes.capture import Observations
from neural.scenes.scene import Scene

_SEEN = 0.5  # alpha from which a rendered depth means something


def require_observations(scene: Scene) -> Observations:
    """Which photograph saw which point.

    Raises:
        SceneFormatError: The capture does not say.
    """
    if scene.points is None or scene.points.observations is None:
        raise SceneFormatError(
            scene.path or scene.name,
            "--optim.depth needs points with observations, as COLMAP writes them; leave it out",
        )
    return scene.points.observations


class SparseDepth:
    """For each training photograph the pixels in which points were found, and their depths.

    Args:
        scene: Only the training photographs, at one size; points with observations (COLMAP).

    Raises:
        SceneFormatError: The capture does not say which photograph saw which point.
    """

    def __init__(self, scene: Scene) -> None:
        seen, points = require_observations(scene), scene.points
        assert points is not None
        self._pixels: list[Int[Tensor, K]] = []
        self._inverse: list[Float[Tensor, K]] = []
        for index, (width, height) in enumerate(scene.cameras.sizes.tolist()):
            own = seen.cameras == index
            w2c = scene.cameras[index].w2c[0].numpy()
            place = points.xyz[seen.points[own]] @ w2c[:3, :3].T + w2c[:3, 3]
            by_distance = int(scene.cameras.models[index]) == FISHEYE  # as `project` has it
            depth = np.linalg.norm(place, axis=1) if by_distance else place[:, 2]
            column, row = np.floor(seen.pixels[own]).astype(np.int64).T
            inside = (depth > 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
            self._pixels.append(torch.from_numpy(row[inside] * width + column[inside]))
            self._inverse.append(torch.from_numpy(1 / depth[inside]).float())

    def loss(
        self, index: int, depth: Float[Tensor, "H W"], alpha: Float[Tensor, "H W"], extent: float
    ) -> Float[Tensor, ""] | None:
        """Mean difference of inverse depths times `extent`, where the rendering is opaque; None where nothing is.

        Args:
            index: Of the training photograph.
            depth: Expected z of the rendering, behind a fisheye the distance; not divided by alpha.
            alpha: Its opacity.
            extent: Of the scene, in its unit.
        """
        pixels = self._pixels[index].to(depth.device)
        opaque = alpha.detach().flatten().index_select(0, pixels) > _SEEN
        pixels = pixels[opaque]
        if len(pixels) == 0:
            return None
        measured = self._inverse[index].to(depth.device)[opaque]
        z = depth.flatten().index_select(0, pixels) / alpha.flatten().index_select(0, pixels)
        return extent * steady_mean((1 / z.clamp_min(1e-6 * extent) - measured).abs())
