"""Spherical harmonics against the textbook sums, in value and gradient, for every instruction set."""

import pytest
import torch

from neural.cuda.reference import spherical_harmonics as reference
from neural.cuda.spherical_harmonics import spherical_harmonics


def _directions(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("degree", range(1, 9))
@pytest.mark.parametrize("n", [1, 37])
def test_matches_the_textbook_sums(degree: int, n: int, isa: str) -> None:
    directions = _directions(n)
    expected = reference.forward(directions, degree)
    got = spherical_harmonics(directions.float(), degree)
    torch.testing.assert_close(got.double(), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("degree", [1, 4, 8])
def test_gradient_matches_in_either_memory_order(degree: int, isa: str) -> None:
    directions = _directions(45)
    upstream = torch.randn(45, degree * degree, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = reference.backward(upstream, directions, degree)
    for order in (lambda t: t.contiguous(), lambda t: t.T.contiguous().T):
        leaf = order(directions.float()).requires_grad_()
        spherical_harmonics(leaf, degree).backward(order(upstream.float()))
        torch.testing.assert_close(leaf.grad.double(), expected, atol=5e-5, rtol=1e-5)


def test_harmonics_are_orthonormal_on_the_sphere() -> None:
    # Gauss-Legendre in z and equal steps in azimuth integrate products of two degree-7 harmonics exactly.
    z, weight = torch.tensor(_gauss_legendre(16)).unbind(0)
    azimuth = torch.arange(32, dtype=torch.float64) * (2 * torch.pi / 32)
    radius = (1 - z**2).sqrt()
    points = torch.stack(
        [radius[:, None] * azimuth.cos(), radius[:, None] * azimuth.sin(), z[:, None].expand(-1, 32)], -1
    ).reshape(-1, 3)
    weights = (weight[:, None] * (2 * torch.pi / 32)).expand(-1, 32).reshape(-1)
    y = spherical_harmonics(points.float(), 8).double()
    torch.testing.assert_close(y.T @ (weights[:, None] * y), torch.eye(64).double(), atol=2e-6, rtol=0)


def test_first_bands_have_the_published_signs() -> None:
    x, y, z = 0.36, 0.48, 0.8
    features = spherical_harmonics(torch.tensor([[x, y, z]]), 3)[0]
    expected = torch.tensor(
        [0.28209479, -0.48860251 * y, 0.48860251 * z, -0.48860251 * x, 1.09254843 * x * y, -1.09254843 * y * z,
         0.94617470 * z * z - 0.31539157, -1.09254843 * x * z, 0.54627422 * (x * x - y * y)]
    )  # fmt: skip
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=0)


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"directions must be \[N, 3\], got \[3, 5\]; transpose"):
        spherical_harmonics(torch.zeros(3, 5), 4)
    with pytest.raises(TypeError, match=r"must be float32, got float64; call \.to\(torch\.float32\)"):
        spherical_harmonics(torch.zeros(5, 3, dtype=torch.float64), 4)
    with pytest.raises(ValueError, match="degree must be 1 to 8, got 9"):
        spherical_harmonics(torch.zeros(5, 3), 9)


def test_no_directions_give_no_features() -> None:
    leaf = torch.zeros(0, 3, requires_grad=True)
    out = spherical_harmonics(leaf, 2)
    assert out.shape == (0, 4)
    out.sum().backward()
    assert leaf.grad is not None and leaf.grad.shape == (0, 3)


def _gauss_legendre(n: int) -> list[list[float]]:
    import numpy as np

    return [list(a) for a in np.polynomial.legendre.leggauss(n)]
