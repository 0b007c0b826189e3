"""`neural info PATH`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from neural.cli import UsageError
from neural.interrupt import EXIT_DONE


@dataclass(frozen=True)
class Info:
    """Say what a scene or a run holds, and draw it."""

    path: tyro.conf.Positional[Path]
    """A capture, a folder of photographs, Gaussians (.ply, .spz, .sog, ...), points or a mesh (.ply, .obj), a picture,
    a voxel grid, or the folder of a run."""
    draw: tuple[Path, ...] = ()
    """Files to draw cameras and points into: a picture from above and from the side (.png), a page that turns, with
    all photographs (.html), or both."""
    overwrite: bool = False
    """Replace those files if they are there."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Info, prog="neural info", args=list(arguments))

    if "--draw" in arguments and not given.draw:
        raise UsageError("--draw wants a file to draw into, such as scene.png or scene.html")
    for file in given.draw:
        if file.exists() and not given.overwrite:
            raise UsageError(f"{file} is there already; name another file, or give --overwrite")

    from neural import info

    found = info.find(given.path)
    print(found.text)
    for file in given.draw:
        info.draw(found, file, progress=True)
        print(f"drawn in {file}")
    return EXIT_DONE
