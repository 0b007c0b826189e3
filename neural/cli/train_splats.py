"""`neural train splats SCENE`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from neural.cli.training import ViewOptions, configured, parse, viewed
from neural.interrupt import EXIT_DONE
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.splats.config import DensifyConfig, SplatModelConfig, SplatOptimConfig, SplatsConfig


@dataclass(frozen=True)
class Splats:
    """Train Gaussian splats from posed photographs.

    The same command goes on with a run that was stopped. Values left at None or auto are chosen for the
    device and the scene, and said.
    """

    scene: tyro.conf.Positional[Path]
    """A capture, that is photographs with cameras: its folder, or the file that lists the cameras (COLMAP, nerfstudio,
    Metashape ...; `neural info` of a folder without any lists all formats)."""
    out: Path | None = None
    """Folder of the run; runs/<scene>-splats by default."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Remove the run in that folder and start anew."""
    view: Annotated[ViewOptions, tyro.conf.arg(name="")] = field(default_factory=ViewOptions)
    config: Path | None = None
    """TOML file with tables [model], [densify], [optim], [run]; flags win over it."""
    model: SplatModelConfig = field(default_factory=SplatModelConfig)
    densify: DensifyConfig = field(default_factory=DensifyConfig)
    optim: SplatOptimConfig = field(default_factory=SplatOptimConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)


def main(arguments: Sequence[str]) -> int:
    given = parse(Splats, SplatsConfig, "splats", arguments)
    config = configured(given, SplatsConfig)

    from neural.train.tasks.splats import run as splats_run

    with viewed(given.view) as watch:
        splats_run.train(given.scene, config, out=given.out, overwrite=given.overwrite, watch=watch)
    return EXIT_DONE
