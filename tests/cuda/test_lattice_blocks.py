"""Encodings over levels of a table: points are worked on in blocks, chunks and tiles, and no edge of one is felt.

What a few points give is compared with the references elsewhere; here many at once are compared with a few at a time.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from neural.cuda import levels, simplex_levels
from neural.cuda.gradients import BLOCK_ROWS, GradientBuffer
from neural.cuda.hash_grid import hash_grid
from neural.cuda.probed_grid import probed_grid
from neural.cuda.simplex import simplex

Lookup = Callable[..., Tensor]
FEW = 37  # points: less than any block, and no whole number of vectors
SHAPES = [(1, 8), (2, 1), (3, 2), (3, 4), (7, 2)]  # blocks of 256 points down to 16


def _uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _of_hash_grid(n_dims: int, n_features: int, log2: int = 9) -> tuple[Lookup, Tensor]:
    rows, entries = levels.describe(
        n_dims, n_levels=3, base_resolution=[2] * n_dims, per_level_scale=[1.9] * n_dims, log2_hashmap_size=log2
    )
    return partial(hash_grid, levels=rows, interpolation="smoothstep"), _uniform(entries, n_features, seed=0)


def _of_simplex(n_dims: int, n_features: int, log2: int = 9) -> tuple[Lookup, Tensor]:
    rows, entries = simplex_levels.describe(
        n_dims, n_levels=3, base_resolution=[2] * n_dims, per_level_scale=[1.9] * n_dims, log2_hashmap_size=log2,
        lattice="skewed", seed=5,
    )  # fmt: skip
    return partial(simplex, levels=rows), _uniform(entries, n_features, seed=0)


def _of_probed_grid(n_dims: int, n_features: int) -> tuple[Lookup, Tensor]:
    rows, entries = levels.describe(
        n_dims, n_levels=4, base_resolution=[3] * n_dims, per_level_scale=[2.5] * n_dims, log2_hashmap_size=5
    )
    probabilities = _uniform(int(rows[0, :, 2].sum()), 64, 4, seed=1).softmax(-1)
    codes = {"probabilities": probabilities, "codes": probabilities.argmax(-1).to(torch.uint8)}
    return partial(probed_grid, levels=rows, **codes), _uniform(entries, n_features, seed=0)


OPS: dict[str, Callable[..., tuple[Lookup, Tensor]]] = {
    "hash_grid": _of_hash_grid,
    "simplex": _of_simplex,
    "probed_grid": _of_probed_grid,
}


def _derivatives(lookup: Lookup, x: Tensor, table: Tensor, upstream: Tensor, along: Tensor) -> list[Tensor]:
    """Features and gradients by positions and table, then those of <gradient by positions, along>."""
    u, p, t = (v.detach().requires_grad_() for v in (upstream, x, table))
    out = lookup(p, t)
    by_position, by_table = torch.autograd.grad(out, (p, t), u, create_graph=True)
    second = torch.autograd.grad((by_position * along).sum(), (u, p, t))
    return [v.detach() for v in (out, by_position, by_table, *second)]


def _compare(lookup: Lookup, table: Tensor, x: Tensor, order: Callable[[Tensor], Tensor]) -> None:
    n = len(x)
    width = lookup(x[:1], table).shape[1]
    upstream, along = _uniform(n, width, seed=2), _uniform(*x.shape, seed=3)
    whole = _derivatives(lookup, order(x), table, order(upstream), order(along))
    parts = [
        _derivatives(lookup, x[i : i + FEW], table, upstream[i : i + FEW], along[i : i + FEW]) for i in range(0, n, FEW)
    ]
    for all_at_once, *some in zip(whole, *parts, strict=True):
        if all_at_once.shape == table.shape:
            total = torch.stack(some).double().sum(0)
            scale = float(total.abs().max())
            torch.testing.assert_close(all_at_once.double(), total, atol=1e-5 * scale, rtol=1e-4)
        else:
            assert torch.equal(all_at_once, torch.cat(some))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPS)
def test_many_points_give_what_a_few_at_a_time_do(name: str, shape: tuple[int, int], isa: str) -> None:
    n_dims, n_features = (min(shape[0], 4), shape[1]) if name == "probed_grid" else shape
    lookup, table = OPS[name](n_dims, n_features)
    x = _uniform(777, n_dims, seed=4) * 0.7 + 0.5  # a part is outside the box
    _compare(lookup, table, x, lambda v: v.contiguous())
    _compare(lookup, table, x, lambda v: v.T.contiguous().T)


@pytest.mark.parametrize("name", OPS)
def test_chunks_of_points_are_no_different(name: str) -> None:
    """More points than a task of one level takes, or one of all levels."""
    lookup, table = OPS[name](2, 2)
    x, few = _uniform(66_001, 2, seed=4) * 0.7 + 0.5, 6007
    leaf = x.clone().requires_grad_()
    out = lookup(leaf, table)
    upstream = _uniform(*out.shape, seed=2)
    out.backward(upstream)
    assert leaf.grad is not None
    for i in range(0, len(x), few):
        part = x[i : i + few].clone().requires_grad_()
        features = lookup(part, table)
        features.backward(upstream[i : i + few])
        assert torch.equal(features, out[i : i + few])
        assert torch.equal(part.grad, leaf.grad[i : i + few])


@pytest.mark.parametrize("n_points", [FEW, 1500])
@pytest.mark.parametrize("name", ["hash_grid", "simplex"])
def test_the_blocks_of_the_table_that_are_marked_are_those_written_to(name: str, n_points: int, isa: str) -> None:
    lookup, table = OPS[name](3, 2, log2=14)
    x = _uniform(n_points, 3, seed=4) * 0.05 + 0.7  # in a corner of the box, so that most of the table is left alone
    x[n_points // 2 :] -= 0.5  # and in another, where blocks of points before have not been
    leaf, buffer = table.clone().requires_grad_(), GradientBuffer.like(table)
    lookup(x, leaf, accumulate=buffer).abs().sum().backward()
    written = (buffer.grad != 0).any(1)
    per_block = torch.nn.functional.pad(written, (0, -len(written) % BLOCK_ROWS)).reshape(-1, BLOCK_ROWS).any(1)
    marked = ((buffer.touched[:, None] >> torch.arange(64)) & 1).bool().flatten()[: len(per_block)]
    assert torch.equal(marked, per_block)
    assert 2 < int(marked.sum()) < len(marked)


@pytest.mark.parametrize("n_features", [1, 2, 4, 8])
@pytest.mark.parametrize("name", OPS)
def test_tables_and_gradients_may_begin_at_any_float(name: str, n_features: int, isa: str) -> None:
    lookup, table = OPS[name](2, n_features)
    x = _uniform(300, 2, seed=4) * 0.5 + 0.5
    results = []
    for shift in (0, 1):
        kept = [torch.zeros(table.numel() + shift)[shift:].view(table.shape) for _ in range(2)]
        leaf = kept[0].copy_(table).requires_grad_()
        assert leaf.data_ptr() % 8 == 4 * shift
        buffer = GradientBuffer(kept[1], GradientBuffer.like(table).touched)
        out = lookup(x, leaf, accumulate=buffer)
        out.square().sum().backward()
        results.append((out.detach(), buffer.grad, buffer.touched))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
