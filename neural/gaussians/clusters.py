"""Clusters of Gaussians that are being trained: boxes that stay right while Gaussians move, and the rows in view."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural.gaussians.lens_view import LensBounds, in_lens_view
from neural.gaussians.model import Gaussians
from neural.gaussians.order import CLUSTER, SIGMAS, in_view

REFRESH = 8  # steps between two looks at what has moved


def largest_step(betas: tuple[float, float]) -> float:
    """Learning rates that a parameter moves at most in a step of Adam; infinite where nothing bounds it.

    The moments are sums over past gradients with weights a_k = (1 - beta1) beta1^k and b_k = (1 - beta2) beta2^k, so by
    the inequality of Cauchy and Schwarz |m| / sqrt(v) <= sqrt(sum a_k^2 / b_k): 7.3 at 0.9 and 0.999. Ten equal
    gradients after a long silence come to 6.5 of it; a single one to the 3.2 of Kingma and Ba 2015, section 2.1.

    Args:
        betas: Decay of the first and second moment.
    """
    first, second = betas
    if first * first >= second:
        return math.inf
    return max(1.0, (1 - first) / math.sqrt((1 - second) * (1 - first * first / second)))


class Clusters:
    """Boxes of runs of `CLUSTER` Gaussians in Morton order, spheres of 3.33 deviations included.

    Between two refreshes a box is grown by what steps of the optimiser can have moved at most, so nothing in view is
    ever left out; a refresh looks only at clusters that were stepped since the last.

    Args:
        gaussians: Whose rows keep to their places; after a `Population.rearrange` call `reset`.
        betas: Of the optimiser.
    """

    def __init__(self, gaussians: Gaussians, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self._gaussians = gaussians
        self._largest_step = largest_step(betas)
        self.reset()

    def reset(self) -> None:
        """Looks at all Gaussians anew."""
        n, device = self._gaussians.n, self._gaussians.means.device
        self._count = -(-n // CLUSTER)
        self._boxes = torch.empty(self._count, 2, 3, device=device)
        self._radii = torch.empty(self._count, device=device)
        self._touched = torch.ones(self._count, dtype=torch.bool, device=device)
        self._steps = 0
        self._look()

    @property
    def count(self) -> int:
        """Number of clusters."""
        return self._count

    def stepped(self, in_use: Bool[Tensor, "G"] | None) -> None:
        """The optimiser has made a step with these clusters' rows (None: all of them)."""
        self._touched |= True if in_use is None else in_use
        self._steps += 1
        if self._steps >= REFRESH:
            self._look()
            self._steps = 0

    def in_view(
        self,
        w2c: Float[Tensor, "4 4"],
        intrinsics: Float[Tensor, "4"],
        size: tuple[int, int],
        near: float,
        means_lr: float,
        scales_lr: float,
        lens: LensBounds | None = None,
    ) -> Bool[Tensor, "G"]:
        """Clusters that a camera may see.

        Args:
            w2c: World to camera.
            intrinsics: fx fy cx cy in pixels.
            size: Width and height in pixels.
            near: Smallest depth that is drawn.
            means_lr: Greatest learning rate of centres since the last refresh, scene units.
            scales_lr: That of logarithms of scales.
            lens: Of a camera that is not a pinhole.
        """
        if math.isinf(self._largest_step):
            return torch.ones_like(self._touched)
        most = self._largest_step * self._steps
        reaches = self._radii * math.exp(min(most * scales_lr, 80.0))
        if lens is not None:
            moved = most * means_lr
            boxes = self._boxes + torch.tensor([-moved, moved], device=reaches.device)[:, None]
            return in_lens_view(lens, boxes, reaches, w2c, near=near)
        grown = most * means_lr + reaches
        boxes = self._boxes + torch.stack([-grown, grown], 1)[..., None]
        return in_view(boxes, w2c, intrinsics, size, near=near)

    def rows(self, clusters: Bool[Tensor, "G"]) -> Int[Tensor, "M"]:
        """The Gaussians of some clusters, ascending."""
        first = clusters.nonzero()[:, 0] * CLUSTER
        rows = (first[:, None] + torch.arange(CLUSTER, device=first.device)).flatten()
        return rows[rows < self._gaussians.n]

    def state_dict(self) -> dict[str, Tensor]:
        """What decides which clusters a step takes: a resumed run that took others would add gradients in another
        order."""
        steps = torch.tensor(self._steps)
        return {"boxes": self._boxes, "radii": self._radii, "touched": self._touched, "steps": steps}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `state_dict` gave, for as many Gaussians as there are now."""
        self.reset()
        self._boxes.copy_(tensors["boxes"])
        self._radii.copy_(tensors["radii"])
        self._touched.copy_(tensors["touched"])
        self._steps = int(tensors["steps"])

    @torch.no_grad()
    def _look(self) -> None:
        """Measures the clusters that were touched."""
        chosen = self._touched.nonzero()[:, 0]
        if len(chosen):
            rows = chosen[:, None] * CLUSTER + torch.arange(CLUSTER, device=chosen.device)
            rows = rows.clamp(max=self._gaussians.n - 1)
            means = self._gaussians.means[rows]
            self._boxes[chosen] = torch.stack([means.amin(1), means.amax(1)], 1)
            self._radii[chosen] = SIGMAS * self._gaussians.log_scales[rows].amax((1, 2)).exp()
        self._touched.zero_()
