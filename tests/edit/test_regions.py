"""Regions hold what they should, and the two parts of a crop are the whole scene."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neural.edit import Box, Polygon, Sphere, crop
from neural.gaussians.model import Gaussians
from neural.gaussians.order import rotations
from neural.poses import rotation_from_quat
from tests.edit.pictures import scene

POINTS = torch.randn(4000, 3, generator=torch.Generator().manual_seed(7)) * 2
L_SHAPE = ((-2.0, -2.0), (2.0, -2.0), (2.0, 0.0), (0.0, 0.0), (0.0, 2.0), (-2.0, 2.0))
REGIONS = (
    Box((-1, -2, -0.5), (2, 1, 1.5)),
    Box((-1, -2, -0.5), (2, 1, 1.5), (1, 2, -1, 40)),
    Box((-math.inf, -math.inf, 0), (math.inf, math.inf, math.inf)),
    Sphere((0.5, 0, -1), 2),
    Polygon(L_SHAPE, "y", -1, 1),
)


def test_a_turned_box_holds_what_the_same_box_holds_of_points_turned_back() -> None:
    low, high = np.array([-1, -2, -0.5]), np.array([2, 1, 1.5])
    half = math.radians(40) / 2
    turn = rotation_from_quat(np.array([math.cos(half), *(math.sin(half) * np.array([1, 2, -1]) / math.sqrt(6))]))
    centre = (low + high) / 2
    back = (POINTS.double().numpy() - centre) @ turn + centre
    expected = ((back >= low) & (back <= high)).all(axis=1)
    got = Box(tuple(low), tuple(high), (1, 2, -1, 40)).contains(POINTS).numpy()
    np.testing.assert_array_equal(got, expected)
    assert 100 < got.sum() < 3000
    corner = centre + turn @ (high - centre) * 0.999  # one that the upright box does not hold
    assert Box(tuple(low), tuple(high), (1, 2, -1, 40)).contains(torch.from_numpy(corner)[None]).item()
    assert not Box(tuple(low), tuple(high)).contains(torch.from_numpy(corner)[None]).item()


@pytest.mark.parametrize("up", ["x", "y", "z"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_polygon_of_two_boxes_holds_what_they_hold(up: str, turned: bool) -> None:
    corners = tuple((b, a) for a, b in reversed(L_SHAPE)) if turned else L_SHAPE
    assert turned == (corners != L_SHAPE)
    axis = "xyz".index(up)
    u, v = (POINTS[:, other] for other in range(3) if other != axis)
    wide, narrow = (u.abs() < 2) & (v > -2) & (v < 0), (u > -2) & (u < 0) & (v >= 0) & (v < 2)
    expected = (wide | narrow) & (POINTS[:, axis] >= -1) & (POINTS[:, axis] <= 1)
    got = Polygon(corners, up, -1, 1).contains(POINTS)
    if turned:  # the L is the same in a mirror
        expected = ((v.abs() < 2) & (u > -2) & (u < 0) | (v > -2) & (v < 0) & (u >= 0) & (u < 2)) & (
            POINTS[:, axis].abs() <= 1
        )
    assert torch.equal(got, expected)


def test_a_polygon_does_not_care_where_it_begins_nor_which_way_it_goes() -> None:
    expected = Polygon(L_SHAPE).contains(POINTS)
    for start in range(6):
        corners = L_SHAPE[start:] + L_SHAPE[:start]
        assert torch.equal(Polygon(corners).contains(POINTS), expected)
        assert torch.equal(Polygon(corners[::-1]).contains(POINTS), expected)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=3, max_size=9), st.integers(0, 3999))
def test_a_polygon_agrees_with_the_winding_of_its_sides(corners: list[tuple[float, float]], at: int) -> None:
    point = POINTS[at].double().numpy()
    inside = bool(Polygon(tuple(corners)).contains(POINTS[at : at + 1]))
    away = np.array(corners) - point[:2]
    if np.linalg.norm(away, axis=1).min() < 1e-6:
        return
    angles = np.arctan2(away[:, 1], away[:, 0])
    turns = (np.diff(np.append(angles, angles[0])) + np.pi) % (2 * np.pi) - np.pi
    if np.abs(np.abs(turns) - np.pi).min() < 1e-6:  # on a side
        return
    assert inside == (round(turns.sum() / (2 * np.pi)) % 2 != 0)


@pytest.mark.parametrize("reach", [0.0, 2.0])
@pytest.mark.parametrize("region", REGIONS, ids=lambda region: type(region).__name__)
def test_inside_and_outside_are_the_whole(region: object, reach: float) -> None:
    gaussians = scene(400)
    before = gaussians.to_record()
    parts = [crop(gaussians, region, keep=keep, reach=reach) for keep in ("inside", "outside")]
    assert sum(part.n for part in parts) == gaussians.n
    together = torch.cat([part.means for part in parts])
    assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, gaussians.means.tolist()))
    for name in ("means", "quats", "log_scales", "opacity_logits", "sh0", "shN"):
        np.testing.assert_array_equal(getattr(gaussians.to_record(), name), getattr(before, name))


def test_with_reach_nothing_sticks_out() -> None:
    gaussians = scene(2000)
    for reach in (1.0, 3.0):
        left = crop(gaussians, Box((-1, -1, -1), (1, 1, 1)), reach=reach)
        assert 0 < left.n < crop(gaussians, Box((-1, -1, -1), (1, 1, 1))).n
        axes = rotations(left.quats) * left.log_scales.exp()[:, None]
        ends = left.means[:, :, None] + reach * torch.cat([axes, -axes], dim=2)
        assert float(ends.detach().abs().max()) <= 1 + 1e-5


def test_far_from_the_origin_a_metre_is_a_metre() -> None:
    """Coordinates of a map: thirds of a metre are all that float32 keeps there, and a border between them holds."""
    far = torch.tensor([[5_432_100.0, 512_340.0, 90.0], [5_432_101.0, 512_340.0, 90.0]])
    assert Box((5_432_099.5, 0, 0), (5_432_100.5, 1e6, 100)).contains(far).tolist() == [True, False]
    assert Sphere((5_432_100.0, 512_340.0, 90.0), 0.75).contains(far).tolist() == [True, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Box((0, 0, 0), (1, -1, 1)), "smallest corner first"),
        (lambda: Box((0, 0, 0), (1, 1, math.nan)), "smallest corner first"),
        (lambda: Box((0, 0, -math.inf), (1, 1, 1), (0, 0, 1, 30)), "turns about its centre"),
        (lambda: Box((0, 0, 0), (1, 1, 1), (0, 0, 0, 30)), "an axis of some length"),
        (lambda: Sphere((0, 0, 0), 0), "radius above 0"),
        (lambda: Sphere((0, 0, math.nan), 1), "a centre"),
        (lambda: Polygon(((0, 0), (1, 1))), "three corners"),
        (lambda: Polygon(((0, 0), (1, 1), (math.inf, 0))), "finite"),
        (lambda: Polygon(L_SHAPE, low=2, high=1), "smaller to a larger"),
        (lambda: crop(scene(9), Sphere((50, 0, 0), 1)), "none of the 9 Gaussians is inside .* reach from"),
        (lambda: crop(scene(9), Sphere((0, 0, 0), 99), keep="outside"), "none of the 9 Gaussians is outside"),
        (lambda: crop(scene(9), Sphere((0, 0, 0), 9), reach=-1), "reach must be 0 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_a_region_of_ones_own() -> None:
    class Upper:
        def contains(self, points: torch.Tensor) -> torch.Tensor:
            return points[:, 2] > 0

    left = crop(scene(300), Upper())
    assert isinstance(left, Gaussians)
    assert float(left.means[:, 2].detach().min()) > 0


def test_the_surface_belongs_to_a_region() -> None:
    points = torch.tensor([[0.0, 0, 0], [1, 2, 3], [1, 1, 1], [1, 2, 3.001], [-0.001, 1, 1]])
    assert Box((0, 0, 0), (1, 2, 3)).contains(points).tolist() == [True, True, True, False, False]
    assert Sphere((0, 0, 0), 3.0).contains(torch.tensor([[3.0, 0, 0], [0, 3.001, 0]])).tolist() == [True, False]
    square = Polygon(((0, 0), (2, 0), (2, 2), (0, 2)), low=0, high=1)
    assert square.contains(torch.tensor([[1.0, 1, 0], [1, 1, 1], [1, 1, 1.001]])).tolist() == [True, True, False]


def test_numbers_of_a_region_are_finer_than_those_of_points() -> None:
    """At five million, where steps of single precision are half a metre."""
    far = 5e6
    points = torch.tensor([[far, 0, 0], [far + 0.5, 0, 0]])
    assert Sphere((far + 0.25, 0, 0), 0.3).contains(points).tolist() == [True, True]
    left, right = ((far - 0.25, -1.0), (far - 0.25, 1.0)), ((far + 0.25, 1.0), (far + 0.25, -1.0))
    assert Polygon((*left, *right)).contains(points).tolist() == [True, False]
    assert Box((far - 0.25, -1, -1), (far + 0.25, 1, 1)).contains(points).tolist() == [True, False]
