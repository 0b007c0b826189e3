"""What changes with the step, as pure functions of the step: a resumed run needs no memory of them."""

import bisect
from typing import Protocol

WARMUP_START = 0.01
MILESTONES = (0.5, 0.75, 0.9)
MILESTONE_FACTOR = 0.33


class Rates(Protocol):
    """What a configuration says of the learning rate; see `neural.train.tasks.radiance.config.OptimConfig`."""

    @property
    def lr(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def decay(self) -> str: ...
    @property
    def final_lr_ratio(self) -> float: ...


def learning_rate(step: int, steps: int | None, config: Rates) -> float:
    """Adam's step size for the step about to be taken.

    Args:
        step: Steps taken so far, from 0.
        steps: Steps of the whole run. The rate is flat for the first quarter, so that it is the same while a run of
            so many minutes does not know its steps yet (None).
        config: Base value, warm-up and decay.
    """
    rate = config.lr * warm_up(step, config.warmup_steps)
    if steps is None:
        return rate
    if config.decay == "milestones":
        return rate * milestones(step, steps)
    if config.decay == "exponential":
        return rate * exponential(step, steps, config.final_lr_ratio, start=steps // 4)
    return rate


def warm_up(step: int, warmup_steps: int) -> float:
    """A line from 0.01 at step 0 to 1 at `warmup_steps`, then 1."""
    if step >= warmup_steps:
        return 1.0
    return WARMUP_START + (1.0 - WARMUP_START) * step / warmup_steps


def milestones(step: int, steps: int) -> float:
    """1, times 0.33 at each of 1/2, 3/4 and 9/10 of the run."""
    return MILESTONE_FACTOR ** bisect.bisect_right(MILESTONES, step / max(steps, 1))


def exponential(step: int, steps: int, final: float, start: int = 0) -> float:
    """1 until `start`, then falling by a constant factor per step to `final` at the last step."""
    done = max(0, step - start) / max(1, steps - 1 - start)
    return final ** min(1.0, done)


def ray_count(n_rays: int, n_samples: int, target_samples: int, max_rays: int) -> int:
    """Rays for the next step so that it has about `target_samples`, given what the last one had.

    A multiple of 64 below `max_rays`, at most doubled from one step to the next.
    """
    wanted = n_rays * target_samples / max(n_samples, 1)
    wanted = min(wanted, 2.0 * n_rays)
    return min(max(64, round(wanted / 64) * 64), max_rays)
