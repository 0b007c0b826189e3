"""The hash grid's CUDA path against its reference: on the CPU shim, and on a GPU where there is one."""

import pytest
import torch
from torch import Tensor

from neural.cuda import lattice
from neural.cuda import levels as layout
from neural.cuda.gradients import GradientBuffer
from neural.cuda.hash_grid import INTERPOLATIONS, OUTSIDES, hash_grid
from neural.cuda.reference import hash_grid as reference
from tests.hash_grids import clear_positions, small_levels
from tests.simplices import normal

N = 40  # points: parts of a block are enough, the law is per point
# dims, features, interpolation, outside, dtype of the table that is read: every value of each, and the usual form
FORMS = [
    (1, 1, "nearest", "wrap", torch.float32),
    (2, 8, "linear", "zero", torch.float16),
    (3, 2, "linear", "clamp", torch.float32),
    (3, 4, "smoothstep", "zero", torch.bfloat16),
    (3, 1, "smoothstep", "clamp", torch.float16),
    (4, 2, "linear", "wrap", torch.bfloat16),
    (5, 4, "nearest", "clamp", torch.float32),
    (7, 2, "smoothstep", "wrap", torch.float32),
]


def _grid(n_dims: int, n_features: int, kind: str = "hash", n_tables: int = 1) -> tuple[Tensor, Tensor]:
    """Three small levels, dense and hashed."""
    base = 3 if n_dims < 5 else 2
    return small_levels(n_dims, n_features, kind, n_levels=3, base=base, log2=7, n_tables=n_tables)


def _positions(n_dims: int, rows: Tensor, low: float = -0.3, high: float = 1.3) -> Tensor:
    """Points in and around the box."""
    return clear_positions(N, n_dims, rows, low, high)


def _leaf(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.detach().to(device).requires_grad_()


def _close(actual: Tensor | None, expected: Tensor, atol: float) -> None:
    assert actual is not None
    torch.testing.assert_close(actual.detach().double().cpu(), expected, atol=atol, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize(("n_dims", "n_features", "interpolation", "outside", "dtype"), FORMS)
def test_features_and_gradients(n_dims, n_features, interpolation, outside, dtype, cuda_device: torch.device) -> None:
    rows, table = _grid(n_dims, n_features)
    x, upstream = _positions(n_dims, rows), normal(N, 3 * n_features)
    copy = None if dtype == torch.float32 else table.to(dtype)
    read = (table if copy is None else copy).double()
    codes = (None, None, INTERPOLATIONS.index(interpolation), OUTSIDES.index(outside))
    gx, gt = reference.backward(upstream.double(), x.double(), read, rows, *codes)
    for order in (lambda t: t.contiguous(), lambda t: t.T.contiguous().T):
        leaf, weights = _leaf(order(x), cuda_device), _leaf(table, cuda_device)
        out = hash_grid(
            leaf, weights, rows, working_copy=None if copy is None else copy.to(cuda_device),
            interpolation=interpolation, outside=outside,
        )  # fmt: skip
        _close(out, reference.forward(x.double(), read, rows, *codes), 4e-6)
        out.backward(order(upstream).to(cuda_device))
        _close(leaf.grad, gx, 2e-3)
        _close(weights.grad, gt, 2e-5)


@pytest.mark.parametrize(
    ("n_dims", "n_features", "interpolation", "outside"),
    [(1, 8, "smoothstep", "zero"), (3, 2, "linear", "clamp"), (3, 4, "smoothstep", "clamp"), (6, 1, "linear", "wrap")],
)
def test_second_order(n_dims, n_features, interpolation, outside, cuda_device: torch.device) -> None:
    rows, table = _grid(n_dims, n_features)
    x, upstream, direction = _positions(n_dims, rows), normal(N, 3 * n_features), normal(N, n_dims, seed=3)
    level_weights = torch.tensor([1.0, 0.0, 0.5])
    codes = (None, level_weights, INTERPOLATIONS.index(interpolation), OUTSIDES.index(outside))
    expected = reference.backward_backward(
        direction.double(), upstream.double(), x.double(), table.double(), rows, *codes
    )
    leaves = [_leaf(v, cuda_device) for v in (upstream, x, table)]
    out = hash_grid(
        leaves[1], leaves[2], rows, level_weights=level_weights, interpolation=interpolation, outside=outside
    )
    (gx,) = torch.autograd.grad(out, leaves[1], leaves[0], create_graph=True)
    got = torch.autograd.grad((gx * direction.to(cuda_device)).sum(), leaves, allow_unused=True)
    for actual, wanted in zip(got, expected, strict=True):
        _close(actual, wanted, 5e-3)


@pytest.mark.parametrize("kind", layout.KINDS)
def test_segments_and_level_weights(kind: str, cuda_device: torch.device) -> None:
    rows, table = _grid(3, 2, kind, n_tables=4)
    x, upstream = _positions(3, rows), normal(N, 6)
    segments, level_weights = torch.tensor([0, 0, 13, 13, N]), torch.tensor([0.5, 0.0, 2.0])
    codes = (segments, level_weights, 1, 1)
    leaf, weights = _leaf(x, cuda_device), _leaf(table, cuda_device)
    out = hash_grid(leaf, weights, rows, segments=segments, level_weights=level_weights)
    _close(out, reference.forward(x.double(), table.double(), rows, *codes), 4e-6)
    assert (out[:, 2:4] == 0).all()
    out.backward(upstream.to(cuda_device))
    gx, gt = reference.backward(upstream.double(), x.double(), table.double(), rows, *codes)
    _close(leaf.grad, gx, 2e-3)
    _close(weights.grad, gt, 2e-5)


def test_a_shared_level_under_two_keys_and_a_shift(cuda_device: torch.device) -> None:
    rows = torch.tensor([
        [layout.row(0, 64, True, [9, 9], [8.0, 8.0], shifts=[0.25, 0.5], key=key)] for key in (0, 37)
    ])  # fmt: skip
    table = torch.rand(64, 2, generator=torch.Generator().manual_seed(0))
    x, upstream, segments = _positions(2, rows, 0.0, 1.0), normal(N, 2), torch.tensor([0, 15, N])
    leaf, weights = _leaf(x, cuda_device), _leaf(table, cuda_device)
    out = hash_grid(leaf, weights, rows, segments=segments)
    codes = (segments, None, 1, 1)
    _close(out, reference.forward(x.double(), table.double(), rows, *codes), 4e-6)
    out.backward(upstream.to(cuda_device))
    gx, gt = reference.backward(upstream.double(), x.double(), table.double(), rows, *codes)
    _close(weights.grad, gt, 2e-5)
    far = ((x * 8 + torch.tensor([0.25, 0.5])).frac() - 0.5).abs().max(-1).values < 0.499
    _close(leaf.grad[far], gx[far], 2e-3)


def test_accumulates_and_marks(cuda_device: torch.device) -> None:
    """Two points in a table of many blocks: bits in both halves of several words, and nowhere else."""
    rows, entries = layout.describe(
        3, n_levels=5, base_resolution=[8] * 3, per_level_scale=[1.5] * 3, log2_hashmap_size=13
    )
    table = torch.zeros(entries, 2, device=cuda_device, requires_grad=True)
    buffer = GradientBuffer.like(table)
    x = torch.tensor([[0.11, 0.52, 0.93], [0.71, 0.32, 0.23], [0.4, 0.4, 0.4]], device=cuda_device)
    upstream = torch.ones(3, 10, device=cuda_device)
    upstream[2] = 0.0  # adds nothing, marks nothing
    for _ in range(2):
        hash_grid(x, table, rows, accumulate=buffer).backward(upstream)
    _, gt = reference.backward(
        upstream.double().cpu(), x.double().cpu(), table.detach().double().cpu(), rows, None, None, 1, 1
    )
    assert table.grad is None
    _close(buffer.grad, 2 * gt, 1e-5)
    expected = GradientBuffer.like(gt)
    expected.add(gt)
    assert torch.equal(buffer.touched.cpu(), expected.touched)
    assert (expected.touched != 0).sum() > 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_half_is_read_exactly(dtype: torch.dtype, cuda_device: torch.device) -> None:
    """Nearest reads one entry times 1: all finite bit patterns, in a one-dimensional dense level of 65536 entries."""
    rows, entries = layout.describe(
        1, n_levels=1, base_resolution=[1 << 16], per_level_scale=[1.0], log2_hashmap_size=20, kind="dense"
    )
    assert entries == 1 << 16
    copy = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(dtype)[:, None]
    picked = torch.cat([torch.arange(0, 1 << 16, 37), torch.arange(1030), torch.arange(0x7BF0, 0x7C00)])
    x = (picked.float() / ((1 << 16) - 1))[:, None]
    cell = (x * float((1 << 16) - 1) + 0.5).floor().long()[:, 0]
    got = hash_grid(
        x.to(cuda_device), torch.zeros(1 << 16, 1, device=cuda_device), rows,
        working_copy=copy.to(cuda_device), interpolation="nearest",
    )  # fmt: skip
    torch.testing.assert_close(got.cpu()[:, 0], copy[cell, 0].float(), atol=0, rtol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("kind", "interpolation", "outside"),
    [("hash", "linear", "wrap"), ("tiled", "smoothstep", "wrap"), ("dense", "nearest", "wrap"),
     ("hash", "smoothstep", "clamp"), ("dense", "linear", "zero")],
)  # fmt: skip
def test_wild_positions_are_defined(kind, interpolation, outside, cuda_device: torch.device) -> None:
    """As on the CPU, in every derivative; the shim faults on an access past a tensor's end."""
    wild = [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 1e17, -1e17]
    rows, table = _grid(3, 2, kind)
    x = _positions(3, rows)
    for i, value in enumerate(wild):
        x[3 * i] = value
        x[3 * i + 1, i % 3] = value
    grid = (rows, None, None, INTERPOLATIONS.index(interpolation), OUTSIDES.index(outside))
    upstream, direction = normal(N, 6), normal(N, 3, seed=3)
    wide = [v.double() for v in (upstream, x, table)]
    leaves = [_leaf(v, cuda_device) for v in (upstream, x, table)]
    out = hash_grid(leaves[1], leaves[2], rows, interpolation=interpolation, outside=outside)
    _close(out, reference.forward(*wide[1:], *grid), 4e-6)
    got = torch.autograd.grad(out, leaves[1:], leaves[0], create_graph=True)
    for actual, expected in zip(got, reference.backward(*wide, *grid), strict=True):
        _close(actual, expected, 2e-3)
    if interpolation != "nearest":
        got = torch.autograd.grad((got[0] * direction.to(cuda_device)).sum(), leaves, allow_unused=True)
        for actual, expected in zip(got, reference.backward_backward(direction.double(), *wide, *grid), strict=True):
            _close(actual, expected, 2e-2)


def test_table_at_an_odd_address(cuda_device: torch.device) -> None:
    rows, table = _grid(3, 4)
    x = _positions(3, rows)
    shifted = torch.cat([torch.zeros(1), table.reshape(-1)]).to(cuda_device)[1:].view(table.shape)
    expected = reference.forward(x.double(), table.double(), rows, None, None, 1, 1)
    _close(hash_grid(x.to(cuda_device), shifted, rows), expected, 4e-6)


def test_empty_batch(cuda_device: torch.device) -> None:
    rows, table = _grid(3, 2)
    weights = _leaf(table, cuda_device)
    out = hash_grid(torch.zeros(0, 3, device=cuda_device), weights, rows)
    assert out.shape == (0, 6)
    out.sum().backward()
    assert weights.grad is not None and not weights.grad.any()


def test_descriptors_are_copied_once_per_change() -> None:
    rows, _ = _grid(3, 2)
    other = torch.device("meta")
    assert lattice.on_device(rows, torch.device("cpu")) is rows
    first = lattice.on_device(rows, other)
    assert lattice.on_device(rows, other) is first
    rows[0, 0, 0] += 8
    assert lattice.on_device(rows, other) is not first
