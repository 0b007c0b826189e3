"""Observations for tests of strategies."""

import torch
from torch import Tensor

from neural.densify.strategy import Observation


def view(
    pull: Tensor, *, rows: Tensor | None = None, absolute: bool = True, visible: Tensor | None = None
) -> Observation:
    """A square view of 2 x 2 pixels, so that a gradient per pixel is one per half image."""
    n = len(pull)
    gradients = torch.stack([pull * 0.6, pull * 0.8], 1)
    seen = torch.ones(n, dtype=torch.bool) if visible is None else visible
    return Observation(rows, seen, gradients, pull.clone() if absolute else None, torch.ones(n, 2), (2, 2))
