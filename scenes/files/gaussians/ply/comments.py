"""What comments in the header of a `.ply` say of a Gaussian scene: how it is drawn, and where it lies.

Source: the comment `SplatRenderMode` as in splat-transform; for the others see `placement`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from neural.errors import SceneFormatError
from neural.scenes.files import ply
from neural.scenes.files.gaussians import placement
from neural.scenes.files.gaussians.axes import Axes
from neural.scenes.files.gaussians.record import Placement, SplatRecord

AXES: Axes = "RDF"
_MODES = ("default", "mip", "2dgs")


def written(record: SplatRecord, axes: Axes) -> list[str]:
    """The comments for a record, which is in the axes of the file."""
    mode = "2dgs" if record.surfels else "mip" if record.antialiased else "default"
    return [
        f"SplatRenderMode: {mode}",
        *placement.comments(placement.described(record.placement, axes, AXES)),
    ]


class Said(NamedTuple):
    """What the comments of a file say.

    Attributes:
        antialiased, surfels: As those of `SplatRecord`.
        placement: Where the scene lies.
        axes: Of the file.
    """

    antialiased: bool
    surfels: bool
    placement: Placement
    axes: Axes


def said(path: Path) -> Said:
    """Reads `SplatRenderMode: default`, `mip` or `2dgs`, as `mip` too `antialiased` alone or with a value that is not 0
    or false, and what `placement` has written.

    Raises:
        SceneFormatError: Another mode, or something that cannot be.
    """
    lines = ply.read_comments(path)
    mode = _mode(path, lines)
    place, axes = placement.understood(path, placement.from_comments(path, lines), AXES)
    return Said(mode == "mip", mode == "2dgs", place, axes)


def _mode(path: Path, lines: Sequence[str]) -> str:
    for line in lines:
        if mode := re.match(r"SplatRenderMode:?\s*(\w+)", line, re.IGNORECASE):
            if mode[1].lower() not in _MODES:
                raise SceneFormatError(
                    path, f"comment SplatRenderMode is {mode[1]!r}, expected one of {', '.join(_MODES)}"
                )
            return mode[1].lower()
        if flag := re.match(r"anti-?aliased:?\s*(\w*)\s*$", line, re.IGNORECASE):
            return "default" if flag[1].lower() in ("0", "false") else "mip"
    return "default"
