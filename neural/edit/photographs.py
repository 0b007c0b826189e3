"""What the photographs say of Gaussians: those without which renderings would be nearer to them."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from neural.cuda.gaussian_blend import contributions
from neural.cuda.gaussian_tiles import intersect
from neural.edit.criterion import Found, at_least
from neural.gaussians.model import Gaussians
from neural.render.splats import View, splat
from neural.scenes.near import Near
from neural.scenes.scene import Scene

_SIDE = 640  # pixels of the longer side that photographs are compared at, at most
_MOST_OPACITY = 0.985  # in the comparison: blending clamps alpha at 0.99, where no gradient says what is behind
_LEAST_WEIGHT = 1.0  # pixels: what shows less says too little


@dataclass(frozen=True)
class Contradicted:
    """What the photographs contradict: where it shows, they would be met better without it.

    The squared error of all views falls by about half of the opacity's gradient times the opacity when a Gaussian goes
    that covers the right colour with a wrong one; over the pixels that it makes up this is the square of the wrong that
    it does. Right ones are where the error is least, and their gradients cancel out.

    Args:
        scene: A capture in the frame of the Gaussians; its training photographs are compared.
        error: Root mean square wrong of colours, 0 to 1, from which on a Gaussian goes.
        background: Behind the scene, as in training.
        near: Smallest depths that are drawn, as in training; by default `Near.of(scene)`.
        progress: Whether to show a bar.
    """

    scene: Scene
    error: float = 0.1
    background: Literal["white", "black"] = "black"
    near: Near | None = None
    progress: bool = False
    name = "contradicted"

    def find(self, gaussians: Gaussians) -> Found:
        """See `Criterion`."""
        at_least("contradicted: the error", self.error, 0, 1)
        wrong = wrongs(gaussians, self.scene, background=self.background, near=self.near, progress=self.progress)
        n = len(self.scene.splits["train"])
        return Found(wrong > self.error, f"wrong by more than {self.error:.3g} in the mean of {n} photographs")


def wrongs(
    gaussians: Gaussians,
    scene: Scene,
    *,
    background: Literal["white", "black"] = "black",
    near: Near | None = None,
    progress: bool = False,
) -> Float[Tensor, "N"]:
    """For each Gaussian the root mean square of the wrong that it does to colours where it shows; 0 for what does none.

    For the arguments see `Contradicted`.

    Raises:
        ValueError: A scene without photographs to train on.
    """
    train = scene.splits["train"]
    if scene.images is None or not train:
        raise ValueError("wrongs: the capture needs training photographs")
    near = near or Near.of(scene)
    copy = gaussians.taken(torch.arange(gaussians.n, device=gaussians.means.device)).requires_grad_(False)
    copy.opacity_logits.data.clamp_(max=torch.logit(torch.tensor(_MOST_OPACITY)).item())
    copy.opacity_logits.requires_grad_(True)
    behind = torch.full((3,), 1.0 if background == "white" else 0.0, device=copy.means.device)
    weights = torch.zeros_like(copy.opacity_logits, requires_grad=False)
    for index in tqdm(train, "photographs", leave=False, disable=not progress):
        view, target, counted = _photograph(scene, index, near.at(scene.cameras.origins[index]), behind)
        with torch.enable_grad():
            shown = splat(copy, view, background=behind)
            error = (shown.rgb.clamp(0, 1) - target).square().mean(dim=2)
            (error * counted).sum().backward()
        projected = shown.projected
        with torch.no_grad():
            tiles = intersect(*projected, view.size)
            weights += contributions(projected.means2d, projected.conics, projected.opacities, tiles, view.size)[1]
    gradient = copy.opacity_logits.grad
    assert gradient is not None
    with torch.no_grad():
        gained = 0.5 * gradient / (1 - copy.opacity_logits.sigmoid())
        return torch.where(weights > _LEAST_WEIGHT, gained / weights, 0.0).clamp_min(0).sqrt()


def _photograph(
    scene: Scene, index: int, near: float, behind: Float[Tensor, "3"]
) -> tuple[View, Float[Tensor, "H W 3"], Float[Tensor, "H W"]]:
    """A camera, its photograph on the background, and 1 where it counts."""
    one = scene.subset([index])
    one = one.downscaled(max(1, -(-int(one.cameras.sizes.max()) // _SIDE)))
    assert one.images is not None
    image = torch.from_numpy(one.images[0].copy()).to(behind) / 255
    if image.shape[2] == 4:
        image = image[..., :3] * image[..., 3:] + (1 - image[..., 3:]) * behind
    counted = torch.ones_like(image[..., 0])
    if one.masks is not None:
        counted = torch.from_numpy(one.masks[0] >= 128).to(counted)
    return View.of(one.cameras, 0, near), image, counted
