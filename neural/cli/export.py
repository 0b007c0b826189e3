"""`neural export RUN FILE`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

import neural
from neural.cli import UsageError
from neural.interrupt import EXIT_DONE


@dataclass(frozen=True)
class Export:
    """Write the Gaussians of a run as a .ply or .splat file."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    file: tyro.conf.Positional[Path]
    """What to write: .ply (3DGS, all spherical harmonics) or .splat (32 bytes each, one colour)."""
    frame: Literal["input", "scene"] = "input"
    """Coordinates of the capture's files, or of the scene as it was trained."""
    exposure: str | None = None
    """Name of a training photograph whose learnt colours are baked in; without it the scene's mean colours."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Export, prog="neural export", args=list(arguments))

    from neural.export import SUFFIXES

    if given.file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"FILE must end in {' or '.join(SUFFIXES)}, got {given.file}")
    run = neural.load_run(given.run, device="cpu")
    if run.task != "splats":
        raise UsageError(f"{given.run} is a run of {run.kind}s; only splats are exported so far")
    try:
        written = run.export(given.file, frame=given.frame, exposure=given.exposure)
    except ValueError as error:
        raise UsageError(str(error)) from error
    print(f"{run.gaussians.n:,} Gaussians, {written.stat().st_size / 1e6:.1f} MB, in {written}")
    if run.gaussians.antialiased:
        carried = written.suffix.lower() == ".ply"
        print(
            ("the file says that they are antialiased (SplatRenderMode: mip)" if carried
             else "they are antialiased, which a .splat cannot say")
            + "; a viewer that does not know it draws what is small too thick: train without --model.antialiased for it"
        )  # fmt: skip
    return EXIT_DONE
