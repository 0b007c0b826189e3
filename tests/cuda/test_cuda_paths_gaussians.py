"""The CUDA paths of the projection and the colours of Gaussians against plain torch in double."""

import math

import pytest
import torch
from torch import Tensor

from neural import lenses
from neural.cuda.gaussian_color import gaussian_color
from neural.cuda.gaussian_projection import MODELS, project
from neural.cuda.reference import gaussian_color as color_reference
from neural.cuda.reference import gaussian_projection as reference

SIZE = (128, 96)
N = 150  # more than a block


def _leaves(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    return [x.detach().float().to(device).requires_grad_() for x in tensors]


def _close(actual: Tensor | None, expected: Tensor | None, tolerance: float) -> None:
    assert actual is not None and expected is not None
    scale = max(1.0, float(expected.detach().abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(actual.detach().double().cpu(), expected.detach(), atol=tolerance * scale, rtol=1e-3)


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_project(model: str, antialiased: bool, cuda_device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    focal = 20.0 if model == "orthographic" else 90.0
    wide = [torch.randn(N, k, generator=generator, dtype=torch.float64) for k in (3, 4, 3)]
    wide[0][:, 2] += 3
    wide[2] = wide[2] * 0.6 - 2
    wide += [torch.randn(N, generator=generator, dtype=torch.float64) * 2, torch.eye(4, dtype=torch.float64)]
    wide += [torch.tensor([focal, 1.1 * focal, 65, 47], dtype=torch.float64)]
    narrow = _leaves(wide, cuda_device)
    for x in wide:
        x.requires_grad_()
    distortion = torch.tensor([0.05, -0.01, 0.002, 0, 0, 0, 0, 0])
    fold = lenses.fold(distortion, lenses.FISHEYE if model == "fisheye" else lenses.OPENCV)
    settings = (*SIZE, 0.1, math.inf, 0.1 if antialiased else 0.3, antialiased, MODELS.index(model), fold)
    expected = reference.forward(*wide, distortion.double(), *settings)
    got = project(
        *narrow, SIZE, near=0.1, antialiased=antialiased, model=model,  # type: ignore[arg-type]
        distortion=distortion.to(cuda_device), fold=fold,
    )  # fmt: skip
    found = torch.cat([x if x.ndim == 2 else x[:, None] for x in got], dim=1).T
    assert torch.equal(found[5].detach().cpu() > 0, expected[5].detach() > 0)
    for row, wanted in zip(found, expected, strict=True):
        _close(row, wanted, 2e-4)
    upstream = torch.randn(7, N, generator=generator, dtype=torch.float64) * (expected[5].detach() > 0.05)
    torch.autograd.backward(expected[:7], upstream)
    torch.autograd.backward(found[:7], upstream.float().to(cuda_device))
    for a, b in zip(narrow, wide, strict=True):
        _close(a.grad, b.grad, 1e-3)


@pytest.mark.parametrize(("stored", "degree"), [(0, 0), (3, 3), (2, 1), (1, 0)])
@pytest.mark.parametrize("skipping", [False, True])
def test_gaussian_color(stored: int, degree: int, skipping: bool, cuda_device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((N, 3), (3,), (N, 3), (N, (stored + 1) ** 2 - 1, 3))
    wide = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    narrow = _leaves(wide, cuda_device)
    for x in wide:
        x.requires_grad_()
    opacities = (torch.rand(N, generator=generator) - 0.4).clamp_min(0) if skipping else None
    expected = color_reference.forward(wide[0], wide[1], wide[2], wide[3], opacities, degree)
    found = gaussian_color(*narrow, degree, opacities=None if opacities is None else opacities.to(cuda_device))
    _close(found, expected, 1e-5)
    upstream = torch.randn(N, 3, generator=generator, dtype=torch.float64)
    expected.backward(upstream)
    found.backward(upstream.float().to(cuda_device))
    for a, b in zip(narrow, wide, strict=True):
        _close(a.grad, torch.zeros_like(a, dtype=torch.float64, device="cpu") if b.grad is None else b.grad, 1e-4)


def test_nothing_to_project(cuda_device: torch.device) -> None:
    empty = [torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), torch.eye(4), torch.ones(4)]
    narrow = _leaves(empty, cuda_device)
    project(*narrow, SIZE).means2d.sum().backward()
    assert narrow[4].grad is not None and not narrow[4].grad.any()
    coefficients = torch.zeros(0, 3, 3, device=cuda_device)
    assert gaussian_color(narrow[0], torch.zeros(3, device=cuda_device), narrow[2], coefficients, 1).shape == (0, 3)
