"""`neural train radiance SCENE`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from neural.cli.training import ViewOptions, configured, parse, viewed
from neural.interrupt import EXIT_DONE
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.radiance.config import ModelConfig, OptimConfig, RadianceConfig, SamplingConfig


@dataclass(frozen=True)
class Radiance:
    """Train a radiance field from posed photographs.

    The same command goes on with a run that was stopped. Values left at None or auto are chosen for the
    device and the scene, and said.
    """

    scene: tyro.conf.Positional[Path]
    """A capture, that is photographs with cameras: its folder, or the file that lists the cameras (COLMAP, nerfstudio,
    Metashape ...; `neural info` of a folder without any lists all formats)."""
    out: Path | None = None
    """Folder of the run; runs/<scene>-radiance by default."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Remove the run in that folder and start anew."""
    view: Annotated[ViewOptions, tyro.conf.arg(name="")] = field(default_factory=ViewOptions)
    config: Path | None = None
    """TOML file with tables [model], [sampling], [optim], [run]; flags win over it."""
    model: ModelConfig = field(default_factory=ModelConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)


def main(arguments: Sequence[str]) -> int:
    given = parse(Radiance, RadianceConfig, "radiance", arguments)
    config = configured(given, RadianceConfig)

    from neural.train.tasks.radiance import run as radiance_run

    with viewed(given.view) as watch:
        radiance_run.train(given.scene, config, out=given.out, overwrite=given.overwrite, watch=watch)
    return EXIT_DONE
