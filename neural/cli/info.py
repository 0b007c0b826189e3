"""`neural info PATH`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from neural.interrupt import EXIT_DONE


@dataclass(frozen=True)
class Info:
    """Say what a scene or a run holds."""

    path: tyro.conf.Positional[Path]
    """A capture, a Gaussian scene (.ply, .compressed.ply, .spz, .sog, .splat), or the folder of a run."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Info, prog="neural info", args=list(arguments))

    from neural import info

    print(info.describe(given.path))
    return EXIT_DONE
