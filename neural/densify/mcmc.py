"""Densification as sampling: dead Gaussians move onto live ones, the number grows evenly, noise explores."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural.densify.population import Population
from neural.densify.relocation import dead, draw, shared
from neural.densify.strategy import Observation, Schedule


class MCMC:
    """Markov chain Monte Carlo: at most `max_gaussians`, none ever removed, none left where it does not show.

    A refinement moves Gaussians with an opacity of at most 0.005 to where others are, drawn by opacity, and then adds
    some in the same way. Those in one place share its light, so the picture stays what it was (`relocation.shared`).

    Args:
        max_gaussians: The number grows to it and stays.
        start: First step of refinement.
        stop: Share of the run after which the number stays.
        relocate: Share of the run until which the dead move; at least `stop`.
        every: Steps between refinements.
        growth: Share of the Gaussians that a refinement adds at least.
        full: Share of the run by which `max_gaussians` is reached: short runs add more than `growth` each time.
        noise: Strength of the noise on centres, times their learning rate.
        opacity_weight, scale_weight: Of the mean opacity and the mean scale in the loss: what is not needed dies. The
            paper's 0.01 for opacity is for 30,000 steps; in a tenth of that it keeps all that is needed too faint.

    Raises:
        ValueError: A value out of range.

    Source: Kheradmand et al. 2024, arXiv:2404.09591; there `growth` alone sets the pace.
    """

    needs_observations = False
    needs_absolute = False

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
        noise: float = 5e5,
        opacity_weight: float = 0.003,
        scale_weight: float = 0.01,
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

    def refine(self, step: int, steps: int | None, population: Population, generator: torch.Generator) -> bool:
        """Moves the dead and adds some, if it is time; see `Strategy.refine`."""
        moved = self._moving.due(step, steps) and _relocate(population, generator)
        grown = self._growing.due(step, steps) and _grow(population, self._goal(step, steps, population.n), generator)
        return moved or grown

    def _goal(self, step: int, steps: int | None, n: int) -> int:
        """Gaussians after the refinement of this step."""
        goal = int(n * (1 + self.growth))
        if steps is not None and self.growth > 0:
            left = max(1, (self._filling.last(steps) - step) // self._filling.every + 1)
            goal = max(goal, round(n * (self.max_gaussians / n) ** (1 / left)))
        return max(n, min(self.max_gaussians, goal))


def _relocate(population: Population, generator: torch.Generator) -> bool:
    """Every dead Gaussian becomes one more where a live one is."""
    opacities = population.opacities()
    gone = dead(opacities)
    rows = gone.nonzero()[:, 0]
    if len(rows) in (0, population.n):
        return False
    onto = _draw(torch.where(gone, 0.0, opacities), len(rows), generator)
    source = torch.arange(population.n, device=rows.device)
    source[rows] = onto
    fresh = gone.clone()
    fresh[onto] = True
    _share(population, source, fresh, opacities)
    return True


def _grow(population: Population, goal: int, generator: torch.Generator) -> bool:
    """New Gaussians where others are, up to `goal` of them."""
    n = population.n
    opacities = population.opacities()
    if goal <= n or bool(dead(opacities).all()):
        return False
    rows = torch.arange(goal, device=opacities.device)
    source = torch.cat([rows[:n], _draw(opacities, goal - n, generator)])
    _share(population, source, rows >= n, opacities)
    return True


def _draw(weights: Float[Tensor, "N"], count: int, generator: torch.Generator) -> Int[Tensor, "M"]:
    uniforms = torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)
    return draw(weights, uniforms.to(weights.device))


@torch.no_grad()
def _share(
    population: Population, source: Int[Tensor, "M"], fresh: Bool[Tensor, "M"], opacities: Float[Tensor, "N"]
) -> None:
    """Rearranges, and lets those that come from one row look together as it did."""
    sharers = torch.bincount(source, minlength=population.n)[source]
    population.rearrange(source, fresh)
    rows = (sharers > 1).nonzero()[:, 0]
    gaussians = population.gaussians
    scales = gaussians.log_scales[rows].double().exp().float()
    lower, scales = shared(opacities[source[rows]], scales, sharers[rows])
    gaussians.opacity_logits.data[rows] = torch.logit(lower.double()).float()
    gaussians.log_scales.data[rows] = scales.double().log().float()
