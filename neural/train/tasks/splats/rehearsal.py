"""How long steps of a splats training will take, by taking some on copies: photographs and Gaussians become more."""

import math
import time
from collections.abc import Callable

import torch

from neural.gaussians.model import Gaussians
from neural.losses import photometric
from neural.morton import morton_order
from neural.optim import Adam, Group
from neural.render.splats import View, splat
from neural.train.tasks.splats.views import Views

_ATTEMPTS = 3  # of which the middle one counts
_SAMPLES = 40  # moments of the rest of a run
_GROWN = 0.5  # share of the rest of a run by which there are as many Gaussians as there will be


def mean_seconds(
    gaussians: Gaussians, most: int, views: Views, camera: Callable[[int, int], View], pace: float
) -> float:
    """Seconds of a step, mean over the rest of a run.

    Args:
        gaussians: As they are now; left alone.
        most: How many there will be.
        views: What is looked at.
        camera: Factor and number of a photograph -> its camera.
        pace: Seconds of a step as they were measured by now, everything included.
    """
    early = _by_factor(gaussians, views, camera)
    late = early if most <= gaussians.n else _by_factor(_more(gaussians, most), views, camera)
    beside = pace / early[views.factor(0, None)]  # a step as it was measured, over what it takes alone
    total = 0.0
    for sample in range(_SAMPLES):
        done = (sample + 0.5) / _SAMPLES
        factor = views.factor(int(1000 * done), 1000)
        grown = min(1.0, done / _GROWN)
        total += early[factor] * (1 - grown) + late[factor] * grown
    return total * beside / _SAMPLES


def _more(gaussians: Gaussians, n: int) -> Gaussians:
    """As many, in the same places; those in one place are smaller together."""
    rows = torch.arange(n, device=gaussians.means.device) % gaussians.n
    more = gaussians.taken(rows)
    more.log_scales.data -= math.log(n / gaussians.n) / 3
    more.permute(morton_order(more.means.detach()))
    return more


def _by_factor(gaussians: Gaussians, views: Views, camera: Callable[[int, int], View]) -> dict[int, float]:
    """Seconds of a step at each size of the photographs."""
    trial = gaussians.taken(torch.arange(gaussians.n, device=gaussians.means.device))
    optimiser = Adam([Group(dict(trial.named_parameters()), lr=1e-12)])
    background = torch.zeros(3)
    seconds = {}
    for factor in views.factors:
        durations = []
        for attempt in range(_ATTEMPTS):
            began = time.perf_counter()
            taken = views.draw(attempt, factor)
            shown = splat(trial, camera(factor, taken.index), background=background.to(trial.means.device))
            photometric(shown.rgb, taken.on(background).to(shown.rgb.device)).backward()
            optimiser.step()
            optimiser.zero_grad()
            durations.append(time.perf_counter() - began)
        seconds[factor] = sorted(durations)[_ATTEMPTS // 2]
    return seconds
