"""Gaussian scenes of the tests of edits, cameras around them, and how alike two pictures are."""

import numpy as np
import torch

from neural.cameras import Cameras
from neural.gaussians.model import Gaussians
from neural.poses import look_at
from neural.render.splats import render_camera


def scene(n: int = 600, degree: int = 3, seed: int = 0) -> Gaussians:
    """Gaussians about the origin, of colours that depend on the view."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    k = (0, 3, 8, 15)[degree]
    return Gaussians(randn(n, 3), randn(n, 4), 0.5 * randn(n, 3) - 2.5, randn(n) + 1, randn(n, 3), 0.3 * randn(n, k, 3))


def cameras(n: int = 3, radius: float = 6.0, size: int = 96, centre: tuple[float, ...] = (0, 0, 0)) -> Cameras:
    """On a ring about a place, looking at it."""
    middle = np.array(centre, dtype=np.float64)
    turns = np.linspace(0, 2 * np.pi, n, endpoint=False)
    places = middle + radius * np.stack([np.cos(turns), np.sin(turns), 0.4 + 0 * turns], axis=1)
    c2w = np.stack([look_at(place, middle, np.array([0.0, 0.0, 1.0])) for place in places])
    lens = torch.tensor([1.1 * size, 1.1 * size, size / 2, size / 2], dtype=torch.float64)
    return Cameras.pinhole(torch.from_numpy(c2w), lens.repeat(n, 1), torch.full((n, 2), size))


def moved(cameras: Cameras, similarity: np.ndarray) -> Cameras:
    """The cameras in another frame."""
    c2w = torch.from_numpy(similarity) @ cameras.c2w
    c2w[:, :3, :3] /= np.cbrt(np.linalg.det(similarity[:3, :3]))
    return cameras.posed(c2w)


def pictures(gaussians: Gaussians, cameras: Cameras, near: float = 0.05, grey: float = 0.5) -> torch.Tensor:
    """[C, H W, 3] on grey."""
    behind = torch.full((3,), grey)
    return torch.stack(
        [render_camera(gaussians, cameras, i, background=behind, near=near).rgb for i in range(len(cameras))]
    )


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of all pictures together, in dB."""
    return float(-10 * torch.log10((a.clamp(0, 1) - b.clamp(0, 1)).double().square().mean() + 1e-20))


VIEWS = cameras(8, radius=2.4, size=128, centre=(0, -0.35, 0))  # of playbot_lod3


def floaters(clean_scene: Gaussians, n: int, seed: int = 3) -> Gaussians:
    """Gaussians of any colour in free space, between cameras and scene, somewhat larger than those of the scene."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    origins = VIEWS.origins.float()[torch.randint(len(VIEWS), (n,), generator=generator)]
    towards = torch.tensor([0, -0.35, 0.0]) + 0.4 * randn(n, 3)
    means = origins + (0.2 + 0.35 * torch.rand(n, 1, generator=generator)) * (towards - origins)
    sizes = float(clean_scene.log_scales.detach().median()) + 1.2 + 0.4 * randn(n, 3)
    k = clean_scene.shN.shape[1]
    return Gaussians(means, randn(n, 4), sizes, randn(n) + 1, randn(n, 3), torch.zeros(n, k, 3))
