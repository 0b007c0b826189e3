"""Fused Adam: equal to torch.optim in its dense form, to the row-by-row reference in its lazy form."""

from typing import Any

import pytest
import torch
from torch import Tensor

from neural.cuda.adam import AdamRule, AdamState, adam, settle
from neural.cuda.gradients import GradientBuffer
from neural.cuda.reference import adam as reference
from tests.threads import same_bits

RULE = AdamRule(lr=1e-2, betas=(0.9, 0.99), eps=1e-15)


def _dense_state(param: Tensor, **extra: Any) -> AdamState:
    return AdamState(torch.zeros_like(param), torch.zeros_like(param), **extra)


def _lazy_state(param: Tensor, **extra: Any) -> AdamState:
    return _dense_state(param, row_steps=torch.zeros(len(param), dtype=torch.int32), **extra)


def _sparse_gradients(rows: int, features: int, steps: int, share: float = 0.2) -> list[Tensor]:
    """Gradients of which a share of the rows is not zero; blocks of 64 rows are often empty as a whole."""
    generator = torch.Generator().manual_seed(3)
    result = []
    for _ in range(steps):
        grad = torch.randn(rows, features, generator=generator)
        blocks = (torch.rand(-(-rows // 64), 1, generator=generator) < 0.5).repeat_interleave(64, 0)[:rows]
        result.append(grad * (torch.rand(rows, 1, generator=generator) < share) * blocks)
    return result


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("shape", [(1,), (7, 3), (5000,), (130, 64)])
def test_dense_steps_equal_those_of_torch(shape: tuple[int, ...], decoupled: bool, isa: str) -> None:
    torch.manual_seed(0)
    start = torch.randn(shape)
    theirs = start.clone().requires_grad_()
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimiser = kind([theirs], lr=3e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.05)
    rule = AdamRule(3e-3, (0.9, 0.99), 1e-8, **{"weight_decay" if decoupled else "l2": 0.05})
    ours, state = start.clone(), _dense_state(start)
    for step in range(1, 12):
        grad = torch.randn(shape)
        theirs.grad = grad.clone()
        optimiser.step()
        adam(ours, grad, state, rule, step)
        torch.testing.assert_close(ours, theirs.detach(), atol=2e-7, rtol=2e-6)
    torch.testing.assert_close(state.exp_avg, optimiser.state[theirs]["exp_avg"], atol=1e-7, rtol=2e-6)
    torch.testing.assert_close(state.exp_avg_sq, optimiser.state[theirs]["exp_avg_sq"], atol=1e-7, rtol=2e-6)


@pytest.mark.parametrize("features", [1, 2, 3, 4, 8, 20])
@pytest.mark.parametrize("marked", [False, True])
def test_lazy_steps_match_the_reference(features: int, marked: bool, isa: str) -> None:
    torch.manual_seed(0)
    rows = 4096 + 200
    start = torch.randn(rows, features, dtype=torch.float64)
    extras = {"ema": start.clone(), "ema_steps": torch.zeros(rows, dtype=torch.int32)}
    oracle, expected = start.clone(), _lazy_state(start, **extras)
    ours = start.float()
    state = _lazy_state(ours, ema=ours.clone(), ema_steps=torch.zeros(rows, dtype=torch.int32))
    rule = AdamRule(1e-2, (0.9, 0.99), 1e-8, l2=1e-3, weight_decay=0.1, ema_decay=0.8)
    buffer = GradientBuffer.like(ours)
    for step, grad in enumerate(_sparse_gradients(rows, features, 5), 1):
        reference.step(
            oracle, grad.double(), expected.exp_avg, expected.exp_avg_sq, step=step, lr=rule.lr, betas=rule.betas,
            eps=rule.eps, l2=rule.l2, weight_decay=rule.weight_decay, row_steps=expected.row_steps, ema=expected.ema,
            ema_steps=expected.ema_steps, ema_decay=rule.ema_decay, grad_scale=0.5,
        )  # fmt: skip
        if marked:
            buffer.add(grad)
            adam(ours, buffer.grad, state, rule, step, touched=buffer.touched, grad_scale=0.5, clear_grad=True)
            assert not buffer.grad.any() and not buffer.touched.any()
        else:
            adam(ours, grad, state, rule, step, grad_scale=0.5)
    for got, wanted in (
        (ours, oracle), (state.exp_avg, expected.exp_avg), (state.exp_avg_sq, expected.exp_avg_sq),
        (state.ema, expected.ema),
    ):  # fmt: skip
        torch.testing.assert_close(got.double(), wanted, atol=1e-6, rtol=1e-5)
    assert torch.equal(state.row_steps, expected.row_steps)
    assert torch.equal(state.ema_steps, expected.ema_steps)
    assert 0 < int(state.row_steps.max()) < 6 and int(state.row_steps.min()) == 0


def test_a_row_without_gradient_keeps_every_bit(isa: str) -> None:
    torch.manual_seed(0)
    param = torch.randn(300, 2)
    state = _lazy_state(param, ema=param.clone(), ema_steps=torch.zeros(300, dtype=torch.int32))
    adam(param, torch.randn(300, 2), state, RULE, 1)
    before = [x.clone() for x in (param, state.exp_avg, state.exp_avg_sq, state.row_steps, state.ema)]
    grad = torch.zeros(300, 2)
    grad[7, 1] = 1.0
    adam(param, grad, state, AdamRule(1e-2, l2=0.1, weight_decay=0.1), 2)
    others = torch.arange(300) != 7
    for old, new in zip(before, (param, state.exp_avg, state.exp_avg_sq, state.row_steps, state.ema), strict=True):
        assert torch.equal(old[others], new[others])
        assert not torch.equal(old[7], new[7])


def test_blocks_without_a_bit_are_not_read() -> None:
    param, grad = torch.zeros(192, 2), torch.ones(192, 2)
    touched = torch.tensor([0b101])
    adam(param, grad, _lazy_state(param), RULE, 1, touched=touched, clear_grad=True)
    assert (param[:64] != 0).all() and (param[128:] != 0).all() and not param[64:128].any()
    assert (grad[64:128] == 1).all() and not grad[:64].any()
    assert touched.item() == 0


def test_a_settled_average_is_that_of_every_step() -> None:
    torch.manual_seed(0)
    param = torch.randn(500, 2)
    state = _lazy_state(param, ema=param.clone(), ema_steps=torch.zeros(500, dtype=torch.int32))
    plain = param.clone()
    for step, grad in enumerate(_sparse_gradients(500, 2, 20), 1):
        adam(param, grad, state, RULE, step)
        plain.lerp_(param, 1 - RULE.ema_decay)
    assert not torch.allclose(state.ema, plain)
    settle(param, state, RULE, 20)
    torch.testing.assert_close(state.ema, plain, atol=1e-6, rtol=1e-5)


def test_the_dense_average_follows_in_the_same_pass(isa: str) -> None:
    param = torch.zeros(100)
    state = _dense_state(param, ema=torch.ones(100))
    adam(param, torch.ones(100), state, AdamRule(0.1, ema_decay=0.75), 1)
    torch.testing.assert_close(state.ema, torch.full((100,), 0.75 - 0.25 * 0.1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("lazy", [False, True])
def test_the_working_copy_is_the_rounded_parameter(dtype: torch.dtype, lazy: bool, isa: str) -> None:
    torch.manual_seed(0)
    param = torch.randn(333, 2) * torch.logspace(-9, 5, 333)[:, None]  # subnormal halves, overflow and ties
    param[:4] = torch.tensor(
        [[1 + 2**-11, 1 + 3 * 2**-11], [65519.0, 65520.0], [2**-25, 3 * 2**-25], [-0.0, 1 + 2**-8]]
    )
    copy = torch.zeros(333, 2, dtype=dtype)
    make = _lazy_state if lazy else _dense_state
    adam(param, torch.randn(333, 2) + 3, make(param, working_copy=copy), AdamRule(lr=0.0), 1)
    assert torch.equal(copy, param.to(dtype))


def test_poisoned_gradients_are_counted_and_left_out(isa: str) -> None:
    for lazy in (False, True):
        param = torch.ones(200, 2)
        nonfinite = torch.zeros(1, dtype=torch.int32)
        state = (_lazy_state if lazy else _dense_state)(param, nonfinite=nonfinite)
        grad = torch.ones(200, 2)
        grad[3, 0], grad[150, 1] = float("nan"), float("-inf")
        adam(param, grad, state, RULE, 1)
        assert nonfinite.item() == 2
        assert param[3, 0] == 1 and param[150, 1] == 1 and torch.isfinite(state.exp_avg).all()
        assert int((param == 1).sum()) == 2


def test_the_average_moves_on_where_a_gradient_is_poisoned(isa: str) -> None:
    """The parameter stays; its average comes nearer to it, as in every other step."""
    for lazy in (False, True):
        param, grad = torch.zeros(4, 2), torch.ones(4, 2)
        grad[2, 1] = float("nan")
        extra = {"ema_steps": torch.zeros(4, dtype=torch.int32)} if lazy else {}
        state = (_lazy_state if lazy else _dense_state)(param, ema=torch.ones(4, 2), **extra)
        adam(param, grad, state, AdamRule(0.1, ema_decay=0.75), 1)
        expected = torch.full((4, 2), 0.75 - 0.25 * 0.1)
        expected[2, 1] = 0.75
        torch.testing.assert_close(state.ema, expected)


def test_results_are_equal_for_any_number_of_threads() -> None:
    def run():
        param = torch.linspace(-1, 1, 40000).reshape(-1, 2)
        state = _lazy_state(param)
        for step, grad in enumerate(_sparse_gradients(20000, 2, 3), 1):
            adam(param, grad, state, RULE, step)
        return [param]

    same_bits(run)


def test_wrong_arguments_say_what_to_do() -> None:
    param = torch.zeros(10, 2)
    with pytest.raises(ValueError, match=r"grad must be \[10, 2\], got \[20\]"):
        adam(param, torch.zeros(20), _dense_state(param), RULE, 1)
    with pytest.raises(ValueError, match=r"grad must be contiguous.* call \.contiguous"):
        adam(param, torch.zeros(2, 10).T, _dense_state(param), RULE, 1)
    with pytest.raises(TypeError, match="row_steps must be int32"):
        adam(param, param.clone(), _dense_state(param, row_steps=torch.zeros(10, dtype=torch.int64)), RULE, 1)
    with pytest.raises(ValueError, match="touched bits skip rows"):
        adam(param, param.clone(), _dense_state(param), RULE, 1, touched=torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="step counts from 1, got 0"):
        adam(param, param.clone(), _dense_state(param), RULE, 0)
