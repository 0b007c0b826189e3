"""Metric maps against plain torch in float64: values, both derivatives, and what holds near the faces."""

import math

import pytest
import torch

from neural.cuda.metric_maps import METRICS, Metrics, metric_maps
from neural.cuda.reference import metric_maps as reference
from tests.threads import same_bits


def _positions(n: int, dims: int, seed: int = 0) -> torch.Tensor:
    """Mostly inside, some on and beyond the faces; float64 that fp32 holds exactly."""
    positions = torch.rand(n, dims, generator=torch.Generator().manual_seed(seed)) * 1.2 - 0.1
    positions[0], positions[1] = 0.0, 1.0
    return positions.double()


def _draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def _check(metrics: Metrics, n: int, dims: int, device: torch.device | str = "cpu") -> None:
    positions, upstream, above = _positions(n, dims), _draw(3 * n, dims, seed=1), _draw(n, dims, seed=2)
    kind = METRICS.index(metrics)
    for order in (lambda t: t.contiguous(), lambda t: t.T.contiguous().T):
        leaf, grad = (order(t.float().to(device)).requires_grad_() for t in (positions, upstream))
        out = metric_maps(leaf, metrics)
        torch.testing.assert_close(out.double().cpu(), reference.forward(positions, kind), atol=3e-7, rtol=0)
        (first,) = torch.autograd.grad(out, leaf, grad, create_graph=True)
        expected = reference.backward(upstream, positions, kind)
        # 1 - |p| of p = 2 x - 1 has few digits near the faces, where the slope is its inverse square root
        torch.testing.assert_close(first.double().cpu(), expected, atol=2e-5, rtol=1e-4)
        got = torch.autograd.grad(first, (grad, leaf), order(above.float().to(device)))
        for g, want in zip(got, reference.backward_backward(above, upstream, positions, kind), strict=True):
            torch.testing.assert_close(g.double().cpu(), want, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("metrics", METRICS)
@pytest.mark.parametrize(("n", "dims"), [(37, 1), (37, 2), (500, 3), (20, 7)])
def test_values_and_both_derivatives_match(metrics: Metrics, n: int, dims: int, isa: str) -> None:
    _check(metrics, n, dims)


@pytest.mark.parametrize("metrics", METRICS)
def test_cuda_path_matches(metrics: Metrics, cuda_device: torch.device) -> None:
    _check(metrics, 150, 3, cuda_device)


@pytest.mark.parametrize("metrics", METRICS)
def test_the_reference_passes_gradgradcheck(metrics: Metrics) -> None:
    inside = (torch.rand(5, 2, generator=torch.Generator().manual_seed(3)).double() * 0.9 + 0.05).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: reference.forward(x, METRICS.index(metrics)), inside)


def test_signal_maps_are_the_published_ones_moved_by_one_and_at_the_published_lengths(isa: str) -> None:
    x = torch.linspace(0.002, 0.998, 500)[:, None]
    p = 2 * x.double() - 1
    got = metric_maps(x).double()
    sine, arcsine = (p.sin() - math.sin(1)) / (2 * math.sin(1)), (p.asin() - 1.5 * math.pi) / (2 * math.pi)
    torch.testing.assert_close(got, torch.cat([x.double(), sine + 1, arcsine + 1]), atol=3e-7, rtol=0)
    ends = metric_maps(torch.tensor([[0.0], [1.0]])).reshape(3, 2)
    torch.testing.assert_close(ends, torch.tensor([[0, 1], [0, 1], [0.0018, 0.4982]]), atol=1e-4, rtol=0)


def test_radiance_maps_are_the_coordinate_its_sine_and_its_cosine() -> None:
    x = torch.linspace(0, 1, 50)[:, None]
    torch.testing.assert_close(metric_maps(x, "radiance"), torch.cat([x, x.sin(), x.cos()]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("metrics", METRICS)
def test_slopes_are_bounded_at_the_faces_and_nothing_moves_beyond_them(metrics: Metrics, isa: str) -> None:
    x = torch.tensor([-torch.inf, -5.0, -1e-6, 0.0, 1e-30, 1e-7, 1 - 2**-24, 1.0, 1.0 + 2**-23, 3.0, torch.inf])
    leaf = x[:, None].requires_grad_()
    out = metric_maps(leaf, metrics)
    (slope,) = torch.autograd.grad(out.sum(), leaf, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), leaf)
    assert out.isfinite().all() and slope.isfinite().all() and bend.isfinite().all()
    assert float(slope.detach().abs().max()) < 46 / math.pi + 3
    outside = (x < 0) | (x > 1)
    assert (slope[outside] == 0).all()
    assert (out.detach().reshape(3, 11)[:, :3] == out.detach().reshape(3, 11)[:, 3:4]).all()  # the lower face
    if metrics == "signal":
        assert (slope[~outside] > 1).all()


def test_signal_maps_grow_everywhere() -> None:
    x = torch.linspace(0, 1, 4097)[:, None]
    assert (metric_maps(x).reshape(3, -1).diff(dim=1) > 0).all()


@pytest.mark.parametrize("n_threads", [2, 3])
def test_results_do_not_depend_on_the_number_of_threads(n_threads: int, isa: str) -> None:
    positions, upstream = _positions(9000, 3).float(), _draw(27000, 3, seed=1).float()

    def run():
        leaf = positions.clone().requires_grad_()
        out = metric_maps(leaf)
        return [out, torch.autograd.grad(out, leaf, upstream)[0]]

    same_bits(run, (1, n_threads))


def test_nan_stays_nan_and_alone(isa: str) -> None:
    positions = torch.full((20, 2), 0.3)
    positions[4, 1] = torch.nan
    out = metric_maps(positions)
    assert out[[4, 24, 44], 1].isnan().all() and int(out.isnan().sum()) == 3


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="metrics must be one of signal, radiance, got 'image'"):
        metric_maps(torch.zeros(5, 3), "image")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="positions must be float32"):
        metric_maps(torch.zeros(5, 3, dtype=torch.float16))
    assert metric_maps(torch.zeros(0, 3)).shape == (0, 3)
