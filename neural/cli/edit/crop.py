"""`neural edit crop IN OUT`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import tyro

from neural.cli import UsageError
from neural.cli.edit.result import Out, Source, edited, refusals
from neural.interrupt import EXIT_DONE

if TYPE_CHECKING:
    from neural.edit.regions import Region


@dataclass(frozen=True)
class Crop:
    """Keep the Gaussians of a scene that lie in one region, or all others.

    Coordinates are those of the file or of the capture, in its axes, as `neural info` and `neural view` show them."""

    source: Source
    """A Gaussian scene, or the folder of a run (in the frame of its capture's files)."""
    out: Out
    """The file to write."""
    box: tuple[float, float, float, float, float, float] | None = None
    """Smallest corner, then largest: x0 y0 z0 x1 y1 z1; -inf and inf bound nothing."""
    rotate: tuple[float, float, float, float] | None = None
    """Turns the box about its centre: an axis and degrees, as 0 0 1 30."""
    sphere: tuple[float, float, float, float] | None = None
    """Centre and radius."""
    polygon: tuple[float, ...] | None = None
    """Corners on the ground, in order, two numbers each: x y where z is up, x z where y is."""
    up: Literal["x", "y", "z"] = "z"
    """Axis that the polygon's walls follow."""
    heights: tuple[float, float] | None = None
    """Along that axis, lowest and highest; everything by default."""
    outside: bool = False
    """Keep what is outside."""
    reach: float = 0.0
    """Standard deviations by which a Gaussian must lie inside too, not only its centre; with 3 nothing sticks out."""
    overwrite: bool = False
    """Replace OUT if it is there; IN is never written over."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Crop, prog="neural edit crop", args=list(arguments))
    if sum(region is not None for region in (given.box, given.sphere, given.polygon)) != 1:
        raise UsageError("give one of --box, --sphere and --polygon; for more than one region, crop again")
    if given.rotate is not None and given.box is None:
        raise UsageError("--rotate turns a --box")
    if given.heights is not None and given.polygon is None:
        raise UsageError("--heights belongs to a --polygon")
    if given.polygon is not None and len(given.polygon) % 2:
        raise UsageError(f"--polygon takes two numbers for each corner, got {len(given.polygon)} numbers")

    from neural.edit import crop

    with refusals():
        region = _region(given)
    keep: Literal["inside", "outside"] = "outside" if given.outside else "inside"
    edited(
        given.source, given.out, given.overwrite,
        lambda gaussians: crop(gaussians, region, keep=keep, reach=given.reach),
    )  # fmt: skip
    return EXIT_DONE


def _region(given: Crop) -> "Region":
    from neural.edit import Box, Polygon, Sphere

    if given.box is not None:
        return Box(given.box[:3], given.box[3:], given.rotate)
    if given.sphere is not None:
        return Sphere(given.sphere[:3], given.sphere[3])
    numbers = given.polygon or ()
    corners = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return Polygon(corners, given.up, *(given.heights or ()))
