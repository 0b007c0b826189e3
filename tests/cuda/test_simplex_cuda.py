"""The simplex encoding's CUDA path against its reference: on the CPU shim, and on a GPU where there is one."""

import pytest
import torch
from torch import Tensor

from neural.cuda.gradients import GradientBuffer
from neural.cuda.lattice_checks import OUTSIDES
from neural.cuda.reference import simplex as reference
from neural.cuda.simplex import LATTICES, Lattice, simplex
from tests.simplices import clear_positions, normal, small_levels

N = 40  # points: parts of a block are enough, the law is per point
# dims, features, lattice, outside, dtype of the table that is read: every value of each, and the usual form
FORMS = [
    (1, 1, "skewed", "wrap", torch.float32),
    (2, 8, "kuhn", "zero", torch.float16),
    (3, 2, "skewed", "clamp", torch.float32),
    (3, 4, "permutohedral", "zero", torch.bfloat16),
    (4, 2, "skewed", "wrap", torch.bfloat16),
    (5, 4, "kuhn", "clamp", torch.float32),
    (7, 2, "permutohedral", "wrap", torch.float32),
]


def _levels(n_dims: int, n_features: int, lattice: Lattice, n_tables: int = 1) -> tuple[Tensor, Tensor]:
    """Three small levels."""
    base = 3 if n_dims < 5 else 2
    return small_levels(n_dims, n_features, lattice, n_levels=3, base=base, log2=7, n_tables=n_tables)


def _positions(n_dims: int, rows: Tensor, lattice: Lattice, outside: str) -> Tensor:
    """Points in and, unless they would be clamped onto faces, around the box."""
    low, high = (0.0, 1.0) if outside == "clamp" else (-0.3, 1.3)
    return clear_positions(N, n_dims, rows, lattice, low, high)


def _leaf(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.detach().to(device).requires_grad_()


def _close(actual: Tensor | None, expected: Tensor, atol: float) -> None:
    assert actual is not None
    torch.testing.assert_close(actual.detach().double().cpu(), expected, atol=atol, rtol=1e-4)


@pytest.mark.parametrize(("n_dims", "n_features", "lattice", "outside", "dtype"), FORMS)
def test_every_pass(n_dims, n_features, lattice, outside, dtype, cuda_device: torch.device) -> None:
    rows, table = _levels(n_dims, n_features, lattice)
    x = _positions(n_dims, rows, lattice, outside)
    assert len(x) == N
    upstream, direction = normal(N, 3 * n_features), normal(N, n_dims, seed=3)
    level_weights = torch.tensor([0.5, 0.0, 2.0])
    codes = (rows, None, level_weights, LATTICES.index(lattice), OUTSIDES.index(outside))
    copy = None if dtype == torch.float32 else table.to(dtype)
    read = (table if copy is None else copy).double()
    gx, gt = reference.backward(upstream.double(), x.double(), read, *codes)
    for order in (lambda v: v, lambda v: v.T.contiguous().T):
        leaf, weights = _leaf(order(x), cuda_device), _leaf(table, cuda_device)
        out = simplex(
            leaf, weights, rows, lattice=lattice, outside=outside, level_weights=level_weights,
            working_copy=None if copy is None else copy.to(cuda_device),
        )  # fmt: skip
        _close(out, reference.forward(x.double(), read, *codes), 6e-6)
        out.backward(order(upstream).to(cuda_device))
        _close(leaf.grad, gx, 3e-3)
        _close(weights.grad, gt, 3e-5)
    leaves = [_leaf(v, cuda_device) for v in (upstream, x, table)]
    out = simplex(leaves[1], leaves[2], rows, lattice=lattice, outside=outside, level_weights=level_weights)
    (along,) = torch.autograd.grad(out, leaves[1], leaves[0], create_graph=True)
    got = torch.autograd.grad((along * direction.to(cuda_device)).sum(), leaves)
    wanted = reference.backward_backward(direction.double(), upstream.double(), x.double(), table.double(), *codes)
    for actual, expected in zip(got, wanted, strict=True):
        _close(actual, expected, 5e-3)


def test_segments_and_marks(cuda_device: torch.device) -> None:
    rows, table = _levels(3, 2, "skewed", n_tables=3)
    x, segments = _positions(3, rows, "skewed", "clamp"), torch.tensor([0, 13, 13, N])
    codes = (segments, None, 0, 1)
    weights = _leaf(table, cuda_device)
    buffer = GradientBuffer.like(weights)
    out = simplex(x.to(cuda_device), weights, rows, segments=segments, accumulate=buffer)
    _close(out, reference.forward(x.double(), table.double(), rows, *codes), 6e-6)
    out.sum().backward()
    _, gt = reference.backward(torch.ones(N, 6, dtype=torch.float64), x.double(), table.double(), rows, *codes)
    _close(buffer.grad, gt, 3e-5)
    expected = GradientBuffer.like(gt)
    expected.add(gt)
    assert torch.equal(buffer.touched.cpu(), expected.touched)
