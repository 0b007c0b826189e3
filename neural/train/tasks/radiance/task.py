"""One training step of a radiance field, and the state that it changes."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neural import metrics
from neural.cameras import Cameras
from neural.cuda.native import retain_heap
from neural.errors import CheckpointError, DivergenceError
from neural.fields.contraction import Contraction
from neural.fields.radiance import RadianceField
from neural.losses import huber, l2, steady_mean
from neural.optim import Adam, Group
from neural.rays import generate
from neural.render import fused
from neural.render.occupancy import OccupancyConfig, OccupancyGrid
from neural.render.rendering import Marching, Rendering, Traced
from neural.render.volume import render_image, trace
from neural.scenes.scene import Scene
from neural.train.draws import step_generator
from neural.train.loop import StepResult
from neural.train.restore import load_values
from neural.train.schedules import learning_rate, ray_count
from neural.train.tasks.capture.photographs import BACKGROUNDS, drawn_small, photograph
from neural.train.tasks.capture.pose_refinement import PoseRefinement
from neural.train.tasks.field.activation import activate, activate_stored
from neural.train.tasks.field.encodings import build_encoding
from neural.train.tasks.field.groups import averaged, field_groups, nonfinite_names, release_buffers
from neural.train.tasks.radiance.config import RadianceConfig
from neural.train.tasks.radiance.pixels import Pixels, PixelSampler

BACKGROUND_STREAM = 1
VALIDATION_PIXELS = 40_000


def build_field(config: RadianceConfig, scene: Scene) -> RadianceField:
    """The field that a resolved configuration describes, for a scene's box and training images."""
    model, seed = config.model, config.run.seed
    contraction: Contraction = "ball" if model.contraction == "ball" else "none"
    return RadianceField(
        build_encoding(model, 3, seed), aabb=scene.aabb, contraction=contraction, density_width=model.density_width,
        density_layers=model.density_layers, geo_features=model.geo_features, color_width=model.color_width,
        color_layers=model.color_layers, sh_degree=model.sh_degree,
        n_images=len(scene.splits["train"]) if model.appearance_dims else 0, appearance_dims=model.appearance_dims,
        density_activation=model.density_activation, density_bias=model.density_bias, seed=seed,
    )  # fmt: skip


def build_occupancy(config: RadianceConfig, field: RadianceField, device: torch.device) -> OccupancyGrid:
    """The occupancy grid around the field's cube, in its frame; the least step is the diagonal over `steps_per_box`."""
    sampling = config.sampling
    return OccupancyGrid(
        centre=(0.0, 0.0, 0.0), half_extent=field.half_side, seed=config.run.seed,
        min_step=2 * field.half_side * math.sqrt(3) / _known(sampling.steps_per_box),
        n_cascades=_known(sampling.cascades), resolution=_known(sampling.occupancy_resolution), device=device,
        config=OccupancyConfig(
            update_every=sampling.occupancy_interval, warm_up=_known(sampling.occupancy_warmup),
            decay=_known(sampling.occupancy_decay), max_threshold=sampling.occupancy_threshold,
            uniform_share=_known(sampling.occupancy_share), occupied_share=_known(sampling.occupancy_share),
        ),
    )  # fmt: skip


def build_marching(config: RadianceConfig, field: RadianceField) -> Marching:
    """How rays are sampled."""
    sampling = config.sampling
    return Marching(float(_known(sampling.cone_angle)), sampling.near * field.half_side, sampling.early_stop)


def trained_in_one_pass(config: RadianceConfig, field: RadianceField, device: torch.device) -> bool:
    """Whether steps go through the fused kernels: where the loss is on colours alone, and where that is faster.

    Raises:
        ValueError: `sampling.path` is `fused`, and the field or the device has no such form.
    """
    optim, path = config.optim, config.sampling.path
    if path == "fused" and device.type != "cpu":
        raise ValueError("--sampling.path fused trains on the CPU alone; use auto, or --device cpu")
    plain = not (optim.refine_poses or optim.exposure or optim.distortion > 0)
    return plain and fused.chosen(path, field, device, fused.TRAINING_BYTES)


class RadianceTask:
    """Trains `field` on the training images of `scene`; see `neural.train.loop.Task`.

    Args:
        field: On the CPU; moved to `device`.
        scene: With train and test splits.
        config: Resolved.
        device: Where to train.
    """

    def __init__(self, field: RadianceField, scene: Scene, config: RadianceConfig, device: torch.device) -> None:
        if device.type == "cpu":
            retain_heap()
        self.config, self.scene, self.device = config, scene, device
        self.field = field.to(device)
        self.marching = build_marching(config, field)
        self.occupancy = build_occupancy(config, field, device)
        self._train = scene.subset("train")
        posed = self._train.cameras.relative_to(field.origin)
        self._cameras = posed.to(device, torch.float32)
        self._sampler = PixelSampler(self._train, config.run.seed)
        self._n_rays = config.sampling.initial_rays
        optim = config.optim
        self._poses = PoseRefinement(len(self._cameras)).to(device) if optim.refine_poses else None
        self._exposure = (
            nn.Parameter(torch.zeros(len(self._cameras), 3, device=device)) if optim.exposure else None
        )  # stops
        self.optimiser = self._build_optimiser()
        self._fused = trained_in_one_pass(config, field, device)
        self.occupancy.mark_unseen(posed)

    def _build_optimiser(self) -> Adam:
        optim = self.config.optim
        shared: dict[str, Any] = {"betas": optim.betas, "eps": optim.eps}
        groups = field_groups(self.field, lr=optim.lr, l2=optim.l2, ema=optim.ema or None, **shared)
        if self._poses is not None:
            groups.append(Group({"poses": self._poses.tangent}, lr=optim.pose_lr, **shared))
        if self._exposure is not None:
            groups.append(Group({"exposure": self._exposure}, lr=optim.exposure_lr, **shared))
        return Adam(groups)

    def step(self, step: int, steps: int | None) -> StepResult:
        """One step: draw pixels, render, compare, follow the gradient."""
        config = self.config
        activate(self.field, config.model, self.optimiser.steps)
        self.occupancy.update(step, self._density_only)
        pixels = self._sampler.draw(step, self._n_rays).to(self.device)
        n = len(pixels.rgb)
        background = self._background(step, n)
        target = torch.addcmul(pixels.rgb * pixels.alpha[:, None], (1 - pixels.alpha)[:, None], background)
        traced = self._traced(step, pixels, target, background)
        if not traced.healthy:
            raise self._diverged(step, "the field's density is NaN")
        predicted = self._exposed(traced.rendering, background, pixels)
        counted = self._counted(pixels, traced.n_rays)
        if counted is not None:
            predicted, target = predicted[counted], target[counted]
        loss = self._loss(predicted, target)
        if traced.distortion is not None:
            loss = loss + config.optim.distortion * steady_mean(traced.distortion)
        if (loss.requires_grad or self._fused) and len(target):
            if not self._fused:  # else the gradients are there
                loss.backward()
            self.optimiser.step(learning_rate(step, steps, config.optim) / config.optim.lr)
            self.optimiser.zero_grad()
            self._check_gradients(step)
        self._n_rays = ray_count(
            n, traced.n_looked_up * n // max(traced.n_rays, 1), _known(config.sampling.target_samples),
            _known(config.sampling.max_rays),
        )  # fmt: skip
        error = float(l2(predicted.detach(), target)) if len(target) else 1.0
        extra = {"samples": float(traced.n_looked_up), "shaded": float(traced.n_shaded), "rays": float(n)}
        return StepResult(
            float(loss.detach()) if len(target) else 0.0, -10 * math.log10(max(error, 1e-12)), traced.n_rays, extra
        )

    def _traced(self, step: int, pixels: Pixels, target: Tensor, background: Tensor) -> Traced:
        """The pixels rendered; in one pass, with the gradients of the loss in the field's buffers."""
        rays = generate(self._posed(), pixels.image_indices, pixels.centres)
        jitter, most = (self.config.run.seed, step), 4 * _known(self.config.sampling.target_samples)
        optim = self.config.optim
        if not self._fused:
            return trace(
                self.field, rays, self.occupancy, self.marching, background=background, jitter=jitter,
                image_indices=pixels.image_indices, max_samples=most, with_distortion=optim.distortion > 0,
            )  # fmt: skip
        counted = None if self._train.masks is None else (pixels.weights != 0).float()
        kind: Literal["huber", "square"] = "huber" if optim.loss == "huber" else "square"
        return fused.train_step(
            self.field, rays, self.occupancy, self.marching,
            fused.Comparison(target, background, counted, kind, optim.huber_delta), jitter=jitter, max_samples=most,
        )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """Field, optimiser, occupancy, ray count, poses and exposure."""
        tensors = {f"model/{name}": p.detach() for name, p in self.field.named_parameters()}
        tensors |= {f"model/{name}": p.detach() for name, p in self._own_parameters().items()}
        tensors |= self.optimiser.state_dict()
        tensors |= self.occupancy.state_dict()
        tensors["sampler/n_rays"] = torch.tensor(self._n_rays)
        return tensors

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `tensors` gave.

        Raises:
            CheckpointError: They are of another field, optimiser or grid.
        """
        load_values(dict(self.field.named_parameters()) | self._own_parameters(), tensors)
        self.optimiser.load_state_dict(tensors)
        activate_stored(self.field, self.config.model, tensors)
        load_occupancy(self.occupancy, tensors)
        if "sampler/n_rays" not in tensors:
            raise CheckpointError("the checkpoint has no sampler/n_rays; start anew with --overwrite")
        self._n_rays = int(tensors["sampler/n_rays"])

    def steps_for(self, seconds: float, step: int, pace: float) -> int:
        """Every further step costs what one does by now."""
        return step + round(seconds / pace)

    def release(self) -> None:
        """Gives the field back as it came: gradients go to `.grad` again."""
        release_buffers(self.field)

    def validate(self, step: int) -> Mapping[str, float]:
        """PSNR of one held-out image, drawn by the step, rendered small."""
        scene = drawn_small(self.scene, self.config.run.seed, step, VALIDATION_PIXELS)
        if scene is None:
            return {}
        cameras = scene.cameras.relative_to(self.field.origin).to(self.device, torch.float32)
        image = render_image(
            self.averaged_field(), cameras, 0, self.occupancy, self.marching, background=self.background_color()
        ).rgb.cpu()
        target = photograph(scene, 0, self.config.run.background)
        return {"test_psnr": metrics.psnr(image.reshape(target.shape), target)}

    def averaged_field(self) -> RadianceField:
        """A copy of the field with the averaged weights; the field itself where nothing is averaged."""
        return averaged(self.field, self.optimiser)

    def background_color(self) -> Tensor:
        """What the field is shown on outside training."""
        return torch.full((3,), BACKGROUNDS[self.config.run.background], device=self.device)

    def _own_parameters(self) -> dict[str, Tensor]:
        parameters: dict[str, Tensor] = {}
        if self._poses is not None:
            parameters["poses"] = self._poses.tangent
        if self._exposure is not None:
            parameters["exposure"] = self._exposure
        return parameters

    def _posed(self) -> Cameras:
        return self._cameras if self._poses is None else self._poses(self._cameras)

    def _exposed(self, rendering: Rendering, background: Tensor, pixels: Pixels) -> Tensor:
        """Colours under each image's exposure, a gain 2^stops per sRGB channel; the background behind is not exposed.

        The mean over the images stays at 0 stops.
        """
        if self._exposure is None:
            return rendering.rgb
        stops = self._exposure - self._exposure.mean(0)
        behind = (1.0 - rendering.alpha)[:, None] * background
        return (rendering.rgb - behind) * torch.exp2(stops).index_select(0, pixels.image_indices) + behind

    def _loss(self, predicted: Tensor, target: Tensor) -> Tensor:
        optim = self.config.optim
        if optim.loss == "huber":
            return huber(predicted, target, optim.huber_delta, scale="instant_ngp")
        return l2(predicted, target)

    def _counted(self, pixels: Pixels, n_rays: int) -> Tensor | None:
        """Rows that count in the loss: rendered and not masked out; None where all do."""
        if self._train.masks is None:
            return None if n_rays == len(pixels.rgb) else torch.arange(n_rays, device=self.device)
        return torch.nonzero(pixels.weights[:n_rays])[:, 0]

    def _background(self, step: int, n: int) -> Tensor:
        if not self.config.optim.random_background:
            return self.background_color().expand(n, 3)
        generator = step_generator(self.config.run.seed, step, BACKGROUND_STREAM)
        return torch.rand(n, 3, generator=generator).to(self.device)

    @torch.no_grad()
    def _density_only(self, positions: Tensor) -> Tensor:
        return self.field.density(positions)[0]

    def _check_gradients(self, step: int) -> None:
        bad = self.optimiser.nonfinite()
        if bad:
            raise self._diverged(step, f"the gradient of {next(iter(bad))} has NaN or Inf")

    def _diverged(self, step: int, what: str) -> DivergenceError:
        """The error, with the tensors at fault where parameters themselves are."""
        names = nonfinite_names(self.field)
        return DivergenceError(step, what + (f" (not finite: {', '.join(names)})" if names else ""))


def load_occupancy(occupancy: OccupancyGrid, tensors: Mapping[str, Tensor]) -> None:
    """Copies a checkpoint's occupancy into a grid.

    Raises:
        CheckpointError: It is missing or of another grid.
    """
    try:
        occupancy.load_state_dict(tensors)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def _known(value):
    """A setting that `resolve` has filled in."""
    assert value is not None, "the configuration is not resolved"
    return value
