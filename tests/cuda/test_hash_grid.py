"""The hash grid's features and derivatives against the plain-torch reference, and its own laws."""

import math

import pytest
import torch
from torch import Tensor

from neural.cuda import levels as layout
from neural.cuda.hash_grid import INTERPOLATIONS, OUTSIDES, hash_grid
from neural.cuda.reference import hash_grid as reference
from tests.hash_grids import TOLERANCE, clear_positions, codes, small_levels


@pytest.mark.parametrize("kind", ["hash", "dense", "tiled"])
@pytest.mark.parametrize(("n_dims", "n_features"), [(1, 2), (2, 1), (2, 4), (3, 2), (3, 8), (4, 2), (5, 1), (7, 2)])
def test_features_and_gradients_match_the_reference(kind: str, n_dims: int, n_features: int, isa: str) -> None:
    rows, table = small_levels(n_dims, n_features, kind, n_levels=3 if n_dims > 4 else 4, base=2 if n_dims > 4 else 3)
    x = clear_positions(53, n_dims, rows)
    upstream = torch.randn(53, rows.shape[1] * n_features, generator=torch.Generator().manual_seed(2))
    for interpolation in INTERPOLATIONS:
        modes = codes(interpolation, "clamp")
        leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
        out = hash_grid(leaf, weights, rows, interpolation=interpolation)
        expected = reference.forward(x.double(), table.double(), rows, None, None, *modes)
        torch.testing.assert_close(out.double(), expected, atol=TOLERANCE["value"], rtol=0)
        out.backward(upstream)
        gx, gt = reference.backward(upstream.double(), x.double(), table.double(), rows, None, None, *modes)
        torch.testing.assert_close(weights.grad.double(), gt, atol=TOLERANCE["table"], rtol=1e-5)
        torch.testing.assert_close(leaf.grad.double(), gx, atol=TOLERANCE["positions"], rtol=1e-4)


@pytest.mark.parametrize("interpolation", ["linear", "smoothstep"])
@pytest.mark.parametrize(("n_dims", "n_features"), [(1, 1), (2, 2), (3, 2), (3, 4), (4, 2), (6, 2)])
def test_second_order_gradients_match_the_reference(interpolation: str, n_dims: int, n_features: int, isa: str) -> None:
    rows, table = small_levels(n_dims, n_features, n_levels=3, base=2)
    x = clear_positions(21, n_dims, rows)
    generator = torch.Generator().manual_seed(3)
    upstream = torch.randn(21, rows.shape[1] * n_features, generator=generator)
    direction = torch.randn(21, n_dims, generator=generator)
    leaves = [v.clone().requires_grad_() for v in (upstream, x, table)]
    out = hash_grid(leaves[1], leaves[2], rows, interpolation=interpolation)
    (gx,) = torch.autograd.grad(out, leaves[1], leaves[0], create_graph=True)
    got = torch.autograd.grad((gx * direction).sum(), leaves, allow_unused=True)
    expected = reference.backward_backward(
        direction.double(), upstream.double(), x.double(), table.double(), rows, None, None,
        *codes(interpolation, "clamp"),
    )  # fmt: skip
    for name, a, b in zip(("grad", "positions", "table"), got, expected, strict=True):
        torch.testing.assert_close(
            a.double(), b, atol=TOLERANCE["positions"], rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_table_gradient_is_differentiable_too(isa: str) -> None:
    rows, table = small_levels(3, 2)
    x = clear_positions(19, 3, rows)
    generator = torch.Generator().manual_seed(4)
    upstream = torch.randn(19, rows.shape[1] * 2, generator=generator)
    along = torch.randn(table.shape, generator=generator)

    def second(dtype: torch.dtype, function) -> list[Tensor]:
        g, p, t = (v.clone().to(dtype).requires_grad_() for v in (upstream, x, table))
        (gt,) = torch.autograd.grad(function(p, t), t, g, create_graph=True)
        return list(torch.autograd.grad((gt * along.to(dtype)).sum(), (g, p)))

    got = second(torch.float32, lambda p, t: hash_grid(p, t, rows))
    expected = second(torch.float64, lambda p, t: reference.forward(p, t, rows, None, None, 1, 1))
    torch.testing.assert_close(got[0].double(), expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got[1].double(), expected[1], atol=TOLERANCE["positions"], rtol=1e-4)


@pytest.mark.parametrize("outside", OUTSIDES)
@pytest.mark.parametrize("kind", ["hash", "dense", "tiled"])
def test_positions_outside_the_box(outside: str, kind: str, isa: str) -> None:
    rows, table = small_levels(2, 2, kind)
    x = clear_positions(200, 2, rows, low=-1.5, high=2.5)
    modes = codes("linear", outside)
    leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
    out = hash_grid(leaf, weights, rows, outside=outside)
    torch.testing.assert_close(
        out.double(), reference.forward(x.double(), table.double(), rows, None, None, *modes), atol=4e-6, rtol=0
    )
    out.sum().backward()
    gx, gt = reference.backward(torch.ones_like(out).double(), x.double(), table.double(), rows, None, None, *modes)
    torch.testing.assert_close(leaf.grad.double(), gx, atol=TOLERANCE["positions"], rtol=1e-4)
    torch.testing.assert_close(weights.grad.double(), gt, atol=1e-4, rtol=1e-5)


def test_features_of_constant_table_are_constant() -> None:
    """The weights of a level's corners add up to one."""
    rows, table = small_levels(3, 2)
    x = torch.rand(500, 3, generator=torch.Generator().manual_seed(5))
    for interpolation in INTERPOLATIONS:
        out = hash_grid(x, torch.full_like(table, 0.75), rows, interpolation=interpolation)
        torch.testing.assert_close(out, torch.full_like(out, 0.75))


def _finite_or_nan(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual.double(), expected, atol=atol, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("outside", OUTSIDES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_wild_positions_are_defined_in_every_derivative(outside: str, interpolation: str, isa: str) -> None:
    """Huge, infinite and NaN coordinates, alone among tame ones and on every axis, as the reference has them."""
    wild = [math.nan, math.inf, -math.inf, 1e30, -1e30, 1e17, -1e17]
    generator = torch.Generator().manual_seed(6)
    for kind in layout.KINDS:
        rows, table = small_levels(3, 2, kind)
        x = clear_positions(3 * len(wild), 3, rows)
        for i, value in enumerate(wild):
            x[3 * i] = value
            x[3 * i + 1, i % 3] = value
        upstream, direction = torch.randn(len(x), 8, generator=generator), torch.randn(len(x), 3, generator=generator)
        grid = (rows, None, None, *codes(interpolation, outside))
        wide = [v.double() for v in (upstream, x, table)]
        leaves = [v.clone().requires_grad_() for v in (upstream, x, table)]
        out = hash_grid(leaves[1], leaves[2], rows, interpolation=interpolation, outside=outside)
        _finite_or_nan(out, reference.forward(wide[1], wide[2], *grid), 2e-6)
        got = torch.autograd.grad(out, leaves[1:], leaves[0], create_graph=True)
        for actual, expected in zip(got, reference.backward(*wide, *grid), strict=True):
            _finite_or_nan(actual, expected, 2e-3)
        if outside == "zero":  # nothing beyond the box is felt, not even a NaN
            assert all(bool(g.isfinite().all()) for g in (out, *got))
        if interpolation == "nearest":
            continue
        got = torch.autograd.grad((got[0] * direction).sum(), leaves, allow_unused=True)
        for actual, expected in zip(got, reference.backward_backward(direction.double(), *wide, *grid), strict=True):
            _finite_or_nan(actual, expected, 2e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": torch.zeros(5, 2)}, r"levels must be \[T, L, 10\]"),
        ({"interpolation": "cubic"}, r"one of nearest, linear, smoothstep, got 'cubic'"),
    ],
)
def test_wrong_arguments_say_what_to_do(change: dict, message: str) -> None:
    rows, table = small_levels(3, 2)
    arguments = {"positions": torch.zeros(5, 3), "table": table, "levels": rows} | change
    with pytest.raises(ValueError, match=message):
        hash_grid(**arguments)
