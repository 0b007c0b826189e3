"""Schedules of progressive activation, at the steps that their papers' code changes at, and what they save."""

import math
import time

import pytest
import torch
from torch import Tensor

from neural.cuda.gradients import GradientBuffer
from neural.encodings import progressive
from neural.encodings.hash_grid import HashGrid


def active(weights: Tensor) -> int:
    """How many levels are in; they must be the first ones, each in full."""
    n = int(weights.sum())
    assert weights.dtype == torch.float32
    assert weights.tolist() == [1.0] * n + [0.0] * (len(weights) - n)
    return n


def test_neus2_has_four_of_fourteen_levels_and_all_at_step_661() -> None:
    counts = {step: active(progressive.neus2(step)) for step in (0, 200, 210, 211, 261, 610, 611, 660, 661, 10_000)}
    assert counts == {0: 4, 200: 4, 210: 4, 211: 5, 261: 6, 610: 12, 611: 13, 660: 13, 661: 14, 10_000: 14}


def test_sat_dn_adds_a_level_every_5000_of_100000_steps() -> None:
    counts = {s: active(progressive.sat_dn(s, 16)) for s in (0, 4999, 5000, 15_000, 69_999, 70_000, 100_000)}
    assert counts == {0: 2, 4999: 2, 5000: 3, 15_000: 5, 69_999: 15, 70_000: 16, 100_000: 16}
    assert active(progressive.sat_dn(500, 16, n_steps=1000)) == 12


def test_neuralangelo_holds_four_levels_then_adds_one_every_5000_steps() -> None:
    steps = (0, 29_999, 30_000, 35_000, 84_999, 85_000, 500_000)
    assert [active(progressive.neuralangelo(s)) for s in steps] == [4, 4, 5, 6, 15, 16, 16]
    assert active(progressive.neuralangelo(0, start=8)) == 8


def test_neuralangelos_width_is_a_quarter_of_the_finest_cell_in_its_box() -> None:
    assert progressive.neuralangelo_width(0) == 1 / 33
    assert progressive.neuralangelo_width(15_000) == 1 / (math.floor(32 * 64 ** (1 / 15)) + 1)
    assert progressive.neuralangelo_width(500_000) == pytest.approx(1 / 2049, rel=1e-3)
    widths = [progressive.neuralangelo_width(s) for s in range(0, 100_000, 5000)]
    assert widths == sorted(widths, reverse=True)


def test_neuralangelos_curvature_weight_rises_and_falls_with_the_cells() -> None:
    weight = progressive.neuralangelo_curvature_weight
    assert weight(0) == 0 and weight(2500) == 2.5e-4 and weight(5000) == 5e-4
    assert weight(15_000) == pytest.approx(5e-4 / 1.3195, rel=1e-4)
    assert weight(10**6) == pytest.approx(5e-4 / 64)


def test_instant_nsr_has_all_levels_at_12000_and_a_width_of_one_cell() -> None:
    assert [active(progressive.instant_nsr(s)) for s in (0, 999, 1000, 11_999, 12_000, 10**6)] == [4, 4, 5, 15, 16, 16]
    assert progressive.instant_nsr_width(0) == pytest.approx(2 / (32 * 1.3195**3))
    assert progressive.instant_nsr_width(12_000, radius=0.5) == pytest.approx(1 / (32 * 1.3195**15))


def test_the_cosine_window_opens_from_three_tenths_to_all() -> None:
    at_first = progressive.cosine_window(0, 24)
    assert at_first[:7].tolist() == [1.0] * 7 and not at_first[8:].any()  # t L = 7.2
    assert float(at_first[7]) == pytest.approx((1 + math.cos(1.2 * math.pi)) / 2)
    half = progressive.cosine_window(5000, 24)
    assert half[:15].tolist() == [1.0] * 15 and float(half[15]) == pytest.approx((1 + math.cos(1.6 * math.pi)) / 2)
    assert progressive.cosine_window(10_000, 24).tolist() == progressive.cosine_window(10**6, 24).tolist() == [1.0] * 24
    assert (progressive.cosine_window(3001, 24) >= progressive.cosine_window(3000, 24)).all()


def test_step_schedule_and_level_fraction() -> None:
    counts = [active(progressive.step_schedule(s, 8, start=2, every=10, at=100)) for s in (0, 109, 110, 169, 170, 999)]
    assert counts == [2, 2, 3, 8, 8, 8]
    assert [active(progressive.level_fraction(8, f)) for f in (0.0, 0.25, 0.3, 1.0)] == [1, 3, 3, 8]
    with pytest.raises(ValueError, match="every must be at least 1 step, got 0"):
        progressive.step_schedule(0, 8, start=2, every=0)


def test_inactive_levels_are_not_touched() -> None:
    grid = HashGrid(3, n_levels=8, finest_resolution=128, log2_hashmap_size=12)
    grid.gradients = GradientBuffer.like(grid.table)
    grid.level_weights = progressive.step_schedule(0, 8, start=3, every=100)
    grid(torch.rand(2000, 3)).square().sum().backward()
    first_inactive = int(grid.levels[0, 3, 0])
    bits = torch.stack([(grid.gradients.touched >> b) & 1 for b in range(64)], 1).flatten()
    assert bits[: first_inactive // 64].any()
    assert not bits[-(-first_inactive // 64) :].any()


def test_inactive_levels_cost_nothing_forward_and_backward() -> None:
    grid = HashGrid(3, n_levels=16, finest_resolution=1024, log2_hashmap_size=16)
    grid.gradients = GradientBuffer.like(grid.table)
    x, upstream = torch.rand(20_000, 3, requires_grad=True), torch.rand(32, 20_000).T

    def seconds(n_active: int) -> float:
        grid.level_weights = progressive.first_levels(16, n_active)
        best = math.inf
        for _ in range(5):
            begin = time.process_time()
            grid(x).backward(upstream)
            best = min(best, time.process_time() - begin)
        return best

    assert seconds(2) < 0.4 * seconds(16)
