"""`neural edit decimate IN OUT`."""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from neural.cli import UsageError
from neural.cli.edit.result import Out, Source, edited
from neural.interrupt import EXIT_DONE


@dataclass(frozen=True)
class Decimate:
    """Make fewer Gaussians of a scene: neighbours that look alike become one."""

    source: Source
    """A Gaussian scene, or the folder of a run."""
    out: Out
    """The file to write."""
    to: str
    """How many are left: a number, or a share such as 25%."""
    overwrite: bool = False
    """Replace OUT if it is there; IN is never written over."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Decimate, prog="neural edit decimate", args=list(arguments))
    number, is_share = given.to.removesuffix("%").replace(",", "").replace("_", ""), given.to.endswith("%")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not (0 < value < 100 if is_share else 1 <= value < 1e15 and value.is_integer()):
        raise UsageError(f"--to must be a number of Gaussians or a share below 100%, got {given.to!r}")

    from neural.edit import decimate

    edited(
        given.source, given.out, given.overwrite,
        lambda gaussians: decimate(gaussians, max(1, round(gaussians.n * value / 100)) if is_share else int(value)),
    )  # fmt: skip
    return EXIT_DONE
