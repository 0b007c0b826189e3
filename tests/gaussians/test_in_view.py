"""Culling by boxes against the projection itself: what is drawn is never left out."""

import pytest
import torch
from torch import Tensor

from neural.cuda.gaussian_projection import project
from neural.cuda.reference.gaussian_projection import rotations
from neural.gaussians import order
from neural.morton import morton_order

SIZE = (160, 128)
INTRINSICS = torch.tensor([150.0, 120.0, 90.0, 55.0])


def _scene(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Needles, discs and balls around the origin in Morton order."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(n, 3, generator=generator) * 2
    quats = torch.randn(n, 4, generator=generator)
    log_scales = torch.randn(n, 3, generator=generator) * 1.2 - 3
    opacity_logits = torch.randn(n, generator=generator) * 2 + 1
    places = morton_order(means)
    return means[places], quats[places], log_scales[places], opacity_logits[places]


def _poses(seed: int) -> list[Tensor]:
    """Amid the scene, at its rim, and outside."""
    generator = torch.Generator().manual_seed(seed)
    poses = []
    for distance in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0):
        w2c = torch.eye(4)
        w2c[:3, :3] = rotations(torch.randn(1, 4, generator=generator))[0]
        w2c[:3, 3] = torch.randn(3, generator=generator) * 0.3 * distance
        w2c[2, 3] += distance
        poses.append(w2c)
    return poses


@pytest.mark.parametrize("size", [1, 8, order.CLUSTER])
@pytest.mark.parametrize("seed", range(3))
def test_every_gaussian_that_is_drawn_lies_in_a_box_that_is_kept(seed: int, size: int) -> None:
    gaussians = _scene(20_000, seed)
    half = order.half_extents(gaussians[1], gaussians[2])
    boxes = order.boxes(gaussians[0] - half, gaussians[0] + half, size)
    n_seen = n_kept = 0
    for w2c in _poses(seed):
        seen = project(*gaussians, w2c, INTRINSICS, SIZE, far=9.0).opacities > 0
        kept = order.in_view(boxes, w2c, INTRINSICS, SIZE, far=9.0).repeat_interleave(size)[: len(seen)]
        assert not bool((seen & ~kept).any())
        n_seen, n_kept = n_seen + int(seen.sum()), n_kept + int(kept.sum())
    assert n_seen > 10_000 and n_kept < 6 * len(gaussians[0])
    if size == 1:
        assert n_kept < 1.6 * n_seen  # nor is much kept for nothing


def test_a_needle_beside_the_view_is_kept_as_far_as_its_image_stretches() -> None:
    """Its ellipsoid stays outside the view pyramid; its linear image, taken at 15 % outside, reaches into the image."""
    means, log_scales = torch.tensor([[1.33, 0.0, 1.4]]), torch.tensor([[0.02, 0.02, 0.3]]).log()
    gaussian = (means, torch.tensor([[1.0, 0, 0, 0]]), log_scales, torch.full((1,), 4.0))
    intrinsics, size = torch.tensor([100.0, 100, 50, 50]), (100, 100)
    half = order.half_extents(gaussian[1], log_scales)
    boxes = order.boxes(means - half, means + half, 1)
    assert float(project(*gaussian, torch.eye(4), intrinsics, size).opacities) > 0
    assert bool(order.in_view(boxes, torch.eye(4), intrinsics, size))
    thin = torch.tensor([[[1.05, -0.05, 1.0], [1.15, 0.05, 1.2]]])  # as far outside, but short
    assert not bool(order.in_view(thin, torch.eye(4), intrinsics, size))
