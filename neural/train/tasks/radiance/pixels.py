"""Which pixels a step looks at: drawn from all training photographs, a function of seed and step alone."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.scenes.scene import Scene
from neural.train.draws import step_generator


@dataclass(frozen=True)
class Pixels:
    """A batch of pixels.

    Attributes:
        image_indices: Image of each, in the order of the sampler's scene.
        centres: Pixel centres, (0.5, 0.5) is the first.
        rgb: sRGB in [0, 1], not yet composited on a background.
        alpha: Opacity; 1 for photographs without an alpha channel.
        weights: 0 where a mask takes the pixel out of the loss, else 1.
    """

    image_indices: Int[Tensor, "R"]
    centres: Float[Tensor, "R 2"]
    rgb: Float[Tensor, "R 3"]
    alpha: Float[Tensor, "R"]
    weights: Float[Tensor, "R"]

    def to(self, device: torch.device) -> "Pixels":
        """On another device."""
        if device.type == "cpu":
            return self
        values = (self.image_indices, self.centres, self.rgb, self.alpha, self.weights)
        return Pixels(*(v.to(device, non_blocking=True) for v in values))


class PixelSampler:
    """Draws pixels uniformly from all images of a scene.

    Args:
        scene: Only the images to draw from (`scene.subset("train")`).
        seed: Of the draws.

    Raises:
        ValueError: The scene has no images.
    """

    def __init__(self, scene: Scene, seed: int) -> None:
        if scene.images is None or len(scene.images) == 0:
            raise ValueError(f"{scene.name}: no images to train on; check the scene's train split")
        self._images = scene.images
        self._masks = scene.masks
        self._seed = seed
        sizes = np.asarray(scene.images.sizes, dtype=np.int64)
        self._widths = sizes[:, 0]
        self._ends = np.cumsum(sizes[:, 0] * sizes[:, 1])
        self._starts = self._ends - sizes[:, 0] * sizes[:, 1]

    @property
    def n_pixels(self) -> int:
        """Pixels to draw from."""
        return int(self._ends[-1])

    def draw(self, step: int, n: int) -> Pixels:
        """`n` pixels for a step, with replacement."""
        flat = torch.randint(self.n_pixels, (n,), generator=step_generator(self._seed, step)).numpy()
        images = np.searchsorted(self._ends, flat, side="right")
        rows, cols = np.divmod(flat - self._starts[images], self._widths[images])
        values = torch.from_numpy(self._images.gather(images, rows, cols)).float().div_(255.0)
        alpha = values[:, 3].contiguous() if values.shape[1] == 4 else torch.ones(n)
        weights = torch.ones(n)
        if self._masks is not None:
            weights = (torch.from_numpy(self._masks.gather(images, rows, cols)).reshape(n, -1)[:, 0] >= 128).float()
        centres = torch.from_numpy(np.stack([cols + 0.5, rows + 0.5], -1)).float()
        return Pixels(torch.from_numpy(images), centres, values[:, :3], alpha, weights)
