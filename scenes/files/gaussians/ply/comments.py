"""What comments in the header of a `.ply` say of a Gaussian scene: how it is drawn, and where it lies.

Source: the comment `SplatRenderMode` as in splat-transform; for the others see `placement`.
"""

import re
from pathlib import Path

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


def drawn_as(path: Path) -> str:
    """What the comments say: `SplatRenderMode: default`, `mip` or `2dgs`; `mip` too for `antialiased` alone or with a
    value that is not 0 or false.

    Raises:
        SceneFormatError: Another mode.
    """
    for line in ply.read_comments(path):
        if mode := re.match(r"SplatRenderMode:?\s*(\w+)", line, re.IGNORECASE):
            if mode[1].lower() not in _MODES:
                raise SceneFormatError(
                    path, f"comment SplatRenderMode is {mode[1]!r}, expected one of {', '.join(_MODES)}"
                )
            return mode[1].lower()
        if flag := re.match(r"anti-?aliased:?\s*(\w*)\s*$", line, re.IGNORECASE):
            return "default" if flag[1].lower() in ("0", "false") else "mip"
    return "default"


def placed(path: Path) -> tuple[Placement, Axes]:
    """What the comments say of where the scene lies, and of the file's axes.

    Raises:
        SceneFormatError: Something that cannot be.
    """
    return placement.understood(path, placement.from_comments(path, ply.read_comments(path)), AXES)
