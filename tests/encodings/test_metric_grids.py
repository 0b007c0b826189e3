"""Metric grids: published sizes, one table under three keys, features and gradients against plain torch."""

import copy

import pytest
import torch

from neural.cuda import checks, levels
from neural.cuda.gradients import GradientBuffer
from neural.cuda.metric_maps import METRICS, Metrics, metric_maps
from neural.cuda.reference import hash_grid as grid_reference
from neural.cuda.reference import metric_maps as maps_reference
from neural.encodings.base import Tabled
from neural.encodings.hash_grid import HashGrid
from neural.encodings.metric_grids import MetricGrids
from neural.optim import Adam, Group
from tests.threads import same_bits

SMALL = {"n_levels": 4, "log2_hashmap_size": 8, "base_resolution": 4, "finest_resolution": 40}  # two levels are hashed


def _grids(n_dims: int = 2, metrics: Metrics = "signal") -> MetricGrids:
    """A grid with features of the size of a trained one's."""
    grids = MetricGrids(n_dims, **SMALL, metrics=metrics, seed=1)
    with torch.no_grad():
        grids.table.mul_(1e4)
    return grids


def _reference(grids: MetricGrids, x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Features of the three grids in plain torch, each position looked up by itself."""
    places = maps_reference.forward(x, METRICS.index(grids.metrics))
    n = x.shape[0]
    segments = torch.tensor([0, n, 2 * n, 3 * n]) if grids.metrics == "signal" else None
    return grid_reference.forward(places, table, grids.levels, segments, None, 1, 1)


def test_parameters_are_as_many_as_published() -> None:
    assert MetricGrids(2).table.numel() == 186_624
    distances = MetricGrids(3, n_levels=15, log2_hashmap_size=15, finest_resolution=2048)
    assert distances.table.numel() == 884_496


@pytest.mark.parametrize("n_dims", [1, 2, 3, 5])
@pytest.mark.parametrize("metrics", METRICS)
def test_features_and_gradients_match_plain_torch(n_dims: int, metrics: Metrics) -> None:
    grids = _grids(n_dims, metrics)
    x = torch.rand(60, n_dims, generator=torch.Generator().manual_seed(2)).double() * 0.98 + 0.01
    upstream = torch.randn(180, grids.n_output_dims, generator=torch.Generator().manual_seed(3)).double()
    exact_x, exact_table = x.clone().requires_grad_(), grids.table.detach().double().requires_grad_()
    expected = _reference(grids, exact_x, exact_table)
    leaf = x.float().requires_grad_()
    out = grids.features(leaf)
    torch.testing.assert_close(out.double(), expected, atol=5e-5, rtol=0)  # fp32 positions on fractions of a cell
    want = torch.autograd.grad(expected, (exact_x, exact_table), upstream)
    got = torch.autograd.grad(out, (leaf, grids.table), upstream.float())
    # a position within rounding of a vertex may be in the next cell, where the slope is another
    slope_off = (got[0].double() - want[0]).abs() / want[0].abs().max()
    assert float(slope_off.quantile(0.97)) < 1e-4
    torch.testing.assert_close(got[1].double(), want[1], atol=2e-4, rtol=0)


def test_the_sum_is_what_forward_gives() -> None:
    grids, x = _grids(), torch.rand(50, 2)
    features = grids.features(x)
    torch.testing.assert_close(grids(x), features[:50] + features[50:100] + features[100:])


def test_radiance_is_one_ordinary_grid_at_x_its_sine_and_its_cosine() -> None:
    grids, x = _grids(3, "radiance"), torch.rand(50, 3)
    plain = HashGrid(3, **SMALL)
    with torch.no_grad():
        plain.table.copy_(grids.table)
    torch.testing.assert_close(grids(x), plain(x) + plain(x.sin()) + plain(x.cos()), atol=2e-5, rtol=0)
    assert grids.levels.shape[0] == 1


def test_the_first_grid_is_an_ordinary_hash_grid() -> None:
    grids, x = _grids(), torch.rand(50, 2)
    plain = HashGrid(2, **SMALL)
    with torch.no_grad():
        plain.table.copy_(grids.table)
    assert torch.equal(grids.features(x)[:50], plain(x))


def test_hashed_levels_share_entries_under_keys_of_their_own() -> None:
    grids = _grids()
    assert levels.sound(grids.levels)
    hashed = grids.levels[0, :, 2] != 0
    assert 0 < int(hashed.sum()) < 4
    offsets, sizes, keys = (grids.levels[..., c] for c in (0, 1, 3))
    assert (offsets == offsets[0]).all() and (sizes == sizes[0]).all()
    assert (keys[:, ~hashed] == 0).all() and (keys[0] == 0).all()
    # at equal positions in their own metrics, the grids read other entries of every hashed level, equal ones of dense
    touched = []
    for t in range(3):
        table = grids.table.detach().double().requires_grad_()
        out = grid_reference.forward(
            torch.tensor([[0.3, 0.4]]).double(), table, grids.levels[t : t + 1], None, None, 1, 1
        )
        touched.append(torch.autograd.grad(out.sum(), table)[0].abs().sum(1) > 0)
    for level in range(4):
        rows = slice(int(offsets[0, level]), int(offsets[0, level] + sizes[0, level]))
        one, two, three = (t[rows] for t in touched)
        if hashed[level]:
            assert not (one & two).any() and not (one & three).any() and not (two & three).any()
        else:
            assert torch.equal(one, two) and torch.equal(one, three)


def test_features_come_without_copies_as_views_of_one_buffer() -> None:
    grids, n = _grids(), 50
    features = grids.features(torch.rand(n, 2))
    assert features.shape == (3 * n, 8) and features.stride() == (1, 3 * n)
    for k in range(3):
        part = features[k * n : (k + 1) * n]
        assert checks.rows(part)[0].data_ptr() == part.data_ptr()
    assert metric_maps(torch.rand(n, 2)).stride() == (1, 3 * n)


def test_gradients_of_gradients_match_plain_torch() -> None:
    grids = _grids(3)
    x = torch.rand(40, 3, generator=torch.Generator().manual_seed(5)) * 0.98 + 0.01
    exact_table = grids.table.detach().double().requires_grad_()

    def penalty(features, leaf):
        # smooth in the features, so that the second order is not zero
        (normal,) = torch.autograd.grad(features.square().sum(), leaf, create_graph=True)
        return normal.square().mean()

    leaf, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    got = torch.autograd.grad(penalty(grids.features(leaf), leaf), grids.table)[0].double()
    want = torch.autograd.grad(penalty(_reference(grids, exact, exact_table), exact), exact_table)[0]
    torch.testing.assert_close(got, want, atol=float(want.abs().max()) * 1e-3, rtol=0)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_adam_steps_the_table_in_place_through_its_buffer(precision: str) -> None:
    grids = MetricGrids(2, **SMALL, precision=precision)
    assert isinstance(grids, Tabled)
    plain = copy.deepcopy(grids)
    grids.gradients = GradientBuffer.like(grids.table)
    copies = {} if grids.working_copy is None else {"t": grids.working_copy}
    rule = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-15}
    ours = Adam([Group({"t": grids.table}, lazy=True, buffers={"t": grids.gradients}, working_copies=copies, **rule)])
    theirs = Adam([Group({"t": plain.table}, **rule)])
    for step in range(3):
        x = torch.rand(500, 2, generator=torch.Generator().manual_seed(step))
        for field, optimiser in ((grids, ours), (plain, theirs)):
            field(x).square().sum().backward()
            optimiser.step()
            field.table.grad = None
    assert grids.gradients is not None and (grids.gradients.grad == 0).all()
    touched = (plain.table - MetricGrids(2, **SMALL).table).abs().sum(1) > 0
    assert touched.any()
    torch.testing.assert_close(grids.table[touched], plain.table[touched], atol=1e-3, rtol=0)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    x = torch.rand(20_000, 2)

    def run():
        grids = _grids()
        out = grids.features(x)
        return (out, torch.autograd.grad(out.square().sum(), grids.table)[0])

    same_bits(run)


def test_levels_can_be_left_out() -> None:
    grids, x = _grids(), torch.rand(20, 2)
    whole = grids.features(x)
    grids.set_max_level(2)
    assert torch.equal(grids.features(x)[:, :4], whole[:, :4])
    assert (grids.features(x)[:, 4:] == 0).all()


def test_no_points_and_wrong_arguments() -> None:
    grids = _grids()
    assert grids.features(torch.zeros(0, 2)).shape == (0, 8)
    assert grids(torch.zeros(0, 2)).shape == (0, 8)
    with pytest.raises(ValueError, match="metrics must be one of signal, radiance, got 'image'"):
        MetricGrids(2, metrics="image")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="its sub-tables are its grids; segments must be None"):
        grids(torch.rand(5, 2), torch.tensor([0, 5]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finest_resolution or per_level_scale, not both"):
        MetricGrids(2, finest_resolution=64, per_level_scale=2.0)
