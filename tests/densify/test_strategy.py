"""Observations are independent of the image's size, schedules keep to their shares."""

import pytest
import torch

from neural.densify.strategy import Observation, Schedule


def test_pull_is_measured_per_half_image_and_for_the_sum_of_views() -> None:
    gradients = torch.tensor([[3.0, 4.0], [1.0, 0.0], [5.0, 5.0]])
    visible = torch.tensor([True, True, False])
    extents = torch.ones(3, 2)
    small = Observation(None, visible, gradients, None, extents, (20, 10))
    torch.testing.assert_close(small.strengths(), torch.tensor([(30.0**2 + 20**2) ** 0.5, 10.0, 0.0]))
    # the same view twice as large: gradients of a mean loss per pixel are half as large
    large = Observation(None, visible, gradients / 2, None, extents, (40, 20))
    torch.testing.assert_close(large.strengths(), small.strengths())
    batch = Observation(None, visible, gradients / 4, None, extents, (20, 10), n_views=4)
    torch.testing.assert_close(batch.strengths(), small.strengths())


def test_absolute_sums_agree_with_gradients_of_no_direction() -> None:
    absolute = torch.tensor([2.0, 1.0])
    visible = torch.tensor([True, False])
    seen = Observation(None, visible, torch.zeros(2, 2), absolute, torch.ones(2, 2), (30, 30))
    torch.testing.assert_close(seen.strengths(), torch.tensor([30.0, 0.0]))


def test_schedules_end_at_their_share() -> None:
    schedule = Schedule(start=250, stop=0.5, every=100)
    assert [step for step in range(1, 2000) if schedule.due(step, 1650)] == [300, 400, 500, 600, 700, 800]
    assert schedule.progress(200, 1650) == 0 and schedule.progress(800, 1650) == 1
    assert schedule.progress(500, 1650) == pytest.approx(0.5)
    assert schedule.due(14_900, None) and schedule.due(15_000, None) and not schedule.due(15_100, None)
    assert not any(schedule.due(step, 500) for step in range(501))  # too short for any
    assert schedule.progress(300, 500) == 1
    assert Schedule(0, 1.0, 7).first() == 7


@pytest.mark.parametrize("given", [(-1, 0.5, 100), (0, 1.1, 100), (0, 0.5, 0)])
def test_schedules_out_of_range_are_named(given: tuple[int, float, int]) -> None:
    with pytest.raises(ValueError, match="densification: start must be 0 or more"):
        Schedule(*given)
