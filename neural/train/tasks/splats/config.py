"""What a Gaussian-splatting training can be told, and the values chosen where it is told nothing.

As `neural.train.config`: frozen dataclasses with literals only, no torch; None and "auto" are filled in by `resolve`.
Rates and weights are those of Kerbl et al. 2023 and Kheradmand et al. 2024 unless a comment says otherwise.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from neural.errors import TooLarge
from neural.train.config import Device, check_between, check_positive
from neural.train.tasks.capture.config import RunConfig, check_run
from neural.train.tasks.splats.sizes import BYTES_PER_SPLAT, PLY_HEADER, parse_size


@dataclass(frozen=True)
class SplatModelConfig:
    """The Gaussians: how many, from what, with which colours."""

    max_gaussians: int | None = None
    """Gaussians at most; from `target`, or what suits the device: 100,000 on a CPU, 1,000,000 on a GPU."""
    target: str | None = None
    """Instead: size of the .ply at the end, as 10MB or 800kB."""
    sh_degree: int = 3
    """Spherical harmonics of the colours, 0 (the same from everywhere) to 3."""
    init: str = "auto"
    """Start from the capture's points ("points"), from chance ("random") or from a file in the frame of the capture's
    files: Gaussians to go on with (.ply, .spz, .sog, .glb ...), points (.ply) or a mesh (.ply, .obj); "auto": points
    where there are at least 100."""
    init_gaussians: int | None = None
    """Gaussians at the start: a random choice of the points, the most visible of a file's, or so many by chance or on
    a mesh; with the sky at most `max_gaussians`."""
    init_opacity: float | None = None
    """Opacity of each at the start; 0.5 on a mesh and for mcmc from points, else 0.1. Gaussians of a file keep
    theirs."""
    init_scale: float | None = None
    """Times the spacing of the neighbours; 1 from points, 0.5 from chance. Gaussians of a file keep theirs."""
    antialiased: bool = False
    """Compensate opacity for the low-pass filter, which is then no wider than a pixel (Mip-Splatting): sharper, and
    right at every distance. Files carry a mark of it; viewers that know the mark but blur by 0.3 square pixels instead
    of 0.1, as gsplat does, show them softer. A start from such a file has it on."""
    sky: int = 0
    """So many Gaussians more at the start, on a sphere far around everything: a sky, which files carry too; they count
    in `max_gaussians`."""
    clear: float = 0.5
    """From where a photograph was taken, draw nothing closer than this share of the depth of what photographs see
    closest: the wall behind a camera reaches past it. 0 draws everything."""


@dataclass(frozen=True)
class DensifyConfig:
    """How Gaussians come and go."""

    strategy: Literal["auto", "mcmc", "adaptive", "budget", "none"] = "auto"
    """mcmc: dead ones move to where live ones are; adaptive: split and clone by gradient, without a bound but
    max_gaussians; budget: grow to exactly max_gaussians by score; "auto": budget."""
    every: int = 100
    """Steps between two refinements."""
    start: int | None = None
    """First step of refinement; the strategy's own by default."""
    stop: float | None = None
    """Share of the run after which none come or go; the strategy's own by default."""
    gradient: float | None = None
    """adaptive: split where the mean gradient of the projected centre is above this; 2e-4, absolute 8e-4."""
    absolute: bool = True
    """adaptive and budget: sum gradients of pixels without their sign (AbsGS)."""
    reset: Literal["auto", "reset", "decay", "none"] = "auto"
    """adaptive: what clears haze: opacities set back now and then, lowered a little each time, or nothing; "auto":
    reset in runs of 10,000 steps or more, else decay."""


@dataclass(frozen=True)
class SplatOptimConfig:
    """Loss, Adam and its schedules."""

    lr_scale: float | None = None
    """Times the rates of all that a Gaussian has: runs of a few thousand steps go faster; 2.5 on a CPU, 1 on a GPU
    and for Gaussians of a file."""
    means_lr: float = 1.6e-4
    """Of centres, times the scene's extent."""
    means_final: float = 0.01
    """Last rate of centres over the first; falls exponentially."""
    scales_lr: float = 5e-3
    """Of logarithms of scales."""
    quats_lr: float = 1e-3
    """Of quaternions."""
    opacities_lr: float = 5e-2
    """Of opacity logits."""
    sh0_lr: float = 2.5e-3
    """Of colours."""
    shN_lr: float = 1.25e-4
    """Of what colours owe to the direction."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay of the first and second moments."""
    eps: float = 1e-15
    """Adam's epsilon."""
    ssim_weight: float = 0.2
    """Share of 1 - SSIM in the loss; the rest is the absolute difference."""
    views: int = 1
    """Photographs per step; rates grow with the root of it."""
    coarse: int | None = None
    """Photographs are this many times smaller at the start (1, 2, 4 or 8), then twice as large, ...; 2 on a CPU if
    they are large enough, 1 on a GPU."""
    coarse_share: float = 0.4
    """Share of the run until photographs have their size."""
    sh_every: int | None = None
    """Steps until the next degree of spherical harmonics, 0 for all of them at once; a 15th of the run, at most 1000,
    and 0 for Gaussians of a file."""
    random_background: bool = True
    """Transparent photographs on a random colour, so that emptiness is learnt."""
    masks: Literal["auto", "ignore", "thin", "empty"] = "auto"
    """What a capture's masks take out of the photographs: something in the way, of which nothing is learnt ("ignore");
    or everything but the object, where little shall be, so that haze does not hide the object and an error of a mask
    does not carve it ("thin"), or nothing, for exact masks ("empty"); "auto": thin where they take out more than
    half."""
    exposure: bool = False
    """Learn an affine colour correction per photograph; the scene itself keeps the mean colours."""
    exposure_lr: float = 1e-3
    """Of the corrections."""
    refine_poses: bool = False
    """Whether camera poses are refined too, while training; scores and videos take those of the capture."""
    pose_lr: float = 1e-4
    """Of poses (radians, scene units)."""
    depth: float | None = None
    """Weight of the depths of the capture's points (inverse, times the extent); 0 by default, 0.05 in `neural
    reconstruct`: it helps where views are few."""
    lazy: bool | None = None
    """Leave out Gaussians whose gradient is zero, moments included: a step then costs what the view sees of the
    scene, however large that is; but moments that wait cost up to 2 dB. Chosen above 300,000 Gaussians, never for mcmc,
    whose noise moves all of them."""


@dataclass(frozen=True)
class SplatsConfig:
    """Everything that `neural train splats` can be told."""

    model: SplatModelConfig = field(default_factory=SplatModelConfig)
    densify: DensifyConfig = field(default_factory=DensifyConfig)
    optim: SplatOptimConfig = field(default_factory=SplatOptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        _check(self)


DEFAULT_STEPS = {"cpu": 7000, "cuda": 30_000}
DEFAULT_GAUSSIANS = {"cpu": 100_000, "cuda": 1_000_000}
LAZY_FROM = 300_000  # Gaussians
STARTS = ("auto", "points", "random")
START_SUFFIXES = (".ply", ".splat", ".spz", ".sog", "meta.json", "lod-meta.json", ".glb", ".usdc", ".usda", ".obj")
StartKind = Literal["splats", "cloud", "mesh"]
COARSEST_PIXELS = 96  # the shorter side of the smallest photographs


def resolve(
    config: SplatsConfig,
    device: Device,
    *,
    n_points: int = 0,
    shorter_side: int = 400,
    background: Literal["white", "black"] | None = None,
    start: StartKind | None = None,
    antialiased: bool = False,
    masked: float = 0.0,
) -> SplatsConfig:
    """The configuration with a value in place of every None and "auto".

    Open may stay `run.eval_every` and `optim.sh_every`, which follow the steps, `densify.start`, `stop` and `gradient`,
    which follow the strategy, `model.target`, which `max_gaussians` replaces, and where minutes are asked for
    `run.steps`.

    Args:
        config: As asked for.
        device: What `run.device` stands for on this machine.
        n_points: Points of the capture, or what the file to start from has of Gaussians or points.
        shorter_side: Of the smallest photograph, in pixels.
        background: The scene's own (`Scene.background`).
        start: What that file holds.
        antialiased: Whether its Gaussians are to be rendered so.
        masked: Share of the photographs that masks take out.

    Raises:
        TooLarge: A sky that leaves no room for anything else.
    """
    model, densify, optim, run = config.model, config.densify, config.optim, config.run
    steps = run.steps
    if steps is None and run.minutes is None:
        steps = DEFAULT_STEPS[device]
    strategy = "budget" if densify.strategy == "auto" else densify.strategy
    most = _most(model, device, n_points + model.sky if start == "splats" else 0)
    room = most - model.sky  # for those of the start that are not the sky
    if room < 2:
        raise TooLarge(
            f"--model.sky {model.sky} leaves no room among {most} Gaussians; lower it, or raise --model.max-gaussians "
            "or --model.target"
        )
    init = model.init
    if init == "auto":
        init = "points" if n_points >= 100 else "random"
    counted = init == "points" or start in ("splats", "cloud")
    at_start = max(2, n_points if counted else room // 2)
    hurried = device == "cpu" and start != "splats"
    scale = optim.lr_scale
    if scale is None:
        scale = 2.5 if hurried else 1.0  # 2.5 costs a learnt scene 2 dB at first
    dense = start == "mesh" or (strategy == "mcmc" and init != "random")
    sh_every = 0 if start == "splats" and optim.sh_every is None else optim.sh_every
    large = strategy != "mcmc" and most > LAZY_FROM
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            model,
            max_gaussians=most,
            target=None,  # has become max_gaussians
            init=init,
            init_gaussians=min(room, at_start if model.init_gaussians is None else model.init_gaussians),
            init_opacity=(0.5 if dense else 0.1) if model.init_opacity is None else model.init_opacity,
            init_scale=(0.5 if init == "random" else 1.0) if model.init_scale is None else model.init_scale,
            antialiased=model.antialiased or antialiased,
        ),
        densify=dataclasses.replace(densify, strategy=strategy),
        optim=dataclasses.replace(
            optim,
            coarse=_coarse(optim, shorter_side, hurried),
            lr_scale=scale,
            lazy=large if optim.lazy is None else optim.lazy,
            sh_every=sh_every,
            depth=optim.depth or 0.0,
            masks=("thin" if masked > 0.5 else "ignore") if optim.masks == "auto" else optim.masks,
        ),
        run=dataclasses.replace(
            run,
            steps=steps,
            device=device,
            downscale=run.downscale or 1,
            background=(background or "white") if run.background == "auto" else run.background,
        ),
    )


def _most(model: SplatModelConfig, device: Device, at_start: int) -> int:
    """Gaussians that there may be, by default at least those of the start."""
    if model.max_gaussians is not None:
        return model.max_gaussians
    if model.target is not None:
        return max(2, int((parse_size(model.target) - PLY_HEADER) / BYTES_PER_SPLAT[model.sh_degree]))
    return max(DEFAULT_GAUSSIANS[device], at_start)


def _coarse(optim: SplatOptimConfig, shorter_side: int, hurried: bool) -> int:
    """By how much photographs are reduced at first; they keep a pixel."""
    coarse = optim.coarse
    if coarse is None:
        coarse = 2 if hurried and shorter_side >= 2 * COARSEST_PIXELS else 1
    while coarse > max(1, shorter_side):
        coarse //= 2
    return coarse


def _check(config: SplatsConfig) -> None:
    """Refuse values that no training can use, naming the flag."""
    model, densify, optim, run = config.model, config.densify, config.optim, config.run
    if model.target is not None:
        parse_size(model.target)
        if model.max_gaussians is not None:
            raise ValueError("--model.max-gaussians and --model.target exclude each other; give one")
    check_between("model.max_gaussians", model.max_gaussians, 2, (1 << 31) - 1)
    check_between("model.sh_degree", model.sh_degree, 0, 3)
    check_between("model.sky", model.sky, 0, (1 << 31) - 1)
    check_between("model.clear", model.clear, 0.0, 1.0)
    if model.init not in STARTS and not model.init.lower().endswith(START_SUFFIXES):
        raise ValueError(
            f"--model.init must be {', '.join(STARTS)} or a file that ends in {', '.join(START_SUFFIXES)}, "
            f"got {model.init!r}"
        )
    check_between("model.init_gaussians", model.init_gaussians, 2, (1 << 31) - 1)
    check_between("model.init_opacity", model.init_opacity, 0.001, 0.999)
    check_positive("model.init_scale", model.init_scale)
    check_between("densify.every", densify.every, 1, 1 << 30)
    check_between("densify.start", densify.start, 0, 1 << 30)
    check_between("densify.stop", densify.stop, 0.0, 1.0)
    check_positive("densify.gradient", densify.gradient)
    for name in (
        "lr_scale",
        "means_lr",
        "scales_lr",
        "quats_lr",
        "opacities_lr",
        "sh0_lr",
        "shN_lr",
        "exposure_lr",
        "pose_lr",
        "eps",
    ):
        check_positive(f"optim.{name}", getattr(optim, name))
    for beta in optim.betas:
        check_between("optim.betas", beta, 0.0, 0.9999999)
    for name in ("means_final", "ssim_weight", "coarse_share"):
        check_between(f"optim.{name}", getattr(optim, name), 0.0, 1.0)
    check_between("optim.views", optim.views, 1, 1024)
    if optim.coarse is not None and optim.coarse not in (1, 2, 4, 8):
        raise ValueError(f"--optim.coarse must be 1, 2, 4 or 8, got {optim.coarse}")
    check_between("optim.sh_every", optim.sh_every, 0, 1 << 30)
    check_between("optim.depth", optim.depth, 0.0, 1e6)
    check_run(run)
