"""What holds for every encoding over a lattice however it is called: memory orders, threads, buffers, compilation."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from neural.cuda.gradients import GradientBuffer
from neural.cuda.hash_grid import hash_grid
from neural.cuda.simplex import LATTICES, simplex
from tests import hash_grids, simplices

Call = Callable[..., Tensor]
Made = Callable[..., tuple[Tensor, Tensor]]

# how the op is called, and what makes small levels and a table for it
OPS: dict[str, tuple[Call, Made]] = {
    "grid": (partial(hash_grid, interpolation="smoothstep"), hash_grids.small_levels),
    **{name: (partial(simplex, lattice=name), partial(simplices.small_levels, lattice=name)) for name in LATTICES},
}

each_op = pytest.mark.parametrize(("op", "levels"), OPS.values(), ids=OPS)


def _uniform(n: int) -> Tensor:
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(4))


@each_op
def test_either_memory_order_gives_equal_bits(op: Call, levels: Made, isa: str) -> None:
    rows, table = levels(3, 2)
    x, upstream = _uniform(100), simplices.normal(100, 8)
    results = []
    for order in (lambda t: t.contiguous(), lambda t: t.T.contiguous().T):
        leaf, weights = order(x).detach().requires_grad_(), table.clone().requires_grad_()
        out = op(leaf, weights, rows)
        out.backward(order(upstream))
        results.append((out, leaf.grad, weights.grad))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@each_op
def test_any_number_of_threads_gives_equal_bits(op: Call, levels: Made) -> None:
    rows, table = levels(3, 2, n_levels=6, log2=12)
    x = _uniform(9001)
    results = []
    before = torch.get_num_threads()
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
            out = op(leaf, weights, rows)
            (out * out).sum().backward()
            results.append((out.detach(), leaf.grad, weights.grad))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


@each_op
def test_segments_choose_the_sub_table(op: Call, levels: Made, isa: str) -> None:
    rows, table = levels(3, 2, n_tables=3)
    x = _uniform(60)
    weights = table.clone().requires_grad_()
    out = op(x, weights, rows, segments=torch.tensor([0, 17, 17, 60]))
    expected = torch.cat([op(x[:17], table, rows[:1]), op(x[17:], table, rows[2:])])
    assert torch.equal(out, expected)
    out.sum().backward()
    per_table = weights.grad.reshape(3, -1).abs().sum(1)
    assert per_table[1] == 0
    assert (per_table[[0, 2]] > 0).all()


@each_op
def test_accumulates_into_a_buffer_and_marks_it(op: Call, levels: Made, isa: str) -> None:
    """A bit stands for 64 entries; those with an entry that was written are set, and no others."""
    rows, table = levels(3, 2, n_levels=6, log2=12)
    x = _uniform(7)
    weights = table.clone().requires_grad_()
    buffer = GradientBuffer.like(table)
    expected = torch.autograd.grad(op(x, weights, rows).sum(), weights)[0]
    for times in (1, 2):
        op(x, weights, rows, accumulate=buffer).sum().backward()
        torch.testing.assert_close(buffer.grad, times * expected)
    assert weights.grad is None
    written = torch.nn.functional.pad(expected.abs().sum(1) > 0, (0, -len(table) % 64)).reshape(-1, 64).any(1)
    bits = ((buffer.touched[:, None] >> torch.arange(64)) & 1).reshape(-1).bool()
    assert torch.equal(written, bits[: len(written)])
    assert not bits[len(written) :].any()


@pytest.mark.parametrize("mode", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", ["grid", "kuhn"])
def test_compiles_without_graph_breaks(name: str, mode: str) -> None:
    op, levels = OPS[name]
    rows, table = levels(3, 2)
    x = _uniform(20)
    results = []
    for function in (op, torch.compile(op, fullgraph=True, backend=mode)):
        leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
        out = function(leaf, weights, rows, outside="zero")
        out.square().sum().backward()
        results.append((out.detach(), leaf.grad, weights.grad))
    for eager, compiled in zip(*results, strict=True):
        assert torch.equal(eager, compiled)


@each_op
def test_empty_batch(op: Call, levels: Made) -> None:
    rows, table = levels(3, 2)
    leaf, weights = torch.zeros(0, 3, requires_grad=True), table.clone().requires_grad_()
    out = op(leaf, weights, rows)
    assert out.shape == (0, 8)
    out.sum().backward()
    assert torch.equal(weights.grad, torch.zeros_like(table))
