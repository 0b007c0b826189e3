"""Gaussians larger than they are far away from the cameras.

One that photographs only see the margin of may grow without end: it pays for nothing where no photograph looks, and
fills the picture of the next camera that does.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural.gaussians.model import Gaussians

_LARGE = 0.1  # of the scene's extent; what is smaller is close to a camera, which is another matter (`Near`)


@dataclass(frozen=True)
class Overgrown:
    """Finds those whose largest standard deviation is more than the distance to the nearest camera.

    Args:
        centres: Where the photographs were taken, in the frame of the Gaussians.
        extent: Of the scene, in its unit.
    """

    centres: Float[Tensor, "C 3"]
    extent: float

    def rows(self, gaussians: Gaussians) -> Bool[Tensor, "N"]:
        """Which they are."""
        sizes = gaussians.log_scales.detach().amax(dim=1).double().exp()
        found = sizes > _LARGE * self.extent
        large = found.nonzero()[:, 0]
        means, centres = gaussians.means.detach()[large].double(), self.centres.to(gaussians.means.device).double()
        # without a matrix product, whose last bits depend on the number of threads
        away = torch.cdist(means, centres, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)
        found[large] = sizes[large] > away
        return found
