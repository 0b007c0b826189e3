"""How much is rendered, by a false clock: the budget beside a training, sizes that follow what pictures cost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural.viewer.live.budget import CAPACITY, SHARE, WINDOW, Budget, Rate
from neural.viewer.live.pictures import resolution as sizes
from neural.viewer.live.pictures.resolution import GROWTH, LEAST, MOST, STEP, TARGET, Resolution, size_of


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(steps=st.lists(st.tuples(st.floats(0.001, 0.5), st.floats(0.001, 0.4)), min_size=30, max_size=60))
def test_rendering_keeps_to_its_share(steps: list[tuple[float, float]]) -> None:
    """Whatever steps and pictures cost, only what is saved up is spent, and one picture beyond."""
    clock = Clock()
    budget = Budget(clock=clock)
    for step, picture in steps:
        clock.now += step
        budget.earn()
        if budget.left > 0:
            clock.now += picture
            budget.spend(picture)
        budget.resume()
    assert budget.spent <= CAPACITY + SHARE * budget.trained + max(picture for _, picture in steps)
    assert budget.trained == pytest.approx(sum(step for step, _ in steps))


def test_a_share_of_training_slows_it_by_less_than_a_tenth() -> None:
    assert SHARE < 0.1


def test_what_is_not_spent_is_saved_up_to_the_capacity_only() -> None:
    clock = Clock()
    budget = Budget(clock=clock)
    clock.now += 1e6
    budget.earn()
    assert budget.left == CAPACITY


def test_time_is_earned_once() -> None:
    clock = Clock()
    budget = Budget(clock=clock)
    clock.now += 2.0
    budget.earn()
    budget.earn()
    assert budget.trained == pytest.approx(2.0)


def test_time_while_paused_earns_nothing() -> None:
    clock = Clock()
    budget = Budget(clock=clock)
    budget.spend(10.0)
    clock.now += 1000.0
    budget.resume()
    budget.earn()
    assert budget.left == pytest.approx(CAPACITY - 10.0)
    assert budget.trained == 0.0


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    rate = Rate(clock)
    assert rate.per_second() == 0.0
    for _ in range(100):
        clock.now += 0.1
        rate.count()
    assert rate.per_second() == pytest.approx(10.0, rel=0.1)
    clock.now += 2 * WINDOW
    assert rate.per_second() == 0.0


@pytest.mark.parametrize("noise", [0.0, 0.15])
@pytest.mark.parametrize(("fixed", "rate"), [(0.0, 2e-7), (0.02, 4e-7), (0.005, 2e-6), (0.03, 1e-7)])
def test_moving_pictures_come_to_take_the_time_they_may(fixed: float, rate: float, noise: float) -> None:
    rng = np.random.default_rng(0)
    resolution = Resolution()
    full = 1920 * 1080
    taken = []
    for _ in range(60):
        pixels = resolution.moving(full)
        seconds = (fixed + rate * pixels) * (1 + noise * rng.uniform(-1, 1))
        resolution.measured(pixels, seconds)
        taken.append(seconds)
    best = min(TARGET, fixed + rate * full)  # where even the largest is quick
    assert np.mean(taken[20:]) == pytest.approx(best, rel=0.3)


def test_one_slow_picture_does_not_end_all_of_them() -> None:
    resolution = Resolution()
    for _ in range(20):
        resolution.measured(resolution.moving(MOST), 0.05)
    before = resolution.moving(MOST)
    resolution.measured(before, 3.0)
    assert resolution.moving(MOST) >= before / GROWTH * 0.99
    for _ in range(40):
        pixels = resolution.moving(MOST)
        resolution.measured(pixels, 4e-7 * pixels)
    assert resolution.moving(MOST) > 100_000


def test_sizes_grow_by_steps_up_to_the_window() -> None:
    resolution, before = Resolution(), 0
    for _ in range(12):
        pixels = resolution.moving(500_000)
        assert pixels <= 500_000 and (before == 0 or pixels <= before * GROWTH + 1)
        before = pixels
        resolution.measured(pixels, 1e-9 * pixels)
    assert before == 500_000


def test_what_pictures_cost_now_is_what_counts() -> None:
    """A scene that is ten times as dear as before: found in a second or two."""
    resolution = Resolution()
    for rate, n in ((2e-7, 300), (2e-6, 40)):
        for _ in range(n):
            pixels = resolution.moving(MOST)
            resolution.measured(pixels, rate * pixels)
    assert 2e-6 * resolution.moving(MOST) == pytest.approx(TARGET, rel=0.2)


def test_a_renderer_that_is_too_slow_gives_the_smallest() -> None:
    resolution = Resolution()
    for _ in range(40):
        resolution.measured(resolution.moving(MOST), 2.0)
    assert resolution.moving(MOST) == pytest.approx(LEAST, rel=0.01)
    assert resolution.within(1e-6) == LEAST


@given(st.integers(1, 8192), st.integers(1, 8192), st.integers(LEAST, MOST))
def test_sizes_have_the_shape_of_the_window(width: int, height: int, pixels: int) -> None:
    wide, high = size_of(pixels, width, height)
    assert 1 <= wide <= width
    assert 1 <= high <= height
    if width * height <= pixels:
        assert (wide, high) == (width, height)
    elif 0.2 < width / height < 5 and width > 320:
        assert wide % STEP == 0
        assert wide * high == pytest.approx(pixels, rel=0.35)
        assert wide / high == pytest.approx(width / height, rel=0.05)


def test_the_bounds_are_sane() -> None:
    assert sizes.LEAST < 320 * 180 < sizes.MOST
