"""What a training on photographs can be told of its run.

See `neural.train.config` for what None and "auto" mean. No torch.
"""

from dataclasses import dataclass
from typing import Literal

from neural.train.config import BaseRunConfig, check_base_run, check_between


@dataclass(frozen=True)
class RunConfig(BaseRunConfig):
    """Length, place and habits of a run on photographs."""

    downscale: int | None = None
    """Photographs are made smaller by this whole factor; 1, in `neural reconstruct` what suits the device, by
    default."""
    background: Literal["auto", "white", "black"] = "auto"
    """What transparent photographs are composited on for scores; "auto": the scene's, else white."""
    split_every: int = 8
    """Every n-th photograph is held out, where the capture names no test images itself; 0 holds out none."""


def check_run(run: RunConfig) -> None:
    """Refuses lengths and intervals that no run on photographs can have, naming the flag."""
    check_base_run(run)
    check_between("downscale", run.downscale, 1, 1 << 40)
    if run.split_every != 0:
        check_between("split-every", run.split_every, 2, 1 << 40)
