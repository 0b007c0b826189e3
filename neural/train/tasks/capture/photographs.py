"""Photographs as trainings look at them: one as a target, one for a quick look, none that shows nothing."""

import math

import torch
from torch import Tensor

from neural.errors import SceneFormatError
from neural.scenes.scene import Scene
from neural.train.draws import step_generator

BACKGROUNDS = {"white": 1.0, "black": 0.0}
VALIDATION_STREAM = 2


def usable(scene: Scene, index: int) -> Tensor:
    """Pixels of a photograph that its mask lets count, [H, W]."""
    assert scene.masks is not None
    return torch.from_numpy(scene.masks[index] >= 128)


def photograph(scene: Scene, index: int, background: str) -> Tensor:
    """A photograph as float sRGB [H, W, 3], composited on the background."""
    assert scene.images is not None
    image = torch.from_numpy(scene.images[index].copy()).float() / 255.0
    if image.shape[-1] == 3:
        return image
    return image[..., :3] * image[..., 3:] + (1 - image[..., 3:]) * BACKGROUNDS[background]


def drawn_small(scene: Scene, seed: int, step: int, n_pixels: int) -> Scene | None:
    """One held-out photograph, drawn by the step and made small, as a scene of its own; None where none is held out.

    Args:
        scene: With train and test splits.
        seed: Of the draws.
        step: Of the training.
        n_pixels: That it may have, about.
    """
    held_out = scene.splits["test"]
    if not held_out:
        return None
    index = held_out[int(torch.randint(len(held_out), (), generator=step_generator(seed, step, VALIDATION_STREAM)))]
    small = max(1, round(math.sqrt(int(scene.cameras.sizes[index].prod()) / n_pixels)))
    return scene.subset([index]).downscaled(small)


def check(scene: Scene) -> None:
    """Reads all pixels, and refuses a scene that has none to train on.

    Raises:
        SceneFormatError: Names the photograph or the split at fault.
    """
    decode(scene)
    refuse_nothing(scene)


def decode(scene: Scene) -> None:
    """Reads all pixels, so that a broken photograph is found before a run begins.

    Raises:
        SceneFormatError: Names the photograph, or the scene that has none to train on.
    """
    if scene.images is None or not scene.splits["train"]:
        raise SceneFormatError(
            scene.path or scene.name, "no images to train on; check the scene's images and its train split"
        )
    for stack in (scene.images, scene.masks):
        if stack is not None:
            _ = stack.flat


def refuse_nothing(scene: Scene) -> None:
    """Raises where photographs hold nothing: every pixel of a split is masked out, or every training one transparent.

    Raises:
        SceneFormatError: Names the split.
    """
    source = scene.path or scene.name
    for split in ("train", "test"):
        members = scene.splits[split]
        if scene.masks is not None and members and not any((scene.masks[i] >= 128).any() for i in members):
            raise SceneFormatError(
                source, f"the masks leave no pixel of the {split} images; white pixels are those that count"
            )
    images = scene.images
    if images is not None and images.channels == 4 and not any(images[i][..., 3].any() for i in scene.splits["train"]):
        raise SceneFormatError(source, "the train images are fully transparent; there is nothing to learn")
