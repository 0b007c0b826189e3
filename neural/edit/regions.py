"""Parts of space, and the Gaussians in them: boxes in any direction, spheres, polygons on the ground."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural.edit.placing import turn
from neural.gaussians.model import Gaussians
from neural.gaussians.order import rotations

Point = tuple[float, float, float]
Axis = Literal["x", "y", "z"]


class Region(Protocol):
    """A part of space."""

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, "N"]:
        """Which points lie in it, its surface included."""


@dataclass(frozen=True)
class Box:
    """A box.

    Args:
        low: Smallest corner, scene units; infinite where nothing bounds it.
        high: Largest corner.
        rotate: Axis and angle (degrees) by which the box is turned about its centre; None for one along the axes.

    Raises:
        ValueError: Corners in the wrong order, or a turn of a box that has no centre.
    """

    low: Point
    high: Point
    rotate: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if not all(a < b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError(
                f"a box needs its smallest corner first, each number below its partner: {self.low}, {self.high}"
            )
        if self.rotate is not None:
            if not all(map(math.isfinite, (*self.low, *self.high))):
                raise ValueError("a box that is turned needs six finite numbers: it turns about its centre")
            turn(self.rotate)

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, "N"]:
        """See `Region`."""
        points = points.double()
        low, high = (points.new_tensor(corner) for corner in (self.low, self.high))
        if self.rotate is not None:
            centre = (low + high) / 2
            points = (points - centre) @ torch.from_numpy(turn(self.rotate)).to(points) + centre  # the inverse turn
        return ((points >= low) & (points <= high)).all(dim=1)


@dataclass(frozen=True)
class Sphere:
    """A ball.

    Args:
        centre: Scene units.
        radius: Above 0.

    Raises:
        ValueError: Another radius, or a centre that is nowhere.
    """

    centre: Point
    radius: float

    def __post_init__(self) -> None:
        if not (all(map(math.isfinite, self.centre)) and 0 < self.radius < math.inf):
            raise ValueError(f"a sphere needs a centre and a radius above 0, got {self.centre} and {self.radius:g}")

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, "N"]:
        """See `Region`."""
        away = points.double() - points.new_tensor(self.centre, dtype=torch.float64)
        return away.square().sum(dim=1) <= self.radius**2


@dataclass(frozen=True)
class Polygon:
    """What stands on a polygon on the ground.

    Args:
        corners: In order, either way round, in the two coordinates that are not `up`, in the order of the alphabet:
            x and y where z is up, x and z where y is. Where sides cross, even-odd decides.
        up: The axis that stands on the ground.
        low, high: Along `up`, scene units.

    Raises:
        ValueError: Fewer than three corners, or a range of heights that is empty.
    """

    corners: tuple[tuple[float, float], ...]
    up: Axis = "z"
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if len(self.corners) < 3 or not np.isfinite(np.asarray(self.corners, dtype=np.float64)).all():
            raise ValueError(f"a polygon needs three corners or more, of finite numbers, got {self.corners}")
        if self.up not in ("x", "y", "z") or not self.low < self.high:
            raise ValueError(
                f"a polygon needs up = x, y or z and heights from a smaller to a larger number, got up = {self.up!r}, "
                f"{self.low:g} to {self.high:g}"
            )

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, "N"]:
        """See `Region`."""
        points = points.double()
        upright = "xyz".index(self.up)
        height = points[:, upright]
        u, v = (points[:, axis] for axis in range(3) if axis != upright)
        inside = torch.zeros_like(height, dtype=torch.bool)
        for (u0, v0), (u1, v1) in zip(self.corners, self.corners[1:] + self.corners[:1], strict=True):
            if v0 != v1:  # a side along u is crossed by no ray along u
                crossed = (v0 > v) != (v1 > v)
                inside ^= crossed & (u < u0 + (v - v0) * ((u1 - u0) / (v1 - v0)))
        return inside & (height >= self.low) & (height <= self.high)


@torch.no_grad()
def crop(
    gaussians: Gaussians, region: Region, *, keep: Literal["inside", "outside"] = "inside", reach: float = 0.0
) -> Gaussians:
    """Copies of the Gaussians in a region, or of all others.

    The two together are the whole scene, for any `reach`.

    Args:
        gaussians: Stay as they are.
        region: A `Box`, `Sphere`, `Polygon`, or anything else with `contains`.
        keep: Which part.
        reach: A Gaussian is inside if its centre is, and the ends of its axes at this many standard deviations: 3
            leaves out what would stick out of the region.

    Raises:
        ValueError: A negative reach, or nothing is left.
    """
    if not 0 <= reach < math.inf:
        raise ValueError(f"crop: reach must be 0 or more standard deviations, got {reach:g}")
    inside = region.contains(gaussians.means)
    if reach > 0:
        axes = rotations(gaussians.quats) * (reach * gaussians.log_scales.exp())[:, None, :]  # columns, as long
        for axis in axes.unbind(dim=2):
            for end in (gaussians.means + axis, gaussians.means - axis):
                inside &= region.contains(end)
    rows = (inside if keep == "inside" else ~inside).nonzero()[:, 0]
    if not len(rows):
        raise ValueError(
            f"crop: none of the {gaussians.n:,} Gaussians is {keep} of {region}; their centres reach from "
            f"{_corner(gaussians.means.amin(dim=0))} to {_corner(gaussians.means.amax(dim=0))}, in "
            f"{gaussians.placement.axes} axes"
        )
    return gaussians.taken(rows)


def _corner(point: Float[Tensor, "3"]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in point.tolist()) + ")"
