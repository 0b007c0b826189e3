"""Gaussians that hardly show, are too large or too long: reasons that lie in one Gaussian."""

import math
from dataclasses import dataclass

import torch

from neural.edit.criterion import Found, at_least
from neural.gaussians.model import Gaussians

_WITHIN = 0.98  # of the centres, along each axis, are in the box that the scene's size is measured by


@dataclass(frozen=True)
class Faint:
    """Opacities below a value: by default what is drawn nowhere, for its alpha stays below 1/255."""

    below: float = 1 / 255
    name = "faint"

    def find(self, gaussians: Gaussians) -> Found:
        """See `Criterion`."""
        at_least("faint: the opacity", self.below, 0, 1)
        return Found(gaussians.opacity_logits.detach().sigmoid() < self.below, f"opacity below {self.below:.3g}")


@dataclass(frozen=True)
class Large:
    """Longest axes above a share of the scene's size: veils that trainings put in front of cameras, and false skies.

    The size is the diagonal of the box that holds 98 % of the centres along each axis.
    """

    share: float = 0.1
    name = "large"

    def find(self, gaussians: Gaussians) -> Found:
        """See `Criterion`."""
        at_least("large: the share of the scene", self.share, 0, math.inf)
        means = gaussians.means.detach().double().sort(dim=0).values
        last = len(means) - 1
        edge = round((1 - _WITHIN) / 2 * last)
        size = float((means[last - edge] - means[edge]).norm())
        limit = self.share * size if size > 0 else math.inf
        longest = gaussians.log_scales.detach().amax(dim=1).exp()
        return Found(
            longest > limit, f"standard deviation above {limit:.3g}, {self.share:.3g} of the scene's {size:.4g}"
        )


@dataclass(frozen=True)
class Needle:
    """Longest axes so many times the middle one: spikes. Discs are none, whose two long axes are alike."""

    ratio: float = 30.0
    name = "needle"

    def find(self, gaussians: Gaussians) -> Found:
        """See `Criterion`."""
        at_least("needle: the ratio of axes", self.ratio, 1, math.inf)
        ordered = gaussians.log_scales.detach().sort(dim=1).values
        return Found(
            torch.exp(ordered[:, 2] - ordered[:, 1]) > self.ratio, f"longest axis above {self.ratio:.3g} times the next"
        )
