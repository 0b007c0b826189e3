"""Gaussians together with all that keeps to them, row by row."""

from collections.abc import Iterable
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural.gaussians.model import Gaussians
from neural.morton import morton_order


class Optimiser(Protocol):
    """What is asked of an optimiser (`neural.optim.Adam`): state that can follow rows."""

    def reindex(self, names: Iterable[str], source: Int[Tensor, "M"], fresh: Bool[Tensor, "M"] | None = None) -> None:
        """Row i of the named parameters' state becomes what row `source[i]` was, as never stepped where `fresh`."""


class Population:
    """Gaussians, the optimiser's moments of them, and the counters of a strategy.

    Attributes:
        gaussians: The scene; its parameters stay the same objects whatever happens to their rows.
        optimiser: Steps them; a parameter has the name in it that it has in `gaussians`.
        counters: Name -> [N, ...] tensor, one row a Gaussian; strategies register them, checkpoints hold them.

    Args:
        gaussians, optimiser: As above.
    """

    def __init__(self, gaussians: Gaussians, optimiser: Optimiser) -> None:
        self.gaussians = gaussians
        self.optimiser = optimiser
        self.counters: dict[str, Tensor] = {}

    @property
    def n(self) -> int:
        """Number of Gaussians."""
        return self.gaussians.n

    def count(self, name: str, dtype: torch.dtype = torch.float32) -> None:
        """Registers a counter, zero everywhere."""
        self.counters[name] = torch.zeros(self.n, dtype=dtype, device=self.gaussians.means.device)

    def add(self, name: str, values: Float[Tensor, "M"] | Int[Tensor, "M"], rows: Int[Tensor, "M"] | None) -> None:
        """Adds to a counter, of all rows (None) or of these, none of them twice."""
        counter = self.counters[name]
        if rows is None:
            counter += values
        else:
            counter.index_add_(0, rows, values.to(counter.dtype))

    def opacities(self) -> Float[Tensor, "N"]:
        """In float64, in which the number of threads does not show."""
        return self.gaussians.opacity_logits.detach().double().sigmoid()

    @torch.no_grad()
    def rearrange(self, source: Int[Tensor, "M"], fresh: Bool[Tensor, "M"] | None = None) -> None:
        """Row i of everything becomes what row `source[i]` was: copies, removes and sorts at once.

        Gradients are dropped; call it between a step and the next forward pass.

        Args:
            source: Old rows, on the Gaussians' device; at least one.
            fresh: New rows whose moments and counters are zero; None for none.

        Raises:
            ValueError: No row would be left.
        """
        if len(source) == 0:
            raise ValueError("Population.rearrange: source must name at least one row; a scene cannot become empty")
        names = []
        for name, param in self.gaussians.named_parameters():
            param.grad = None
            rows = param.data.index_select(0, source)
            param.data = rows.new_empty(0, dtype=torch.float64)  # another dtype: autograd forgets the old length, which
            param.data = rows  # a graph that is still held (a loss kept for a log) would bring up again
            names.append(name)
        self.optimiser.reindex(names, source, fresh)
        for name, counter in self.counters.items():
            moved = counter.index_select(0, source)
            if fresh is not None:
                moved[fresh] = 0
            self.counters[name] = moved

    def sort(self) -> None:
        """Puts all in Morton order of the means."""
        self.rearrange(morton_order(self.gaussians.means.detach()))
