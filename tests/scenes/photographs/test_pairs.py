"""Which photographs are compared with which."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.errors import BadOption
from neural.scenes.photographs.plan import planned
from neural.scenes.photographs.settings import CameraSettings
from neural.scenes.photographs.sfm import pairs
from neural.scenes.photographs.survey import survey
from tests.scenes.photographs import corner


@given(st.integers(0, 60))
def test_all_pairs_are_all_pairs_once(n: int) -> None:
    found = pairs.exhaustive(n)
    assert len(found) == len(set(found)) == n * (n - 1) // 2
    assert all(0 <= a < b < n for a, b in found)


@settings(max_examples=30)
@given(st.integers(0, 400), st.integers(0, 100))
def test_other_pairs_are_ordered_distinct_and_connect_all(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    places = generator.uniform(0, 500, (n, 2))
    places[generator.random(n) < 0.05] = np.nan
    for found in (pairs.sequential(n), pairs.spatial(places)):
        assert len(found) == len(set(found))
        assert all(0 <= a < b < n for a, b in found)
        if n > 1:
            assert set(range(n)) == {index for pair in found for index in pair}
            assert len(found) < 40 * n + n * n // 2


def test_frames_in_order_are_compared_near_far_and_across_the_whole() -> None:
    """With ten to either side, those 16, 32 ... 256 away, and some with each other: a way that closes is found."""
    found = set(pairs.sequential(600))
    assert {(100, 100 + gap) for gap in (*range(1, 11), 16, 32, 64, 128, 256)} <= found
    assert (100, 111) not in found and (100, 115) not in found
    landmarks = {a for a, b in found if b == 599 and a < 340}
    assert 0 in landmarks and len(landmarks) > 50 and {(0, b) for b in landmarks if b} <= found


def test_a_photograph_that_says_no_place_is_compared_with_ten_to_either_side() -> None:
    places = np.arange(60)[:, None] * np.array([1000.0, 0])
    places[30] = np.nan
    found = {pair for pair in pairs.spatial(places) if 30 in pair}
    assert found == {(min(30, b), max(30, b)) for b in range(20, 41) if b != 30}


def test_neighbours_on_the_ground_are_compared_whatever_their_names() -> None:
    """Two flight lines there and back: the last photograph is beside the first."""
    x = np.concatenate([np.arange(100), np.arange(100)[::-1]]) * 10.0
    places = np.column_stack([x, np.repeat([0.0, 15.0], 100)])
    found = set(pairs.spatial(places))
    assert {(0, 199), (10, 189), (50, 149)} <= found
    assert (0, 100) not in found
    assert len(found) < 200 * 30


@pytest.mark.parametrize(
    ("n", "video", "placed", "kind"),
    [(30, False, 0, "exhaustive"), (100, False, 0, "exhaustive"), (101, False, 0, "sequential"),
     (101, False, 101, "spatial"), (101, False, 50, "sequential"), (200, True, 0, "sequential")],
)  # fmt: skip
def test_the_kind_follows_what_is_known(n: int, video: bool, placed: int, kind: str) -> None:
    assert pairs.choose(n, video=video, placed=placed) == kind


def test_neighbours_by_gps_are_refused_where_there_is_none(tmp_path: Path) -> None:
    shot = corner.shots(1)[0]
    for name, gps in (("a", False), ("b", True)):
        corner.save(shot, tmp_path / name / "photo.jpg", gps=gps)
    with pytest.raises(BadOption, match="--matching spatial: no photograph says"):
        planned(survey(tmp_path / "a", progress=False), CameraSettings(matching="spatial"), video=False)
    plan = planned(survey(tmp_path / "b", progress=False), CameraSettings(matching="spatial"), video=False)
    assert plan.pairing == "spatial"
