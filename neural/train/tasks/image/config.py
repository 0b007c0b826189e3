"""What a training of one image can be told, and the values chosen where it is told nothing.

See `neural.train.config` for what None and "auto" mean. No torch.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

from neural.train.config import BaseRunConfig, Device, check_base_run, check_between
from neural.train.tasks.field.config import FieldConfig, FieldOptimConfig, check_field, resolve_network
from neural.train.tasks.field.encoding_config import resolve_encoding

NETWORK = (32, 1)  # width and hidden layers: more takes longer than it helps, as most of a picture is in the table
DEFAULT_STEPS = {"cpu": 2000, "cuda": 10_000}


@dataclass(frozen=True)
class ImageDataConfig:
    """The picture, and which of its pixels a step looks at."""

    space: Literal["auto", "srgb", "linear"] = "auto"
    """What is learnt: sRGB values or linear light; "auto": as the file has them."""
    background: Literal["white", "black"] = "black"
    """What a picture with alpha is composited on."""
    crop: tuple[int, int, int, int] | None = None
    """Learn this part alone: left, top, width and height in pixels."""
    sampling: Literal["stratified", "uniform"] = "stratified"
    """Pixels of a step: one in each cell of a grid over the picture, or each from anywhere."""
    batch: int | None = None
    """Pixels of a step; up to 2^16 on a CPU, 2^18 on a GPU, an eighth of a small picture."""


@dataclass(frozen=True)
class ImageOptimConfig(FieldOptimConfig):
    """Loss, Adam and its schedule."""

    loss: Literal["auto", "l2", "relative_l2"] = "auto"
    """Squared error, or over the square of the target (for high dynamic range); "auto": by the space."""


@dataclass(frozen=True)
class ImageConfig:
    """Everything that `neural train image` can be told."""

    model: FieldConfig = field(default_factory=FieldConfig)
    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    optim: ImageOptimConfig = field(default_factory=ImageOptimConfig)
    run: BaseRunConfig = field(default_factory=BaseRunConfig)

    def __post_init__(self) -> None:
        check_field(self.model, self.optim)
        check_base_run(self.run)
        check_between("data.batch", self.data.batch, 1, 1 << 26)
        crop = self.data.crop
        if crop is not None and (min(crop[:2]) < 0 or min(crop[2:]) < 1):
            raise ValueError(f"--data.crop must be left and top from 0, width and height from 1, got {list(crop)}")


def resolve(config: ImageConfig, device: Device, *, width: int, height: int, linear: bool) -> ImageConfig:
    """The configuration with a value in place of every None and "auto".

    The finest level has a cell for two pixels (Mueller et al. 2022, arXiv:2201.05989, section 5.1). Tables (ours) hold
    an entry per 64 pixels and level at most, so that the field is smaller than the picture, and on a CPU no more than
    stay near the caches. Three may stay open: `run.eval_every` and `run.steps` as in other tasks, `data.crop`,
    `optim.table_lr`.

    Args:
        config: As asked for.
        device: What `run.device` stands for on this machine.
        width: Of the picture (or the crop), pixels.
        height: As `width`.
        linear: Whether the file's values are linear light.
    """
    cpu = device == "cpu"
    steps = config.run.steps
    if steps is None and config.run.minutes is None:
        steps = DEFAULT_STEPS[device]
    space = config.data.space
    if space == "auto":
        space = "linear" if linear else "srgb"
    pixels = round(math.log2(width * height))
    eighth = min(max(pixels - 3, 12), 16 if cpu else 18)
    loss = config.optim.loss
    if loss == "auto":
        loss = "relative_l2" if space == "linear" else "l2"
    return dataclasses.replace(
        config,
        model=resolve_encoding(
            resolve_network(config.model, *NETWORK),
            2,
            log2_hashmap_size=min(max(pixels - 6, 10), 19 if cpu else 24),
            finest_resolution=max(width, height) // 2,
        ),
        data=dataclasses.replace(config.data, space=space, batch=config.data.batch or 1 << eighth),
        optim=dataclasses.replace(config.optim, loss=loss),
        run=dataclasses.replace(config.run, steps=steps, device=device),
    )
