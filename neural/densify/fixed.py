"""No densification: the Gaussians of the start are those of the end."""

import torch

from neural.densify.population import Population
from neural.densify.strategy import Observation


class Fixed:
    """The strategy that adds, moves and removes none."""

    needs_observations = False
    needs_absolute = False
    noise = 0.0
    penalises_unseen = False

    def prepare(self, population: Population) -> None:
        """Needs no counters."""

    def observe(self, population: Population, seen: Observation) -> None:
        """Needs no views."""

    def refine(self, step: int, steps: int | None, population: Population, generator: torch.Generator) -> bool:
        """Rearranges nothing."""
        return False

    def regulariser(self) -> tuple[float, float]:
        """Nothing is added to the loss."""
        return 0.0, 0.0
