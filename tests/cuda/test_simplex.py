"""Simplex encoding against the plain-torch reference, Dr.Jit's independent Kuhn form, and its own laws."""

import math

import pytest
import torch
from torch import Tensor

from neural.cuda import levels, simplex_levels
from neural.cuda.reference import simplex as reference
from neural.cuda.simplex import LATTICES, Lattice, simplex
from tests.simplices import TOLERANCE, clear_positions, coordinates, normal, small_levels


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize(
    ("n_dims", "n_features"), [(1, 2), (2, 1), (2, 4), (3, 2), (3, 8), (4, 2), (5, 1), (6, 2), (7, 2)]
)
def test_features_and_gradients_match_the_reference(lattice: Lattice, n_dims: int, n_features: int, isa: str) -> None:
    rows, table = small_levels(n_dims, n_features, lattice, n_levels=3, base=3 if n_dims < 5 else 2)
    x = clear_positions(53, n_dims, rows, lattice)
    upstream = normal(53, 3 * n_features)
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
    rows, table = small_levels(n_dims, n_features, lattice, n_levels=3, base=2)
    x = clear_positions(21, n_dims, rows, lattice)
    upstream, direction = normal(21, 3 * n_features), normal(21, n_dims, seed=3)
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
    rows, table = small_levels(3, 2, lattice, n_levels=2, base=2, log2=4)
    x = clear_positions(4, 3, rows, lattice, margin=1e-2).double().requires_grad_()
    leaf = table.double().requires_grad_()

    def features(p: Tensor, t: Tensor) -> Tensor:
        return reference.forward(p, t, rows, None, None, LATTICES.index(lattice), 1)

    assert torch.autograd.gradcheck(features, (x, leaf))
    assert torch.autograd.gradgradcheck(lambda t: features(x.detach(), t), (leaf,))


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("n_dims", [1, 2, 3, 5, 7])
def test_features_of_a_constant_table_are_constant(lattice: Lattice, n_dims: int) -> None:
    """The weights of a simplex' vertices add up to one."""
    rows, table = small_levels(n_dims, 2, lattice, base=2)
    x = torch.rand(500, n_dims, generator=torch.Generator().manual_seed(5))
    out = simplex(x, torch.full_like(table, 0.75), rows, lattice=lattice)
    torch.testing.assert_close(out, torch.full_like(out, 0.75))


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("n_dims", [1, 2, 3, 4])
def test_linear_functions_are_reproduced_by_dense_levels(lattice: Lattice, n_dims: int, isa: str) -> None:
    """A table that holds a linear function at its vertices gives it, and its gradient, everywhere in the box: dense
    levels have a place for every vertex that a point of the box reaches, its corners and faces among them."""
    rows, _ = small_levels(n_dims, 1, lattice, n_levels=1, base=5, log2=20)
    assert rows[0, 0, 2] == 0
    shape = levels.resolutions(rows)[0, 0].tolist()
    vertices = torch.cartesian_prod(*[torch.arange(float(n)) for n in reversed(shape)]).reshape(-1, n_dims).flip(1)
    slope, offset = normal(n_dims, seed=7).double(), 0.3
    table = torch.zeros(int(rows[0, 0, 1]), 1)
    table[: len(vertices), 0] = (vertices.double() @ slope + offset).float()
    x = torch.rand(300, n_dims, generator=torch.Generator().manual_seed(3))
    x = torch.cat([x, torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * n_dims).reshape(-1, n_dims)])
    leaf = x.clone().requires_grad_()
    out = simplex(leaf, table, rows, lattice=lattice)
    expected = coordinates(x, rows, lattice)[:, 0] @ slope + offset
    torch.testing.assert_close(out[:, 0].double(), expected, atol=2e-5, rtol=1e-5)
    out.sum().backward()
    scales = levels.scales(rows)[0, 0].double()
    gradient = (simplex_levels.matrix(n_dims, lattice).T @ slope) * scales
    torch.testing.assert_close(leaf.grad.double(), gradient.expand(len(x), -1), atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("n_dims", [2, 3, 6])
def test_features_are_continuous_across_simplices(lattice: Lattice, n_dims: int, isa: str) -> None:
    """Along lines through many simplices no step is larger than the steepest slope allows."""
    rows, table = small_levels(n_dims, 1, lattice, n_levels=2, base=4, scale=1.5, log2=10)
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
    rows, _ = small_levels(n_dims, 1, lattice, n_levels=1, base=9)
    scales = levels.scales(rows)[0, 0].double()
    to_x = torch.linalg.inv(simplex_levels.matrix(n_dims, lattice)) / scales[:, None]
    subsets = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * n_dims).reshape(-1, n_dims)[1:].double()
    longest = (subsets @ to_x.T).norm(dim=1).max()
    torch.testing.assert_close(longest, torch.tensor(1 / 8, dtype=torch.float64))
    assert math.isclose(float(torch.linalg.det(simplex_levels.matrix(n_dims, "skewed"))), math.sqrt(n_dims + 1))
    kuhn, _ = small_levels(n_dims, 1, "kuhn", n_levels=1, base=9)
    torch.testing.assert_close(levels.scales(kuhn)[0, 0], torch.full((n_dims,), 8 * math.sqrt(n_dims)))


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("n_dims", [1, 2, 3, 4, 5])
def test_dense_levels_are_not_larger_than_their_box(lattice: Lattice, n_dims: int) -> None:
    """The highest vertex that the box' far corner reaches is the last along every axis."""
    rows, _ = small_levels(n_dims, 1, lattice, n_levels=2, base=4, log2=20)
    far = coordinates(torch.ones(1, n_dims), rows, lattice)[0]
    assert torch.equal(far.floor().long() + 2, levels.resolutions(rows)[0])
    near = coordinates(torch.zeros(1, n_dims), rows, lattice)
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
    x = clear_positions(200, n_dims, rows, "kuhn")
    upstream = normal(200, 8 * n_levels)
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
