"""Projection and colours against gsplat's plain-torch functions (an independent implementation), in double."""

import math
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from neural.cuda.reference import gaussian_color as color_reference
from neural.cuda.reference import gaussian_projection as reference

SIZE = (128, 96)
N = 300


@pytest.fixture(scope="module")
def gsplat() -> ModuleType:
    return pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat's plain-torch functions are the oracle here")


def scene(model: str) -> list[Tensor]:
    """Six leaves in double; some Gaussians lie so far outside that the Jacobian is held at the border."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, :3] = reference.rotations(normal(1, 4) * 0.1 + torch.tensor([1.0, 0, 0, 0]))[0]
    w2c[2, 3] = 4.0
    focal = 20.0 if model == "orthographic" else 90.0
    intrinsics = torch.tensor([focal, 1.2 * focal, 60, 50], dtype=torch.float64)
    means = normal(N, 3) * torch.tensor([3.0, 2.0, 1.0])
    tensors = [means, normal(N, 4), normal(N, 3) * 0.5 - 0.7, normal(N) * 0.5 + 1, w2c, intrinsics]
    return [x.requires_grad_() for x in tensors]


def theirs(gsplat: ModuleType, inputs: list[Tensor], model: str) -> tuple[Tensor, Tensor]:
    """As ours: x, y, A, B, C, opacity with compensation, depth; and gsplat's own verdict on what is seen."""
    means, quats, log_scales, logits, w2c, intrinsics = inputs
    covariances, _ = gsplat._quat_scale_to_covar_preci(
        torch.nn.functional.normalize(quats, dim=-1), log_scales.exp(), compute_preci=False
    )
    fx, fy, cx, cy = intrinsics
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    matrix = torch.stack([fx, zero, cx, zero, fy, cy, zero, zero, one]).reshape(1, 3, 3)
    names = {"perspective": "pinhole", "orthographic": "ortho", "fisheye": "fisheye"}
    radii, means2d, depths, conics, compensations = gsplat._fully_fused_projection(
        means, covariances, w2c[None], matrix, *SIZE, near_plane=0.1, calc_compensations=True,
        camera_model=names[model],
    )  # fmt: skip
    opacities = logits.sigmoid() * compensations[0]
    image = torch.cat([means2d[0], conics[0], opacities[:, None], depths[0][:, None]], dim=1).T
    return image, (radii[0] > 0).all(dim=-1)


def ours(inputs: list[Tensor], model: str) -> Tensor:
    settings: tuple[Any, ...] = (*SIZE, 0.1, math.inf, 0.3, True, reference.MODELS.index(model), math.inf)
    return reference.forward(*inputs, None, *settings)


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
def test_projection(gsplat: ModuleType, model: str) -> None:
    """Values, culling, and all gradients, those to the pose and to the intrinsics included."""
    inputs = scene(model)
    found, (expected, seen) = ours(inputs, model), theirs(gsplat, inputs, model)
    kept = found[5] > 0
    assert not (kept & ~seen).any()  # their extents are a little wider: 3.33 sigma whatever the opacity, rounded up
    assert 0.3 < float(kept.double().mean()) < 0.95
    torch.testing.assert_close(found[:7, kept], expected[:, kept], rtol=1e-9, atol=1e-11)
    if model == "perspective":
        ratio = ((inputs[0] @ inputs[4][:3, :3].T + inputs[4][:3, 3]) * torch.tensor([90.0, 108, 1]))[kept]
        x = ratio[:, 0] / ratio[:, 2] + 60
        assert int(((x < -0.15 * SIZE[0]) | (x > 1.15 * SIZE[0])).sum()) >= 3  # held ones are among them
    upstream = torch.randn(7, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * kept
    a = torch.autograd.grad(found[:7], inputs, upstream)
    b = torch.autograd.grad(torch.where(kept, expected, 0.0), inputs, upstream)
    for mine, other in zip(a, b, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-7, atol=1e-8 * float(other.abs().max()))


def test_a_fisheye_agrees_where_its_image_is_nearly_linear(gsplat: ModuleType) -> None:
    """gsplat linearises the fisheye; the unscented transform of small Gaussians comes to the same."""
    inputs = scene("fisheye")
    with torch.no_grad():
        inputs[2] -= 5
    found, (expected, _) = ours(inputs, "fisheye"), theirs(gsplat, inputs, "fisheye")
    kept = found[5] > 0
    assert int(kept.sum()) > 50
    torch.testing.assert_close(found[:2, kept], expected[:2, kept], rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(found[2:5, kept], expected[2:5, kept], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("degree", range(4))
def test_colors(gsplat: ModuleType, degree: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((N, 3), (3,), (N, 3), (N, 15, 3))
    inputs = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    means, centre, sh0, shN = inputs
    coefficients = torch.cat([sh0[:, None], shN], dim=1)
    expected = (gsplat._spherical_harmonics(degree, means - centre, coefficients) + 0.5).clamp_min(0)
    found = color_reference.forward(means, centre, sh0, shN, None, degree)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    upstream = torch.randn(N, 3, generator=generator, dtype=torch.float64)
    a, b = (torch.autograd.grad(x, inputs, upstream, allow_unused=True) for x in (found, expected))
    for mine, other in zip(a, b, strict=True):
        mine, other = (torch.zeros(1) if x is None else x for x in (mine, other))
        torch.testing.assert_close(*torch.broadcast_tensors(mine.double(), other.double()), rtol=1e-8, atol=1e-8)
