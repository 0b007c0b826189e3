"""What a training of a signed distance can be told, and the values chosen where it is told nothing.

See `neural.train.config` for what None and "auto" mean. Lengths are sides of the unit cube, in whose middle the mesh
lies with a longest side of 0.9. No torch.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from neural.train.config import BaseRunConfig, Device, check_base_run, check_between, check_positive
from neural.train.tasks.field.config import FieldConfig, FieldOptimConfig, check_field
from neural.train.tasks.field.encoding_config import resolve_encoding

FINEST_RESOLUTION = 2048
LOG2_HASHMAP_SIZE = 19
DEFAULT_STEPS = {"cpu": 2000, "cuda": 10_000}


@dataclass(frozen=True)
class SdfSamplingConfig:
    """Points that a step looks at: on the surface, near it, anywhere."""

    batch_size: int | None = None
    """Points of a step; 2^15 on a CPU, 2^18 on a GPU."""
    surface_share: float = 0.5
    """Share of them on the surface, drawn anew in each step by area."""
    near_share: float = 0.375
    """Share of them near the surface; the rest is anywhere in the unit cube."""
    near_sigma: float = 0.005
    """Standard deviation of each coordinate of a near point from a point of the surface."""
    shard_size: int = 1 << 17
    """Points off the surface whose distances are asked for at once; what is known is drawn from again and again."""
    shards: int = 16
    """So often at most."""
    shard_steps: int = 64
    """Steps between two shards."""
    sign: Literal["auto", "parity", "winding"] = "auto"
    """What is inside: an odd number of crossings along rays ("parity"), or a winding number above 1/2 ("winding");
    "auto": parity for closed meshes, winding for open ones."""


@dataclass(frozen=True)
class SdfOptimConfig(FieldOptimConfig):
    """Loss, Adam and its schedule."""

    lr: float = 1e-3
    """Adam's step size after the warm-up; smaller than for pictures: what a single step writes into a fine cell must
    stay below the cell's size."""
    loss: Literal["mape", "l1", "l2"] = "mape"
    """Of a distance: its error over the true distance ("mape"), the error itself, or its square."""
    mape_floor: float = 0.01
    """Added to the true distance that the error is divided by."""
    eikonal: float = 0.0
    """Weight of (|gradient| - 1)^2 at the points off the surface; 0 leaves it out, which is much faster."""


@dataclass(frozen=True)
class SdfViewConfig:
    """What a report shows, and how finely the score is taken."""

    views: int = 4
    """Pictures around the mesh, each beside the mesh itself."""
    size: int = 512
    """Pixels along each side of them."""
    resolution: int = 256
    """Cells along each side of the grid for the IoU, a multiple of 8."""


@dataclass(frozen=True)
class SdfConfig:
    """Everything that `neural train sdf` can be told."""

    model: FieldConfig = field(default_factory=FieldConfig)
    sampling: SdfSamplingConfig = field(default_factory=SdfSamplingConfig)
    optim: SdfOptimConfig = field(default_factory=SdfOptimConfig)
    view: SdfViewConfig = field(default_factory=SdfViewConfig)
    run: BaseRunConfig = field(default_factory=BaseRunConfig)

    def __post_init__(self) -> None:
        check_field(self.model, self.optim)
        sampling, optim = self.sampling, self.optim
        check_between("sampling.batch_size", sampling.batch_size, 64, 1 << 24)
        for name in ("surface_share", "near_share"):
            check_between(f"sampling.{name}", getattr(sampling, name), 0.0, 1.0)
        if sampling.surface_share + sampling.near_share >= 1:
            raise ValueError(
                "--sampling.surface-share and --sampling.near-share must leave points for anywhere, got "
                f"{sampling.surface_share} + {sampling.near_share}"
            )
        check_positive("sampling.near_sigma", sampling.near_sigma)
        check_between("sampling.near_sigma", sampling.near_sigma, 0.0, 0.5)
        check_between("sampling.shard_size", sampling.shard_size, 256, 1 << 24)
        for name in ("shards", "shard_steps"):
            check_between(f"sampling.{name}", getattr(sampling, name), 1, 1 << 20)
        check_positive("optim.mape_floor", optim.mape_floor)
        check_between("optim.eikonal", optim.eikonal, 0.0, 1e6)
        check_between("view.views", self.view.views, 1, 64)
        check_between("view.size", self.view.size, 16, 8192)
        check_between("view.resolution", self.view.resolution, 8, 2048)
        if self.view.resolution % 8:
            raise ValueError(f"--view.resolution must be a multiple of 8, got {self.view.resolution}")
        check_base_run(self.run)


def resolve(config: SdfConfig, device: Device) -> SdfConfig:
    """The configuration with a value in place of every None and "auto" but `sampling.sign`, which the mesh decides."""
    cpu = device == "cpu"
    steps = config.run.steps
    if steps is None and config.run.minutes is None:
        steps = DEFAULT_STEPS[device]
    model = resolve_encoding(config.model, 3, log2_hashmap_size=LOG2_HASHMAP_SIZE, finest_resolution=FINEST_RESOLUTION)
    batch_size = config.sampling.batch_size or (1 << (15 if cpu else 18))
    return dataclasses.replace(
        config,
        model=model,
        sampling=dataclasses.replace(config.sampling, batch_size=batch_size),
        run=dataclasses.replace(config.run, steps=steps, device=device),
    )
