"""Projected Gaussians for tests and benchmarks, and what blending makes of them: an oracle that knows no tiles."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True)
class Scene:
    """What projection would give, and features; the order of memory is that of projection."""

    means2d: Float[Tensor, "N 2"]
    conics: Float[Tensor, "N 3"]
    opacities: Float[Tensor, "N"]
    depths: Float[Tensor, "N"]
    extents: Float[Tensor, "N 2"]
    features: Float[Tensor, "N C"]
    size: Size


def layered(n: int, size: Size, *, radius: float = 1.45, channels: int = 3, shells: int = 8, seed: int = 0) -> Scene:
    """Gaussians all over the image, in shells one behind the other.

    At 640x360 and the default radius, 100 000 of them reach 2.4 tiles each.
    """
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    means2d = rand(2, n) * torch.tensor(size)[:, None]
    sigmas = radius * torch.exp(0.4 * torch.randn(2, n, generator=generator))
    cos, sin = torch.cos(math.pi * (angle := rand(n))), torch.sin(math.pi * angle)
    variances = sigmas.square()
    xx = variances[0] * cos * cos + variances[1] * sin * sin + 0.3
    yy = variances[0] * sin * sin + variances[1] * cos * cos + 0.3
    xy = (variances[0] - variances[1]) * cos * sin
    determinant = xx * yy - xy * xy
    opacities = 0.05 + 0.9 * rand(n)
    reach = torch.sqrt(2 * torch.log(255 * opacities))
    depths = 2 + torch.randint(0, shells, (n,), generator=generator) + 0.1 * rand(n)
    return Scene(
        means2d.T,
        (torch.stack([yy, -xy, xx]) / determinant).T,
        opacities,
        depths,
        (reach * torch.stack([xx, yy]).sqrt()).T,
        rand(channels, n).T,
        size,
    )


@dataclass(frozen=True)
class Render:
    """colors [H, W, C], alphas [H, W], which pixels each Gaussian is blended into [N, H, W], its weights, median."""

    colors: np.ndarray
    alphas: np.ndarray
    blended: np.ndarray
    weights: np.ndarray
    median: np.ndarray


def render(scene: Scene, background: Tensor | None = None) -> Render:
    """The image in float64: all pixels, all Gaussians, one after the other by depth."""
    depths, features = scene.depths.double().numpy(), scene.features.double().numpy()
    width, height = scene.size
    fields = [_alpha(scene, n) for n in range(len(depths))]
    left, running = np.ones((height, width)), np.ones((height, width), dtype=bool)
    colors, median = np.zeros((height, width, features.shape[1])), np.zeros((height, width))
    blended, weights = np.zeros((len(depths), height, width), dtype=bool), np.zeros(len(depths))
    for n in np.argsort(depths, kind="stable"):
        alpha, visible = fields[n]
        shown = running & visible
        after = left * (1 - alpha)
        running &= ~(shown & (after < 1e-4))
        blended[n] = shown & running
        weight = np.where(blended[n], left * alpha, 0.0)
        colors += weight[..., None] * features[n]
        weights[n] = weight.sum()
        median = np.where(blended[n] & (left > 0.5) & (after <= 0.5), depths[n], median)
        left = np.where(blended[n], after, left)
    if background is not None:
        colors += left[..., None] * background.double().numpy()
    return Render(colors, 1 - left, blended, weights, median)


def footprints(scene: Scene) -> np.ndarray:
    """[N, H, W]: where each Gaussian would show if it were alone."""
    empty = np.zeros((0, scene.size[1], scene.size[0]), dtype=bool)
    return np.stack([_alpha(scene, n)[1] for n in range(len(scene.depths))]) if len(scene.depths) else empty


def _alpha(scene: Scene, n: int) -> tuple[np.ndarray, np.ndarray]:
    """alpha of one Gaussian in every pixel, and where it is not skipped."""
    width, height = scene.size
    (mean_x, mean_y), (a, b, c) = scene.means2d[n].tolist(), scene.conics[n].tolist()
    dx, dy = np.arange(width) + 0.5 - mean_x, np.arange(height)[:, None] + 0.5 - mean_y
    power = -0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy
    alpha = np.minimum(0.99, float(scene.opacities[n]) * np.exp(power))
    return alpha, (power <= 0) & (alpha >= 1 / 255)
