"""`neural train image FILE`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from neural.cli.training import ViewOptions, configured, parse, viewed
from neural.interrupt import EXIT_DONE
from neural.train.config import BaseRunConfig
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.image.config import ImageConfig, ImageDataConfig, ImageOptimConfig


@dataclass(frozen=True)
class Image:
    """Train an encoding and a small network on one picture of any size.

    The same command goes on with a run that was stopped. Values left at None or auto are chosen for the
    device and the picture, and said.
    """

    scene: tyro.conf.Positional[Path]
    """Picture: JPEG, PNG, WebP, TIFF, EXR, HDR, .npy."""
    out: Path | None = None
    """Folder of the run; runs/<picture>-image by default."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Remove the run in that folder and start anew."""
    watch: Annotated[ViewOptions, tyro.conf.arg(name="")] = field(default_factory=ViewOptions)
    config: Path | None = None
    """TOML file with tables [model], [data], [optim], [run]; flags win over it."""
    model: FieldConfig = field(default_factory=FieldConfig)
    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    optim: ImageOptimConfig = field(default_factory=ImageOptimConfig)
    run: Annotated[BaseRunConfig, tyro.conf.arg(name="")] = field(default_factory=BaseRunConfig)


def main(arguments: Sequence[str]) -> int:
    given = parse(Image, ImageConfig, "image", arguments)
    config = configured(given, ImageConfig)

    from neural.train.tasks.image import run as image_run

    with viewed(given.watch) as watch:
        image_run.train(given.scene, config, out=given.out, overwrite=given.overwrite, watch=watch)
    return EXIT_DONE
