"""Which photographs a step looks at, how large, and what they must become: functions of seed and step alone."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from neural.scenes.scene import Scene
from neural.train.draws import step_generator

ORDER_STREAM, BACKGROUND_STREAM = 11, 12


@dataclass(frozen=True)
class Photograph:
    """One view of a step.

    Attributes:
        index: Of the training photograph.
        factor: Whole number of times that it is smaller than the capture's.
        pixels: sRGB, or with straight alpha.
        mask: 0 where it does not count; None where all does.
    """

    index: int
    factor: int
    pixels: UInt8[Tensor, "H W C"]
    mask: UInt8[Tensor, "H W"] | None

    def on(self, background: Float[Tensor, "3"]) -> Float[Tensor, "H W 3"] | UInt8[Tensor, "H W 3"]:
        """The target on a background; opaque photographs as they are, in bytes."""
        if self.pixels.shape[2] == 3:
            return self.pixels
        image = self.pixels.float() / 255
        alpha = image[..., 3:]
        return image[..., :3] * alpha + (1 - alpha) * background


class Views:
    """Draws photographs without putting any back until all have been seen.

    Args:
        scene: Only the photographs to draw from (`scene.subset("train")`).
        seed: Of the order.
        coarse: Factor of the smallest size; each further stage doubles the size.
        share: Share of the run until photographs have their own size.
        masks_are_alpha: Where a mask does not let pixels count, photographs are transparent instead.

    Raises:
        ValueError: The scene has no photographs.
    """

    def __init__(
        self, scene: Scene, seed: int, coarse: int = 1, share: float = 0.0, *, masks_are_alpha: bool = False
    ) -> None:
        if scene.images is None or len(scene.images) == 0:
            raise ValueError(f"{scene.name}: no images to train on; check the scene's train split")
        self._n = len(scene.images)
        self._seed = seed
        self._share = share
        self._masks_are_alpha = masks_are_alpha and scene.masks is not None
        self.transparent = scene.images.channels == 4 or self._masks_are_alpha
        """Whether photographs need a background."""
        self.factors = [coarse >> k for k in range(coarse.bit_length())]
        self.scenes = {factor: scene.downscaled(factor) for factor in self.factors}

    def factor(self, step: int, steps: int | None) -> int:
        """How many times smaller the photographs of a step are; the smallest while `steps` is not known."""
        if steps is None:
            return self.factors[0]
        stages = len(self.factors) - 1
        done = step / max(1.0, self._share * steps) * stages
        return self.factors[min(stages, int(done))]

    def draw(self, number: int, factor: int) -> Photograph:
        """The photograph number `number` since the beginning of the run."""
        epoch, place = divmod(number, self._n)
        index = int(torch.randperm(self._n, generator=step_generator(self._seed, epoch, ORDER_STREAM))[place])
        scene = self.scenes[factor]
        assert scene.images is not None
        mask = None if scene.masks is None else torch.from_numpy(scene.masks[index].copy())
        pixels = torch.from_numpy(scene.images[index].copy())
        if mask is not None and self._masks_are_alpha:
            alpha = mask if pixels.shape[2] == 3 else torch.minimum(mask, pixels[..., 3])
            pixels, mask = torch.cat([pixels[..., :3], alpha[..., None]], 2), None
        return Photograph(index, factor, pixels, mask)

    def background(self, step: int) -> Float[Tensor, "3"]:
        """A colour for transparent photographs."""
        return torch.rand(3, generator=step_generator(self._seed, step, BACKGROUND_STREAM))
