"""`neural edit transform IN OUT`."""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from neural.cli import UsageError
from neural.cli.edit.result import Out, Source, edited, refusals
from neural.interrupt import EXIT_DONE


@dataclass(frozen=True)
class Transform:
    """Move, turn and scale a scene, or give it other axes; it looks the same from everywhere, only elsewhere.

    Axes change first, then scale and turn about a point, then the scene is moved. Coordinates are those of
    the file or of the capture, in its axes, as `neural info` and `neural view` show them."""

    source: Source
    """A Gaussian scene, or the folder of a run (in the frame of its capture's files)."""
    out: Out
    """The file to write."""
    axes: tuple[str, str] | None = None
    """Names of the axes now and afterwards, as RDF RUB: where x, y and z point, each Right or Left, Up or Down, Forward
    or Back. Scenes trained on COLMAP's or OpenCV's cameras start out as RDF; RFU is Blender's."""
    scale: float = 1.0
    """Factor."""
    rotate: tuple[float, float, float, float] | None = None
    """An axis and degrees about it, as 0 0 1 90."""
    about: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """What scaling and turning leave in its place."""
    translate: tuple[float, float, float] | None = None
    """Added last."""
    matrix: tuple[float, ...] | None = None
    """In place of all of these: 12 or 16 numbers, row by row."""
    overwrite: bool = False
    """Replace OUT if it is there; IN is never written over."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Transform, prog="neural edit transform", args=list(arguments))
    steps = (given.axes, given.rotate, given.translate)
    stepwise = any(step is not None for step in steps) or given.scale != 1
    if stepwise == (given.matrix is not None):
        raise UsageError("say what to do: --axes, --scale, --rotate and --translate, or --matrix alone")
    if given.matrix is not None and len(given.matrix) not in (12, 16):
        raise UsageError(f"--matrix takes 12 or 16 numbers, row by row, got {len(given.matrix)}")

    import numpy as np

    from neural.edit import similarity, transform

    with refusals():
        if given.matrix is not None:
            matrix = np.vstack([np.reshape(given.matrix, (-1, 4)), [[0.0, 0.0, 0.0, 1.0]]])[:4]
        else:
            matrix = similarity(
                scale=given.scale, rotate=given.rotate, translate=given.translate, about=given.about, axes=given.axes
            )
    edited(given.source, given.out, given.overwrite, lambda gaussians: transform(gaussians, matrix))
    return EXIT_DONE
