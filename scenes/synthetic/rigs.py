"""Camera rigs around a city: orbit, drone grid, street walk, straight down.

A rig is plain arrays: `c2w` with OpenCV axes (x right, y down, z forward), and one pinhole for all.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64

if TYPE_CHECKING:
    from neural.scenes.synthetic.city import City


@dataclass(frozen=True)
class Rig:
    """C posed pinhole cameras of one size."""

    c2w: Float64[np.ndarray, "C 4 4"]
    fx: float
    fy: float
    cx: float
    cy: float
    """Pixels; pixel centres at +0.5."""
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.c2w)

    def __add__(self, other: "Rig") -> "Rig":
        if self.intrinsics != other.intrinsics:
            raise ValueError(f"rigs with different cameras do not add: {self.intrinsics} and {other.intrinsics}")
        return Rig(np.concatenate([self.c2w, other.c2w]), *self.intrinsics)

    @property
    def intrinsics(self) -> tuple[float, float, float, float, int, int]:
        """fx, fy, cx, cy, width, height."""
        return self.fx, self.fy, self.cx, self.cy, self.width, self.height

    def rays(
        self, index: int, pixels: Float[np.ndarray, "R 2"]
    ) -> tuple[Float64[np.ndarray, "R 3"], Float64[np.ndarray, "R 3"]]:
        """World origins and directions through pixels; directions have length 1 along the camera's z."""
        c2w = self.c2w[index]
        x = (pixels[:, 0] - self.cx) / self.fx
        y = (pixels[:, 1] - self.cy) / self.fy
        directions = np.stack([x, y, np.ones_like(x)], axis=1) @ c2w[:3, :3].T
        return np.broadcast_to(c2w[:3, 3], directions.shape), directions


def pinhole(c2w: Float64[np.ndarray, "C 4 4"], width: int, height: int, fov: float) -> Rig:
    """A rig from poses and a horizontal field of view in degrees."""
    if not 1.0 <= fov <= 170.0:
        raise ValueError(f"fov must be 1 to 170 degrees, got {fov}")
    focal = 0.5 * width / np.tan(np.radians(fov) / 2)
    return Rig(c2w, float(focal), float(focal), width / 2, height / 2, width, height)


def look_at(
    eyes: Float[np.ndarray, "#C 3"],
    targets: Float[np.ndarray, "#C 3"],
    up: Float[np.ndarray, "3"] | None = None,
) -> Float64[np.ndarray, "C 4 4"]:
    """Poses at `eyes` that look at `targets`, upright; straight down or up, north is at the image's top."""
    eyes, targets = np.broadcast_arrays(np.asarray(eyes, float), np.asarray(targets, float))
    forward = targets - eyes
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    upward = np.broadcast_to(np.array([0.0, 0.0, 1.0]) if up is None else np.asarray(up, float), forward.shape)
    vertical = np.abs((forward * upward).sum(1)) > 1.0 - 1e-9
    upward = np.where(vertical[:, None], np.array([0.0, 1.0, 0.0]), upward)
    right = np.cross(forward, upward)
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    c2w = np.tile(np.eye(4), (len(eyes), 1, 1))
    c2w[:, :3, 0], c2w[:, :3, 1], c2w[:, :3, 2], c2w[:, :3, 3] = (
        right,
        np.cross(forward, right),
        forward,
        eyes,
    )
    return c2w


def orbit(
    city: "City",
    count: int,
    *,
    elevations: tuple[float, ...] = (28.0, 48.0),
    margin: float = 1.0,
    width: int = 320,
    height: int = 240,
    fov: float = 50.0,
) -> Rig:
    """Rings around the city's middle, all of it in view.

    Args:
        count: Cameras in all, shared out evenly over the rings.
        elevations: Degrees above the horizon, one ring each; the rings are turned against each other.
        margin: Factor on the distance at which the city just fits.
    """
    x0, x1, y0, y1 = city.ground
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2, 0.1 * city.tracer.high[2]])
    radius = 0.5 * np.hypot(x1 - x0, y1 - y0)
    distance = margin * radius / np.tan(np.radians(fov) / 2)
    eyes = []
    for ring, elevation in enumerate(elevations):
        own = count // len(elevations) + (ring < count % len(elevations))
        angle = 2 * np.pi * (np.arange(own) + ring / len(elevations)) / max(own, 1)
        e = np.radians(elevation)
        ring_eyes = np.stack([np.cos(e) * np.cos(angle), np.cos(e) * np.sin(angle), np.full(own, np.sin(e))], 1)
        eyes.append(middle + distance * ring_eyes)
    return pinhole(look_at(np.concatenate(eyes), middle[None]), width, height, fov)


def drone_grid(
    city: "City",
    spacing: float,
    altitude: float,
    *,
    tilt: float = 45.0,
    width: int = 320,
    height: int = 240,
    fov: float = 60.0,
) -> Rig:
    """A survey flight: every grid point seen from straight above and, tilted, from the four compass points.

    Args:
        spacing: Metres between grid points.
        altitude: Metres above the carriageways.
        tilt: Degrees of the oblique cameras from straight down; 0 leaves them out.
    """
    x0, x1, y0, y1 = city.ground
    xs = _spread(x0, x1, spacing)
    ys = _spread(y0, y1, spacing)
    eyes, targets = [], []
    reach = np.tan(np.radians(tilt)) * altitude
    views = [(0.0, 0.0)] + ([(reach, 0.0), (0.0, reach), (-reach, 0.0), (0.0, -reach)] if tilt > 0.0 else [])
    for row, y in enumerate(ys):
        for x in xs if row % 2 == 0 else xs[::-1]:
            for dx, dy in views:
                eyes.append((x + dx, y + dy, altitude))
                targets.append((x, y, 0.0))
    return pinhole(look_at(np.array(eyes), np.array(targets)), width, height, fov)


def nadir(
    city: "City", spacing: float, altitude: float, *, width: int = 320, height: int = 240, fov: float = 50.0
) -> Rig:
    """A grid of cameras that look straight down, north at the top."""
    return drone_grid(city, spacing, altitude, tilt=0.0, width=width, height=height, fov=fov)


def street(
    city: "City",
    spacing: float,
    *,
    eye: float = 1.7,
    width: int = 320,
    height: int = 240,
    fov: float = 75.0,
) -> Rig:
    """A walk along every street inside the city, on the right-hand lane, looking ahead and to both sides.

    Args:
        spacing: Metres between stops.
        eye: Height of the camera, metres.
    """
    eyes, targets = [], []
    for axis in (0, 1):
        lines = sorted({edge for block in city.blocks for edge in block.edges[2 * axis : 2 * axis + 2]})
        low, high = city.ground[2 - 2 * axis : 4 - 2 * axis]
        for line in lines[1:-1] or lines[:1]:
            for along in _spread(low, high, spacing):
                eyes_at = np.empty(3)
                eyes_at[axis], eyes_at[1 - axis], eyes_at[2] = line, along, eye
                ahead = np.zeros(3)
                ahead[1 - axis] = 1.0
                right = np.cross(ahead, (0.0, 0.0, 1.0))
                stop = eyes_at + 1.6 * right
                for look in (ahead, ahead + right, ahead - right):
                    eyes.append(stop)
                    targets.append(stop + look + (0.0, 0.0, 0.06))
    return pinhole(look_at(np.array(eyes), np.array(targets)), width, height, fov)


def _spread(low: float, high: float, spacing: float) -> Float64[np.ndarray, "N"]:
    """Points at about `spacing`, half a step in from both ends."""
    count = max(1, round((high - low) / spacing))
    return low + (np.arange(count) + 0.5) * (high - low) / count
