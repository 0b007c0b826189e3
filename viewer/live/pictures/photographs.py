"""Photographs as a camera at the same place would have taken them, whatever their lens and its own direction."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from neural.cameras import Cameras
from neural.scenes.scene import Scene
from neural.train.tasks.capture.photographs import photograph
from neural.viewer.live.pictures.modes import directions
from neural.viewer.live.subjects.subject import Cut, never

_SAME_PLACE = 2e-3  # of the scene's unit: farther off, nearby things are not where they were
_KEPT = 4  # photographs in memory


class Photographs:
    """The photographs of a scene.

    Args:
        scene: With images.
        unit: A length of the scene; see `ViewerFrame`.
        background: Behind those that are transparent: white or black.
    """

    def __init__(self, scene: Scene, unit: float, background: str) -> None:
        self._scene, self._unit = scene, unit
        self._shown = lru_cache(_KEPT)(lambda index: photograph(scene, index, background))

    def small(self, index: int, longer: int) -> UInt8[np.ndarray, "h w 3"]:
        """A photograph with `longer` pixels along its longer side."""
        assert self._scene.images is not None
        image = Image.fromarray(self._scene.images[index][..., :3])
        image.thumbnail((longer, longer))
        return np.asarray(image)

    def at(self, camera: Cameras) -> int | None:
        """The photograph taken from where a camera stands, the nearest in direction if there are several."""
        cameras = self._scene.cameras
        distances = (cameras.origins - camera.origins[0].to(cameras.origins)).norm(dim=-1)
        near = (distances < _SAME_PLACE * self._unit).nonzero()[:, 0]
        if len(near) == 0:
            return None
        agree = cameras.c2w[near, :3, 2] @ camera.c2w[0, :3, 2].to(cameras.c2w)
        return int(near[agree.argmax()])

    def seen_by(
        self, camera: Cameras, cut: Cut, *, bands: int = 1, stale: Callable[[], bool] = never
    ) -> tuple[Float[Tensor, "H W 3"] | None, Bool[Tensor, "H W"] | None]:
        """Colours that the photograph at a camera's place has for its pixels, and where it has any; see `Truth`.

        Larger photographs are made smaller first, so that no pixel is left out. They are quick, so that they are made
        as a whole, and show what was there, whatever is cut off.
        """
        index = self.at(camera)
        if index is None:
            return None, None
        taken = self._scene.cameras[index]
        image = self._shown(index).permute(2, 0, 1)[None]
        smaller = max(1, math.floor(float(taken.intrinsics[0, 0] / camera.intrinsics[0, 0]) + 0.25))
        smaller = min(smaller, min(image.shape[2:]))
        image = functional.avg_pool2d(image, smaller) if smaller > 1 else image
        rays = directions(camera)
        height, width = rays.shape[:2]
        pixels, depth = taken.project(rays.reshape(-1, 3).double() + taken.origins[0], 0)
        size = torch.tensor([image.shape[3], image.shape[2]]) * smaller
        place = pixels / size * 2 - 1
        inside = ((place.abs() <= 1).all(-1) & (depth > 0)).reshape(height, width)
        grid = place.nan_to_num(-2.0).float().reshape(1, height, width, 2)
        colors = functional.grid_sample(image, grid, align_corners=False, padding_mode="border")[0].permute(1, 2, 0)
        return colors, inside
