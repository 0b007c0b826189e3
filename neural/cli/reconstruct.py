"""`neural reconstruct PHOTOS|VIDEO`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from neural.cli.training import ViewOptions, usage, viewed
from neural.interrupt import EXIT_DONE
from neural.scenes.photographs.settings import CameraSettings
from neural.train.tasks.splats.config import SplatsConfig


@dataclass(frozen=True)
class Reconstruct:
    """Photographs, or a video, to a trained scene: cameras, training, report, scene file, page for a browser.

    The same command goes on with what was stopped.
    """

    source: tyro.conf.Positional[Path]
    """Folder of photographs (sub-folders too), or a video."""
    out: Path | None = None
    """Folder of the run; runs/<name> by default."""
    minutes: float | None = None
    """Of training; 8 on a CPU, 30,000 steps on a GPU by default."""
    exposure: tyro.conf.FlagCreatePairsOff[bool] = False
    """Learn how each photograph was exposed and white-balanced, for cameras that adapt; where they did not, colours
    drift by it."""
    preview: tyro.conf.FlagCreatePairsOff[bool] = False
    """A first picture and page from few, small photographs within a minute, then better ones as training goes on."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Train anew if the run in that folder was trained on other cameras or told other things."""
    view: Annotated[ViewOptions, tyro.conf.arg(name="")] = field(default_factory=ViewOptions)
    cameras: Annotated[CameraSettings, tyro.conf.arg(name="")] = field(default_factory=CameraSettings)
    train: SplatsConfig = field(default_factory=SplatsConfig)


def main(arguments: Sequence[str]) -> int:
    given = usage(lambda: tyro.cli(Reconstruct, prog="neural reconstruct", args=list(arguments)))
    config = given.train
    if given.minutes is not None:
        config = usage(lambda: replace(config, run=replace(config.run, minutes=given.minutes)))

    from neural.reconstruction import reconstruct

    with viewed(given.view) as watch:
        done = reconstruct(
            given.source,
            out=given.out,
            settings=given.cameras,
            config=config,
            exposure=given.exposure,
            preview=given.preview,
            overwrite=given.overwrite,
            watch=watch,
        )
        print(
            f"{done.registered} of {done.photographs} photographs, {done.run.gaussians.n:,} Gaussians, "
            f"in {done.folder}:"
        )
        for path in done.files:
            print(f"  {path}", flush=True)
    return EXIT_DONE
