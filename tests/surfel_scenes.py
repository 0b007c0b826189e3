"""Surfels in front of, beside and behind a turned camera, for the tests of their projection, blending and pictures."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from neural.cuda.gaussian_tiles import Tiles, intersect
from neural.cuda.reference.gaussian_projection import rotations
from neural.cuda.surfel_projection import Surfels, project

NEAR = 0.1


def parameters(n: int, size: tuple[int, int], *, log_scale: float = -1.5, seed: int = 0) -> list[Tensor]:
    """means, quats, log_scales, opacity_logits, w2c, intrinsics in double."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, :3] = rotations(torch.tensor([[1.0, 0.1, -0.2, 0.05]], dtype=torch.float64))[0]
    w2c[:3, 3] = torch.tensor([0.1, -0.2, 3.0])
    focal, (width, height) = 0.8 * size[0], size
    intrinsics = torch.tensor([focal, 1.1 * focal, 0.52 * width, 0.47 * height], dtype=torch.float64)
    means = normal(n, 3) * torch.tensor([1.6, 1.3, 1.2])
    return [means, normal(n, 4) * 3, normal(n, 3) * 0.6 + log_scale, normal(n) * 2, w2c, intrinsics]


def single(given: list[Tensor]) -> list[Tensor]:
    """As the ops take them: parameters in single precision, the camera as it is."""
    return [*(x.float() for x in given[:4]), *given[4:]]


def seen(n: int, size: tuple[int, int], *, log_scale: float = -1.5, seed: int = 0) -> Surfels:
    """The projected surfels."""
    return project(*single(parameters(n, size, log_scale=log_scale, seed=seed)), size, near=NEAR)


def tiles_of(surfels: Surfels, size: tuple[int, int]) -> Tiles:
    """The tiles that the covers reach."""
    given = surfels.centres, surfels.conics, surfels.opacities, surfels.depths, surfels.extents
    return intersect(*(x.detach() for x in given), size)


@contextmanager
def on(backend: str) -> Iterator[None]:
    """Ops go to this backend here, whatever the fixture `cuda_device` makes of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neural.cuda.checks.backend", lambda tensor: backend)
        yield
