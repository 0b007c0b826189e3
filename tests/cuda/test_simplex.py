"""Simplex encoding against the plain-torch reference, Dr.Jit's independent Kuhn form, and its own laws."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from neural.cuda import levels, simplex_levels
from neural.cuda.gradients import GradientBuffer
from neural.cuda.lattice_checks import OUTSIDES
from neural.cuda.reference import simplex as reference
from neural.cuda.simplex import LATTICES, Lattice, simplex

TOLERANCE = {"value": 4e-6, "table": 3e-5, "positions": 2e-3}


def _levels(
    n_dims: int, n_features: int, lattice: Lattice = "skewed", *, n_levels: int = 4, base: float = 3,
    scale: float = 1.7, log2: int = 9, n_tables: int = 1,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Small descriptors (dense and hashed levels mixed where the box is small) and a random table."""
    rows, entries = simplex_levels.describe(
        n_dims, n_levels=n_levels, base_resolution=[base] * n_dims, per_level_scale=[scale] * n_dims,
        log2_hashmap_size=log2, lattice=lattice, n_tables=n_tables, seed=5,
    )  # fmt: skip
    return rows, torch.rand(entries, n_features, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _coordinates(x: Tensor, rows: Tensor, lattice: Lattice) -> Tensor:
    """Lattice coordinates of points in every level, float64 [N, L, D]."""
    n_dims = x.shape[1]
    scales, shifts = (
        part.to(torch.int32).view(torch.float32).double() for part in rows[0, :, 4 + n_dims :].chunk(2, -1)
    )
    p = x[:, None].double() * scales + shifts
    return p @ simplex_levels.matrix(n_dims, lattice).T


def _positions(n: int, n_dims: int, rows: Tensor, lattice: Lattice, low=0.0, high=1.0, margin=1e-3) -> Tensor:
    """Random points at least `margin` from every face of a simplex, so that fp32 and fp64 agree on it."""
    generator = torch.Generator().manual_seed(1)
    points = torch.empty(0, n_dims)
    while len(points) < n:
        x = torch.rand(40 * n, n_dims, generator=generator) * (high - low) + low
        q = _coordinates(x, rows, lattice)
        q = torch.cat([q, torch.zeros_like(q[..., :1])], -1)
        between = (q[..., :, None] - q[..., None, :]).abs()
        far = (between - between.round()).abs() + torch.eye(n_dims + 1)
        points = torch.cat([points, x[(far > margin).all(-1).all(-1).all(-1)]])
    return points[:n].contiguous()


def _normal(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize(
    ("n_dims", "n_features"), [(1, 2), (2, 1), (2, 4), (3, 2), (3, 8), (4, 2), (5, 1), (6, 2), (7, 2)]
)
def test_features_and_gradients_match_the_reference(lattice: Lattice, n_dims: int, n_features: int, isa: str) -> None:
    rows, table = _levels(n_dims, n_features, lattice, n_levels=3, base=3 if n_dims < 5 else 2)
    x = _positions(53, n_dims, rows, lattice)
    upstream = _normal(53, 3 * n_features)
    codes = (None, None, LATTICES.index(lattice), 1)
    leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
    out = simplex(leaf, weights, rows, lattice=lattice)
    expected = reference.forward(x.double(), table.double(), rows, *codes)
    torch.testing.assert_close(out.double(), expected, atol=TOLERANCE["value"], rtol=0)
    out.backward(upstream)
    gx, gt = reference.backward(upstream.double(), x.double(), table.double(), rows, *codes)
    torch.testing.assert_close(weights.grad.double(), gt, atol=TOLERANCE["table"], rtol=1e-5)
    torch.testing.assert_close(leaf.grad.double(), gx, atol=TOLERANCE["positions"], rtol=1e-4)


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize(("n_dims", "n_features"), [(1, 1), (2, 2), (3, 4), (4, 2), (6, 2)])
def test_second_order_gradients_match_the_reference(lattice: Lattice, n_dims: int, n_features: int, isa: str) -> None:
    rows, table = _levels(n_dims, n_features, lattice, n_levels=3, base=2)
    x = _positions(21, n_dims, rows, lattice)
    upstream, direction = _normal(21, 3 * n_features), _normal(21, n_dims, seed=3)
    leaves = [v.clone().requires_grad_() for v in (upstream, x, table)]
    out = simplex(leaves[1], leaves[2], rows, lattice=lattice)
    (gx,) = torch.autograd.grad(out, leaves[1], leaves[0], create_graph=True)
    got = torch.autograd.grad((gx * direction).sum(), leaves)
    expected = reference.backward_backward(
        direction.double(), upstream.double(), x.double(), table.double(), rows, None, None, LATTICES.index(lattice), 1
    )
    for name, a, b in zip(("grad", "positions", "table"), got, expected, strict=True):
        torch.testing.assert_close(a.double(), b, atol=5e-3, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert not got[1].any()


@pytest.mark.parametrize("lattice", LATTICES)
def test_the_reference_passes_gradcheck_twice(lattice: Lattice) -> None:
    rows, table = _levels(3, 2, lattice, n_levels=2, base=2, log2=4)
    x = _positions(4, 3, rows, lattice, margin=1e-2).double().requires_grad_()
    leaf = table.double().requires_grad_()

    def features(p: Tensor, t: Tensor) -> Tensor:
        return reference.forward(p, t, rows, None, None, LATTICES.index(lattice), 1)

    assert torch.autograd.gradcheck(features, (x, leaf))
    assert torch.autograd.gradgradcheck(lambda t: features(x.detach(), t), (leaf,))


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("n_dims", [1, 2, 3, 5, 7])
def test_features_of_a_constant_table_are_constant(lattice: Lattice, n_dims: int) -> None:
    """The weights of a simplex' vertices add up to one."""
    rows, table = _levels(n_dims, 2, lattice, base=2)
    x = torch.rand(500, n_dims, generator=torch.Generator().manual_seed(5))
    out = simplex(x, torch.full_like(table, 0.75), rows, lattice=lattice)
    torch.testing.assert_close(out, torch.full_like(out, 0.75))


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("n_dims", [1, 2, 3, 4])
def test_linear_functions_are_reproduced_by_dense_levels(lattice: Lattice, n_dims: int, isa: str) -> None:
    """A table that holds a linear function at its vertices gives it, and its gradient, everywhere in the box: dense
    levels have a place for every vertex that a point of the box reaches, its corners and faces among them."""
    rows, _ = _levels(n_dims, 1, lattice, n_levels=1, base=5, log2=20)
    assert rows[0, 0, 2] == 0
    shape = levels.resolutions(rows)[0, 0].tolist()
    vertices = torch.cartesian_prod(*[torch.arange(float(n)) for n in reversed(shape)]).reshape(-1, n_dims).flip(1)
    slope, offset = _normal(n_dims, seed=7).double(), 0.3
    table = torch.zeros(int(rows[0, 0, 1]), 1)
    table[: len(vertices), 0] = (vertices.double() @ slope + offset).float()
    x = torch.rand(300, n_dims, generator=torch.Generator().manual_seed(3))
    x = torch.cat([x, torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * n_dims).reshape(-1, n_dims)])
    leaf = x.clone().requires_grad_()
    out = simplex(leaf, table, rows, lattice=lattice)
    expected = _coordinates(x, rows, lattice)[:, 0] @ slope + offset
    torch.testing.assert_close(out[:, 0].double(), expected, atol=2e-5, rtol=1e-5)
    out.sum().backward()
    scales = levels.scales(rows)[0, 0].double()
    gradient = (simplex_levels.matrix(n_dims, lattice).T @ slope) * scales
    torch.testing.assert_close(leaf.grad.double(), gradient.expand(len(x), -1), atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("n_dims", [2, 3, 6])
def test_features_are_continuous_across_simplices(lattice: Lattice, n_dims: int, isa: str) -> None:
    """Along lines through many simplices no step is larger than the steepest slope allows."""
    rows, table = _levels(n_dims, 1, lattice, n_levels=2, base=4, scale=1.5, log2=10)
    start, end = torch.rand(2, 40, n_dims, generator=torch.Generator().manual_seed(9)).unbind(0)
    n = 2000
    t = torch.linspace(0, 1, n)[:, None, None]
    x = (start + t * (end - start)).reshape(-1, n_dims)
    out = simplex(x, table, rows, lattice=lattice).reshape(n, 40, -1)
    steepest = 2 * levels.scales(rows).max() * n_dims * math.sqrt(n_dims + 1)
    assert (out[1:] - out[:-1]).abs().max() < steepest / (n - 1)
    assert (out.amax(0) - out.amin(0)).mean() > 0.3


@pytest.mark.parametrize("lattice", ["skewed", "permutohedral"])
@pytest.mark.parametrize("n_dims", range(1, 8))
def test_the_longest_edge_is_a_hash_grids_cell(lattice: Lattice, n_dims: int) -> None:
    """Measured on every simplex of a cell, from the map's inverse; Kuhn's below, and skewed and permutohedral alike."""
    rows, _ = _levels(n_dims, 1, lattice, n_levels=1, base=9)
    scales = levels.scales(rows)[0, 0].double()
    to_x = torch.linalg.inv(simplex_levels.matrix(n_dims, lattice)) / scales[:, None]
    subsets = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * n_dims).reshape(-1, n_dims)[1:].double()
    longest = (subsets @ to_x.T).norm(dim=1).max()
    torch.testing.assert_close(longest, torch.tensor(1 / 8, dtype=torch.float64))
    assert math.isclose(float(torch.linalg.det(simplex_levels.matrix(n_dims, "skewed"))), math.sqrt(n_dims + 1))
    kuhn, _ = _levels(n_dims, 1, "kuhn", n_levels=1, base=9)
    torch.testing.assert_close(levels.scales(kuhn)[0, 0], torch.full((n_dims,), 8 * math.sqrt(n_dims)))


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("n_dims", [1, 2, 3, 4, 5])
def test_dense_levels_are_not_larger_than_their_box(lattice: Lattice, n_dims: int) -> None:
    """The highest vertex that the box' far corner reaches is the last along every axis."""
    rows, _ = _levels(n_dims, 1, lattice, n_levels=2, base=4, log2=20)
    far = _coordinates(torch.ones(1, n_dims), rows, lattice)[0]
    assert torch.equal(far.floor().long() + 2, levels.resolutions(rows)[0])
    near = _coordinates(torch.zeros(1, n_dims), rows, lattice)
    assert ((near >= -1e-6) & (near < 1)).all()
    assert levels.sound(rows)


def _drjit_rows(n_dims: int, n_levels: int, base: int, growth: float, log2: int, n_features: int) -> tuple[Tensor, int]:
    """Dr.Jit's own sizes: a hash grid's, rounded to the number of features."""
    rows, entries = levels.describe(
        n_dims, n_levels=n_levels, base_resolution=[base] * n_dims, per_level_scale=[growth] * n_dims,
        log2_hashmap_size=log2,
    )  # fmt: skip
    assert n_features == 8, "levels.describe rounds to 8 entries"
    return rows, entries


@pytest.mark.parametrize("n_dims", [2, 3, 4, 6])
def test_kuhns_form_agrees_with_drjit(n_dims: int, isa: str) -> None:
    """Values and both gradients, dense and hashed levels; its hash function replaced by the one that we share with its
    HashGridEncoding."""
    dr = pytest.importorskip("drjit")
    from drjit.llvm.ad import ArrayXf, Float32
    from drjit.nn import HashGridEncoding, PermutoEncoding

    class Oracle(PermutoEncoding):
        hash = HashGridEncoding.hash

    n_levels, base, growth, log2 = 4, 3, 1.6, 9
    encoding = Oracle(
        Float32, n_dims, n_levels=n_levels, n_features_per_level=8, hashmap_size=2**log2, base_resolution=base,
        per_level_scale=growth,
    )  # fmt: skip
    rows, entries = _drjit_rows(n_dims, n_levels, base, growth, log2, 8)
    table = torch.rand(entries, 8, generator=torch.Generator().manual_seed(0))
    assert encoding.n_params == table.numel()
    x = _positions(200, n_dims, rows, "kuhn")
    upstream = _normal(200, 8 * n_levels)
    data, points = Float32(table.reshape(-1).numpy()), ArrayXf(x.T.contiguous().numpy())
    dr.enable_grad(data, points)
    encoding.data = data
    got = encoding(points)
    leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
    out = simplex(leaf, weights, rows, lattice="kuhn")
    theirs = torch.stack([torch.from_numpy(dr.detach(column).numpy()) for column in got], -1)
    torch.testing.assert_close(out, theirs, atol=2e-5, rtol=0)
    dr.backward(
        dr.sum(sum(column * Float32(u.numpy()) for column, u in zip(got, upstream.T.contiguous(), strict=True)))
    )
    out.backward(upstream)
    torch.testing.assert_close(weights.grad.reshape(-1), torch.from_numpy(dr.grad(data).numpy()), atol=1e-4, rtol=1e-4)
    their_points = torch.from_numpy(dr.grad(points).numpy()).T
    torch.testing.assert_close(leaf.grad, their_points, atol=5e-3, rtol=1e-3)


@pytest.mark.parametrize("outside", OUTSIDES)
@pytest.mark.parametrize("lattice", LATTICES)
def test_positions_outside_the_box(outside: str, lattice: Lattice, isa: str) -> None:
    rows, table = _levels(2, 2, lattice)
    x = _positions(200, 2, rows, lattice, low=-1.5, high=2.5)
    if outside != "wrap":  # clamped points lie on faces of the box, which must not be those of simplices
        clamped = _coordinates(x.clamp(0, 1), rows, lattice)
        between = torch.cat([clamped, clamped[..., :1] - clamped[..., 1:]], -1)
        x = x[((between - between.round()).abs() > 1e-3).all(-1).all(-1)]
        assert len(x) > 50
    codes = (None, None, LATTICES.index(lattice), OUTSIDES.index(outside))
    leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
    out = simplex(leaf, weights, rows, lattice=lattice, outside=outside)
    expected = reference.forward(x.double(), table.double(), rows, *codes)
    torch.testing.assert_close(out.double(), expected, atol=6e-6, rtol=0)
    out.sum().backward()
    gx, gt = reference.backward(torch.ones_like(out).double(), x.double(), table.double(), rows, *codes)
    torch.testing.assert_close(leaf.grad.double(), gx, atol=TOLERANCE["positions"], rtol=1e-4)
    torch.testing.assert_close(weights.grad.double(), gt, atol=1e-4, rtol=1e-5)


def test_segments_choose_the_sub_table(isa: str) -> None:
    rows, table = _levels(3, 2, n_tables=3)
    x = _positions(60, 3, rows, "skewed")
    weights = table.clone().requires_grad_()
    out = simplex(x, weights, rows, segments=torch.tensor([0, 17, 17, 60]))
    expected = torch.cat([simplex(x[:17], table, rows[:1]), simplex(x[17:], table, rows[2:])])
    assert torch.equal(out, expected)
    out.sum().backward()
    per_table = weights.grad.reshape(3, -1).abs().sum(1)
    assert per_table[1] == 0
    assert (per_table[[0, 2]] > 0).all()


def test_sub_tables_share_a_level_under_keys_of_their_own(isa: str) -> None:
    row = [levels.row(0, 64, True, [9, 9], [8.0, 8.0], key=key) for key in (0, 37)]
    rows = torch.tensor([[row[0]], [row[1]]])
    table = torch.rand(64, 2, generator=torch.Generator().manual_seed(0))
    x = _positions(20, 2, rows, "skewed").repeat(2, 1)
    segments, weights = torch.tensor([0, 20, 40]), table.clone().requires_grad_()
    out = simplex(x, weights, rows, segments=segments)
    codes = (segments, None, 0, 1)
    torch.testing.assert_close(
        out.double(), reference.forward(x.double(), table.double(), rows, *codes), atol=4e-6, rtol=0
    )
    assert not torch.isclose(out[:20], out[20:]).any()
    out.sum().backward()
    _, gt = reference.backward(torch.ones_like(out).double(), x.double(), table.double(), rows, *codes)
    torch.testing.assert_close(weights.grad.double(), gt, atol=TOLERANCE["table"], rtol=1e-5)


def test_level_weights_scale_and_skip(isa: str) -> None:
    rows, table = _levels(3, 2)
    x = _positions(30, 3, rows, "skewed")
    level_weights = torch.tensor([1.0, 0.5, 0.0, 0.25])
    leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
    out = simplex(leaf, weights, rows, level_weights=level_weights)
    args = (x.double(), table.double(), rows, None, level_weights, 0, 1)
    torch.testing.assert_close(out.double(), reference.forward(*args), atol=4e-6, rtol=0)
    (gx,) = torch.autograd.grad(out.sum(), leaf, create_graph=True)
    expected_gx, expected_gt = reference.backward(torch.ones_like(out).double(), *args)
    torch.testing.assert_close(gx.double(), expected_gx, atol=TOLERANCE["positions"], rtol=1e-4)
    (gt,) = torch.autograd.grad(out.sum(), weights, retain_graph=True)
    torch.testing.assert_close(gt.double(), expected_gt, atol=TOLERANCE["table"], rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
@pytest.mark.parametrize("n_features", [1, 2, 8])
def test_reads_a_half_precision_working_copy(dtype: torch.dtype, tolerance: float, n_features: int, isa: str) -> None:
    rows, table = _levels(3, n_features)
    x = _positions(33, 3, rows, "skewed")
    copy = table.to(dtype)
    leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
    out = simplex(leaf, weights, rows, working_copy=copy)
    torch.testing.assert_close(out, simplex(x, copy.float(), rows), atol=1e-6, rtol=0)
    torch.testing.assert_close(out, simplex(x, table, rows), atol=tolerance, rtol=0)
    out.sum().backward()
    assert weights.grad is not None and weights.grad.dtype == torch.float32
    gx, _ = reference.backward(torch.ones_like(out).double(), x.double(), copy.double(), rows, None, None, 0, 1)
    torch.testing.assert_close(leaf.grad.double(), gx, atol=TOLERANCE["positions"], rtol=1e-4)


def test_either_memory_order_gives_equal_bits(isa: str) -> None:
    rows, table = _levels(3, 2)
    x, upstream = torch.rand(100, 3, generator=torch.Generator().manual_seed(4)), _normal(100, 8)
    results = []
    for order in (lambda t: t.contiguous(), lambda t: t.T.contiguous().T):
        leaf, weights = order(x).detach().requires_grad_(), table.clone().requires_grad_()
        out = simplex(leaf, weights, rows)
        out.backward(order(upstream))
        results.append((out, leaf.grad, weights.grad))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("lattice", LATTICES)
def test_any_number_of_threads_gives_equal_bits(lattice: Lattice) -> None:
    rows, table = _levels(3, 2, lattice, n_levels=6, log2=12)
    x = torch.rand(9001, 3, generator=torch.Generator().manual_seed(4))
    results = []
    before = torch.get_num_threads()
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
            out = simplex(leaf, weights, rows, lattice=lattice)
            (out * out).sum().backward()
            results.append((out.detach(), leaf.grad, weights.grad))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("n", [1, 16, 37])
def test_levels_that_outgrow_the_cache(n: int, isa: str) -> None:
    """2 MB each: lines of the next vector of points are asked for ahead, and there is none after the last."""
    rows, table = _levels(3, 2, n_levels=2, base=80, log2=18)
    x = _positions(n, 3, rows, "skewed")
    expected = reference.forward(x.double(), table.double(), rows, None, None, 0, 1)
    torch.testing.assert_close(simplex(x, table, rows).double(), expected, atol=1e-4, rtol=0)


def test_accumulates_into_a_buffer_and_marks_it(isa: str) -> None:
    rows, table = _levels(3, 2, n_levels=6, log2=12)
    x = _positions(7, 3, rows, "skewed")
    weights = table.clone().requires_grad_()
    buffer = GradientBuffer.like(table)
    expected = torch.autograd.grad(simplex(x, weights, rows).sum(), weights)[0]
    for times in (1, 2):
        simplex(x, weights, rows, accumulate=buffer).sum().backward()
        torch.testing.assert_close(buffer.grad, times * expected)
    assert weights.grad is None
    marked = GradientBuffer.like(table)
    marked.add(expected)
    assert torch.equal(buffer.touched, marked.touched)


@pytest.mark.parametrize("outside", OUTSIDES)
@pytest.mark.parametrize("lattice", LATTICES)
def test_wild_positions_are_defined(outside: str, lattice: Lattice, isa: str) -> None:
    """Huge, infinite and NaN coordinates, alone among tame ones and on every axis: features as the reference has them,
    gradients that are NaN where a position is no number and finite elsewhere."""
    wild = [math.nan, math.inf, -math.inf, 1e30, -1e30, 1e17, -1e17]
    rows, table = _levels(3, 2, lattice)
    x = _positions(3 * len(wild), 3, rows, lattice)
    for i, value in enumerate(wild):
        x[3 * i] = value
        x[3 * i + 1, i % 3] = value
    leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
    out = simplex(leaf, weights, rows, lattice=lattice, outside=outside)
    codes = (None, None, LATTICES.index(lattice), OUTSIDES.index(outside))
    expected = reference.forward(x.double(), table.double(), rows, *codes)
    lost = expected.isnan()
    assert torch.equal(out.isnan(), lost)
    if outside != "wrap":  # beyond the box fractions of 1e17 + 0.3 differ between fp32 and fp64
        torch.testing.assert_close(out.double(), expected, atol=4e-6, rtol=0, equal_nan=True)
    gx, gt = torch.autograd.grad(out, (leaf, weights), _normal(len(x), 8))
    assert torch.equal(gx.isnan().any(1), lost.any(1))
    assert bool(gt.isnan().any()) == bool(lost.any())


@pytest.mark.parametrize("mode", ["eager", "aot_eager"])
def test_compiles_without_graph_breaks(mode: str) -> None:
    rows, table = _levels(3, 2, "kuhn")
    x = _positions(20, 3, rows, "kuhn")
    results = []
    for function in (simplex, torch.compile(simplex, fullgraph=True, backend=mode)):
        leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
        out = function(leaf, weights, rows, lattice="kuhn", outside="zero")
        out.square().sum().backward()
        results.append((out.detach(), leaf.grad, weights.grad))
    for eager, compiled in zip(*results, strict=True):
        assert torch.equal(eager, compiled)


def test_empty_batch() -> None:
    rows, table = _levels(3, 2)
    leaf, weights = torch.zeros(0, 3, requires_grad=True), table.clone().requires_grad_()
    out = simplex(leaf, weights, rows)
    assert out.shape == (0, 8)
    out.sum().backward()
    assert torch.equal(weights.grad, torch.zeros_like(table))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"positions": torch.zeros(5, 3, dtype=torch.float64)}, TypeError, r"positions must be float32, got float64"),
        ({"positions": torch.zeros(5, 8)}, ValueError, r"1 to 7 columns, got 8"),
        ({"table": torch.zeros(100, 3)}, ValueError, r"1, 2, 4 or 8 features, got 3"),
        ({"lattice": "cubic"}, ValueError, r"one of skewed, kuhn, permutohedral, got 'cubic'"),
        ({"outside": "mirror"}, ValueError, r"one of wrap, clamp, zero, got 'mirror'"),
        ({"segments": torch.tensor([0, 3])}, ValueError, r"segments must rise from 0 to 5 points, got \[0, 3\]"),
        ({"table": torch.zeros(16, 2)}, ValueError, r"levels describe \d+ entries, the table has 16"),
    ],
)
def test_wrong_arguments_say_what_to_do(change: dict, error: type, message: str) -> None:
    rows, table = _levels(3, 2)
    arguments = {"positions": torch.zeros(5, 3), "table": table, "levels": rows} | change
    with pytest.raises(error, match=message):
        simplex(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_dims": 8}, "n_dims must be 1 to 7"),
        ({"n_levels": 0}, "n_levels must be 1 to 64"),
        ({"log2_hashmap_size": 31}, "log2_hashmap_size must be 3 to 28"),
        ({"lattice": "cubic"}, "lattice must be one of skewed, kuhn, permutohedral, got 'cubic'"),
    ],
)
def test_wrong_layouts_say_what_to_do(change: dict, message: str) -> None:
    make: Callable[..., object] = simplex_levels.describe
    arguments = {
        "n_dims": 3, "n_levels": 16, "base_resolution": [16] * 3, "per_level_scale": [1.5] * 3, "log2_hashmap_size": 19,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        make(**(arguments | change))
