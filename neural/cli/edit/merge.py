"""`neural edit merge IN ... OUT`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from neural.cli import UsageError
from neural.cli.edit.result import finish, refusals
from neural.interrupt import EXIT_DONE


@dataclass(frozen=True)
class Merge:
    """Put several scenes into one file, in the frame of the first; the last name is that of the file to write."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IN IN ... OUT")]
    """Gaussian scenes or folders of runs, and the file to write."""
    overlap: Literal["keep", "twins", "first"] = "keep"
    """What to do where they lie over each other: nothing; drop what is equal to the last bit, as in two crops of one
    scene; or keep what the first of them has there, as for two trainings of neighbouring blocks."""
    cell: float | None = None
    """--overlap first: side of the cells in which a scene counts as being; by default four times the distance of
    neighbours in the first scene."""
    overwrite: bool = False
    """Replace OUT if it is there; no IN is ever written over."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Merge, prog="neural edit merge", args=list(arguments))
    if len(given.files) < 3:
        raise UsageError("give two scenes or more and, last, the file to write")
    if given.cell is not None and given.overlap != "first":
        raise UsageError("--cell belongs to --overlap first")

    from neural.edit import files, merge

    *sources, out = given.files
    files.require_free(out, inputs=sources, overwrite=given.overwrite)
    scenes = [files.read(source) for source in sources]
    with refusals():
        merged = merge(scenes, overlap=given.overlap, cell=given.cell)
    counts = " + ".join(f"{scene.n:,}" for scene in scenes)
    finish(merged, out, sources, given.overwrite, f"{counts} -> {merged.n:,} Gaussians")
    return EXIT_DONE
