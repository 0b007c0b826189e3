"""Large Gaussians of which photographs see no more than the margin.

Such a one may grow without end: it pays for nothing where no photograph looks, and fills the picture of the next camera
that does.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from neural.cameras import Cameras
from neural.gaussians.model import Gaussians

_LARGE = 0.1  # of the scene's extent; what is smaller is close to a camera, which is another matter (`Near`)
_WIDE = 0.2  # of the distance to the nearest camera


@dataclass(frozen=True)
class Overgrown:
    """Finds those whose centre is in no photograph, and whose largest standard deviation is a fifth of the distance to
    the nearest camera or more.

    Args:
        cameras: Of the photographs, in the frame of the Gaussians.
        extent: Of the scene, in its unit.
    """

    cameras: Cameras
    extent: float

    def rows(self, gaussians: Gaussians) -> Bool[Tensor, "N"]:
        """Which they are."""
        sizes = gaussians.log_scales.detach().amax(dim=1).double().exp()
        found = sizes > _LARGE * self.extent
        large = found.nonzero()[:, 0]
        means, origins = gaussians.means.detach()[large].double(), self.cameras.origins.double()
        # without a matrix product, whose last bits depend on the number of threads
        away = torch.cdist(means, origins, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)
        wide = sizes[large] > _WIDE * away
        found[large] = wide
        large, means = large[wide], means[wide]
        for index in range(len(self.cameras) if len(large) else 0):
            pixels, _ = self.cameras.project(means, index)  # NaN behind it
            inside = (pixels >= 0).all(dim=1) & (pixels <= self.cameras.sizes[index]).all(dim=1)
            found[large[inside]] = False
        return found
