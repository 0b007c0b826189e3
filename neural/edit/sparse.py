"""Gaussians that are alone: further from their neighbours than others of the scene are from theirs."""

import math
from dataclasses import dataclass

import torch

from neural.edit.criterion import Found, at_least
from neural.edit.near import near_distances
from neural.gaussians.model import Gaussians

_NORMAL = 1.4826  # standard deviations of a normal distribution in its median absolute deviation


@dataclass(frozen=True)
class Sparse:
    """Mean distances to neighbours that are outliers among all of the scene's.

    Of their logarithms: scenes are dense where cameras were near and thin far off, and ratios are what is normally
    distributed. The middle and the width are medians, which the outliers themselves do not move.

    Args:
        deviations: Above the median, in standard deviations.
        neighbours: How many each is compared with.
        sizes: One whose neighbours are within so many of its own largest standard deviations is not alone: it is large.

    Source: Rusu et al. 2008, "Towards 3D point cloud based object maps", sec. 5.1 (statistical outlier removal), for
        mean distances; logarithms and medians are ours.
    """

    deviations: float = 3.0
    neighbours: int = 8
    sizes: float = 3.0
    name = "sparse"

    def find(self, gaussians: Gaussians) -> Found:
        """See `Criterion`."""
        at_least("sparse: the deviations", self.deviations, 0, math.inf)
        at_least("sparse: the neighbours", self.neighbours, 1, 64)
        distances = near_distances(gaussians.means, self.neighbours).to(gaussians.means.device)
        logs = distances.clamp_min(torch.finfo(torch.float32).tiny).log()
        middle = logs.median()
        width = _NORMAL * (logs - middle).abs().median()
        limit = float(torch.exp(middle + self.deviations * width))
        own = self.sizes * gaussians.log_scales.detach().amax(dim=1).exp()
        return Found(
            distances > own.clamp_min(limit),
            f"{self.neighbours} neighbours {limit:.3g} or more away in the mean; half of all have them within "
            f"{float(middle.exp()):.3g}",
        )
