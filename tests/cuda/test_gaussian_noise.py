"""Noise on centres: its kernel against float64, its distribution, what stays, and that it depends on nothing else."""

import math

import pytest
import torch
from torch import Tensor

from neural.cuda import native
from neural.cuda.gaussian_noise import gaussian_noise
from neural.cuda.reference import gaussian_noise as reference
from tests.threads import same_bits


def _gaussians(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means zero, any shape, and logits on both sides of the threshold."""
    generator = torch.Generator().manual_seed(seed)
    quats = torch.randn(n, 4, generator=generator) * torch.rand(n, 1, generator=generator).mul(3).exp()
    log_scales = torch.randn(n, 3, generator=generator) - 2
    return torch.zeros(n, 3), quats, log_scales, torch.rand(n, generator=generator) * 10 - 8


def _same_as_reference(device: torch.device, n: int) -> None:
    given = _gaussians(n)
    ours = [tensor.to(device, copy=True) for tensor in given]
    gaussian_noise(*ours, 3.0, seed=-7, step=2**32 - 1)
    exact = [tensor.double() for tensor in given]
    reference.move(*exact, 3.0, -7 % 2**64, 2**32 - 1)
    # the factor's slope of -100 turns 2e-7 of the opacity's rounding into 2e-5
    torch.testing.assert_close(ours[0].double().cpu(), exact[0], rtol=1e-4, atol=1e-6)
    assert bool((exact[0] != 0).any()) or n < 2


@pytest.mark.parametrize("n", [0, 1, 2047, 5001])
def test_kernel_is_the_reference(n: int, isa: str) -> None:
    _same_as_reference(torch.device("cpu"), n)


@pytest.mark.parametrize("n", [0, 1, 300])
def test_cuda_path_is_the_reference(n: int, cuda_device: torch.device) -> None:
    _same_as_reference(cuda_device, n)


def test_threads_leave_every_bit_as_it_is(isa: str) -> None:
    def run():
        given = _gaussians(20_000)
        gaussian_noise(*given, 1.0, seed=3, step=4)
        return [given[0]]

    same_bits(run)
    assert native.threads() == torch.get_num_threads()


def test_noise_has_the_covariance_of_the_covariance() -> None:
    """Sigma n has the covariance Sigma Sigma^T, here with the factor 0.5 of an opacity of 0.005."""
    n = 60_000
    quat, log_scale = torch.tensor([0.3, -0.5, 0.7, 0.2]), torch.tensor([0.1, -0.4, 0.5])
    means = torch.zeros(n, 3)
    gaussian_noise(
        means, quat.repeat(n, 1), log_scale.repeat(n, 1), torch.full((n,), math.log(0.005 / 0.995)), 2.0, seed=1, step=1
    )
    rotation = reference._rotations(quat[None].double())[0]
    covariance = rotation @ torch.diag((2 * log_scale.double()).exp()) @ rotation.T
    expected = covariance @ covariance.T
    got = means.double().T @ means.double() / n
    torch.testing.assert_close(got, expected, atol=0.03 * float(expected.abs().max()), rtol=0)
    assert float(means.double().mean(0).abs().max()) < 5 * math.sqrt(float(expected.max()) / n)
    directions = (torch.linalg.inv(covariance) @ means.double().T).T
    assert float(directions.pow(4).mean()) == pytest.approx(3.0, rel=0.05)  # the fourth moment of a normal number


def test_rotations_turn_as_quaternions_do() -> None:
    quarter_about_z = torch.tensor([[math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)]])
    expected = torch.tensor([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    torch.testing.assert_close(reference._rotations(quarter_about_z), expected, atol=1e-6, rtol=0)


def test_opaque_undirected_and_undefined_stay(isa: str) -> None:
    means, quats, log_scales, logits = _gaussians(40)
    logits[:] = -7.0
    logits[0], logits[1], logits[2] = 5.0, reference.OPAQUE, float("nan")
    quats[3] = 0
    gaussian_noise(means, quats, log_scales, logits, 1.0, seed=0, step=0)
    assert not means[:4].any()
    assert bool((means[4:] != 0).all())
    opacity = 1 / (1 + math.exp(-reference.OPAQUE))
    assert 1 / (1 + math.exp(100 * (opacity - 0.005))) < 1.01e-7


def test_a_row_draws_the_same_whatever_is_around_it() -> None:
    few, many = _gaussians(3), _gaussians(3000)
    for i in (1, 2, 3):
        many[i][:3] = few[i]
        few[i][...] = few[i]
    few[3][:], many[3][:3] = -7.0, -7.0
    gaussian_noise(*few, 1.0, seed=5, step=6)
    gaussian_noise(*many, 1.0, seed=5, step=6)
    assert torch.equal(few[0], many[0][:3])
    again = _gaussians(3)
    again[3][:] = -7.0
    gaussian_noise(*again, 1.0, seed=5, step=7)
    assert bool((again[0] != few[0]).all())


def test_parameters_move_outside_of_autograd_but_a_graph_that_used_them_is_refused() -> None:
    _, quats, log_scales, _ = _gaussians(4)
    leaf = torch.nn.Parameter(torch.ones(4, 3))
    loss = leaf.square().sum()
    gaussian_noise(leaf, quats, log_scales, torch.full((4,), -7.0), 1.0, seed=0, step=0)
    assert leaf.grad is None and leaf.is_leaf and bool((leaf != 1).all())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_step_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"gaussian_noise: stream and step must be in \[0, 2\^32\)"):
        gaussian_noise(*_gaussians(1), 1.0, seed=0, step=-1)
