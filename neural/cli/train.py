"""`neural train TASK SCENE`: one function per task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from neural import settings
from neural.cli import UsageError, choose
from neural.interrupt import EXIT_DONE, EXIT_USAGE
from neural.train.config import ModelConfig, OptimConfig, RadianceConfig, RunConfig, SamplingConfig
from neural.train.splats_config import DensifyConfig, SplatModelConfig, SplatOptimConfig, SplatsConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Radiance:
    """Train a radiance field from posed photographs.

    The same command goes on with a run that was stopped. Values left at None or auto are chosen for the
    device and the scene, and said.
    """

    scene: tyro.conf.Positional[Path]
    """Folder or file of the capture: transforms.json (nerfstudio, instant-ngp, Blender) or COLMAP."""
    out: Path | None = None
    """Folder of the run; runs/<scene>-radiance by default."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Remove the run in that folder and start anew."""
    config: Path | None = None
    """TOML file with tables [model], [sampling], [optim], [run]; flags win over it."""
    model: ModelConfig = field(default_factory=ModelConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)


@dataclass(frozen=True)
class Splats:
    """Train Gaussian splats from posed photographs.

    The same command goes on with a run that was stopped. Values left at None or auto are chosen for the
    device and the scene, and said.
    """

    scene: tyro.conf.Positional[Path]
    """Folder or file of the capture: transforms.json (nerfstudio, instant-ngp, Blender) or COLMAP."""
    out: Path | None = None
    """Folder of the run; runs/<scene>-splats by default."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Remove the run in that folder and start anew."""
    config: Path | None = None
    """TOML file with tables [model], [densify], [optim], [run]; flags win over it."""
    model: SplatModelConfig = field(default_factory=SplatModelConfig)
    densify: DensifyConfig = field(default_factory=DensifyConfig)
    optim: SplatOptimConfig = field(default_factory=SplatOptimConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        rows = "\n".join(f"  {name:<9} {what}" for name, (_, what) in TASKS.items())
        print(f"usage: neural train TASK SCENE [--out RUN] ...\n\ntasks:\n{rows}\n\nneural train TASK --help")
        return EXIT_DONE if arguments else EXIT_USAGE
    train, _ = TASKS[choose("task", arguments[0], list(TASKS))]
    return train(arguments[1:])


def train_radiance(arguments: Sequence[str]) -> int:
    given = parse_radiance(arguments)
    config = _usage(lambda: RadianceConfig(given.model, given.sampling, given.optim, given.run))

    from neural.train import radiance_run

    radiance_run.train(given.scene, config, out=given.out, overwrite=given.overwrite)
    return EXIT_DONE


def parse_radiance(arguments: Sequence[str]) -> Radiance:
    """The command's arguments, over the values of `--config`, over the defaults."""
    path = _value_of("--config", arguments)
    base = _usage(lambda: settings.read_toml(RadianceConfig, path)) if path is not None else RadianceConfig()
    default = Radiance(scene=tyro.MISSING, model=base.model, sampling=base.sampling, optim=base.optim, run=base.run)
    return tyro.cli(Radiance, prog="neural train radiance", args=list(arguments), default=default)


def train_splats(arguments: Sequence[str]) -> int:
    given = parse_splats(arguments)
    config = _usage(lambda: SplatsConfig(given.model, given.densify, given.optim, given.run))

    from neural.train import splats_run

    splats_run.train(given.scene, config, out=given.out, overwrite=given.overwrite)
    return EXIT_DONE


def parse_splats(arguments: Sequence[str]) -> Splats:
    """As `parse_radiance`."""
    path = _value_of("--config", arguments)
    base = _usage(lambda: settings.read_toml(SplatsConfig, path)) if path is not None else SplatsConfig()
    default = Splats(scene=tyro.MISSING, model=base.model, densify=base.densify, optim=base.optim, run=base.run)
    return tyro.cli(Splats, prog="neural train splats", args=list(arguments), default=default)


TASKS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "splats": (train_splats, "Gaussian splats, rasterised"),
    "radiance": (train_radiance, "a radiance field (hash grid and small networks), volume-rendered"),
}


def _value_of(flag: str, arguments: Sequence[str]) -> str | None:
    """What follows a flag; it must be known before the parser that will see it is made."""
    for position, argument in enumerate(arguments):
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
        if argument == flag and position + 1 < len(arguments):
            return arguments[position + 1]
    return None


def _usage(build: Callable[[], T]) -> T:
    try:
        return build()
    except ValueError as error:
        raise UsageError(str(error)) from error
