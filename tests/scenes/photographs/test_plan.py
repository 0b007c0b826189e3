"""What is to be done with photographs, from what they say of themselves; no file is opened."""

import math
from pathlib import Path

import numpy as np
import pytest

from neural.scenes.photographs import plan
from neural.scenes.photographs.exif import Exif
from neural.scenes.photographs.plan import planned
from neural.scenes.photographs.settings import CameraSettings
from neural.scenes.photographs.survey import Photograph, Survey

HERE = (46.5, 7.25, 600.0)


def survey(*gps: tuple[float, float, float] | None, size: tuple[int, int] = (4000, 3000)) -> Survey:
    """A photograph for each place."""
    shots = [Photograph(Path(f"{i}.jpg"), f"{i}.jpg", *size, Exif(gps=one), None, 1.0) for i, one in enumerate(gps)]
    return Survey(Path(), tuple(shots), {})


def north(metres: float, height: float = 600.0) -> tuple[float, float, float]:
    return HERE[0] + metres / 111_177, HERE[1], height  # of a degree of latitude there, WGS 84


def test_places_are_metres_east_and_north_with_or_without_a_height() -> None:
    east = (HERE[0], HERE[1] + 10 / 76_778, HERE[2])  # a degree of longitude there
    found = planned(survey(HERE, north(30), HERE, east, None, north(20, math.nan), HERE), CameraSettings(), video=False)
    assert found.origin is not None and (found.origin.latitude, found.origin.height) == (46.5, 600.0)
    expected = [(0, 0), (0, 30), (0, 0), (10, 0), (np.nan, np.nan), (0, 20), (0, 0)]
    np.testing.assert_allclose(found.places, expected, atol=0.15)  # the origin is in round numbers
    assert np.isnan(found.gps).sum() == 4


def test_without_gps_there_is_no_origin() -> None:
    found = planned(survey(None, None), CameraSettings(), video=False)
    assert found.origin is None and np.isnan(found.places).all()


@pytest.mark.parametrize(
    ("placed", "video", "pairing"), [(70, False, "spatial"), (60, False, "exhaustive"), (70, True, "sequential")]
)
def test_neighbours_are_those_on_the_ground_where_nine_of_ten_say_where_they_were(
    placed: int, video: bool, pairing: str
) -> None:
    shots = survey(*[north(5.0 * i) for i in range(placed)], *[None] * (70 - placed))
    assert planned(shots, CameraSettings(), video=video).pairing == pairing
    assert planned(shots, CameraSettings(matching="exhaustive"), video=video).pairing == "exhaustive"
    assert planned(shots, CameraSettings(gps=False), video=video).pairing != "spatial"


@pytest.mark.parametrize(("n", "side"), [(40, 2000), (41, 1600), (150, 1600), (151, 1280), (501, 1000)])
def test_the_more_photographs_the_smaller_they_are_looked_at(n: int, side: int) -> None:
    inputs = planned(survey(*[None] * n), CameraSettings(), video=False).inputs
    assert inputs.size(0) == (side, side * 3 // 4)
    assert planned(survey(*[None] * n), CameraSettings(max_side=700), video=False).inputs.side == 700


def test_the_time_follows_pixels_pairs_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    castle = survey(*[None] * 60, size=(3072, 2048))
    monkeypatch.setattr(plan.os, "cpu_count", lambda: 2)
    two = planned(castle, CameraSettings(), video=False).seconds
    assert planned(castle, CameraSettings(max_side=400), video=False).seconds < two - 30
    assert planned(castle, CameraSettings(matching="sequential"), video=False).seconds < two - 10
    monkeypatch.setattr(plan.os, "cpu_count", lambda: 16)
    assert planned(castle, CameraSettings(), video=False).seconds < two / 3
