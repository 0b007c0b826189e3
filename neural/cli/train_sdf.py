"""`neural train sdf MESH`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from neural.cli.training import ViewOptions, configured, parse, viewed
from neural.interrupt import EXIT_DONE
from neural.train.config import BaseRunConfig
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.sdf.config import SdfConfig, SdfOptimConfig, SdfSamplingConfig, SdfViewConfig


@dataclass(frozen=True)
class Sdf:
    """Train a signed distance field on a mesh (extra [mesh]).

    The same command goes on with a run that was stopped. Values left at None or auto are chosen for the
    device and the mesh, and said.
    """

    scene: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MESH")]
    """Triangle mesh: .obj, or .ply with faces."""
    out: Path | None = None
    """Folder of the run; runs/<mesh>-sdf by default."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Remove the run in that folder and start anew."""
    watch: Annotated[ViewOptions, tyro.conf.arg(name="")] = field(default_factory=ViewOptions)
    config: Path | None = None
    """TOML file with tables [model], [sampling], [optim], [view], [run]; flags win over it."""
    model: FieldConfig = field(default_factory=FieldConfig)
    sampling: SdfSamplingConfig = field(default_factory=SdfSamplingConfig)
    optim: SdfOptimConfig = field(default_factory=SdfOptimConfig)
    view: SdfViewConfig = field(default_factory=SdfViewConfig)
    run: Annotated[BaseRunConfig, tyro.conf.arg(name="")] = field(default_factory=BaseRunConfig)


def main(arguments: Sequence[str]) -> int:
    given = parse(Sdf, SdfConfig, "sdf", arguments)
    config = configured(given, SdfConfig)

    from neural.train.tasks.sdf import run as sdf_run

    with viewed(given.watch) as watch:
        sdf_run.train(given.scene, config, out=given.out, overwrite=given.overwrite, watch=watch)
    return EXIT_DONE
