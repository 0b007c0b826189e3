"""What a radiance-field training can be told, and the values chosen where it is told nothing.

See `neural.train.config` for what None and "auto" mean. No torch.

Lengths are in scene units, unless the field says otherwise; a "box" is the enclosing cube of the scene's box.
Sources: nerfacc's occupancy-grid example and instant-ngp's base.json for values where both agree.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from neural.train.config import Device, check_between, check_positive
from neural.train.tasks.capture.config import RunConfig, check_run
from neural.train.tasks.field.encoding_config import EncodingConfig, check_encoding, resolve_encoding

T = TypeVar("T")


@dataclass(frozen=True)
class ModelConfig(EncodingConfig):
    """The field: encoding, density network, colour network."""

    density_width: int = 64
    """Neurons in the hidden layer of the density network."""
    density_layers: int = 1
    """Hidden layers of the density network."""
    geo_features: int = 15
    """Features that the density network hands to the colour network."""
    color_width: int = 64
    """Neurons in each hidden layer of the colour network."""
    color_layers: int = 2
    """Hidden layers of the colour network."""
    sh_degree: int = 4
    """Degrees of spherical harmonics for the view direction, 1 to 8; 4 gives 16 values."""
    appearance_dims: int = 0
    """Length of the embedding learnt per image for changing light; 0 for none."""
    contraction: Literal["auto", "none", "ball"] = "auto"
    """Map all of space into a ball ("ball") or keep to the box ("none"); "auto" follows the scene."""
    density_activation: Literal["exp", "softplus"] = "exp"
    """From the network's output to density in 1 / scene unit."""
    density_bias: float = -1.0
    """Added before the density activation; lower starts the scene emptier."""


@dataclass(frozen=True)
class SamplingConfig:
    """Rays, samples along them, and the occupancy grid that skips empty space."""

    target_samples: int | None = None
    """Samples per step that the number of rays is steered to; 2^16 on a CPU, 2^18 on a GPU."""
    initial_rays: int = 1024
    """Rays of the first step."""
    max_rays: int | None = None
    """Rays per step at most; 2^14 on a CPU, 2^17 on a GPU."""
    steps_per_box: int | None = None
    """The smallest step is the box's diagonal divided by this; 512 on a CPU, 1024 on a GPU."""
    cone_angle: float | None = None
    """Step length over distance from the camera; 0 (constant steps) in a box, 1/256 if unbounded."""
    near: float = 0.05
    """No sample closer to the camera than this share of half the box's side; keeps floaters off the lens."""
    occupancy_resolution: int | None = None
    """Cells along each side of a cascade of the occupancy grid, a power of two; 128, or 64 for cascades on a CPU."""
    cascades: int | None = None
    """Nested occupancy grids, each twice as large as the one before; 1 for a box, 4 if unbounded."""
    occupancy_interval: int = 16
    """Steps between two updates of the occupancy grid."""
    occupancy_warmup: int | None = None
    """Steps during which an update looks at all cells; 128 on a CPU, 256 on a GPU."""
    occupancy_share: float | None = None
    """Share of the cells that a later update draws from all, and again from the occupied; 1/16 on a CPU, 1/4 on a
    GPU."""
    occupancy_decay: float | None = None
    """What an update multiplies the remembered occupancy by; 0.8 on a CPU (short runs: the fog of the first steps must
    go quickly), 0.95 on a GPU."""
    occupancy_threshold: float = 0.01
    """Optical thickness of the smallest step above which a cell is kept; the mean over cells, if lower."""
    early_stop: float = 1e-4
    """A ray ends where the light that still gets through falls below this share."""
    path: Literal["auto", "fused", "unfused"] = "auto"
    """March, encode, evaluate and composite in one pass ("fused", on a CPU, without poses, exposure, distortion and
    appearance), or op by op; "auto" takes what is faster for the size of the table."""


@dataclass(frozen=True)
class OptimConfig:
    """Loss, Adam and its schedule."""

    lr: float = 1e-2
    """Adam's step size after the warm-up."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Adam's decay of the first and second moments."""
    eps: float = 1e-15
    """Adam's epsilon; tiny, because grid gradients are."""
    warmup_steps: int = 100
    """Steps over which the step size rises from 1 % to `lr`."""
    decay: Literal["milestones", "exponential", "none"] = "exponential"
    """How the step size falls: thrice to a third (at 1/2, 3/4, 9/10 of the run), smoothly, or not at all."""
    final_lr_ratio: float = 0.033
    """The last step size over `lr`, for the exponential decay."""
    l2: float = 1e-6
    """L2 penalty on the networks' weights (not on the grid)."""
    ema: float = 0.95
    """Decay of the averaged weights that are rendered and saved for use; 0 for none."""
    loss: Literal["huber", "l2"] = "huber"
    """On sRGB colours."""
    huber_delta: float = 0.1
    """Colour error at which the Huber loss turns from square to linear."""
    distortion: float = 0.0
    """Weight of the distortion loss, which pulls density together along a ray; 0.01 clears floaters."""
    random_background: bool = True
    """Composite transparent photographs and renderings on a random colour, so that emptiness is learnt."""
    refine_poses: bool = False
    """Whether camera poses are refined too."""
    pose_lr: float = 1e-3
    """Adam's step size for poses (radians, scene units)."""
    exposure: bool = False
    """Whether an exposure per image and channel is learnt."""
    exposure_lr: float = 1e-3
    """Adam's step size for exposures (stops)."""


@dataclass(frozen=True)
class RadianceConfig:
    """Everything that `neural train radiance` can be told."""

    model: ModelConfig = field(default_factory=ModelConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        _check(self)


DEFAULT_STEPS = {"cpu": 5000, "cuda": 20_000}


def resolve(
    config: RadianceConfig,
    device: Device,
    *,
    unbounded: bool = False,
    background: Literal["white", "black"] | None = None,
) -> RadianceConfig:
    """The configuration with a value in place of every None and "auto".

    Three may stay open: `run.eval_every`, which follows the steps, `sampling.path`, which follows the field, and where
    minutes are asked for `run.steps`, which a warm-up fixes.

    Args:
        config: As asked for.
        device: What `run.device` stands for on this machine.
        unbounded: Whether the scene goes on beyond its box (`Scene.unbounded`).
        background: The scene's own (`Scene.background`).
    """
    cpu = device == "cpu"
    contraction = config.model.contraction
    if contraction == "auto":
        contraction = "ball" if unbounded else "none"
    wide = contraction == "ball"
    steps = config.run.steps
    if steps is None and config.run.minutes is None:
        steps = DEFAULT_STEPS[device]
    return dataclasses.replace(
        config,
        model=resolve_encoding(
            dataclasses.replace(config.model, contraction=contraction),
            3,
            log2_hashmap_size=17 if cpu else 19,
            finest_resolution=4096 if wide else 2048,
        ),
        sampling=dataclasses.replace(
            config.sampling,
            target_samples=_or(config.sampling.target_samples, 1 << (16 if cpu else 18)),
            max_rays=_or(config.sampling.max_rays, 1 << (14 if cpu else 17)),
            steps_per_box=_or(config.sampling.steps_per_box, 512 if cpu else 1024),
            cone_angle=_or(config.sampling.cone_angle, 1 / 256 if wide else 0.0),
            cascades=_or(config.sampling.cascades, 4 if wide else 1),
            occupancy_resolution=_or(config.sampling.occupancy_resolution, 64 if cpu and wide else 128),
            occupancy_warmup=_or(config.sampling.occupancy_warmup, 128 if cpu else 256),
            occupancy_decay=_or(config.sampling.occupancy_decay, 0.8 if cpu else 0.95),
            occupancy_share=_or(config.sampling.occupancy_share, 1 / 16 if cpu else 1 / 4),
        ),
        run=dataclasses.replace(
            config.run,
            steps=steps,
            device=device,
            downscale=config.run.downscale or 1,
            background=(background or "white") if config.run.background == "auto" else config.run.background,
        ),
    )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _check(config: RadianceConfig) -> None:
    """Refuse values that no training can use, naming the flag."""
    model, sampling, optim, run = config.model, config.sampling, config.optim, config.run
    check_encoding(model)
    if model.encoding == "scalable":
        raise ValueError(
            "--model.encoding scalable is for image, sdf and volume: a radiance field is looked up all over its box "
            "from the first step on, so that there would be nothing to make cells by; choose hash"
        )
    for name in ("density_width", "color_width"):
        _in(f"model.{name}", getattr(model, name), (16, 32, 64, 128))
    for name in ("density_layers", "color_layers", "sh_degree"):
        check_between(f"model.{name}", getattr(model, name), 1, 8)
    check_between("model.geo_features", model.geo_features, 0, 127)
    check_between("model.appearance_dims", model.appearance_dims, 0, 128)
    for name in ("target_samples", "max_rays", "initial_rays", "steps_per_box"):
        check_between(f"sampling.{name}", getattr(sampling, name), 1, 1 << 26)
    if sampling.cone_angle != 0.0:
        check_between("sampling.cone_angle", sampling.cone_angle, 1e-6, 1.0)
    check_between("sampling.near", sampling.near, 0.0, 1.0)
    check_between("sampling.occupancy_share", sampling.occupancy_share, 0.0, 1.0)
    if sampling.occupancy_resolution is not None:
        _in("sampling.occupancy_resolution", sampling.occupancy_resolution, (16, 32, 64, 128, 256, 512))
    check_between("sampling.cascades", sampling.cascades, 1, 8)
    check_between("sampling.occupancy_interval", sampling.occupancy_interval, 1, 1 << 20)
    check_between("sampling.occupancy_decay", sampling.occupancy_decay, 0.0, 1.0)
    check_between("sampling.early_stop", sampling.early_stop, 0.0, 1.0)
    if sampling.path == "fused":
        extras = ("optim.refine_poses", "optim.exposure", "optim.distortion", "model.appearance_dims")
        values = (optim.refine_poses, optim.exposure, optim.distortion, model.appearance_dims)
        for name, value in zip(extras, values, strict=True):
            if value:
                raise ValueError(f"--sampling.path fused cannot be had with --{name.replace('_', '-')}; use unfused")
    for name in ("lr", "pose_lr", "exposure_lr", "eps", "huber_delta"):
        check_positive(f"optim.{name}", getattr(optim, name))
    for beta in optim.betas:
        check_between("optim.betas", beta, 0.0, 0.9999999)
    check_between("optim.ema", optim.ema, 0.0, 0.9999999)
    for name in ("l2", "distortion", "final_lr_ratio"):
        check_between(f"optim.{name}", getattr(optim, name), 0.0, 1e9)
    check_between("optim.warmup_steps", optim.warmup_steps, 0, 1 << 30)
    check_run(run)


def _in(name: str, value: int, allowed: tuple[int, ...]) -> None:
    if value not in allowed:
        choice = ", ".join(map(str, allowed))
        raise ValueError(f"--{name.replace('_', '-')} must be one of {choice}, got {value}")
