"""Adam over groups: steps, buffers, averages, and state that resumes bit for bit."""

import pytest
import torch

from neural.cuda.gradients import BLOCK_ROWS, Blocks, GradientBuffer
from neural.errors import CheckpointError
from neural.optim import Adam, Group


def _model(seed: int = 0) -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "table": torch.nn.Parameter(torch.randn(5000, 2, generator=generator)),
        "weight": torch.nn.Parameter(torch.randn(4, 3, generator=generator)),
    }


def _groups(params: dict[str, torch.nn.Parameter], **buffers: GradientBuffer) -> list[Group]:
    table = {"table": params["table"]}
    return [
        Group(table, lr=1e-2, lazy=True, ema=0.9, buffers=buffers),
        Group({"weight": params["weight"]}, lr=1e-3, l2=1e-2, ema=0.9),
    ]


def _train(optimiser: Adam, params: dict[str, torch.nn.Parameter], steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        rows = torch.randint(0, 5000, (50,), generator=generator)
        loss = (params["table"][rows] @ params["weight"][:2]).square().sum()
        loss.backward()
        optimiser.step(lr_scale=1 / (1 + step))
        optimiser.zero_grad()


def test_steps_equal_those_of_torch() -> None:
    ours, theirs = _model()["weight"], _model()["weight"]
    optimiser = Adam([Group({"w": ours}, lr=1e-2, betas=(0.9, 0.999), eps=1e-8)])
    peer = torch.optim.Adam([theirs], lr=1e-2)
    for _ in range(5):
        for leaf in (ours, theirs):
            leaf.grad = None
            leaf.sin().sum().backward()
        optimiser.step()
        peer.step()
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=2e-6)


def test_a_parameter_without_gradient_stays() -> None:
    params = _model()
    before = params["weight"].detach().clone()
    optimiser = Adam(_groups(params))
    params["table"].grad = torch.ones(5000, 2)
    optimiser.step()
    assert torch.equal(params["weight"], before)


def test_buffers_do_what_grad_does_and_come_back_empty() -> None:
    by_grad, by_buffer = _model(), _model()
    buffer = GradientBuffer.like(by_buffer["table"])
    first, second = Adam(_groups(by_grad)), Adam(_groups(by_buffer, table=buffer))
    for step in range(4):
        grad = torch.zeros(5000, 2)
        grad[step * 700 : step * 700 + 100] = step + 1.0
        by_grad["table"].grad = grad.clone()
        buffer.add(grad)
        first.step()
        second.step()
        assert not buffer.grad.any() and not buffer.touched.any()
    assert torch.equal(by_grad["table"], by_buffer["table"])
    assert torch.equal(first.averages()["table"], second.averages()["table"])


def test_a_resumed_run_is_bit_equal() -> None:
    whole = _model()
    optimiser = Adam(_groups(whole))
    _train(optimiser, whole, range(8))

    cut = _model()
    first = Adam(_groups(cut))
    _train(first, cut, range(5))
    saved = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    resumed = _model(seed=9)
    for name, param in resumed.items():
        param.data.copy_(cut[name].data)
    second = Adam(_groups(resumed))
    second.load_state_dict(saved)
    _train(second, resumed, range(5, 8))

    assert second.steps == 8
    for name in whole:
        assert torch.equal(whole[name], resumed[name])
    assert optimiser.state_dict().keys() == second.state_dict().keys()
    for name, tensor in optimiser.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert {"optim/steps", "optim/table/row_steps", "ema/weight"} <= saved.keys()


def test_averages_follow_every_step_also_of_rows_that_rest() -> None:
    params = _model()
    optimiser = Adam(_groups(params))
    plain = params["table"].detach().clone()
    for step in range(10):
        _train(optimiser, params, range(step, step + 1))
        plain.lerp_(params["table"].detach(), 1 - 0.9)
    torch.testing.assert_close(optimiser.averages()["table"], plain, atol=1e-6, rtol=1e-5)


def test_poisoned_gradients_are_named() -> None:
    params = _model()
    optimiser = Adam(_groups(params))
    params["weight"].grad = torch.full((4, 3), float("nan"))
    optimiser.step()
    assert optimiser.nonfinite() == {"weight": 12}
    assert optimiser.nonfinite() == {}
    assert torch.isfinite(params["weight"]).all()


def test_working_copies_start_and_stay_equal_to_the_parameters() -> None:
    table = _model()["table"]
    copy = torch.zeros(5000, 2, dtype=torch.bfloat16)
    optimiser = Adam([Group({"table": table}, lazy=True, working_copies={"table": copy})])
    assert torch.equal(copy, table.detach().bfloat16())
    table.grad = torch.zeros(5000, 2)
    table.grad[17] = 1.0
    optimiser.step()
    assert torch.equal(copy, table.detach().bfloat16())


def test_a_state_that_does_not_fit_is_refused_whole() -> None:
    params = _model()
    optimiser = Adam(_groups(params))
    saved = {name: tensor.clone() for name, tensor in optimiser.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"missing \['optim/weight/exp_avg'\]"):
        optimiser.load_state_dict({k: v for k, v in saved.items() if k != "optim/weight/exp_avg"})
    with pytest.raises(CheckpointError, match=r"optim/weight/exp_avg: expected \[4, 3\]"):
        optimiser.load_state_dict({**saved, "optim/weight/exp_avg": torch.zeros(2)})
    with pytest.raises(ValueError, match="'w' occurs twice"):
        Adam([Group({"w": params["weight"]}), Group({"w": params["table"]})])
    with pytest.raises(ValueError, match="'x' has a buffer or working copy but is no parameter"):
        Adam([Group({"w": params["table"]}, buffers={"x": GradientBuffer.like(params["table"])})])


def test_state_follows_its_rows() -> None:
    params = _model()
    optimiser = Adam(_groups(params))
    _train(optimiser, params, range(3))
    before = {name: tensor.clone() for name, tensor in optimiser.state_dict().items()}
    live = {name: tensor for name, tensor in optimiser.state_dict().items() if name != "optim/steps"}
    source = torch.tensor([4999, 7, 7, 0])
    fresh = torch.tensor([False, True, False, False])

    optimiser.reindex(["table"], source, fresh)

    after = optimiser.state_dict()
    for key in ("optim/table/exp_avg", "optim/table/exp_avg_sq", "optim/table/row_steps"):
        expected = before[key][source]
        expected[1] = 0
        assert torch.equal(after[key], expected), key
    for key in ("ema/table", "optim/table/ema_steps"):
        assert torch.equal(after[key], before[key][source]), key
    for key in before:
        if "table" not in key:
            assert torch.equal(after[key], before[key]), key
    assert all(after[key] is tensor for key, tensor in live.items())


def test_buffers_and_copies_stay_the_same_objects() -> None:
    table = torch.nn.Parameter(torch.randn(100, 2))
    buffer, copy = GradientBuffer.like(table), torch.zeros(100, 2, dtype=torch.float16)
    grad, touched = buffer.grad, buffer.touched
    optimiser = Adam([Group({"t": table}, lazy=True, buffers={"t": buffer}, working_copies={"t": copy})])
    buffer.add(torch.ones(100, 2))
    source = torch.arange(9000) % 100
    table.data = table.data[source]
    optimiser.reindex(["t"], source)
    assert buffer.grad is grad and buffer.touched is touched
    assert grad.shape == (9000, 2) and not grad.any() and len(touched) == 3 and not touched.any()
    assert torch.equal(copy, table.half())
    buffer.add(torch.ones(9000, 2))
    optimiser.step()
    assert torch.equal(copy, table.half())


def test_reindexed_rows_step_as_if_they_had_always_stood_there() -> None:
    """A permutation before a step is the step, then the permutation."""
    first, second = _model(), _model()
    early, late = Adam(_groups(first)), Adam(_groups(second))
    for params, optimiser in ((first, early), (second, late)):
        _train(optimiser, params, range(2))
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(1))
    grad = torch.randn(5000, 2) * (torch.rand(5000, 1) < 0.5)
    early.reindex(["table"], order)
    first["table"].data = first["table"].data[order]
    first["table"].grad = grad[order]
    early.step()
    second["table"].grad = grad
    late.step()
    assert torch.equal(first["table"], second["table"][order])
    assert torch.equal(early.averages()["table"], late.averages()["table"][order])


def test_reindexing_what_is_not_there_is_refused() -> None:
    optimiser = Adam(_groups(_model()))
    with pytest.raises(KeyError, match="no parameters \\['other'\\]; there are"):
        optimiser.reindex(["table", "other"], torch.arange(3))


@pytest.mark.parametrize("n", [200, 256, 5000])
def test_gradients_of_some_blocks_step_as_whole_ones_do(n: int, isa: str) -> None:
    generator = torch.Generator().manual_seed(n)
    start = torch.randn(n, 3, generator=generator)
    chosen = torch.rand(-(-n // BLOCK_ROWS), generator=generator) < 0.5
    chosen[-1] = True  # the last block is shorter than the others
    kept = chosen.repeat_interleave(BLOCK_ROWS)[:n]
    whole, part = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    first, second = (Adam([Group({"p": p}, lr=0.1, lazy=True)]) for p in (whole, part))
    for _ in range(3):
        grad = torch.where(kept[:, None], torch.randn(n, 3, generator=generator), 0.0)
        whole.grad = grad
        first.step()
        second.step(parts={"p": grad[kept]}, blocks=Blocks.of(chosen))
    assert torch.equal(whole, part)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
