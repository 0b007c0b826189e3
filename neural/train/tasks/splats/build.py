"""What a resolved configuration stands for: the Gaussians of the first step, and how they come and go."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cameras import Cameras
from neural.densify.adaptive import AdaptiveControl
from neural.densify.budget import Budget
from neural.densify.fixed import Fixed
from neural.densify.mcmc import MCMC
from neural.densify.overgrown import Overgrown
from neural.densify.strategy import Strategy
from neural.errors import SceneFormatError
from neural.gaussians.model import Gaussians
from neural.render.splats import View, project_to
from neural.scenes.capture import Points
from neural.scenes.files.gaussians.record import SH_COUNTS
from neural.scenes.near import reach
from neural.scenes.scene import Scene
from neural.train.draws import step_generator
from neural.train.tasks.splats import start as splats_start
from neural.train.tasks.splats.config import SplatsConfig
from neural.train.tasks.splats.start import Start

INIT_STREAM = 10
SKY_DISTANCE = 10.0  # times the farthest thing
SKY_OPACITY = 0.5


def count_points(scene: Scene) -> int:
    """How many points there are to start from; none where all are in one place."""
    return len(scene.points) if scene.points is not None and scene.points.apart else 0


def masked_share(scene: Scene) -> float:
    """How much of the photographs for training the masks take out, 0 to 1."""
    if scene.masks is None:
        return 0.0
    shares = [float((scene.masks[i] < 128).mean()) for i in scene.splits["train"]]
    return sum(shares) / max(1, len(shares))


def points_of(scene: Scene) -> Points:
    """The points to start from.

    Raises:
        SceneFormatError: The capture has fewer than two, or all in one place.
    """
    if scene.points is None or not scene.points.apart:
        raise SceneFormatError(scene.path or scene.name, "no points to start from; use --model.init random")
    return scene.points


@torch.no_grad()
def refuse_unseen(gaussians: Gaussians, scene: Scene, origin: Float[Tensor, "3"], near: float) -> None:
    """Raises unless a training camera sees something: of what none sees nothing is ever learnt.

    Args:
        gaussians: Of the first step.
        scene: The capture.
        origin: What they are relative to.
        near: Smallest depth that is drawn.

    Raises:
        SceneFormatError: None does.
    """
    cameras = scene.cameras.relative_to(origin)
    for index in scene.splits["train"]:
        if bool((project_to(gaussians, View.of(cameras, index, near)).opacities > 0).any()):
            return
    raise SceneFormatError(
        scene.path or scene.name,
        f"none of the {len(scene.splits['train'])} training cameras sees any of the {gaussians.n} Gaussians of the "
        "start; check the axes of the poses (`neural info` shows the box), or start elsewhere with --model.init",
    )


def build_gaussians(
    config: SplatsConfig, scene: Scene, origin: Float[Tensor, "3"], start: Start | None = None
) -> Gaussians:
    """The Gaussians of the first step, in Morton order, relative to `origin`.

    Points outside the scene's reach are kept: what cameras see far away needs Gaussians there.

    Args:
        config: Resolved.
        scene: The capture.
        origin: float64, a point of the scene.
        start: What the file holds that `config.model.init` names; None where it names none.

    Raises:
        SceneFormatError: Points are asked for and the capture has fewer than two; a file that does not fit.
    """
    model = config.model
    generator = step_generator(config.run.seed, 0, INIT_STREAM)
    n, opacity, scale = model.init_gaussians, model.init_opacity, model.init_scale
    assert n is not None and opacity is not None and scale is not None, "the configuration is not resolved"
    if start is not None:
        gaussians = splats_start.gaussians(start, scene, origin, model, generator)
    elif model.init == "random":
        box = (scene.aabb - origin).float()
        gaussians = Gaussians.random(
            n, box, seed=config.run.seed, sh_degree=model.sh_degree, opacity=opacity, scale=scale,
            antialiased=model.antialiased,
        )  # fmt: skip
    else:
        points = points_of(scene)
        chosen = splats_start.drawn(len(points), n, generator)
        xyz = torch.from_numpy(points.xyz[chosen]) - origin.double()
        gaussians = Gaussians.from_points(
            xyz.float(), torch.from_numpy(points.rgb[chosen].copy()), sh_degree=model.sh_degree, opacity=opacity,
            scale=scale, antialiased=model.antialiased,
        )  # fmt: skip
    if model.sky:
        gaussians = _joined(gaussians, _sky(model.sky, scene, origin, gaussians))
    gaussians.sort_morton()
    return gaussians


def _sky(n: int, scene: Scene, origin: Float[Tensor, "3"], like: Gaussians) -> Gaussians:
    """Grey Gaussians evenly all over a sphere around the cameras, ten times as far away as anything else.

    Source: Gonzalez 2010, "Measurement of areas on a sphere using Fibonacci and latitude-longitude lattices".
    """
    place = torch.arange(n, dtype=torch.float64) + 0.5
    z, turn = 1 - 2 * place / n, place * math.pi * (3 - math.sqrt(5))
    ring = (1 - z.square()).sqrt()
    directions = torch.stack([ring * turn.cos(), ring * turn.sin(), z], 1)
    centre = scene.cameras.origins.mean(0) - origin
    radius = SKY_DISTANCE * max(reach(scene), float((scene.aabb[1] - scene.aabb[0]).max()) / 2)
    means = (centre + radius * directions).float()
    degree = like.sh_degree
    spacing = math.sqrt(4 * math.pi / n) * radius
    return Gaussians(
        means, torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1), torch.full((n, 3), math.log(spacing / 2)),
        torch.logit(torch.full((n,), SKY_OPACITY)), torch.zeros(n, 3), torch.zeros(n, SH_COUNTS[degree], 3),
        antialiased=like.antialiased,
    )  # fmt: skip


def _joined(first: Gaussians, second: Gaussians) -> Gaussians:
    parts = {
        name: torch.cat([getattr(first, name).detach(), getattr(second, name).detach()])
        for name, _ in first.named_parameters()
    }
    return Gaussians(*parts.values(), antialiased=first.antialiased, surfels=first.surfels)


def build_strategy(config: SplatsConfig, extent: float, cameras: Cameras) -> Strategy:
    """The way that Gaussians come and go.

    Args:
        config: Resolved.
        extent: Of the scene.
        cameras: Of its photographs, in the frame of the Gaussians.
    """
    densify, most = config.densify, config.model.max_gaussians
    assert most is not None, "the configuration is not resolved"
    given: dict[str, Any] = {"start": densify.start, "stop": densify.stop, "every": densify.every}
    schedule = {name: value for name, value in given.items() if value is not None}
    overgrown = Overgrown(cameras, extent)
    if densify.strategy == "mcmc":
        return MCMC(most, overgrown=overgrown, **schedule)
    if densify.strategy == "budget":
        return Budget(most, absolute=densify.absolute, overgrown=overgrown, **schedule)
    if densify.strategy == "adaptive":
        return AdaptiveControl(
            extent, max_gaussians=most, absolute=densify.absolute, gradient=densify.gradient, reset=densify.reset,
            overgrown=overgrown, **schedule,
        )  # fmt: skip
    return Fixed()
