"""The best scene of a given size: a curve sets how many Gaussians there are, a score where the new ones go."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from neural.densify.overgrown import Overgrown
from neural.densify.population import Population
from neural.densify.relocation import dead
from neural.densify.splitting import split, spread
from neural.densify.strategy import Observation, Schedule


class Budget:
    """Grows to exactly `max_gaussians`, fast at first, and never has more.

    With u the share of the refinements done, b the budget and s the number at the start there are s + (b - s) u (2 - u)
    Gaussians. A refinement removes those that do not show, and splits as many others as the curve asks for. Their score
    is the square of the pull of all views together since the last one: the sum, not the mean, for what many views see
    counts in many. Then the number stays, and what does not show goes on being replaced.

    Args:
        max_gaussians: The budget.
        start: First step of refinement.
        stop: Share of the run at which the budget is reached.
        replace: Share of the run until which what does not show is replaced; at least `stop`.
        every: Steps between refinements.
        absolute: Adds up the gradients of single pixels without their sign (AbsGS): what is blurred pulls in all
            directions.
        unseen: Views in a row, none of which shows a Gaussian, after which it is removed.
        opacity_weight, scale_weight: Of the mean opacity and the mean scale in the loss: what is not needed fades, and
            its place in the budget goes to another.
        overgrown: Removed, too.

    Raises:
        ValueError: A value out of range.

    Source: Mallick et al. 2024, arXiv:2406.15643 (Taming 3DGS), section 4, for the curve; score and split are ours.
    """

    needs_observations = True
    penalises_unseen = False
    noise = 0.0

    def __init__(
        self,
        max_gaussians: int,
        *,
        start: int = 100,
        stop: float = 0.8,
        replace: float = 0.83,
        every: int = 100,
        absolute: bool = True,
        unseen: int = 1000,
        opacity_weight: float = 0.01,
        scale_weight: float = 0.05,
        overgrown: Overgrown | None = None,
    ) -> None:
        if max_gaussians < 1 or unseen < 1:
            raise ValueError(f"Budget: max_gaussians and unseen must be 1 or more, got {max_gaussians} and {unseen}")
        self.needs_absolute = absolute
        self.max_gaussians = max_gaussians
        self.unseen = unseen
        self._weights = opacity_weight, scale_weight
        self._overgrown = overgrown
        self._growing = Schedule(start, stop, every)
        self._replacing = Schedule(start, max(stop, replace), every)

    def prepare(self, population: Population) -> None:
        """Counters: how much views pulled since the last refinement, and views since one showed the Gaussian."""
        population.count("pull")
        population.count("unseen", torch.int32)

    def observe(self, population: Population, seen: Observation) -> None:
        """Adds up what pulls."""
        population.add("pull", seen.strengths(), seen.rows)
        unseen = population.counters["unseen"]
        unseen += 1
        if seen.rows is None:
            unseen.masked_fill_(seen.visible, 0)
        else:
            unseen[seen.rows[seen.visible]] = 0

    def regulariser(self) -> tuple[float, float]:
        """Weights of the mean opacity and of the mean scale in the loss."""
        return self._weights

    @torch.no_grad()
    def refine(self, step: int, steps: int | None, population: Population, generator: torch.Generator) -> bool:
        """Removes what does not show and splits what pulls, if it is time; see `Strategy.refine`."""
        if not self._replacing.due(step, steps):
            return False
        gone = self._gone(population)
        goal = self._goal(step, steps, population.n)
        score = torch.where(gone, 0.0, population.counters["pull"].double().square())
        if not bool((score > 0).any()):
            score = torch.where(gone, 0.0, population.opacities())
        uniform = float(torch.rand((), generator=generator, dtype=torch.float64, device=generator.device))
        copies = (~gone).long()
        missing = goal - int(copies.sum())
        if missing >= 0:
            copies += spread(score, missing, uniform)
        else:
            copies[_faintest(population, gone, -missing)] = 0
        changed = not bool((copies == 1).all())
        if changed:
            split(population, copies)
        population.counters["pull"].zero_()
        return changed

    def _gone(self, population: Population) -> Bool[Tensor, "N"]:
        """What does not show, or is out of all proportion; none where that would be all."""
        gone = dead(population.opacities()) | (population.counters["unseen"] > self.unseen)
        if self._overgrown is not None:
            gone |= self._overgrown.rows(population.gaussians)
        return torch.zeros_like(gone) if bool(gone.all()) else gone

    def _goal(self, step: int, steps: int | None, n: int) -> int:
        """Gaussians after the refinement of this step: what is left to the budget falls as (1 - u)^2."""
        before = self._growing.progress(step - self._growing.every, steps)
        if before >= 1 or n >= self.max_gaussians:
            return self.max_gaussians
        left = (1 - self._growing.progress(step, steps)) / (1 - before)
        return self.max_gaussians - int((self.max_gaussians - n) * left * left)


def _faintest(population: Population, gone: Bool[Tensor, "N"], count: int) -> Int[Tensor, "M"]:
    """Rows of the least opacity among those that are not gone already."""
    return torch.where(gone, 2.0, population.opacities()).sort(stable=True).indices[:count]
