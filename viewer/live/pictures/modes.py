"""From what a camera sees to the picture that is shown: one function for each way of looking.

A further way is a function and a line in `MODES`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural.cameras import Cameras
from neural.viewer.live.subjects.subject import Layers

LEAST_ALPHA = 0.05  # below it nothing is there whose depth could be shown
_DEPTH_COLORS = ((0.95, 0.93, 0.62), (0.94, 0.55, 0.35), (0.67, 0.24, 0.44), (0.31, 0.13, 0.42), (0.07, 0.06, 0.20))
_ERROR_COLORS = ((0.03, 0.03, 0.08), (0.35, 0.07, 0.40), (0.85, 0.20, 0.28), (0.98, 0.62, 0.22), (1.0, 0.98, 0.80))
_ERROR_SCALE = 4.0  # a mean difference of a quarter is as bright as it gets
_OUTSIDE = 0.25  # grey where a photograph shows nothing


@dataclass(frozen=True)
class Seen:
    """What a picture is made of.

    Attributes:
        layers: Of the view.
        camera: One pinhole camera, in the scene's frame.
        truth: What was trained on, sRGB, where that is known: a photograph only at the place where it was taken.
        covered: Where it shows anything.
    """

    layers: Layers
    camera: Cameras
    truth: Float[Tensor, "H W 3"] | None = None
    covered: Bool[Tensor, "H W"] | None = None

    @property
    def distance(self) -> Float[Tensor, "H W"]:
        """Mean distance along the ray of what is seen; infinite where there is nothing."""
        alpha = self.layers.alpha
        return torch.where(alpha > LEAST_ALPHA, self.layers.depth / alpha.clamp_min(LEAST_ALPHA), torch.inf)


Paint = Callable[[Seen], Float[Tensor, "H W 3"]]


def directions(camera: Cameras) -> Float[Tensor, "H W 3"]:
    """Unit directions through all pixels, float32."""
    width, height = camera.sizes[0].tolist()
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    x = (torch.arange(width) + 0.5 - cx) / fx
    y = (torch.arange(height) + 0.5 - cy) / fy
    local = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width)], -1)
    return torch.nn.functional.normalize(local, dim=-1) @ camera.c2w[0, :3, :3].float().T


def color(seen: Seen) -> Float[Tensor, "H W 3"]:
    """As it is."""
    return seen.layers.rgb


def depth(seen: Seen) -> Float[Tensor, "H W 3"]:
    """Near is light, far is dark: between the nearest and farthest hundredth of this view."""
    distance = seen.distance
    there = distance.isfinite()
    if not bool(there.any()):
        return torch.zeros_like(seen.layers.rgb)
    known = distance[there].sort().values
    low, high = known[len(known) // 100], known[-1 - len(known) // 100]
    place = ((distance - low) / (high - low).clamp_min(1e-12)).nan_to_num(1.0, 1.0, 0.0)
    return torch.where(there[..., None], ramp(place, _DEPTH_COLORS), 0.0)


def normal(seen: Seen) -> Float[Tensor, "H W 3"]:
    """Directions of the surface, where nothing tells them that depths describe: x, y, z in the scene's axes as red,
    green, blue."""
    distance = seen.distance
    there = distance.isfinite()
    if seen.layers.normals is not None:
        return torch.where(there[..., None], 0.5 + 0.5 * seen.layers.normals, 0.0)
    points = directions(seen.camera) * torch.where(there, distance, 0.0)[..., None]
    across, down = (torch.zeros_like(points) for _ in range(2))
    across[:, 1:-1] = points[:, 2:] - points[:, :-2]
    down[1:-1] = points[2:] - points[:-2]
    facing = torch.nn.functional.normalize(torch.linalg.cross(down, across), dim=-1)
    facing = torch.where((facing * points).sum(-1, keepdim=True) > 0, -facing, facing)
    return torch.where(there[..., None], 0.5 + 0.5 * facing, 0.0)


def alpha(seen: Seen) -> Float[Tensor, "H W 3"]:
    """White is opaque."""
    return seen.layers.alpha[..., None].expand(-1, -1, 3)


def error(seen: Seen) -> Float[Tensor, "H W 3"]:
    """Mean absolute difference from what was trained on; the picture itself in grey where that is not known."""
    if seen.truth is None or seen.covered is None:
        return _unknown(seen)
    difference = (seen.layers.rgb.clamp(0, 1) - seen.truth).abs().mean(-1)
    return torch.where(seen.covered[..., None], ramp(difference * _ERROR_SCALE, _ERROR_COLORS), _OUTSIDE)


def truth(seen: Seen) -> Float[Tensor, "H W 3"]:
    """What was trained on: the photograph taken here, without the bends of its lens; or a mesh, grid or picture."""
    if seen.truth is None or seen.covered is None:
        return _unknown(seen)
    return torch.where(seen.covered[..., None], seen.truth, _OUTSIDE)


def _unknown(seen: Seen) -> Float[Tensor, "H W 3"]:
    return seen.layers.rgb.mean(-1, keepdim=True).expand(-1, -1, 3) * _OUTSIDE


@dataclass(frozen=True)
class Mode:
    """A way of looking.

    Attributes:
        paint: Makes the picture.
        compares: It needs what was trained on.
        clusters: It needs layers in which each cluster has a colour of its own.
    """

    paint: Paint
    compares: bool = False
    clusters: bool = False


MODES = {
    "colour": Mode(color),
    "depth": Mode(depth),
    "normal": Mode(normal),
    "alpha": Mode(alpha),
    "clusters": Mode(color, clusters=True),
    "photograph": Mode(truth, compares=True),
    "mesh": Mode(truth, compares=True),
    "grid": Mode(truth, compares=True),
    "picture": Mode(truth, compares=True),
    "error": Mode(error, compares=True),
}
"""All ways of looking; each subject says which of them make sense for it."""


def ramp(place: Float[Tensor, "*S"], colors: tuple[tuple[float, float, float], ...]) -> Float[Tensor, "*S 3"]:
    """Colours between equally spaced ones; `place` runs from 0 to 1."""
    table = torch.tensor(colors)
    at = place.clamp(0, 1) * (len(colors) - 1)
    below = at.long().clamp(max=len(colors) - 2)
    return torch.lerp(table[below], table[below + 1], (at - below)[..., None])
