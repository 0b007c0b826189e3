"""What readers say of real photographs is true of their pixels: what one shows lies on its epipolar line in the next.

No points are known of some sets, so photographs themselves are the witnesses: patches around corners of one image are
looked for along their rays' images in another, and beside them. Poses, axes, lenses and where pixels are counted from
are right where patches agree best on the line, to a fraction of a pixel.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neural.arrangement import camera_radius, focus_point
from neural.scenes.load import load
from neural.scenes.scene import Scene
from tests.scenes.real_captures import place

_BESIDE = torch.arange(-2, 3, dtype=torch.float64)  # pixels off the line
_DEPTHS, _CORNERS, _HALF = 144, 100, 4


def grey(scene: Scene, index: int) -> torch.Tensor:
    assert scene.images is not None
    return torch.from_numpy(scene.images[index][..., :3].astype(np.float64).mean(axis=2))


def corners(image: torch.Tensor) -> torch.Tensor:
    """Centres of the pixels with the most texture in two directions, one in each of many cells."""
    gy, gx = torch.gradient(image)
    blurred = torch.nn.functional.avg_pool2d(torch.stack([gx * gx, gy * gy, gx * gy])[None], 7, 1, 3)[0]
    strength = blurred[0] * blurred[1] - blurred[2] ** 2
    strength[:12] = strength[-12:] = 0
    strength[:, :12] = strength[:, -12:] = 0
    cell = int((image.numel() / (2 * _CORNERS)) ** 0.5)
    best, at = torch.nn.functional.max_pool2d(strength[None], cell, return_indices=True)
    chosen = at.flatten()[best.flatten().argsort(descending=True)[:_CORNERS]]
    return torch.stack([chosen % image.shape[1], chosen // image.shape[1]], dim=1) + 0.5


def patches(image: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """[..., 81] grey values about pixels, of mean 0 and length 1; NaN where they leave the image."""
    steps = torch.arange(-_HALF, _HALF + 1, dtype=torch.float64)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).reshape(-1, 2)
    at = centres[..., None, :] + offsets
    size = torch.tensor([image.shape[1], image.shape[0]], dtype=torch.float64)
    grid = (2 * at / size - 1).reshape(1, 1, -1, 2)  # pixel centres are at halves, as with align_corners=False
    values = torch.nn.functional.grid_sample(image[None, None], grid, align_corners=False).reshape(at.shape[:-1])
    values = values - values.mean(dim=-1, keepdim=True)
    values = values / values.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    outside = ((at < 1) | (at > size - 1)).any(dim=-1).any(dim=-1)
    return values.masked_fill(outside[..., None], torch.nan)


def neighbour(scene: Scene, index: int) -> int:
    """The camera that looks most alike from somewhere else."""
    rotations, origins = scene.cameras.c2w[:, :3, :3], scene.cameras.origins
    angles = torch.acos((((rotations[index].T @ rotations).diagonal(dim1=1, dim2=2).sum(dim=1) - 1) / 2).clamp(-1, 1))
    apart = (origins - origins[index]).norm(dim=1)
    angles[(apart < 0.25 * apart[apart > 0].sort().values[:3].mean()) | (apart == 0)] = torch.inf
    return int((angles + 0.3 * apart / apart.median()).argmin())


def agreement(scene: Scene, first: int, second: int) -> torch.Tensor:
    """[corners, offsets] best correlation along each line, so many pixels beside it."""
    image, other = grey(scene, first), grey(scene, second)
    pixels = corners(image)
    focus, agreed = focus_point(scene.cameras)
    distance = float(np.linalg.norm(scene.cameras.origins[first].numpy() - focus))
    if agreed < 0.6:  # they stand in a yard and look at its walls
        distance = camera_radius(scene.cameras)
    if scene.points is not None and len(scene.points):  # a drone's axes meet nowhere in particular
        _, depth = scene.cameras.project(torch.from_numpy(scene.points.xyz), first)
        distance = float(depth[depth > 0].median())
    depths = distance * torch.logspace(-0.5, 0.7, _DEPTHS, dtype=torch.float64)
    places = scene.cameras.unproject(pixels.repeat_interleave(_DEPTHS, 0), depths.repeat(len(pixels)), first)
    line = scene.cameras.project(places, second)[0].reshape(len(pixels), _DEPTHS, 2)
    along = torch.nn.functional.normalize(line[:, 1:] - line[:, :-1], dim=2)
    along = torch.cat([along, along[:, -1:]], dim=1)
    across = torch.stack([-along[..., 1], along[..., 0]], dim=-1)
    own, best = patches(image, pixels), []
    for offset in _BESIDE:
        found = patches(other, line + offset * across)
        best.append((found * own[:, None]).sum(dim=2).nan_to_num(-1).amax(dim=1))
    return torch.stack(best, dim=1)


def off_the_line(scene: Scene, pairs: int = 3) -> tuple[float, float, int]:
    """How far beside their lines patches agree best (median), how well they then do, and how many could tell."""
    n = len(scene.cameras)
    found = [agreement(scene, i, neighbour(scene, i)) for i in np.linspace(0, n - 1, pairs + 2).astype(int)[1:-1]]
    scores = torch.cat(found)
    best = scores.argmax(dim=1)
    sure = (scores.amax(dim=1) > 0.85) & (best > 0) & (best < len(_BESIDE) - 1)
    scores, best = scores[sure], best[sure]
    rows = torch.arange(len(best))
    left, top, right = (scores[rows, best + step] for step in (-1, 0, 1))
    peak = _BESIDE[best] + 0.5 * (left - right) / (left - 2 * top + right)
    return float(peak.median()), float(top.median()), len(peak)


@pytest.mark.parametrize(
    "name",
    [
        "fox",
        "castle_P30",
        pytest.param("dtu_scan24", marks=pytest.mark.slow),
        pytest.param("drone_caliterra", marks=pytest.mark.slow),
        pytest.param("alexander_colmap", marks=pytest.mark.slow),
    ],
)
def test_patches_lie_on_their_epipolar_lines(name: str, neural_data: Path, tmp_path: Path) -> None:
    scene = load(place(name, neural_data, tmp_path))
    off, correlation, n = off_the_line(scene)
    assert n > 25, (off, correlation, n)
    assert abs(off) < 0.3, (off, correlation, n)


def test_a_wrong_convention_would_be_seen(neural_data: Path) -> None:
    """A tenth of a degree between neighbours; axes that point the other way."""
    scene = load(neural_data / "fox")
    c2w = scene.cameras.c2w.clone()
    c2w[1::2] = c2w[1::2] @ _pitch(0.1)  # neighbours in time, one of them pitched
    off, _, _ = off_the_line(replace(scene, cameras=scene.cameras.posed(c2w)), pairs=2)
    assert abs(off) > 0.4, off
    flipped = scene.cameras.posed(scene.cameras.c2w @ torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64)))
    assert off_the_line(replace(scene, cameras=flipped), pairs=2)[2] < 40


def _pitch(degrees: float) -> torch.Tensor:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return torch.tensor([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]], dtype=torch.float64)
