"""Losses against their definitions."""

import pytest
import torch

from neural import losses


def test_l2_is_the_mean_square() -> None:
    a, b = torch.rand(5, 3), torch.rand(5, 3)
    torch.testing.assert_close(losses.l2(a, b), torch.nn.functional.mse_loss(a, b))


def test_huber_is_a_square_then_a_line() -> None:
    d = torch.tensor([0.05, -0.05, 0.3, -0.3])
    for one in d:
        value = losses.huber(one[None], torch.zeros(1), 0.1)
        expected = 0.5 * one**2 if abs(one) < 0.1 else 0.1 * (abs(one) - 0.05)
        torch.testing.assert_close(value, expected)


def test_instant_ngp_scale_has_slope_a_fifth_far_out() -> None:
    leaf = torch.tensor([3.0], requires_grad=True)
    losses.huber(leaf, torch.zeros(1), 0.1, scale="instant_ngp").backward()
    torch.testing.assert_close(leaf.grad, torch.tensor([0.2]))
    a, b = torch.rand(9), torch.rand(9)
    torch.testing.assert_close(
        losses.huber(a, b, 0.2, scale="smooth_l1"), torch.nn.functional.smooth_l1_loss(a, b, beta=0.2)
    )


def test_distortion_is_the_mean_over_rays() -> None:
    weights, t_starts = torch.tensor([0.5, 0.5, 0.2]), torch.tensor([0.0, 1.0, 0.0])
    loss = losses.distortion(weights, t_starts, t_starts + 1, torch.tensor([[0, 2], [2, 1], [3, 0]]))
    first = 2 * 0.25 * 1.0 + 0.5 / 3
    torch.testing.assert_close(loss, torch.tensor((first + 0.04 / 3) / 3))
    assert losses.distortion(weights[:0], weights[:0], weights[:0], torch.zeros(0, 2, dtype=torch.int64)) == 0


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \[4, 3\] and \[4, 1\]"):
        losses.l2(torch.zeros(4, 3), torch.zeros(4, 1))
    with pytest.raises(ValueError, match="delta must be positive, got 0"):
        losses.huber(torch.zeros(1), torch.zeros(1), 0.0)
