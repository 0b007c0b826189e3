"""Progressive activation: which levels of a grid take part at a step of training, coarse ones first.

Every schedule is a pure function of the step that gives a factor per level, for `grid.level_weights`:

    grid.level_weights = progressive.neus2(step, grid.n_levels)

A level of factor 0 gives zeros and costs nothing, forward and backward. Steps count from 0. Constants are those of the
papers' code; fractions are counted in whole numbers, so that a level comes at the same step on every machine.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

NEURALANGELO_EVERY = 5000


def first_levels(n_levels: int, n_active: int) -> Float[Tensor, "L"]:
    """1 for the first `n_active` levels, 0 for the others."""
    return (torch.arange(n_levels) < n_active).float()


def level_fraction(n_levels: int, fraction: float) -> Float[Tensor, "L"]:
    """The coarse part of the levels, as instant-ngp's level of detail: level l of L is in if l < fraction L + 1/1000.

    Args:
        n_levels: L.
        fraction: 0 (none but the first) to 1 (all).

    Source: tiny-cuda-nn's `max_level`.
    """
    return (torch.arange(n_levels) < fraction * n_levels + 1e-3).float()


def step_schedule(step: int, n_levels: int, *, start: int, every: int, at: int = 0) -> Float[Tensor, "L"]:
    """`start` levels, and one more after each `every` steps from step `at` on.

    Raises:
        ValueError: `every` is not positive.
    """
    if every < 1:
        raise ValueError(f"step_schedule: every must be at least 1 step, got {every}")
    return first_levels(n_levels, start + max(0, step - at) // every)


def cosine_window(step: int, n_levels: int, *, n_steps: int = 10_000, begin: float = 0.3) -> Float[Tensor, "L"]:
    """A window that opens smoothly: w_l = (1 + cos(pi clip(t L - l, 0, 1) + pi)) / 2, t from `begin` to 1 in `n_steps`.

    Args:
        step: Of training.
        n_levels: L.
        n_steps: Until all levels count in full.
        begin: Share of the levels that is open at first.

    Source: Rosu and Behnke 2023, arXiv:2211.12562 (PermutoSDF), after Park et al. 2021, arXiv:2011.12948, eq. 8.
    """
    t = begin + (1.0 - begin) * min(1.0, max(0, step) / n_steps)
    opened = [min(1.0, max(0.0, t * n_levels - level)) for level in range(n_levels)]
    return torch.tensor([(1.0 + math.cos(math.pi * share + math.pi)) / 2 for share in opened])


def sat_dn(step: int, n_levels: int, *, n_steps: int = 100_000) -> Float[Tensor, "L"]:
    """Two levels, and one more after every twentieth of the training: 16 are all there after 70 %.

    Args:
        step: Of training.
        n_levels: L.
        n_steps: Length of the training.

    Source: Sat-DN's code, which counts in steps of 5 % (its comment says 2.5 %); in training only, as there.
    """
    return first_levels(n_levels, 2 + 20 * max(0, step) // n_steps)


def neus2(step: int, n_levels: int = 14) -> Float[Tensor, "L"]:
    """Levels 0 to ceil(0.2 L + 0.02 max(0, step - 200)), that one included: of 14, four at first, all at step 661.

    Source: Wang et al. 2023, arXiv:2212.05231 (NeuS2); its kernel's rule.
    """
    return first_levels(n_levels, 1 - (-(10 * n_levels + max(0, step - 200)) // 50))


def neuralangelo(step: int, n_levels: int = 16, *, start: int = 4) -> Float[Tensor, "L"]:
    """`start` levels until step 30 000, then one more every 5000 steps.

    Args:
        step: Of training.
        n_levels: L.
        start: Levels that are always there: 4 (8 in some of its configurations).

    Source: Li et al. 2023, arXiv:2306.03092, section 3.2; constants of its code.
    """
    return first_levels(n_levels, max(start, _neuralangelo_level(step, n_levels)))


def neuralangelo_width(
    step: int, n_levels: int = 16, *, base_resolution: int = 32, finest_resolution: int = 2048
) -> float:
    """Width of the finite differences at a step: one over the resolution of the finest level of the schedule.

    In units of its scenes, where the grid spans [-2, 2]: a quarter of a cell. The level counted here begins at 1, below
    the 4 that are active.

    Source: Li et al. 2023, arXiv:2306.03092, section 3.1; eps = 1 / (floor(32 g^(a-1)) + 1) in its code.
    """
    growth = _growth(n_levels, base_resolution, finest_resolution)
    return 1.0 / (math.floor(base_resolution * growth ** (_neuralangelo_level(step, n_levels) - 1)) + 1)


def neuralangelo_curvature_weight(
    step: int, n_levels: int = 16, *, weight: float = 5e-4, base_resolution: int = 32, finest_resolution: int = 2048
) -> float:
    """Weight of the curvature loss: rises over 5000 steps, then falls with the growth of the finest level.

    Source: Li et al. 2023, arXiv:2306.03092, section 3.3; constants of its code.
    """
    if step < NEURALANGELO_EVERY:
        return weight * max(0, step) / NEURALANGELO_EVERY
    return weight / _growth(n_levels, base_resolution, finest_resolution) ** (_neuralangelo_level(step, n_levels) - 1)


def instant_nsr(step: int, n_levels: int = 16) -> Float[Tensor, "L"]:
    """Four levels, and one more after every 1000 steps: 16 at step 12 000.

    Source: instant-nsr-pl's `ProgressiveBandHashGrid` and configuration.
    """
    return step_schedule(step, n_levels, start=4, every=1000)


def instant_nsr_width(
    step: int, n_levels: int = 16, *, radius: float = 1.0, base_resolution: int = 32, growth: float = 1.3195
) -> float:
    """Width of the finite differences at a step: a cell 2 R / (32 g^(n-1)) of the finest active level.

    Args:
        step: Of training.
        n_levels: L.
        radius: R, half the extent of the box in scene units.
        base_resolution: Of the first level.
        growth: g, from level to level.

    Source: instant-nsr-pl's progressive finite differences.
    """
    n_active = int(instant_nsr(step, n_levels).sum())
    return 2.0 * radius / (base_resolution * growth ** (n_active - 1))


def _neuralangelo_level(step: int, n_levels: int) -> int:
    return min(n_levels, max(1, (step - NEURALANGELO_EVERY) // NEURALANGELO_EVERY))


def _growth(n_levels: int, base_resolution: int, finest_resolution: int) -> float:
    return math.exp(math.log(finest_resolution / base_resolution) / max(1, n_levels - 1))
