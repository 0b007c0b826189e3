"""Metres from GPS: exact where it is exact, robust where it is not, honest where it says nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.scenes.photographs import georeference
from neural.scenes.photographs.georeference import Origin

UP = np.array([0.0, 0.0, 1.0])


def made(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Camera centres of a reconstruction, their places in metres, the zenith in the reconstruction, and its scale."""
    generator = np.random.default_rng(seed)
    local = np.column_stack([generator.uniform(-60, 60, (n, 2)), generator.uniform(35, 45, n)])
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    scale = float(generator.uniform(0.1, 20))
    return ((local - generator.normal(size=3) * 30) / scale) @ rotation, local, rotation.T @ UP, scale


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_exact_places_give_the_exact_similarity(seed: int) -> None:
    centres, local, up, scale = made(seed)
    found = georeference.fit(centres, local, [up])
    assert found is not None and found.scale == pytest.approx(scale, rel=1e-6)
    assert max(found.horizontal.max(), found.vertical.max()) < 1e-4


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.booleans())
def test_a_fifth_of_places_far_off_and_metres_of_noise_move_the_scale_by_little(seed: int, heights: bool) -> None:
    centres, local, up, scale = made(seed)
    generator = np.random.default_rng(seed + 1)
    local = local + generator.normal(size=local.shape) * [2, 2, 5]
    local[:8, :2] += generator.uniform(100, 400, (8, 2))
    if not heights:
        local[:, 2] = np.nan
    found = georeference.fit(centres, local, [up])
    assert found is not None and found.scale == pytest.approx(scale, rel=0.06)


@pytest.mark.parametrize("seed", range(5))
def test_a_garden_has_its_size_from_places_that_err_by_metres(seed: int) -> None:
    centres, local, up, scale = made(seed)
    noise = np.random.default_rng(seed + 1).normal(size=local.shape) * [2, 2, 5]
    found = georeference.fit(centres, local / 5 + noise, [up])  # 24 m across
    assert found is not None and found.scale == pytest.approx(scale / 5, rel=0.2)


@pytest.mark.parametrize("kind", ["drift", "little drift", "noise"])
def test_heights_that_are_bad_do_not_tilt_the_scene(kind: str) -> None:
    """100 m from end to end, as some drones write; 25 m; 20 m of noise. The scene is as high as most of them say."""
    centres, local, up, scale = made(3)
    noise = np.random.default_rng(3).normal(size=len(local)) * 20
    local[:, 2] += {"drift": local[:, 0] * 1.2, "little drift": local[:, 0] * 0.2, "noise": noise}[kind]
    found = georeference.fit(centres, local, [up])
    assert found is not None and not found.heights_used
    assert found.scale == pytest.approx(scale, rel=1e-3)
    assert found.similarity[2, :3] / found.scale @ up > 0.9999
    assert np.median(centres @ found.similarity[2, :3] + found.similarity[2, 3] - local[:, 2]) == pytest.approx(
        0, abs=1
    )


def test_good_heights_mend_a_zenith_that_is_off_by_some_degrees() -> None:
    centres, local, up, scale = made(4)
    side = np.cross(up, [1.0, 0.0, 0.0])
    off = up * math.cos(0.15) + side / np.linalg.norm(side) * math.sin(0.15)
    found = georeference.fit(centres, local, [off])
    assert found is not None and found.heights_used and found.scale == pytest.approx(scale, rel=1e-3)


def test_good_heights_mend_a_zenith_that_is_far_off() -> None:
    """Held askew all the time, by 40 degrees: places on the ground fit many times better with the heights' zenith."""
    centres, local, up, scale = made(6)
    side = np.cross(up, [1.0, 0.0, 0.0])
    off = up * math.cos(0.7) + side / np.linalg.norm(side) * math.sin(0.7)
    found = georeference.fit(centres, local, [off])
    assert found is not None and found.heights_used and found.scale == pytest.approx(scale, rel=1e-3)


def test_heights_that_drift_along_one_line_of_flight_do_not_tilt_the_scene() -> None:
    """Places on the ground fit a slope just as well as the level."""
    generator = np.random.default_rng(7)
    local = np.column_stack([np.linspace(-60, 60, 40), generator.uniform(-2, 2, 40), np.full(40, 40.0)])
    places = local + generator.normal(size=local.shape) * [0.5, 0.5, 0.1]
    places[:, 2] += 0.8 * local[:, 0]
    found = georeference.fit(local, places, [UP])
    assert found is not None and not found.heights_used and found.scale == pytest.approx(1, rel=0.02)


def test_the_wrong_one_of_several_zeniths_is_not_taken() -> None:
    centres, local, up, scale = made(5)
    side = np.cross(up, [1.0, 0.0, 0.0])
    local[:, 2] = np.nan
    found = georeference.fit(centres, local, [side / np.linalg.norm(side), up])
    assert found is not None and found.scale == pytest.approx(scale, rel=1e-3)
    assert np.isnan(found.vertical).all()


@pytest.mark.parametrize("places", [np.zeros((10, 3)), np.random.default_rng(0).normal(size=(10, 3)) * 5])
def test_places_that_say_nothing_give_no_fit(places: np.ndarray) -> None:
    centres = np.random.default_rng(1).normal(size=(10, 3))
    assert georeference.fit(centres, places, [UP]) is None
    assert georeference.fit(centres[:2], places[:2], [UP]) is None


def test_a_second_of_latitude_is_as_long_as_it_is() -> None:
    """30.715 m at the equator and 31.026 m at 89 degrees (WGS 84, meridian radius a(1 - e2) / W^3)."""
    for latitude, metres in ((0.0, 30.715), (89.0, 31.026)):
        moved = Origin(latitude, 10.0, 0.0).enu(np.array([[latitude + 1 / 3600, 10.0, 0.0]]))[0]
        assert moved[1] == pytest.approx(metres, abs=2e-3)
        assert abs(moved[0]) < 1e-6


def test_places_without_height_keep_their_place_on_the_ground() -> None:
    origin = Origin(46.0, 7.0, 5000.0)
    moved, other = origin.enu(np.array([[46.001, 7.001, math.nan], [46.001, 7.001, 5000.0]]))
    assert np.isnan(moved[2])
    np.testing.assert_array_equal(moved[:2], other[:2])


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ((46.5, 7.25), "EPSG:32632"),
        ((-33.9, 151.2), "EPSG:32756"),
        ((10.0, 179.9), "EPSG:32660"),
        ((10.0, 180.0), "EPSG:32660"),
        ((0.0, -180.0), "EPSG:32601"),
    ],
)
def test_the_utm_zone_is_named(place: tuple[float, float], code: str) -> None:
    assert Origin(*place, 0.0).utm == code
