"""What a way to densify is asked by a training, and what it is told of each view."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural.densify.population import Population


@dataclass(frozen=True)
class Observation:
    """What one view says of the Gaussians, after its backward pass.

    Attributes:
        rows: Rows of the population that were rendered, ascending; None for all of them (M = N).
        visible: Those that reach into the image.
        gradients: Of the loss to the projected centres, per pixel.
        absolute: Sums of the gradients of single pixels without their signs (see `blend`), for strategies with
            `needs_absolute`.
        extents: Half width and half height of the box in which a Gaussian shows, pixels.
        size: Width and height of the view, pixels.
        n_views: Views in the batch: gradients are of the mean loss over them.
    """

    rows: Int[Tensor, "M"] | None
    visible: Bool[Tensor, "M"]
    gradients: Float[Tensor, "M 2"]
    absolute: Float[Tensor, "M"] | None
    extents: Float[Tensor, "M 2"]
    size: tuple[int, int]
    n_views: int = 1

    def strengths(self) -> Float[Tensor, "M"]:
        """How much the view's loss pulls at each centre, per half image, whatever the image's size; 0 if not visible.

        The length of the gradient with each axis times half the image's side; of `absolute`, which has no axes, times
        their root mean square.
        """
        width, height = self.size
        if self.absolute is None:
            x, y = self.gradients[:, 0] * (width / 2), self.gradients[:, 1] * (height / 2)
            lengths = (x * x + y * y).sqrt()
        else:
            lengths = self.absolute * math.sqrt((width * width + height * height) / 8)
        return torch.where(self.visible, lengths * self.n_views, 0.0)


class Strategy(Protocol):
    """A way to add, move and remove Gaussians while they are trained.

    Attributes:
        needs_observations: Whether `observe` must be called for each view.
        needs_absolute: Whether observations must hold `absolute`.
        noise: Each step moves centres by noise of this strength times their learning rate, in a scene whose extent is 1
            (`gaussian_noise`); 0: none.
        penalises_unseen: Whether the weights of `regulariser` count for all Gaussians, or for those that a view sees.
    """

    needs_observations: bool
    needs_absolute: bool
    noise: float
    penalises_unseen: bool

    def prepare(self, population: Population) -> None:
        """Registers the counters it needs, before the first step; a resumed run then fills them from the checkpoint."""

    def observe(self, population: Population, seen: Observation) -> None:
        """Takes note of a view."""

    def refine(self, step: int, steps: int | None, population: Population, generator: torch.Generator) -> bool:
        """Adds, moves and removes, if it is time.

        Args:
            step: Steps of the optimiser done, from 1.
            steps: Of the whole run; None where a run of so many minutes does not know them yet.
            population: The Gaussians.
            generator: The only source of chance.

        Returns:
            Whether rows were rearranged.
        """

    def regulariser(self) -> tuple[float, float]:
        """Weights of the mean opacity and of the mean scale, as a share of the extent, in the loss."""


@dataclass(frozen=True)
class Schedule:
    """When refinements happen: every so many steps, from a step to a share of the run.

    Attributes:
        start: First step at which one may happen.
        stop: Share of the run after which none happens.
        every: Steps between two.
        unknown: Steps of the run while they are not known.
    """

    start: int
    stop: float
    every: int
    unknown: int = 30_000

    def __post_init__(self) -> None:
        if not (self.start >= 0 and 0 <= self.stop <= 1 and self.every >= 1):
            raise ValueError(
                "densification: start must be 0 or more, stop a share in [0, 1] and every 1 or more, "
                f"got start {self.start}, stop {self.stop}, every {self.every}"
            )

    def first(self) -> int:
        """The first refinement's step."""
        return max(1, -(-self.start // self.every)) * self.every

    def last(self, steps: int | None) -> int:
        """The last refinement's step; before the first where a run is too short for any."""
        return int(self.stop * (self.unknown if steps is None else steps)) // self.every * self.every

    def due(self, step: int, steps: int | None) -> bool:
        """Whether one happens after this step."""
        return step % self.every == 0 and self.first() <= step <= self.last(steps)

    def progress(self, step: int, steps: int | None) -> float:
        """Share of the refinements done with that of `step`: 0 before the first, 1 after the last."""
        first, last = self.first(), self.last(steps)
        return min(1.0, max(0.0, (step - first + self.every) / max(self.every, last - first + self.every)))
