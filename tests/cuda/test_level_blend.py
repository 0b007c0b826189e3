"""Blending over the samples of a cone against plain torch in float64: values, gradients, second derivatives."""

import math

import pytest
import torch
from torch import Tensor

from neural.cuda.level_blend import level_blend
from neural.cuda.reference import level_blend as reference
from tests.threads import same_bits

BACK_AND_FORTH = (lambda t: t.contiguous(), lambda t: t.T.contiguous().T)
SIZES = [(1, 1, 1, 1), (37, 6, 4, 2), (11, 3, 5, 8), (700, 6, 2, 1)]  # points, samples, levels, features


def _problem(n: int, m: int, n_levels: int, n_features: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """features, widths from far below to far above the cells, reach, upstream gradient; exact in fp32."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n * m, n_levels * n_features, generator=generator)
    widths = 10 ** (torch.rand(n * m, generator=generator) * 4 - 3.5)
    reach = 1 / (math.sqrt(8) * torch.tensor([16.0 * 2**level for level in range(n_levels)]))
    return features, widths, reach, torch.randn(n, n_levels * n_features, generator=generator)


def _check(n: int, m: int, n_levels: int, n_features: int, device: torch.device) -> None:
    features, widths, reach, upstream = _problem(n, m, n_levels, n_features)
    wide = upstream.double(), features.double(), widths.double(), reach.double(), m
    generator = torch.Generator().manual_seed(1)
    along = torch.randn(features.shape, generator=generator), torch.randn(n * m, generator=generator) * widths
    for order in BACK_AND_FORTH:
        f, g = (order(v.to(device)).requires_grad_() for v in (features, upstream))
        w = widths.to(device).requires_grad_()
        out = level_blend(f, w, reach, m)
        torch.testing.assert_close(out.double().cpu(), reference.forward(*wide[1:]), atol=2e-6, rtol=1e-6)
        first = torch.autograd.grad(out, (f, w), g, create_graph=True)
        for got, expected in zip(first, reference.backward(*wide), strict=True):
            torch.testing.assert_close(got.double().cpu(), expected, atol=2e-5, rtol=2e-5)
        total = (first[0] * along[0].to(device)).sum() + (first[1] * along[1].to(device)).sum()
        second = torch.autograd.grad(total, (g, f, w))
        for got, expected in zip(second, reference.backward_backward(*(v.double() for v in along), *wide), strict=True):
            scale = float(expected.abs().max())
            torch.testing.assert_close(got.double().cpu(), expected, atol=2e-6 * scale, rtol=5e-5)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values_and_both_derivatives_match_the_reference(sizes: tuple[int, int, int, int], isa: str) -> None:
    _check(*sizes, torch.device("cpu"))


@pytest.mark.parametrize("sizes", [(50, 6, 4, 2)], ids=str)
def test_the_cuda_path_does_too(sizes: tuple[int, int, int, int], cuda_device: torch.device) -> None:
    _check(*sizes, cuda_device)


def test_the_reference_passes_gradgradcheck() -> None:
    features, widths, reach, _ = _problem(2, 3, 2, 1)
    leaves = features.double().requires_grad_(), (widths.double() + 0.01).requires_grad_()
    call = lambda f, w: reference.forward(f, w, reach.double(), 3)  # noqa: E731
    assert torch.autograd.gradcheck(call, leaves) and torch.autograd.gradgradcheck(call, leaves)


def test_points_take_the_mean_and_wide_cones_lose_the_fine_levels(isa: str) -> None:
    features = torch.arange(12.0).reshape(6, 2)  # two points of three samples, two levels of one feature
    reach = torch.tensor([1e3, 1e-6])
    assert level_blend(features, torch.zeros(6), reach, 3).tolist() == [[2.0, 3.0], [8.0, 9.0]]
    faded = level_blend(features, torch.ones(6), reach, 3)
    assert faded[:, 0].tolist() == [2.0, 8.0]
    torch.testing.assert_close(faded[:, 1], torch.tensor([3.0, 9.0]) * 2 / math.sqrt(math.pi) * 1e-6)


def test_weights_fall_from_one_to_nothing_as_the_width_grows(isa: str) -> None:
    widths = torch.logspace(-6, 6, 1000)
    weights = level_blend(torch.ones(1000, 1), widths, torch.tensor([1.0]), 1)[:, 0]
    expected = torch.erf(1 / widths.double())
    torch.testing.assert_close(weights.double(), expected, atol=3e-7, rtol=5e-7)
    assert (weights[1:] <= weights[:-1] + 2e-7).all()


def test_a_width_of_zero_has_no_slope_and_nan_stays(isa: str) -> None:
    widths = torch.tensor([0.0, float("nan"), 1.0], requires_grad=True)
    out = level_blend(torch.ones(3, 1), widths, torch.tensor([0.5]), 1)
    assert float(out[0].detach()) == 1.0 and bool(out[1].isnan())
    out[::2].sum().backward()
    assert abs(float(widths.grad[0])) < 1e-30 and float(widths.grad[2]) < 0


def test_the_number_of_threads_changes_no_bit() -> None:
    features, widths, reach, upstream = _problem(5000, 6, 3, 2)

    def run():
        f, w = features.clone().requires_grad_(), widths.clone().requires_grad_()
        out = level_blend(f, w, reach, 6)
        out.backward(upstream)
        return (out.detach(), f.grad, w.grad)

    same_bits(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_samples": 4}, "10 samples are not n_samples = 4 of each point"),
        ({"n_samples": 0}, "10 samples are not n_samples = 0 of each point"),
        ({"reach": torch.ones(3)}, "4 features are not those of 3 levels"),
        ({"reach": torch.ones(4)[::2]}, "reach must be contiguous"),
        ({"widths": torch.ones(9)}, r"widths must be \[10\], got \[9\]"),
    ],
)
def test_wrong_arguments_say_what_to_do(change: dict, message: str) -> None:
    arguments = {"features": torch.ones(10, 4), "widths": torch.ones(10), "reach": torch.ones(2), "n_samples": 5}
    with pytest.raises(ValueError, match=message):
        level_blend(**(arguments | change))
