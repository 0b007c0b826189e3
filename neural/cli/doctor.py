"""`neural doctor`."""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from neural.interrupt import EXIT_DONE, EXIT_PROBLEM


@dataclass(frozen=True)
class Doctor:
    """Check this installation: versions, instruction set, GPUs, caches, and what is missing."""


def main(arguments: Sequence[str]) -> int:
    tyro.cli(Doctor, prog="neural doctor", args=list(arguments))

    from neural import doctor

    report = doctor.examine()
    print(report)
    return EXIT_DONE if report.healthy else EXIT_PROBLEM
