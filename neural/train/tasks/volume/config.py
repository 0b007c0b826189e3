"""What a volume training can be told, and the values chosen where it is told nothing.

See `neural.train.config` for what None and "auto" mean. No torch. Lengths are in edges: the grid's longest edge is 1.
"""

import dataclasses
from dataclasses import dataclass, field

from neural.train.config import BaseRunConfig, Device, check_base_run, check_between, check_positive
from neural.train.tasks.field.config import FieldConfig, FieldOptimConfig, check_field, resolve_network
from neural.train.tasks.field.encoding_config import resolve_encoding

FINEST = 612  # cells, as 16 x 1.275^15; Mubarik et al. 2023, arXiv:2303.05735, table 1
OCCUPANCY_RESOLUTIONS = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class VolumeSamplingConfig:
    """Points of a step, and where they lie."""

    points: int | None = None
    """Points per step; 2^15 on a CPU, 2^18 on a GPU."""
    occupied_share: float = 0.75
    """Share of the points that lie where the grid holds anything, the others anywhere in its box; 0 draws all of them
    evenly. Only what holds anything is ever rendered."""
    occupancy_resolution: int = 128
    """Cells along the longest edge of the mask of what holds anything."""
    density_scale: float | None = None
    """What the file's densities are multiplied by to be in 1 / edge; None: as the file says, else 1 for floats and 100
    for integers, which stand for shares of the largest."""


@dataclass(frozen=True)
class VolumeOptimConfig(FieldOptimConfig):
    """Loss, Adam and its schedule."""

    ema: float = 0.95
    """Decay of the averaged weights that are shown and saved for use; 0 for none."""
    albedo_weight: float = 0.3
    """Weight of the error in albedo beside that in density; it counts as far as a point is dense."""


@dataclass(frozen=True)
class VolumeViewConfig:
    """Pictures for scores, report and film."""

    views: int = 8
    """Pictures that are scored, from all sides."""
    size: int = 320
    """Pixels along each side of them."""
    steps_per_edge: int = 320
    """Samples of a ray that crosses the box along its longest edge."""
    shadow_resolution: int = 128
    """Cells along the longest edge of the grid that holds the sun's light."""
    sun_azimuth: float = 215.0
    """Of the sun, degrees from x towards y."""
    sun_elevation: float = 38.0
    """Of the sun above the horizon, degrees."""


@dataclass(frozen=True)
class VolumeConfig:
    """Everything that `neural train volume` can be told."""

    model: FieldConfig = field(default_factory=FieldConfig)
    sampling: VolumeSamplingConfig = field(default_factory=VolumeSamplingConfig)
    optim: VolumeOptimConfig = field(default_factory=VolumeOptimConfig)
    view: VolumeViewConfig = field(default_factory=VolumeViewConfig)
    run: BaseRunConfig = field(default_factory=BaseRunConfig)

    def __post_init__(self) -> None:
        check_field(self.model, self.optim)
        check_base_run(self.run)
        sampling, view = self.sampling, self.view
        check_between("sampling.points", sampling.points, 64, 1 << 24)
        check_between("sampling.occupied_share", sampling.occupied_share, 0.0, 1.0)
        if sampling.occupancy_resolution not in OCCUPANCY_RESOLUTIONS:
            choice = ", ".join(map(str, OCCUPANCY_RESOLUTIONS))
            raise ValueError(
                f"--sampling.occupancy-resolution must be one of {choice}, got {sampling.occupancy_resolution}"
            )
        check_positive("sampling.density_scale", sampling.density_scale)
        check_between("optim.albedo_weight", self.optim.albedo_weight, 0.0, 1e6)
        check_between("view.views", view.views, 1, 10_000)
        check_between("view.size", view.size, 8, 8192)
        check_between("view.steps_per_edge", view.steps_per_edge, 8, 8192)
        check_between("view.shadow_resolution", view.shadow_resolution, 8, 512)
        check_between("view.sun_azimuth", view.sun_azimuth, -360.0, 360.0)
        check_between("view.sun_elevation", view.sun_elevation, -90.0, 90.0)


DEFAULT_STEPS = {"cpu": 2000, "cuda": 10_000}


def resolve(config: VolumeConfig, device: Device, longest: int) -> VolumeConfig:
    """The configuration with a value in place of every None and "auto", but for the density's scale.

    Args:
        config: As asked for.
        device: What `run.device` stands for on this machine.
        longest: Voxels along the grid's longest edge: levels finer than they are learn nothing.
    """
    cpu = device == "cpu"
    steps = config.run.steps
    if steps is None and config.run.minutes is None:
        steps = DEFAULT_STEPS[device]
    return dataclasses.replace(
        config,
        model=resolve_encoding(
            resolve_network(config.model),
            3,
            log2_hashmap_size=17 if cpu else 19,
            finest_resolution=min(FINEST, longest),
        ),
        sampling=dataclasses.replace(config.sampling, points=config.sampling.points or 1 << (15 if cpu else 18)),
        run=dataclasses.replace(config.run, steps=steps, device=device),
    )
