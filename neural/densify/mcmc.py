"""Densification as sampling: dead Gaussians move to where live ones are, the number grows evenly, noise explores."""

import torch

from neural.densify.overgrown import Overgrown
from neural.densify.population import Population
from neural.densify.relocation import dead, stack
from neural.densify.splitting import split, spread
from neural.densify.strategy import Observation, Schedule


class MCMC:
    """Markov chain Monte Carlo: at most `max_gaussians`, none left where it does not show.

    A refinement takes away Gaussians with an opacity of at most 0.005, and puts as many, and what the number grows by,
    to where others are: to each as many as its opacity says, by systematic sampling (`splitting.spread`), whose results
    differ less from seed to seed than those of independent draws. Those of one place share its light, so the picture
    stays nearly what it was.

    Args:
        max_gaussians: The number grows to it and stays.
        start: First step of refinement.
        stop: Share of the run after which the number stays.
        relocate: Share of the run until which the dead move; at least `stop`.
        every: Steps between refinements.
        growth: Share of the Gaussians that a refinement adds at least.
        full: Share of the run by which `max_gaussians` is reached: short runs add more than `growth` each time.
        noise: Strength of the noise on centres, times their learning rate. It moves a Gaussian by a share of its size
            that grows with its size: the paper's 5e5 is for a million small ones, too much for a few thousand large.
        opacity_weight, scale_weight: Of the mean opacity and the mean scale in the loss: what is not needed dies, and
            so does what no view sees. The paper's 0.01 for opacity is for 30,000 steps; a tenth of that wants less.
        stacked: Those of one place stay in one place as in the paper (`relocation.stack`), where one gradient moves all
            of them alike; else they stand in a row from the start (`splitting.split`), which in runs of a few thousand
            steps is worth up to four dB.
        overgrown: Moved, too.

    Raises:
        ValueError: A value out of range.

    Source: Kheradmand et al. 2024, arXiv:2404.09591; there `growth` alone sets the pace, and `stacked` is true.
    """

    needs_observations = False
    needs_absolute = False
    penalises_unseen = True

    def __init__(
        self,
        max_gaussians: int,
        *,
        start: int = 100,
        stop: float = 0.8,
        relocate: float = 0.83,
        every: int = 100,
        growth: float = 0.05,
        full: float = 0.5,
        noise: float = 1e5,
        opacity_weight: float = 0.005,
        scale_weight: float = 0.01,
        stacked: bool = False,
        overgrown: Overgrown | None = None,
    ) -> None:
        if max_gaussians < 1 or growth < 0 or noise < 0:
            raise ValueError(
                "MCMC: max_gaussians must be 1 or more, growth and noise 0 or more, "
                f"got {max_gaussians}, {growth}, {noise}"
            )
        self.max_gaussians = max_gaussians
        self.growth = growth
        self.noise = noise
        self._weights = opacity_weight, scale_weight
        self._overgrown = overgrown
        self._place = stack if stacked else split
        self._growing = Schedule(start, stop, every)
        self._moving = Schedule(start, max(stop, relocate), every)
        self._filling = Schedule(start, min(stop, full), every)

    def prepare(self, population: Population) -> None:
        """Needs no counters."""

    def observe(self, population: Population, seen: Observation) -> None:
        """Needs no views."""

    def regulariser(self) -> tuple[float, float]:
        """Weights of the mean opacity and of the mean scale in the loss."""
        return self._weights

    @torch.no_grad()
    def refine(self, step: int, steps: int | None, population: Population, generator: torch.Generator) -> bool:
        """Moves the dead and adds some, if it is time; see `Strategy.refine`."""
        if not self._moving.due(step, steps):
            return False
        opacities = population.opacities()
        gone = dead(opacities)
        if self._overgrown is not None:
            gone |= self._overgrown.rows(population.gaussians)
        living = torch.where(gone, 0.0, opacities)
        goal = self._goal(step, steps, population.n) if self._growing.due(step, steps) else population.n
        missing = goal - int((~gone).sum())
        if missing == 0 or not bool((living > 0).any()):
            return False
        uniform = float(torch.rand((), generator=generator, dtype=torch.float64, device=generator.device))
        self._place(population, (~gone).long() + spread(living, missing, uniform))
        return True

    def _goal(self, step: int, steps: int | None, n: int) -> int:
        """Gaussians after the refinement of this step."""
        goal = int(n * (1 + self.growth))
        if steps is not None and self.growth > 0:
            left = max(1, (self._filling.last(steps) - step) // self._filling.every + 1)
            goal = max(goal, round(n * (self.max_gaussians / n) ** (1 / left)))
        return max(n, min(self.max_gaussians, goal))
