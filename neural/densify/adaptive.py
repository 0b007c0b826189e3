"""Adaptive density control: duplicate or split where the image pulls, remove what hardly shows."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural.densify.overgrown import Overgrown
from neural.densify.population import Population
from neural.densify.strategy import Observation, Schedule
from neural.gaussians.order import rotations

LONG_RUN = 10_000  # steps from which opacities are reset rather than lowered


class AdaptiveControl:
    """Grows where views pull at projected centres: small Gaussians are duplicated, large ones split in two.

    Args:
        extent: Of the scene, 1.1 times the radius of its cameras: what sizes are measured by.
        max_gaussians: Where the room is too small, the strongest pulls have it; None for no bound.
        start: First step of refinement.
        stop: Share of the run after which none happens.
        every: Steps between refinements.
        absolute: Adds up the gradients of single pixels without their sign (AbsGS): finds what is blurred, where
            gradients of opposite pixels cancel.
        gradient: Mean pull from which a Gaussian is duplicated or split, per half image; None: 8e-4 if `absolute`,
            else 2e-4.
        duplicate_scale: Up to this share of `extent` a Gaussian is duplicated, above split.
        revised_opacity: Halves of a split have 1 - sqrt(1 - opacity), so that both together cover what it covered.
        prune_opacity: Below it a Gaussian is removed.
        prune_scale: Above this share of `extent` too, where opacities are reset and once they have been: a short run
            would lose its background by it.
        reset: Against haze near the cameras: "reset" sets opacities back to at most twice `prune_opacity` now and then,
            which a short run does not recover from; "decay" takes a little off at each refinement; "auto": reset in
            runs of 10,000 steps or more, else decay.
        reset_every: Share of the run between resets.
        decay: Share of the opacity that a refinement takes off.
        overgrown: Removed, too.

    Raises:
        ValueError: A value out of range.

    Source: Kerbl et al. 2023, arXiv:2308.04079, section 5; Ye et al. 2024, arXiv:2404.10484 (AbsGS); Rota Bulo et al.
        2024, arXiv:2404.06109 (revised opacity).
    """

    needs_observations = True
    noise = 0.0
    penalises_unseen = False

    def __init__(
        self,
        extent: float,
        *,
        max_gaussians: int | None = None,
        start: int = 300,
        stop: float = 0.5,
        every: int = 100,
        absolute: bool = True,
        gradient: float | None = None,
        duplicate_scale: float = 0.01,
        revised_opacity: bool = True,
        prune_opacity: float = 0.005,
        prune_scale: float = 0.1,
        reset: Literal["auto", "reset", "decay", "none"] = "auto",
        reset_every: float = 0.1,
        decay: float = 0.02,
        overgrown: Overgrown | None = None,
    ) -> None:
        if not (0 < extent < math.inf and 0 < prune_opacity < 0.5 and 0 <= decay < 1 and 0 < reset_every <= 1):
            raise ValueError(
                "AdaptiveControl: extent must be positive, prune_opacity in (0, 0.5), decay in [0, 1) and reset_every "
                f"in (0, 1], got {extent}, {prune_opacity}, {decay}, {reset_every}"
            )
        self.needs_absolute = absolute
        self.extent = extent
        self.max_gaussians = max_gaussians
        self.gradient = (8e-4 if absolute else 2e-4) if gradient is None else gradient
        self.duplicate_scale = duplicate_scale
        self.revised_opacity = revised_opacity
        self.prune_opacity = prune_opacity
        self.prune_scale = prune_scale
        self.reset = reset
        self.reset_every = reset_every
        self.decay = decay
        self._overgrown = overgrown
        self._schedule = Schedule(start, stop, every)

    def prepare(self, population: Population) -> None:
        """Counters: how much views pulled at each Gaussian since the last refinement, and how many saw it."""
        population.count("pull")
        population.count("views", torch.int32)

    def observe(self, population: Population, seen: Observation) -> None:
        """Adds up what pulls."""
        population.add("pull", seen.strengths(), seen.rows)
        population.add("views", seen.visible.to(torch.int32), seen.rows)

    def regulariser(self) -> tuple[float, float]:
        """None."""
        return 0.0, 0.0

    @torch.no_grad()
    def refine(self, step: int, steps: int | None, population: Population, generator: torch.Generator) -> bool:
        """Grows, prunes and clears, if it is time; see `Strategy.refine`."""
        if not self._schedule.due(step, steps):
            return False
        period = self._period(steps)
        long = steps is not None and steps >= LONG_RUN
        reset = ("reset" if long else "decay") if self.reset == "auto" else self.reset
        grown = self._grow(population, generator)
        pruned = self._prune(population, large=reset == "reset" and step > period)
        self.prepare(population)
        if reset == "decay":
            population.gaussians.opacity_logits.data.copy_(torch.logit(population.opacities() * (1 - self.decay)))
        elif reset == "reset" and step % period == 0 and step < self._schedule.last(steps):
            _set_back(population, 2 * self.prune_opacity)
        return grown or pruned

    def _period(self, steps: int | None) -> int:
        """Steps between resets."""
        every = self._schedule.every
        return max(1, round(self.reset_every * (self._schedule.unknown if steps is None else steps) / every)) * every

    def _grow(self, population: Population, generator: torch.Generator) -> bool:
        pull = population.counters["pull"] / population.counters["views"].clamp(min=1)
        chosen = (pull > self.gradient).nonzero()[:, 0]
        room = len(chosen) if self.max_gaussians is None else max(0, self.max_gaussians - population.n)
        if len(chosen) > room:
            strongest = pull[chosen].sort(descending=True, stable=True).indices[:room]
            chosen = chosen[strongest].sort().values
        if len(chosen) == 0:
            return False
        n = population.n
        large = self._sizes(population)[chosen] > self.duplicate_scale
        rows = torch.arange(n + len(chosen), device=chosen.device)
        source = torch.cat([rows[:n], chosen])
        fresh = rows >= n
        fresh[chosen[large]] = True
        population.rearrange(source, fresh)
        halves = torch.cat([chosen[large], rows[n:][large]])
        _shake(population, halves, generator)
        if self.revised_opacity:
            _thin(population, halves)
        return True

    def _prune(self, population: Population, large: bool) -> bool:
        gone = population.opacities() < self.prune_opacity
        if self._overgrown is not None:
            gone |= self._overgrown.rows(population.gaussians)
        if large:
            gone |= self._sizes(population) > self.prune_scale
        return _remove(population, gone)

    def _sizes(self, population: Population) -> Float[Tensor, "N"]:
        """Largest standard deviations as shares of the extent."""
        return population.gaussians.log_scales.detach().amax(dim=1).double().exp() / self.extent


def _set_back(population: Population, opacity: float) -> None:
    """No opacity is above this one, and their moments are forgotten."""
    logits = population.gaussians.opacity_logits.data
    logits.clamp_(max=math.log(opacity / (1 - opacity)))
    everyone = torch.arange(population.n, device=logits.device)
    population.optimiser.reindex(["opacity_logits"], everyone, torch.ones_like(everyone, dtype=torch.bool))


def _shake(population: Population, rows: Int[Tensor, "M"], generator: torch.Generator) -> None:
    """Moves Gaussians to random places within themselves and makes them 1.6 times smaller."""
    gaussians = population.gaussians
    normals = torch.randn(len(rows), 3, generator=generator, dtype=torch.float64, device=generator.device)
    log_scales = gaussians.log_scales.detach()[rows].double()
    along = log_scales.exp() * normals.to(log_scales.device)
    turned = (rotations(gaussians.quats.detach()[rows].double()) * along[:, None, :]).sum(dim=-1)
    gaussians.means.data[rows] += turned.float()
    gaussians.log_scales.data[rows] = (log_scales - math.log(1.6)).float()


def _thin(population: Population, rows: Int[Tensor, "M"]) -> None:
    """Opacities of which two let through what one did."""
    opacities = population.opacities()[rows].clamp(max=1 - 1e-7)
    population.gaussians.opacity_logits.data[rows] = torch.logit(-torch.expm1(torch.log1p(-opacities) / 2)).float()


def _remove(population: Population, gone: Bool[Tensor, "N"]) -> bool:
    """Removes rows, unless none would be left."""
    kept = (~gone).nonzero()[:, 0]
    if len(kept) in (0, population.n):
        return False
    population.rearrange(kept)
    return True
