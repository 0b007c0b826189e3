"""What holds for every encoding over a lattice however it is called: memory orders, threads, weights of levels, working
copies, buffers, wrong arguments, compilation."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from neural.cuda.gradients import GradientBuffer
from neural.cuda.hash_grid import hash_grid
from neural.cuda.simplex import LATTICES, simplex
from tests import hash_grids, simplices
from tests.threads import same_bits

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

    def run():
        leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
        out = op(leaf, weights, rows)
        (out * out).sum().backward()
        return (out.detach(), leaf.grad, weights.grad)

    same_bits(run, (1, 2, 5))


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
def test_level_weights_scale_features_and_gradients(op: Call, levels: Made, isa: str) -> None:
    """As if the features, and what comes back to them, were scaled outside; a level of weight 0 is left out."""
    rows, table = levels(3, 2)
    x, upstream = _uniform(30), simplices.normal(30, 8)
    level_weights = torch.tensor([1.0, 0.5, 0.0, 0.25])
    leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
    out = op(leaf, weights, rows, level_weights=level_weights)
    plain = op(leaf, weights, rows)
    scaled = plain * level_weights.repeat_interleave(2)
    torch.testing.assert_close(out, scaled, atol=1e-6, rtol=0)
    for got, expected in zip(*(torch.autograd.grad(o, (leaf, weights), upstream) for o in (out, scaled)), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
@pytest.mark.parametrize("n_features", [1, 2, 8])
@each_op
def test_reads_a_half_precision_working_copy(
    op: Call, levels: Made, dtype: torch.dtype, tolerance: float, n_features: int, isa: str
) -> None:
    """Exact against the rounded table, close to the table itself; the gradients to the table are whole."""
    rows, table = levels(3, n_features)
    x, upstream = _uniform(33), simplices.normal(33, 4 * n_features)
    copy = table.to(dtype)
    leaf, weights, rounded = (t.clone().requires_grad_() for t in (x, table, copy.float()))
    out, expected = op(leaf, weights, rows, working_copy=copy), op(leaf, rounded, rows)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(out, op(x, table, rows), atol=tolerance, rtol=0)
    found = torch.autograd.grad(out, (leaf, weights), upstream)
    assert found[1].dtype == torch.float32
    for got, wanted in zip(found, torch.autograd.grad(expected, (leaf, rounded), upstream), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


@each_op
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"positions": torch.zeros(5, 3, dtype=torch.float64)}, TypeError, r"positions must be float32, got float64"),
        ({"positions": torch.zeros(5, 8)}, ValueError, r"1 to 7 columns, got 8"),
        ({"table": torch.zeros(100, 3)}, ValueError, r"1, 2, 4 or 8 features, got 3"),
        ({"outside": "mirror"}, ValueError, r"one of wrap, clamp, zero, got 'mirror'"),
        ({"segments": torch.tensor([0, 3])}, ValueError, r"segments must rise from 0 to 5 points, got \[0, 3\]"),
        ({"table": torch.zeros(16, 2)}, ValueError, r"levels describe \d+ entries, the table has 16"),
        ({"table": torch.zeros(2, 2000).T}, ValueError, r"must be contiguous"),
        ({"level_weights": torch.ones(2)}, ValueError, r"level_weights must be \[4\], got \[2\]"),
        ({"working_copy": torch.zeros(1, 2).half()}, ValueError, r"working_copy must be"),
        ({"level_weights": torch.ones(8)[::2]}, ValueError, r"level_weights must be contiguous"),
        (
            {"level_weights": torch.tensor([1, 1, float("inf"), 1])},
            ValueError,
            r"must be finite, got \[1.0, 1.0, inf, 1.0\]",
        ),
        ({"level_weights": torch.tensor([float("nan")] * 4)}, ValueError, r"level_weights must be finite"),
        ({"levels": torch.zeros(1, 4, 13, dtype=torch.int64)}, ValueError, r"make them with levels.describe"),
        ({"accumulate": GradientBuffer.like(torch.zeros(64, 2))}, ValueError, r"accumulate.grad must be"),
    ],
)
def test_wrong_arguments_say_what_to_do(op: Call, levels: Made, change: dict, error: type, message: str) -> None:
    rows, table = levels(3, 2)
    with pytest.raises(error, match=message):
        op(**({"positions": torch.zeros(5, 3), "table": table, "levels": rows} | change))


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
