"""Frequency encoding against plain torch in float64: values, gradients and second derivatives."""

import pytest
import torch

from neural.cuda.frequency import frequency
from neural.cuda.reference import frequency as reference


def _positions(n: int, dims: int, seed: int = 0) -> torch.Tensor:
    """float64 values that fp32 holds exactly, so that both sides encode the same angles."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, dims, generator=generator) * 2 - 1).double()


@pytest.mark.parametrize(("dims", "n_frequencies"), [(1, 1), (2, 12), (3, 4), (5, 3)])
def test_values_and_gradients_match_in_either_memory_order(dims: int, n_frequencies: int, isa: str) -> None:
    positions = _positions(37, dims)
    upstream = torch.randn(37, 2 * dims * n_frequencies, generator=torch.Generator().manual_seed(1)).double()
    slopes = torch.pi * 2.0 ** (n_frequencies - 1)
    for order in (lambda t: t.contiguous(), lambda t: t.T.contiguous().T):
        leaf = order(positions.float()).requires_grad_()
        out = frequency(leaf, n_frequencies)
        torch.testing.assert_close(out.double(), reference.forward(positions, n_frequencies), atol=5e-7, rtol=0)
        out.backward(order(upstream.float()))
        expected = reference.backward(upstream, positions, n_frequencies)
        torch.testing.assert_close(leaf.grad.double(), expected, atol=2e-6 * slopes, rtol=1e-5)


def test_second_derivatives_match(isa: str) -> None:
    positions = _positions(45, 3)
    generator = torch.Generator().manual_seed(2)
    upstream, above = (
        torch.randn(45, 30, generator=generator).double(),
        torch.randn(45, 3, generator=generator).double(),
    )
    leaf, grad = positions.float().requires_grad_(), upstream.float().requires_grad_()
    (first,) = torch.autograd.grad(frequency(leaf, 5), leaf, grad, create_graph=True)
    got = torch.autograd.grad(first, (grad, leaf), above.float())
    expected = reference.backward_backward(above, upstream, positions, 5)
    torch.testing.assert_close(got[0].double(), expected[0], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(got[1].double(), expected[1], atol=2e-2, rtol=1e-5)


def test_the_reference_passes_gradgradcheck() -> None:
    leaf = _positions(3, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: reference.forward(x, 3), leaf)


def test_the_highest_frequencies_lose_no_digits(isa: str) -> None:
    # 2^k x of these is whole, half or quarter: sines and cosines are exactly 0, +-1 or sqrt(1/2)
    out = frequency(torch.tensor([[0.5], [3.0], [-0.25], [1 + 2**-23]]), 60)
    assert (out[:3, 4:].reshape(3, 58, 2)[..., 0].abs() < 1e-6).all()
    torch.testing.assert_close(out[:3, 8:].reshape(3, 56, 2)[..., 1], torch.ones(3, 56), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        out[3, 42:44], torch.tensor([0.70710678, 0.70710678]) * torch.tensor([1, 1]), atol=1e-6, rtol=0
    )
    assert out.abs().max() <= 1.000001


def test_order_is_sine_then_cosine_per_frequency_per_dimension() -> None:
    out = frequency(torch.tensor([[0.5, 0.0]]), 2)[0]
    torch.testing.assert_close(out, torch.tensor([1.0, 0, 0, -1, 0, 1, 0, 1]), atol=1e-6, rtol=0)


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="n_frequencies must be 1 to 60, got 0"):
        frequency(torch.zeros(5, 3), 0)
    with pytest.raises(TypeError, match="positions must be float32"):
        frequency(torch.zeros(5, 3, dtype=torch.float16), 4)
    assert frequency(torch.zeros(0, 3), 4).shape == (0, 24)
