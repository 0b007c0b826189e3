"""The CUDA paths of compositing, compaction, distortion, frequency encoding and Adam against their references."""

import pytest
import torch
from torch import Tensor

from neural.cuda.adam import AdamRule, AdamState, adam
from neural.cuda.compact import compact, visible_samples
from neural.cuda.composite import composite
from neural.cuda.distortion import distortion
from neural.cuda.frequency import frequency
from neural.cuda.gradients import GradientBuffer
from neural.cuda.reference import adam as adam_reference
from neural.cuda.reference import composite as composite_reference
from neural.cuda.reference import distortion as distortion_reference
from neural.cuda.reference import frequency as frequency_reference

COUNTS = (0, 1, 31, 32, 33, 0, 100)  # parts of warps, whole warps, several


def _rays(channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """densities, colors, t_starts, t_ends (float64) and packed_info."""
    generator = torch.Generator().manual_seed(0)
    n, sizes = sum(COUNTS), torch.tensor(COUNTS)
    t_starts = torch.cat([torch.arange(c, dtype=torch.float64) * 0.05 for c in COUNTS])
    return (
        torch.rand(n, generator=generator, dtype=torch.float64) * 6,
        torch.randn(channels, n, generator=generator, dtype=torch.float64).T,
        t_starts,
        t_starts + 0.05,
        torch.stack([sizes.cumsum(0) - sizes, sizes], 1),
    )


def _single(tensors: tuple[Tensor, ...], device: torch.device) -> list[Tensor]:
    return [(x.float() if x.is_floating_point() else x).to(device) for x in tensors]


def _close(actual: Tensor | None, expected: Tensor, atol: float = 5e-6) -> None:
    assert actual is not None
    torch.testing.assert_close(actual.detach().double().cpu(), expected, atol=atol, rtol=5e-5)


@pytest.mark.parametrize(("channels", "early_stop"), [(1, 0.0), (3, 1e-2), (16, 1e-4)])
def test_composite(channels: int, early_stop: float, cuda_device: torch.device) -> None:
    scene = _rays(channels)
    expected = composite_reference.forward(*scene, early_stop)
    upstream = [torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double() for x in expected]
    single = _single(scene, cuda_device)
    leaves = single[0].requires_grad_(), single[1].requires_grad_()
    got = composite(*single, early_stop=early_stop)
    for actual, wanted in zip(got, expected, strict=True):
        _close(actual, wanted)
    torch.autograd.backward(got, _single(tuple(upstream), cuda_device))
    for leaf, wanted in zip(leaves, composite_reference.backward(*scene, early_stop, tuple(upstream)), strict=True):
        _close(leaf.grad, wanted)


@pytest.mark.parametrize("min_alpha", [0.0, 0.1])
def test_visible_samples_and_compact(min_alpha: float, cuda_device: torch.device) -> None:
    densities, colors, t_starts, t_ends, packed_info = _single(_rays(5), cuda_device)
    expected = composite_reference.visible(
        densities.cpu(), t_starts.cpu(), t_ends.cpu(), packed_info.cpu(), 0.05, min_alpha
    )
    seen = visible_samples(densities, t_starts, t_ends, packed_info, early_stop=0.05, min_alpha=min_alpha)
    assert torch.equal(seen.packed_info.cpu(), expected[0])
    assert torch.equal(seen.indices.cpu(), expected[1])
    ray_indices = torch.arange(len(densities), device=cuda_device) // 7
    leaf = colors.requires_grad_()
    kept = compact(seen.indices, t_starts, t_ends, ray_indices, leaf)
    for got, source in zip(kept, (t_starts, t_ends, ray_indices, colors), strict=True):
        assert torch.equal(got, source[seen.indices])
    kept.features.square().sum().backward()
    wanted = torch.zeros_like(colors)
    wanted[seen.indices] = 2 * colors.detach()[seen.indices]
    assert torch.equal(leaf.grad, wanted)


def test_distortion(cuda_device: torch.device) -> None:
    weights, _, t_starts, t_ends, packed_info = _rays(1)
    arrays = weights / 50, t_starts, t_ends
    upstream = torch.linspace(-1, 1, len(COUNTS)).double()
    leaves = [x.requires_grad_() for x in _single(arrays, cuda_device)]
    loss = distortion(*leaves, packed_info.to(cuda_device))
    _close(loss, distortion_reference.forward(*arrays, packed_info))
    loss.backward(upstream.float().to(cuda_device))
    for leaf, wanted in zip(leaves, distortion_reference.backward(upstream, *arrays, packed_info), strict=True):
        _close(leaf.grad, wanted, atol=2e-5)


def test_frequency(cuda_device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(300, 3, generator=generator).double()
    upstream, above = (
        torch.randn(300, 24, generator=generator).double(),
        torch.randn(300, 3, generator=generator).double(),
    )
    leaf, grad = (x.requires_grad_() for x in _single((positions, upstream), cuda_device))
    features = frequency(leaf, 4)
    _close(features, frequency_reference.forward(positions, 4))
    (first,) = torch.autograd.grad(features, leaf, grad, create_graph=True)
    _close(first, frequency_reference.backward(upstream, positions, 4), atol=5e-4)
    second = torch.autograd.grad(first, (grad, leaf), above.float().to(cuda_device))
    for got, wanted in zip(second, frequency_reference.backward_backward(above, upstream, positions, 4), strict=True):
        _close(got, wanted, atol=1e-2)


@pytest.mark.parametrize("features", [1, 2, 3])
@pytest.mark.parametrize("form", ["dense", "lazy", "touched"])
def test_adam(form: str, features: int, cuda_device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    rows, lazy = 300, form != "dense"
    rule = AdamRule(1e-2, (0.9, 0.99), 1e-8, l2=1e-3, weight_decay=0.1, ema_decay=0.8)
    start = torch.randn(rows, features, generator=generator)

    def make(dtype: torch.dtype, device: torch.device | str) -> AdamState:
        zeros = [torch.zeros(rows, features, dtype=dtype, device=device) for _ in range(2)]
        steps = [torch.zeros(rows, dtype=torch.int32, device=device) if lazy else None for _ in range(2)]
        copy = start.to(device, torch.float16)
        counter = torch.zeros(1, dtype=torch.int32, device=device)
        return AdamState(*zeros, steps[0], copy, start.to(device, dtype, copy=True), steps[1], counter)

    ours, state, expected = (
        start.to(cuda_device, copy=True),
        make(torch.float32, cuda_device),
        make(torch.float64, "cpu"),
    )
    oracle, buffer = start.double(), GradientBuffer.like(ours)
    for step in range(1, 4):
        grad = torch.randn(rows, features, generator=generator)
        grad *= torch.rand(rows, 1, generator=generator) < 0.3
        grad[100:180] = 0
        grad[5, 0] = float("inf")
        adam_reference.step(
            oracle, grad.double(), expected.exp_avg, expected.exp_avg_sq, step=step, lr=rule.lr, betas=rule.betas,
            eps=rule.eps, l2=rule.l2, weight_decay=rule.weight_decay, row_steps=expected.row_steps, ema=expected.ema,
            ema_steps=expected.ema_steps, ema_decay=rule.ema_decay, nonfinite=expected.nonfinite,
        )  # fmt: skip
        buffer.add(grad.to(cuda_device))
        touched = buffer.touched if form == "touched" else None
        adam(ours, buffer.grad, state, rule, step, touched=touched, clear_grad=True)
        assert not buffer.grad.any()
        buffer.clear()
    _close(ours, oracle)
    _close(state.exp_avg_sq, expected.exp_avg_sq)
    assert state.ema is not None and expected.ema is not None and state.working_copy is not None
    _close(state.ema, expected.ema)
    assert torch.equal(state.working_copy, ours.half())
    assert state.nonfinite is not None and state.nonfinite.item() == 3
    if lazy:
        assert torch.equal(state.row_steps.cpu(), expected.row_steps)
