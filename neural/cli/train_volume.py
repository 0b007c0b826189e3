"""`neural train volume FILE`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from neural.cli.training import ViewOptions, configured, parse, viewed
from neural.interrupt import EXIT_DONE
from neural.train.config import BaseRunConfig
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.volume.config import VolumeConfig, VolumeOptimConfig, VolumeSamplingConfig, VolumeViewConfig


@dataclass(frozen=True)
class Volume:
    """Train a field of density and albedo on a voxel grid.

    The same command goes on with a run that was stopped. Values left at None or auto are chosen for the
    device, and said. Without data: python -m neural.scenes.synthetic.cloud --out cloud.npy
    """

    scene: tyro.conf.Positional[Path]
    """.npy or .npz of densities [X, Y, Z], with albedo [X, Y, Z, 4]; mapped, so it may be larger than memory."""
    out: Path | None = None
    """Folder of the run; runs/<file>-volume by default."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Remove the run in that folder and start anew."""
    watch: Annotated[ViewOptions, tyro.conf.arg(name="")] = field(default_factory=ViewOptions)
    config: Path | None = None
    """TOML file with tables [model], [sampling], [optim], [view], [run]; flags win over it."""
    model: FieldConfig = field(default_factory=FieldConfig)
    sampling: VolumeSamplingConfig = field(default_factory=VolumeSamplingConfig)
    optim: VolumeOptimConfig = field(default_factory=VolumeOptimConfig)
    view: VolumeViewConfig = field(default_factory=VolumeViewConfig)
    run: Annotated[BaseRunConfig, tyro.conf.arg(name="")] = field(default_factory=BaseRunConfig)


def main(arguments: Sequence[str]) -> int:
    given = parse(Volume, VolumeConfig, "volume", arguments)
    config = configured(given, VolumeConfig)

    from neural.train.tasks.volume import run as volume_run

    with viewed(given.watch) as watch:
        volume_run.train(given.scene, config, out=given.out, overwrite=given.overwrite, watch=watch)
    return EXIT_DONE
