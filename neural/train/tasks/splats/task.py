"""One training step of Gaussians, and the state that it changes."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural import metrics
from neural.cameras import Cameras
from neural.cuda.adam_in_backward import BackwardSteps
from neural.cuda.gaussian_noise import gaussian_noise
from neural.cuda.gradients import BLOCK_ROWS, Blocks
from neural.cuda.native import retain_heap
from neural.densify.population import Population
from neural.densify.strategy import Observation, Strategy
from neural.errors import CheckpointError, DivergenceError
from neural.gaussians.clusters import Clusters
from neural.gaussians.model import Gaussians
from neural.gaussians.order import CLUSTER
from neural.losses import photometric, steady_mean
from neural.render.splats import Splatted, View, render_camera, splat
from neural.scenes.near import Near, reach
from neural.scenes.scene import Scene
from neural.train.draws import step_generator
from neural.train.loop import StepResult
from neural.train.restore import load_values
from neural.train.tasks.capture.photographs import BACKGROUNDS, drawn_small, photograph
from neural.train.tasks.capture.pose_refinement import PoseRefinement
from neural.train.tasks.splats import rehearsal
from neural.train.tasks.splats.build import build_strategy
from neural.train.tasks.splats.config import SplatsConfig
from neural.train.tasks.splats.exposure import Exposure
from neural.train.tasks.splats.optimiser import betas, build_optimiser, lr_scales
from neural.train.tasks.splats.sparse_depth import SparseDepth
from neural.train.tasks.splats.views import Photograph, Views

DENSIFY_STREAM = 13
SORT_EVERY = 1000  # steps between two sorts into Morton order
LEAST_CLUSTERS = 16  # a smaller scene is looked at as a whole
MOST_GATHERED = 0.6  # share of the clusters up to which a step takes copies of them
# The same where Adam steps in the backward pass, which copies do not: they move 944 bytes more for each Gaussian in
# view, to pass by each other costs about 150. Counted, not measured.
MOST_GATHERED_IN_BACKWARD = 0.1
CLUSTERS = "sampler/clusters/"  # prefix in a checkpoint
THIN = 0.1  # weight of the mean opacity of what masks leave out
UNKNOWN_STEPS = 30_000  # for what must have a length before the run has one
VALIDATION_PIXELS = 160_000


class SplatsTask:
    """Trains `gaussians` on the training images of `scene`; see `neural.train.loop.Task`.

    Args:
        gaussians: In the scene's frame relative to `origin`, on the CPU; moved to `device`.
        origin: float64, what was subtracted from the scene's coordinates.
        scene: With train and test splits.
        config: Resolved.
        device: Where to train.
    """

    def __init__(
        self, gaussians: Gaussians, origin: Float[Tensor, "3"], scene: Scene, config: SplatsConfig, device: torch.device
    ) -> None:
        if device.type == "cpu":
            retain_heap()
        self.config, self.scene, self.device, self.origin = config, scene, device, origin
        self.gaussians = gaussians.to(device)
        self.extent = reach(scene)
        self.near = Near.of(scene, config.model.clear).closest
        train, optim = scene.subset("train"), config.optim
        self._views = Views(
            train, config.run.seed, optim.coarse or 1, optim.coarse_share, masks_are_alpha=optim.masks == "empty"
        )
        self._cameras = {
            factor: scaled.cameras.relative_to(origin).to(device) for factor, scaled in self._views.scenes.items()
        }
        self._cached_views: dict[tuple[int, int], View] = {}
        n = len(train.cameras)
        self._poses = PoseRefinement(n).to(device) if optim.refine_poses else None
        self._depths: dict[int, SparseDepth] = {}
        if optim.depth:
            self._depths = {factor: SparseDepth(scaled) for factor, scaled in self._views.scenes.items()}
        self._exposure = Exposure(n).to(device) if optim.exposure else None
        self.optimiser = build_optimiser(optim, self.gaussians, self.extent, self._poses, self._exposure)
        # One view's gradient is all of a step's: its backward pass may use it up (None where it cannot).
        self._steps_in_backward = optim.views == 1 and self.optimiser.in_backward(self._names()) is not None
        self.population = Population(self.gaussians, self.optimiser)
        self.strategy: Strategy = build_strategy(config, self.extent, self._cameras[1])
        self.strategy.prepare(self.population)
        self._clusters = Clusters(self.gaussians, betas(optim))

    def step(self, step: int, steps: int | None) -> StepResult:
        """One step: draw photographs, render, compare, follow the gradient, let Gaussians come and go."""
        optim = self.config.optim
        factor = self._views.factor(step, steps)
        loss = error = 0.0
        n_pixels = seen = 0
        batch = [self._views.draw(step * optim.views + k, factor) for k in range(optim.views)]
        views = [self._camera(factor, taken.index) for taken in batch]
        chosen = self._in_view(views)
        rows = None if chosen is None else self._clusters.rows(chosen)
        working = self.gaussians if rows is None else self.gaussians.taken(rows)
        in_backward = None
        if self._steps_in_backward and rows is None:
            in_backward = self.optimiser.in_backward(self._names(), lr_scales=lr_scales(optim, step, steps))
        for taken, view in zip(batch, views, strict=True):
            value, square, visible = self._view(step, steps, taken, view, working, rows, in_backward)
            loss, error = loss + value / optim.views, error + square / optim.views
            n_pixels += taken.pixels.shape[0] * taken.pixels.shape[1]
            seen += visible
        parts = None
        if chosen is not None:
            parts = {name: p.grad for name, p in working.named_parameters() if p.grad is not None}
        self._optimise(step, steps, parts, chosen)
        if optim.lazy and self.strategy.noise:  # which moves all, and nothing bounds how far
            self._clusters.reset()
        elif optim.lazy:
            self._clusters.stepped(chosen)
        generator = step_generator(self.config.run.seed, step, DENSIFY_STREAM)
        moved = self.strategy.refine(step + 1, steps, self.population, generator)
        if moved or (step + 1) % SORT_EVERY == 0:
            self.population.sort()
            self._clusters.reset()
        extra = {"gaussians": float(self.gaussians.n), "visible": seen / optim.views, "downscale": float(factor)}
        return StepResult(loss, -10 * math.log10(max(error, 1e-12)), n_pixels, extra)

    def _in_view(self, views: list[View]) -> Bool[Tensor, "G"] | None:
        """Clusters that a step must look at; None for all, where leaving some out would save little."""
        optim = self.config.optim
        if not optim.lazy or self._clusters.count < LEAST_CLUSTERS:
            return None
        scale = (optim.lr_scale or 1.0) * math.sqrt(optim.views)
        rates = optim.means_lr * self.extent * scale, optim.scales_lr * scale
        chosen = torch.zeros(self._clusters.count, dtype=torch.bool, device=self.device)
        for view in views:
            chosen |= self._clusters.in_view(
                view.w2c.detach(), view.intrinsics, view.size, view.near, *rates, lens=view.bounds()
            )
        most = MOST_GATHERED_IN_BACKWARD if self._steps_in_backward else MOST_GATHERED
        return chosen if 0 < int(chosen.sum()) < most * len(chosen) else None

    def _view(
        self,
        step: int,
        steps: int | None,
        taken: Photograph,
        view: View,
        working: Gaussians,
        rows: Int[Tensor, "M"] | None,
        in_backward: BackwardSteps | None,
    ) -> tuple[float, float, int]:
        """Adds one view's gradients, or steps in their place; gives its loss, its mean squared error and how many
        Gaussians it sees."""
        optim = self.config.optim
        background = self._background(step)
        absolute = torch.zeros(working.n, device=self.device) if self.strategy.needs_absolute else None
        shown = splat(
            working, view, degree=self._degree(step, steps), background=background, with_depth=bool(self._depths),
            absolute=absolute, in_backward=in_backward,
        )  # fmt: skip
        rgb = shown.rgb if self._exposure is None else self._exposure(shown.rgb, taken.index)
        target = taken.on(background.cpu()).to(self.device)
        mask = None if taken.mask is None else taken.mask.to(self.device)
        loss = photometric(rgb, target, ssim_weight=optim.ssim_weight, mask=mask) / optim.views
        if self._exposure is not None and optim.exposure_hold:
            loss = loss + optim.exposure_hold / optim.views * self._exposure.strength(shown.rgb, taken.index)
        if mask is not None and optim.masks == "thin":
            loss = loss + THIN / optim.views * steady_mean(shown.alpha * (mask == 0))
        if shown.depth is not None:
            guide = self._depths[taken.factor].loss(taken.index, shown.depth, shown.alpha, self.extent)
            loss = loss if guide is None else loss + (optim.depth or 0.0) / optim.views * guide
        if self.strategy.needs_observations:
            shown.projected.means2d.retain_grad()
        value = float(loss.detach()) * optim.views
        if not math.isfinite(value):
            raise self._diverged(step, f"the loss is {value}")
        visible = shown.projected.opacities.detach() > 0
        n_visible = int(visible.sum())
        unseen = self.strategy.penalises_unseen
        penalised = self.gaussians.n if unseen else n_visible
        if in_backward is not None:
            for_opacity, for_scale = self._penalties(penalised)
            in_backward.penalise("opacity_logits", for_opacity, unseen=unseen)
            in_backward.penalise("log_scales", for_scale / self.extent, self.extent, unseen=unseen)
        if loss.requires_grad:
            loss.backward()
        if self.strategy.needs_observations and shown.projected.means2d.grad is not None:
            self._observe(shown, absolute, rows)
        if in_backward is None:
            self._regularise(working, torch.ones_like(visible) if unseen else visible, penalised)
        return value, _square_error(rgb.detach(), target, mask), n_visible

    def _observe(self, shown: Splatted, absolute: Tensor | None, rows: Int[Tensor, "M"] | None) -> None:
        projected = shown.projected
        height, width = shown.alpha.shape
        assert projected.means2d.grad is not None
        self.strategy.observe(
            self.population,
            Observation(
                rows, projected.opacities.detach() > 0, projected.means2d.grad, absolute, projected.extents,
                (width, height), self.config.optim.views,
            ),
        )  # fmt: skip

    def _penalties(self, count: int) -> tuple[float, float]:
        """Weights in the loss of each of `count` opacities and of their scales, so that what is not needed dies.

        Scales count in extents of the scene, whatever its unit, and only up to one: a sky may be larger.
        """
        for_opacity, for_scale = self.strategy.regulariser()
        share = 1.0 / max(1, count) / self.config.optim.views
        return for_opacity * share, for_scale / 3 * share

    def _regularise(self, working: Gaussians, rows: Bool[Tensor, "M"], count: int) -> None:
        """Adds the gradients of the penalties of these; in float64, whose rounding no thread count shows."""
        for_opacity, for_scale = self._penalties(count)
        with torch.no_grad():
            if for_opacity and working.opacity_logits.grad is not None:
                opacity = working.opacity_logits.double().sigmoid()
                change = (for_opacity * opacity * (1 - opacity)).float()
                working.opacity_logits.grad += torch.where(rows, change, 0.0)
            if for_scale and working.log_scales.grad is not None:
                scale = working.log_scales.double().exp() / self.extent
                change = torch.where(scale < 1, for_scale * scale, 0.0).float()
                working.log_scales.grad += torch.where(rows[:, None], change, 0.0)

    def _optimise(
        self, step: int, steps: int | None, parts: dict[str, Tensor] | None, chosen: Bool[Tensor, "G"] | None
    ) -> None:
        """A step of Adam; `parts` are the gradients of the chosen clusters where there are only those."""
        optim = self.config.optim
        blocks = None
        if chosen is not None:
            n_blocks = -(-self.gaussians.n // BLOCK_ROWS)
            blocks = Blocks.of(chosen.repeat_interleave(CLUSTER // BLOCK_ROWS)[:n_blocks])
        scales = lr_scales(optim, step, steps)
        self.optimiser.step(lr_scales=scales, parts=parts, blocks=blocks)
        for parameter in self._parameters().values():
            parameter.grad = None
        if bad := self.optimiser.nonfinite():
            raise self._diverged(step, f"the gradient of {next(iter(bad))} has NaN or Inf")
        if self.strategy.noise:
            g = self.gaussians
            strength = self.strategy.noise * optim.means_lr / self.extent * scales["means"]  # times an area: a length
            with torch.no_grad():
                gaussian_noise(
                    g.means, g.quats, g.log_scales, g.opacity_logits, strength, seed=self.config.run.seed, step=step
                )

    def _names(self) -> list[str]:
        return [name for name, _ in self.gaussians.named_parameters()]

    def tensors(self) -> dict[str, Tensor]:
        """Gaussians, optimiser, counters, poses and exposure.

        Raises:
            DivergenceError: Parameters are not finite: those are not drawn, so that no loss would ever show it.
        """
        if not all(bool(p.isfinite().all()) for p in self._parameters().values()):
            raise self._diverged(self.optimiser.steps, "parameters are no longer finite")
        tensors = {f"model/{name}": p.detach() for name, p in self._parameters().items()}
        tensors |= self.optimiser.state_dict()
        tensors |= {f"sampler/{name}": counter for name, counter in self.population.counters.items()}
        tensors |= {f"{CLUSTERS}{name}": value for name, value in self._clusters.state_dict().items()}
        return tensors

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `tensors` gave, with as many Gaussians as there were.

        Raises:
            CheckpointError: They are of another kind of run.
        """
        saved = tensors.get("model/means")
        if saved is None or saved.ndim != 2:
            raise CheckpointError("the checkpoint holds no Gaussians (model/means); start anew with --overwrite")
        self.population.rearrange(torch.zeros(len(saved), dtype=torch.int64, device=self.device))
        load_values(self._parameters(), tensors)
        self.optimiser.load_state_dict(tensors)
        for name, counter in self.population.counters.items():
            if f"sampler/{name}" not in tensors:
                raise CheckpointError(f"the checkpoint has no sampler/{name}; start anew with --overwrite")
            counter.copy_(tensors[f"sampler/{name}"])
        clusters = {name[len(CLUSTERS) :]: value for name, value in tensors.items() if name.startswith(CLUSTERS)}
        if clusters.keys() != self._clusters.state_dict().keys():
            raise CheckpointError(f"the checkpoint has no {CLUSTERS}*; start anew with --overwrite")
        self._clusters.load_state_dict(clusters)

    def release(self) -> None:
        """Nothing but memory was held."""

    def validate(self, step: int) -> Mapping[str, float]:
        """PSNR of one held-out image, drawn by the step, rendered small."""
        scene = drawn_small(self.scene, self.config.run.seed, step, VALIDATION_PIXELS)
        if scene is None:
            return {}
        image = self.render(scene.cameras, 0, self.config.run.background).cpu()
        return {"test_psnr": metrics.psnr(image, photograph(scene, 0, self.config.run.background))}

    def render(self, cameras: Cameras, index: int, background: str) -> Float[Tensor, "H W 3"]:
        """A camera of the scene's frame, as it looks now."""
        width, height = cameras.sizes[index].tolist()
        color = torch.full((3,), BACKGROUNDS[background])
        shown = render_camera(self.gaussians, cameras.relative_to(self.origin), index, background=color, near=self.near)
        return shown.rgb.reshape(height, width, 3)

    def steps_for(self, seconds: float, step: int, pace: float) -> int:
        """Steps that fill `seconds` after step number `step`: photographs and Gaussians will be more than now."""
        grows = self.config.densify.strategy != "none"
        most = (self.config.model.max_gaussians or 0) if grows else self.gaussians.n
        seconds_each = rehearsal.mean_seconds(self.gaussians, most, self._views, self._camera, pace)
        self.optimiser.zero_grad()  # of the poses
        return step + max(1, round(seconds / seconds_each))

    def _camera(self, factor: int, index: int) -> View:
        if self._poses is not None:
            return View.of(self._poses(self._cameras[factor][index], index), 0, self.near)
        if (factor, index) not in self._cached_views:
            self._cached_views[factor, index] = View.of(self._cameras[factor], index, self.near)
        return self._cached_views[factor, index]

    def _degree(self, step: int, steps: int | None) -> int:
        """Of the spherical harmonics that are learnt by now."""
        every = self.config.optim.sh_every
        if every is None:
            every = min(1000, max(1, (steps or UNKNOWN_STEPS) // 15))
        return min(self.gaussians.sh_degree, step // every) if every else self.gaussians.sh_degree

    def _background(self, step: int) -> Float[Tensor, "3"]:
        if self._views.transparent and self.config.optim.random_background:
            return self._views.background(step).to(self.device)
        return torch.full((3,), BACKGROUNDS[self.config.run.background], device=self.device)

    def _parameters(self) -> dict[str, Tensor]:
        parameters: dict[str, Tensor] = dict(self.gaussians.named_parameters())
        if self._poses is not None:
            parameters["poses"] = self._poses.tangent
        if self._exposure is not None:
            parameters["exposure"] = self._exposure.change
        return parameters

    def _diverged(self, step: int, what: str) -> DivergenceError:
        names = [name for name, p in self._parameters().items() if not bool(torch.isfinite(p).all())]
        return DivergenceError(step, what + (f" (not finite: {', '.join(names)})" if names else ""))


def _square_error(image: Tensor, target: Tensor, mask: Tensor | None) -> float:
    """Mean squared difference, for the progress line."""
    shown = target if target.is_floating_point() else target.float() / 255
    square = (image.clamp(0, 1) - shown).square()
    if mask is not None:
        square = square[mask > 0]
    return float(steady_mean(square)) if square.numel() else 0.0
