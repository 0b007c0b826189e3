"""What cameras see of Gaussians: in how many views, and how much of them."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from neural.cameras import Cameras
from neural.cuda.gaussian_blend import contributions
from neural.cuda.gaussian_tiles import intersect
from neural.edit.criterion import Found, at_least
from neural.gaussians.model import Gaussians
from neural.render.splats import View, project_to
from neural.scenes.near import NEAR, Near

_SHOWS = 0.01  # pixels of a view
_SIDE = 640  # pixels of the longer side that views are drawn with at most


@dataclass(frozen=True)
class Seen:
    """What cameras see of each Gaussian.

    Args:
        weights: Sum over views and pixels of what it is blended with: pixels that it makes up on its own.
        views: In how many views it makes up a hundredth of a pixel or more.
    """

    weights: Float[Tensor, "N"]
    views: Int[Tensor, "N"]


@dataclass(frozen=True)
class Unseen:
    """What none or too few of the photographs' cameras see: it was never corrected, or fits only the odd view.

    Args:
        cameras: In the frame of the Gaussians.
        views: Fewer views than that, ... 1 is what shows nowhere; more is for captures with many overlapping views.
        weight: ... or less than that many pixels of all views together.
        near: See `look`.
        progress: Whether to show a bar.
    """

    cameras: Cameras
    views: int = 1
    weight: float = 0.0
    near: Near | None = None
    progress: bool = False
    name = "unseen"

    def find(self, gaussians: Gaussians) -> Found:
        """See `Criterion`."""
        at_least("unseen: the views", self.views, 0, math.inf)
        at_least("unseen: the weight", self.weight, 0, math.inf)
        seen = look(gaussians, self.cameras, near=self.near, progress=self.progress)
        return Found(
            (seen.views < self.views) | (seen.weights < self.weight),
            f"in fewer than {self.views} of {len(self.cameras)} views"
            + (f", or less than {self.weight:.3g} pixels of all" if self.weight else ""),
        )


@torch.no_grad()
def look(gaussians: Gaussians, cameras: Cameras, *, near: Near | None = None, progress: bool = False) -> Seen:
    """What cameras see, drawn with at most 640 pixels along the longer side; what is hidden does not count.

    Args:
        gaussians: In the frame of the cameras.
        cameras: One or more.
        near: Smallest depths that are drawn: those of the training, `run.near` or `Near.of(scene)`, where it is known;
            by default a hundredth of the cameras' spread.
        progress: Whether to show a bar.

    Raises:
        ValueError: No camera.
    """
    if not len(cameras):
        raise ValueError("look: give at least one camera")
    near = near or Near.everywhere(_plain(cameras))
    views = torch.zeros(gaussians.n, dtype=torch.int64)
    weights = torch.zeros(gaussians.n, dtype=torch.float64)
    for i in tqdm(range(len(cameras)), "views", leave=False, disable=not progress):
        view = View.of(reduced(cameras[i]), 0, near.at(cameras.origins[i]))
        projected = project_to(gaussians, view)
        tiles = intersect(*projected, view.size)
        _, weight = contributions(projected.means2d, projected.conics, projected.opacities, tiles, view.size)
        views += weight.cpu() > _SHOWS
        weights += weight.cpu()
    device = gaussians.means.device
    return Seen(weights.float().to(device), views.to(device))


def reduced(cameras: Cameras, side: int = _SIDE) -> Cameras:
    """The cameras of smaller images, where they are larger than that."""
    return cameras.scaled(min(1.0, side / float(cameras.sizes.max())))


def _plain(cameras: Cameras) -> float:
    """A hundredth of how far cameras are spread, scene units."""
    places = cameras.origins.double()
    spread = float((places - places.mean(dim=0)).norm(dim=1).max())
    return NEAR * spread if spread > 0 else 1e-3
