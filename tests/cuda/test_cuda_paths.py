"""Every op's CUDA path, Python and kernel, against its reference: on the CPU shim, and on a GPU where there is one."""

import pytest
import torch

from neural.cuda.adam import AdamRule, AdamState, adam
from neural.cuda.gradients import Blocks
from neural.cuda.reference import spherical_harmonics as spherical_harmonics_reference
from neural.cuda.spherical_harmonics import spherical_harmonics


@pytest.mark.parametrize("degree", [1, 4, 8])
@pytest.mark.parametrize("n", [0, 1, 300])
def test_spherical_harmonics(degree: int, n: int, cuda_device: torch.device) -> None:
    generator = torch.Generator().manual_seed(degree)
    directions = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=-1)
    upstream = torch.randn(n, degree * degree, generator=generator, dtype=torch.float64)
    for order in (lambda t: t.contiguous(), lambda t: t.T.contiguous().T):
        leaf = order(directions.float().to(cuda_device)).requires_grad_()
        features = spherical_harmonics(leaf, degree)
        features.backward(order(upstream.float().to(cuda_device)))
        expected = spherical_harmonics_reference.forward(directions, degree)
        torch.testing.assert_close(features.double().cpu(), expected, atol=5e-6, rtol=1e-5)
        expected = spherical_harmonics_reference.backward(upstream, directions, degree)
        assert leaf.grad is not None
        torch.testing.assert_close(leaf.grad.double().cpu(), expected, atol=1e-4, rtol=1e-5)


def test_adam_reads_the_gradient_of_chosen_blocks(cuda_device: torch.device) -> None:
    generator = torch.Generator().manual_seed(3)
    n, chosen = 200, torch.tensor([False, True, False, True])  # the last block is short
    kept = chosen.repeat_interleave(64)[:n]
    start, grad = torch.randn(n, 3, generator=generator), torch.randn(n, 3, generator=generator)
    blocks = Blocks.of(chosen.to(cuda_device))
    results = []
    for whole in (True, False):
        param = start.clone().to(cuda_device)
        rows = torch.zeros(n, dtype=torch.int32, device=cuda_device)
        state = AdamState(torch.zeros_like(param), torch.zeros_like(param), row_steps=rows)
        given = torch.where(kept[:, None], grad, 0.0) if whole else grad[kept]
        only = {} if whole else {"touched": blocks.touched.clone(), "places": blocks.places}
        adam(param, given.to(cuda_device), state, AdamRule(0.1), 1, **only)
        results.append((param.cpu(), rows.cpu()))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(results[0][0], start)
