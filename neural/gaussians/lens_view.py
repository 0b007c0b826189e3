"""Which groups of Gaussians a camera with a bent lens may see: bounds of the unscented transform, by tables of a lens.

Let s be the largest deviation of a Gaussian over its distance. All that `project` looks at is within 0.1 sqrt(3) s of
its centre. If there the image moves by at most L and bends by at most B (derivatives by the point, at distance 1), then
for the six points of gaussian_unscented.cuh, D = +-J e + r with |r| <= 0.015 B s^2, and therefore
  |E| <= 1.5 B s^2,   deviation <= L s + 0.15 B s^2 + sqrt(1.99) |E|,
where L is the spectral norm of J for a deviation along one axis, and Frobenius' for that of x and y together.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural import lenses
from neural.gaussians.order import SIGMAS

_STEPS = 512  # angles of the tables
_AZIMUTHS = 32
_WINDOW = 4  # steps to either side whose derivatives bound what is around an angle
_WIDEST = math.radians(88)  # of an opencv lens without a fold: beyond, slopes have no bound
_SHIFT = 1e-5  # of finite differences, at distance 1
_ROOM = 1.05  # for what lies between the angles and azimuths of the tables
_SPREAD = 0.1 * math.sqrt(3) * 1.001  # distance of the points of the unscented transform, deviations
_BENT = 1.5 + SIGMAS * (0.15 + 1.5 * math.sqrt(1.99))  # |E| and SIGMAS deviations, of B s^2
_MARGIN = SIGMAS * math.sqrt(0.3) + 1.0  # pixels: the reach of the renderer's blur; single precision


@dataclass(frozen=True)
class LensBounds:
    """A camera but for its pose, with tables over the angle from the axis in equal steps from 0 to `end`.

    Attributes:
        model: Number in `neural.lenses.CAMERA_MODELS`.
        distortion: Of the lens.
        intrinsics: fx fy cx cy in pixels.
        size: Width and height in pixels.
        end: Radians; beyond it tables say nothing.
        blind: Radians; from there on the lens sees nothing.
        sure: Whether nothing is seen beyond `end`, and what is seen is a convex cone.
        slope: Largest derivative of the place on the plane, spectral norm, up to each angle.
        bend: Largest second derivative, up to each angle.
        inner, outer: A Gaussian between two angles whose s is below both `inner` of the first and `outer` of the second
            is too far from the image's corners to reach them.
    """

    model: int
    distortion: Float[Tensor, "8"]
    intrinsics: tuple[float, float, float, float]
    size: tuple[int, int]
    end: float
    blind: float
    sure: bool
    slope: Float[Tensor, "K"]
    bend: Float[Tensor, "K"]
    inner: Float[Tensor, "K"]
    outer: Float[Tensor, "K"]

    @classmethod
    def of(
        cls,
        model: Literal["opencv", "fisheye"],
        distortion: Float[Tensor, "8"],
        fold: float,
        intrinsics: Float[Tensor, "4"],
        size: tuple[int, int],
    ) -> "LensBounds":
        """Of a camera as `project` takes it; computed once.

        Args:
            model: The projection.
            distortion: Of the lens.
            fold: Of the lens, `neural.lenses.fold`.
            intrinsics: fx fy cx cy in pixels.
            size: Width and height in pixels.
        """
        fx, fy, cx, cy = intrinsics.tolist()
        return _bounds(model, tuple(distortion.tolist()), (fx, fy, cx, cy), fold, size)


@lru_cache(maxsize=4096)  # photographs of a capture may each have their own
def _bounds(
    model: str,
    distortion: tuple[float, ...],
    intrinsics: tuple[float, float, float, float],
    fold: float,
    size: tuple[int, int],
) -> LensBounds:
    kind, lens = lenses.CAMERA_MODELS.index(model), torch.tensor(distortion, dtype=torch.float64)
    blind, end, distance, slope, both, bend = _tables(kind, distortion, fold)
    fx, fy, cx, cy = intrinsics
    corner = math.hypot(max(cx, size[0] - cx) / fx, max(cy, size[1] - cy) / fy)
    smallest = _smallest(end, distance - corner - math.sqrt(2) * _MARGIN / min(fx, fy), both, bend)
    top = int(smallest.argmax())
    inner, outer = torch.full((2, _STEPS), math.inf, dtype=torch.float64)
    inner[: top + 1] = smallest[: top + 1].flip(0).cummin(0).values.flip(0)
    outer[top:] = smallest[top:].cummin(0).values
    sure = blind < math.pi / 2 and end > blind - 10 * _SHIFT
    slope, bend = slope.cummax(0).values, bend.cummax(0).values
    return LensBounds(kind, lens, intrinsics, size, end, blind, sure, slope, bend, inner, outer)


@lru_cache(maxsize=64)
def _tables(
    kind: int, distortion: tuple[float, ...], fold: float
) -> tuple[float, float, Float[Tensor, "K"], Float[Tensor, "K"], Float[Tensor, "K"], Float[Tensor, "K"]]:
    """blind, end; at each angle the least distance from the plane's middle, the largest norms of the first derivative,
    spectral and Frobenius', and that of the second."""
    lens = torch.tensor(distortion, dtype=torch.float64)
    blind = fold if kind == lenses.FISHEYE else math.atan(fold)
    end = (blind if kind == lenses.FISHEYE else min(blind, _WIDEST)) - 4 * _SHIFT
    theta = torch.linspace(0, end, _STEPS, dtype=torch.float64)
    azimuth = torch.arange(_AZIMUTHS, dtype=torch.float64) * (2 * math.pi / _AZIMUTHS) + 0.01
    ring = theta.sin()[:, None]
    points = torch.stack([ring * azimuth.cos(), ring * azimuth.sin(), theta.cos()[:, None].expand(-1, _AZIMUTHS)], -1)
    place, first, second = _derivatives(points.reshape(-1, 3), lens, kind)

    def largest(values: Tensor) -> Tensor:
        return values.nan_to_num(math.inf).unflatten(0, (_STEPS, _AZIMUTHS)).amax(1) * _ROOM

    slope, both = (largest(torch.linalg.matrix_norm(first, kind)) for kind in (2, "fro"))
    bend = largest(torch.linalg.matrix_norm(second, 2).square().sum(1).sqrt())
    if slope[-1] > 3 * slope[-2]:  # a pole: the last step has no bound
        slope[-1] = both[-1] = bend[-1] = math.inf
    distance = place.norm(dim=1).nan_to_num(0.0).unflatten(0, (_STEPS, _AZIMUTHS)).amin(1) / _ROOM
    return blind, end, distance, slope, both, bend


def _derivatives(
    points: Float[Tensor, "P 3"], lens: Float[Tensor, "8"], kind: int
) -> tuple[Float[Tensor, "P 2"], Float[Tensor, "P 2 3"], Float[Tensor, "P 2 3 3"]]:
    """The place on the plane, its derivatives by the point, and the second ones, by central differences."""
    axes = torch.eye(3, dtype=torch.float64) * _SHIFT
    middle = lenses.project(points, lens, kind)
    ahead = [lenses.project(points + axis, lens, kind) for axis in axes]
    behind = [lenses.project(points - axis, lens, kind) for axis in axes]
    first = torch.stack([(a - b) / (2 * _SHIFT) for a, b in zip(ahead, behind, strict=True)], -1)
    second = torch.empty(len(points), 2, 3, 3, dtype=torch.float64)
    for i in range(3):
        second[..., i, i] = (ahead[i] - 2 * middle + behind[i]) / _SHIFT**2
        for j in range(i):
            corners = [lenses.project(points + s * axes[i] + t * axes[j], lens, kind) for s in (1, -1) for t in (1, -1)]
            mixed = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * _SHIFT**2)
            second[..., i, j] = second[..., j, i] = mixed
    return middle, first, second


def _smallest(
    end: float, gap: Float[Tensor, "K"], both: Float[Tensor, "K"], bend: Float[Tensor, "K"]
) -> Float[Tensor, "K"]:
    """At each angle the s up to which a Gaussian reaches less far than `gap`; 0 for none."""

    def around(values: Tensor, steps: int) -> Tensor:
        return torch.nn.functional.max_pool1d(values[None], 2 * steps + 1, 1, steps)[0]

    gap = -around(-gap, 1)
    a, b = _BENT * around(bend, _WINDOW), SIGMAS * around(both, 1)  # reach: a s^2 + b s
    found = 2 * gap / (b + (b * b + 4 * a * gap.clamp(min=0)).sqrt())
    most = (_WINDOW - 1) * end / (_STEPS - 1) / _SPREAD * 0.99
    return found.clamp(0, min(most, 0.2)).nan_to_num(0.0)


@torch.no_grad()
def in_lens_view(
    lens: LensBounds,
    boxes: Float[Tensor, "G 2 3"],
    reaches: Float[Tensor, "G"],
    w2c: Float[Tensor, "4 4"],
    *,
    near: float,
) -> Bool[Tensor, "G"]:
    """Which groups of Gaussians may show in the image; no Gaussian that `project` sees is in another.

    A group is left out if it is behind the lens; if the disc in which its centres' images lie ends farther from the
    image than Gaussians reach; or if all of its centres are farther from the middle than the image's corners by that.

    Args:
        lens: The camera but for its pose.
        boxes: Around the centres of each group, smallest and largest corner in world coordinates.
        reaches: `order.SIGMAS` times the largest deviation in each group.
        w2c: World to camera.
        near: Smallest depth that is seen.
    """
    fx, fy, cx, cy = lens.intrinsics
    pose = w2c.detach().to(boxes.device, torch.float64)
    middle = boxes.double().mean(1) @ pose[:3, :3].T + pose[:3, 3]
    radius = (boxes[:, 1] - boxes[:, 0]).double().norm(dim=1) / 2 * (1 + 1e-6)
    sigma = reaches.double() * (1.0001 / SIGMAS)
    spread = _SPREAD * sigma
    distance, aside = middle.norm(dim=1), middle[:, :2].norm(dim=1)
    angle = torch.atan2(aside, middle[:, 2])
    outside = distance > radius + 1.5 * spread  # else the camera is amid them
    half = torch.where(outside, torch.asin((radius / distance).clamp(max=1)), math.pi)
    low = angle - half - 1e-4
    high = angle + torch.where(outside, torch.asin(((radius + spread) / distance).clamp(max=1)), math.pi) + 1e-4
    depth = distance if lens.model == lenses.FISHEYE else middle[:, 2]
    unseen = (depth + radius < near * (1 - 1e-5)) | (low >= lens.blind)

    slope, bend, inner, outer = (t.to(boxes.device) for t in (lens.slope, lens.bend, lens.inner, lens.outer))
    step = lens.end / (_STEPS - 1)
    upper = (high / step).ceil().clamp(max=_STEPS - 1).long()
    lower = (low / step).floor().clamp(0, _STEPS - 1).long()
    size = sigma / (distance - radius - spread)
    beyond = size < torch.minimum(inner[lower], outer[upper])

    off = _BENT * bend[upper] * size.square() + slope[upper] * (SIGMAS * size + half)
    held = angle.clamp(max=lens.end)  # the nearest direction that is seen
    ring = (held.sin() / aside.clamp(min=1e-300))[:, None] * middle[:, :2]
    place = lenses.project(torch.cat([ring, held.cos()[:, None]], 1), lens.distortion.to(boxes.device), lens.model)
    width, height = lens.size
    beside = (place[:, 0] * fx + cx - width / 2).abs() > width / 2 + fx * off + _MARGIN  # False of NaN
    beside |= (place[:, 1] * fy + cy - height / 2).abs() > height / 2 + fy * off + _MARGIN

    known = outside if lens.sure else outside & (high < lens.end)
    return ~(unseen | (known & (beside | beyond)))
