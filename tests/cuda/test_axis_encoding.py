"""Triangle waves and one-blob against plain torch in float64, and by the laws that they keep."""

import math

import pytest
import torch
from torch import Tensor

from neural.cuda.axis_encoding import one_blob, triangle_wave
from neural.cuda.reference import axis_encoding as reference

OPS = (triangle_wave, one_blob)
FORMS = [(0, 1, 1), (0, 3, 12), (0, 5, 3), (1, 1, 1), (1, 2, 16), (1, 3, 5), (1, 5, 4)]  # kind, dims, features an axis
BACK_AND_FORTH = (lambda t: t.contiguous(), lambda t: t.T.contiguous().T)


def _positions(n: int, dims: int, kind: int, n_per_axis: int, low: float = -0.2, high: float = 1.2) -> Tensor:
    """float64 values that fp32 holds exactly, none where a wave turns."""
    x = (torch.rand(4 * n, dims, generator=torch.Generator().manual_seed(0)) * (high - low) + low).float().double()
    if kind == 0:
        k = torch.arange(n_per_axis)
        turns = 2 * (x[..., None] * 2.0 ** (k - 1) + k / 4)
        x = x[((turns - turns.round()).abs() > 1e-3).flatten(1).all(1)]
    assert len(x) >= n
    return x[:n]


def _normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def _check(kind: int, dims: int, n_per_axis: int, device: torch.device, n: int = 37) -> None:
    """Features, first and second derivatives, in either memory order."""
    x, upstream, above = _positions(n, dims, kind, n_per_axis), _normal(n, dims * n_per_axis), _normal(n, dims, seed=2)
    slope = 2.0 ** (n_per_axis + 1) if kind == 0 else 2.0 * n_per_axis
    for order in BACK_AND_FORTH:
        leaf = order(x.float().to(device)).requires_grad_()
        grad = order(upstream.float().to(device)).requires_grad_()
        out = OPS[kind](leaf, n_per_axis)
        torch.testing.assert_close(out.double().cpu(), reference.forward(x, kind, n_per_axis), atol=2e-6, rtol=0)
        (first,) = torch.autograd.grad(out, leaf, grad, create_graph=True)
        expected = reference.backward(upstream, x, kind, n_per_axis)
        torch.testing.assert_close(first.double().cpu(), expected, atol=2e-6 * slope, rtol=1e-5)
        got = torch.autograd.grad(first, (grad, leaf), order(above.float().to(device)))
        wanted = reference.backward_backward(above, upstream, x, kind, n_per_axis)
        torch.testing.assert_close(got[0].double().cpu(), wanted[0], atol=2e-6 * slope, rtol=1e-5)
        torch.testing.assert_close(got[1].double().cpu(), wanted[1], atol=2e-6 * slope**2, rtol=1e-5)


@pytest.mark.parametrize(("kind", "dims", "n_per_axis"), FORMS)
def test_values_and_both_derivatives_match_the_reference(kind: int, dims: int, n_per_axis: int, isa: str) -> None:
    _check(kind, dims, n_per_axis, torch.device("cpu"))


@pytest.mark.parametrize(("kind", "dims", "n_per_axis"), [(0, 3, 12), (1, 2, 16)])
def test_the_cuda_path_does_too(kind: int, dims: int, n_per_axis: int, cuda_device: torch.device) -> None:
    _check(kind, dims, n_per_axis, cuda_device, n=150)


@pytest.mark.parametrize("kind", [0, 1])
def test_the_reference_passes_gradgradcheck(kind: int) -> None:
    leaf = _positions(3, 2, kind, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: reference.forward(x, kind, 3), leaf)
    assert torch.autograd.gradgradcheck(lambda x: reference.forward(x, kind, 3), leaf)


def test_a_triangle_wave_is_four_times_the_distance_to_the_nearest_half(isa: str) -> None:
    x = torch.tensor([[0.0], [0.25], [0.5], [1.0], [3.0]])
    out = triangle_wave(x, 2)
    assert out[:, 0].tolist() == [1.0, 0.5, 0.0, -1.0, -1.0]  # of x/2
    assert out[:, 1].tolist() == [0.0, -1.0, 0.0, 0.0, 0.0]  # of x + 1/4
    assert float(triangle_wave(torch.rand(1000, 1) * 8 - 4, 20).abs().max()) <= 1.0


def test_the_highest_waves_lose_no_digits(isa: str) -> None:
    x = torch.tensor([[0.5], [1 + 2**-23]])
    out = triangle_wave(x, 60)
    ends = torch.tensor([1.0, 0.0, -1.0, 0.0]).repeat(15)  # frac = k/4 where 2^(k-1) x is whole
    assert torch.equal(out[0, 2:], ends[2:])
    assert torch.equal(out[1, 24:], ends[24:])


@pytest.mark.parametrize("n_bins", [1, 4, 7, 32])
def test_blobs_share_out_one(n_bins: int, isa: str) -> None:
    out = one_blob(torch.linspace(0, 1, 101)[:, None], n_bins)
    torch.testing.assert_close(out.sum(1), torch.ones(101), atol=2e-6, rtol=0)
    assert float(out.min()) >= -1e-6


def test_a_blob_is_the_integral_of_its_kernel() -> None:
    """Bins of a fine quadrature of 15/16 (1 - u^2)^2 about 0.97, wrapped."""
    n, x = 5, 0.97
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 100_000 - 1
    mass = 15 / 16 * (1 - u**2) ** 2 / 100_000
    bins = torch.zeros(n, dtype=torch.float64).index_add(0, ((x + u / n) % 1 * n).floor().long(), mass)
    torch.testing.assert_close(one_blob(torch.tensor([[x]]), n)[0].double(), bins, atol=1e-5, rtol=0)


@pytest.mark.parametrize("op", OPS)
def test_wild_positions_stay_finite_or_are_nan(op, isa: str) -> None:
    x = torch.tensor([[float("nan")], [1e30], [-1e30], [0.3]])
    out = op(x, 8)
    assert out[0].isnan().all()
    assert out[1:].isfinite().all()


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="n_frequencies must be 1 to 60, got 61"):
        triangle_wave(torch.zeros(5, 3), 61)
    with pytest.raises(ValueError, match="n_bins must be 1 to 1024, got 0"):
        one_blob(torch.zeros(5, 3), 0)
    with pytest.raises(TypeError, match="one_blob: positions must be float32"):
        one_blob(torch.zeros(5, 3, dtype=torch.float64), 4)
    assert triangle_wave(torch.zeros(0, 3), 4).shape == (0, 12)
    assert math.prod(one_blob(torch.zeros(4, 0), 4).shape) == 0
