"""Rates of what Gaussians are trained by: a group of Adam per parameter."""

import math

from neural.gaussians.model import Gaussians
from neural.optim import Adam, Group
from neural.train.schedules import exponential
from neural.train.tasks.capture.pose_refinement import PoseRefinement
from neural.train.tasks.splats.config import SplatOptimConfig
from neural.train.tasks.splats.exposure import Exposure


def build_optimiser(
    optim: SplatOptimConfig,
    gaussians: Gaussians,
    extent: float,
    poses: PoseRefinement | None,
    exposure: Exposure | None,
) -> Adam:
    """Adam for Gaussians, and for the poses and exposures that are learnt beside them.

    Args:
        optim: Resolved.
        gaussians: What is trained.
        extent: Of the scene, which the rate of centres follows.
        poses: Corrections of the cameras; None where those are kept.
        exposure: Corrections of the photographs; None where those are kept.
    """
    scale = optim.lr_scale or 1.0
    rates = {
        "means": optim.means_lr * extent, "quats": optim.quats_lr, "log_scales": optim.scales_lr,
        "opacity_logits": optim.opacities_lr, "sh0": optim.sh0_lr, "shN": optim.shN_lr,
    }  # fmt: skip
    groups = [
        Group(
            {name: getattr(gaussians, name)}, lr=rate * scale * math.sqrt(optim.views), betas=betas(optim),
            eps=optim.eps / math.sqrt(optim.views), lazy=bool(optim.lazy),
        )
        for name, rate in rates.items()
    ]  # fmt: skip
    if poses is not None:
        groups.append(Group({"poses": poses.tangent}, lr=optim.pose_lr))
    if exposure is not None:
        groups.append(Group({"exposure": exposure.change}, lr=optim.exposure_lr))
    return Adam(groups)


def betas(optim: SplatOptimConfig) -> tuple[float, float]:
    """Adam's; a step of several photographs forgets as much as that many steps."""
    first, second = (max(0.0, 1 - optim.views * (1 - beta)) for beta in optim.betas)
    return first, second


def lr_scales(optim: SplatOptimConfig, step: int, steps: int | None) -> dict[str, float]:
    """What the rates are multiplied by at a step: centres slow down over the last three quarters of the run."""
    decay = 1.0 if steps is None else exponential(step, steps, optim.means_final, start=steps // 4)
    return {"means": decay}
