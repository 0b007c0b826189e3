"""A hash grid that is looked up in half precision: its copy follows the table, whoever writes it."""

import copy

import pytest
import torch

from neural.cuda.gradients import GradientBuffer
from neural.encodings.hash_grid import HashGrid
from neural.optim import Adam, Group

EPS = {"float16": 2**-10, "bfloat16": 2**-7}


def grid(precision: str) -> HashGrid:
    made = HashGrid(3, n_levels=4, finest_resolution=64, log2_hashmap_size=10, precision=precision)  # type: ignore[arg-type]
    with torch.no_grad():
        made.table.mul_(1e4)
    return made


def points(n: int = 200) -> torch.Tensor:
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_lookups_read_the_copy_and_gradients_reach_the_table(precision: str) -> None:
    full, half = grid("float32"), grid(precision)
    expected, got = full(points()), half(points())
    assert not torch.equal(got, expected)
    torch.testing.assert_close(got, expected, atol=EPS[precision], rtol=EPS[precision])
    for module, out in ((full, expected), (half, got)):
        out.sum().backward()
        assert module.table.grad is not None and module.table.grad.dtype == torch.float32
    torch.testing.assert_close(half.table.grad, full.table.grad)


def test_the_copy_follows_writes_loads_and_deep_copies() -> None:
    half = grid("float16")
    half(points())
    with torch.no_grad():
        half.table.add_(1.0)
    torch.testing.assert_close(half(points()), grid("float16")(points()) + 1, atol=4e-3, rtol=4e-3)
    other = grid("float16")
    other.load_state_dict(half.state_dict())
    assert torch.equal(other(points()), half(points()))
    twin = copy.deepcopy(half)
    with torch.no_grad():
        twin.table.zero_()
    assert not twin(points()).any()
    assert half(points()).all()
    assert "working_copy" not in half.state_dict()


@pytest.mark.parametrize("shared", [True, False], ids=["written by Adam", "not known to Adam"])
def test_the_copy_follows_the_optimiser(shared: bool) -> None:
    half = grid("float16")
    half.gradients = GradientBuffer.like(half.table)
    copies = {"table": half.working_copy} if shared else {}
    assert half.working_copy is not None
    optimiser = Adam(
        [Group({"table": half.table}, 1e-1, lazy=True, buffers={"table": half.gradients}, working_copies=copies)]  # type: ignore[arg-type]
    )
    for _ in range(3):
        before = half(points())
        before.square().sum().backward()
        optimiser.step()
        passes = half.working_copy._version
        after = half(points())
        assert float(after.detach().square().sum()) < float(before.detach().square().sum())
        assert torch.equal(half.working_copy, half.table.detach().half())
        assert (half.working_copy._version == passes) == shared  # written by the step, or by a pass of its own


def test_a_deep_copy_of_a_trained_grid_looks_up_its_own_table() -> None:
    half = grid("float16")
    optimiser = Adam([Group({"table": half.table}, 1e-1, working_copies={"table": half.working_copy})])  # type: ignore[dict-item]
    half(points()).square().sum().backward()
    optimiser.step()
    half(points())
    for writes in (1, 2, 3):  # whatever the counts of writes come to
        twin = copy.deepcopy(half)
        with torch.no_grad():
            for _ in range(writes):
                twin.table.copy_(torch.full_like(twin.table, float(writes)))
        torch.testing.assert_close(twin(points()), torch.full((200, 8), float(writes)), atol=1e-3, rtol=0)


def test_the_copy_follows_what_is_loaded_beneath_an_optimiser() -> None:
    half = grid("float16")
    optimiser = Adam([Group({"table": half.table}, 1e-1, working_copies={"table": half.working_copy})])  # type: ignore[dict-item]
    half.load_state_dict({"table": torch.full_like(half.table, 3.0)})
    torch.testing.assert_close(half(points()), torch.full((200, 8), 3.0), atol=1e-3, rtol=0)
    half.load_state_dict({"table": torch.full_like(half.table, 2.0)}, assign=True)
    torch.testing.assert_close(half(points()), torch.full((200, 8), 2.0), atol=1e-3, rtol=0)
    assert optimiser.steps == 0


def test_the_copy_keeps_its_precision_when_a_module_is_cast_and_can_be_made_anew() -> None:
    half = grid("bfloat16").float()
    assert torch.equal(half(points()), grid("bfloat16")(points()))
    half.table.data.fill_(5.0)  # a write that torch does not count
    half.refresh()
    torch.testing.assert_close(half(points()), torch.full((200, 8), 5.0), atol=1e-3, rtol=0)
    with torch.inference_mode():
        torch.testing.assert_close(grid("float16")(points()), grid("float32")(points()), atol=2e-3, rtol=2e-3)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision must be one of float32, float16, bfloat16, got 'half'"):
        HashGrid(3, precision="half")  # type: ignore[arg-type]
