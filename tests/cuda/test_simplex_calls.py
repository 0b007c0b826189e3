"""Simplex encoding as it is called: modes, sub-tables, large levels, wild positions, wrong layouts."""

import math
from collections.abc import Callable

import pytest
import torch

from neural.cuda import levels, simplex_levels
from neural.cuda.lattice_checks import OUTSIDES
from neural.cuda.reference import simplex as reference
from neural.cuda.simplex import LATTICES, Lattice, simplex
from tests.simplices import TOLERANCE, clear_positions, coordinates, normal, small_levels


@pytest.mark.parametrize("outside", OUTSIDES)
@pytest.mark.parametrize("lattice", LATTICES)
def test_positions_outside_the_box(outside: str, lattice: Lattice, isa: str) -> None:
    rows, table = small_levels(2, 2, lattice)
    x = clear_positions(200, 2, rows, lattice, low=-1.5, high=2.5)
    if outside != "wrap":  # clamped points lie on faces of the box, which must not be those of simplices
        clamped = coordinates(x.clamp(0, 1), rows, lattice)
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


def test_sub_tables_share_a_level_under_keys_of_their_own(isa: str) -> None:
    row = [levels.row(0, 64, True, [9, 9], [8.0, 8.0], key=key) for key in (0, 37)]
    rows = torch.tensor([[row[0]], [row[1]]])
    table = torch.rand(64, 2, generator=torch.Generator().manual_seed(0))
    x = clear_positions(20, 2, rows, "skewed").repeat(2, 1)
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


@pytest.mark.parametrize("n", [1, 16, 37])
def test_levels_that_outgrow_the_cache(n: int, isa: str) -> None:
    """2 MB each: lines of the next vector of points are asked for ahead, and there is none after the last."""
    rows, table = small_levels(3, 2, n_levels=2, base=80, log2=18)
    x = clear_positions(n, 3, rows, "skewed")
    expected = reference.forward(x.double(), table.double(), rows, None, None, 0, 1)
    torch.testing.assert_close(simplex(x, table, rows).double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("outside", OUTSIDES)
@pytest.mark.parametrize("lattice", LATTICES)
def test_wild_positions_are_defined(outside: str, lattice: Lattice, isa: str) -> None:
    """Huge, infinite and NaN coordinates, alone among tame ones and on every axis: features as the reference has them,
    gradients that are NaN where a position is no number and finite elsewhere."""
    wild = [math.nan, math.inf, -math.inf, 1e30, -1e30, 1e17, -1e17]
    rows, table = small_levels(3, 2, lattice)
    x = clear_positions(3 * len(wild), 3, rows, lattice)
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
    gx, gt = torch.autograd.grad(out, (leaf, weights), normal(len(x), 8))
    assert torch.equal(gx.isnan().any(1), lost.any(1))
    assert bool(gt.isnan().any()) == bool(lost.any())


def test_an_unknown_lattice_is_refused() -> None:
    rows, table = small_levels(3, 2)
    with pytest.raises(ValueError, match="one of skewed, kuhn, permutohedral, got 'cubic'"):
        simplex(torch.zeros(5, 3), table, rows, lattice="cubic")  # type: ignore[arg-type]


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
