"""One browser: garbage is no camera; what picture it lacks, by a false clock; the view that it has of the scene."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.poses import look_at
from neural.viewer.live.client import REFRESH, STILL_AFTER, Client, Viewpoint
from neural.viewer.live.frame import ViewerFrame
from tests import ball
from tests.viewer.test_pace import Clock

CAMERA = {
    "wxyz": (1.0, 0.0, 0.0, 0.0), "position": (0.0, 0.0, -3.0), "fov": 1.0, "image_width": 320, "image_height": 200
}  # fmt: skip


def camera(**changes: Any) -> Any:
    return SimpleNamespace(**CAMERA | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"wxyz": (0.0, 0.0, 0.0, 0.0)},
        {"wxyz": (math.nan, 0.0, 0.0, 1.0)},
        {"wxyz": (1.0, 0.0, 0.0)},
        {"wxyz": "1000"},
        {"wxyz": None},
        {"position": (math.inf, 0.0, 0.0)},
        {"position": (1e300, 0.0, 0.0)},
        {"position": (0.0, math.nan, 0.0)},
        {"position": (0.0, 0.0, -math.inf)},
        {"position": [[0.0, 0.0, 0.0]]},
        {"fov": 0.0},
        {"fov": math.nan},
        {"fov": math.pi},
        {"fov": "wide"},
        {"image_width": 0},
        {"image_width": 10**9},
        {"image_height": -5},
        {"image_height": 10**9},
        {"image_height": math.inf},
        {"image_height": None},
    ],
)
def test_garbage_is_no_camera(changes: dict[str, Any]) -> None:
    assert Viewpoint.of(camera()) is not None
    assert Viewpoint.of(camera(**changes)) is None


@settings(max_examples=30)
@given(st.fixed_dictionaries({name: st.one_of(st.none(), st.floats(), st.text(), st.binary()) for name in CAMERA}))
def test_nothing_that_is_sent_is_an_error(fields: dict[str, Any]) -> None:
    assert Viewpoint.of(camera(**fields)) is None


def browser() -> tuple[Client, Clock]:
    clock = Clock()
    return Client(SimpleNamespace(client_id=0), lambda: None, clock=clock), clock  # type: ignore[arg-type]


def test_a_camera_that_rests_gets_one_sharp_picture() -> None:
    client, _ = browser()
    assert client.order(0) is None, "it has not said where it stands"
    client.look(camera())
    order = client.order(0)
    assert order is not None
    assert order.level == "still"
    client.took(order, 0)
    assert client.order(0) is None


def test_a_camera_that_moves_gets_quick_pictures_and_a_sharp_one_when_it_rests() -> None:
    client, clock = browser()
    client.look(camera())
    client.look(camera(fov=1.1))
    order = client.order(0)
    assert order is not None
    assert order.level == "moving"
    client.took(order, 0)
    assert client.order(0) is None, "the same once is enough"
    assert 0 < client.waits() <= STILL_AFTER
    clock.now += STILL_AFTER * 1.01
    order = client.order(0)
    assert order is not None
    assert order.level == "still"


def test_an_order_is_stale_once_the_camera_has_moved_on_or_left() -> None:
    client, _ = browser()
    client.look(camera())
    order = client.order(0)
    assert order is not None
    assert not order.stale()
    client.want(mode="depth")
    assert order.stale()
    again = client.order(0)
    assert again is not None
    assert again.wish.mode == "depth"
    client.gone = True
    assert again.stale()
    assert client.order(0) is None


@pytest.mark.parametrize("change", ["look", "want"])
def test_a_picture_of_where_it_was_is_none_of_where_it_is(change: str) -> None:
    client, _ = browser()
    client.look(camera())
    order = client.order(0)
    client.look(camera(fov=1.1)) if change == "look" else client.want(mode="depth")
    assert order is not None
    client.took(order, 0)
    assert client.order(0) is not None


def test_a_wish_leaves_earlier_ones_as_they_are() -> None:
    client, _ = browser()
    client.want(mode="depth")
    client.want(scale=0.5)
    assert (client.wish.mode, client.wish.scale) == ("depth", 0.5)


def test_a_later_state_is_shown_after_a_while() -> None:
    client, clock = browser()
    client.look(camera())
    order = client.order(0)
    assert order is not None
    client.took(order, 0)
    assert client.order(1) is None
    clock.now += REFRESH
    assert client.order(0) is None
    assert client.order(1) is not None


def test_what_is_said_to_a_browser_that_has_left_does_not_matter() -> None:
    here = [True]
    client = Client(SimpleNamespace(client_id=0), lambda: None, lambda: here[0])  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="ours"), client.speaking():
        raise RuntimeError("ours")
    here[0] = False
    with client.speaking():
        raise RuntimeError("of a handle that is gone")


def test_the_browser_sees_the_scene_where_it_is() -> None:
    """A point of a scene far from its origin falls on the same pixel here and there."""
    scene = ball.scene()
    moved = replace(scene.cameras, c2w=scene.cameras.c2w.clone())
    offset = torch.tensor([4e5, 5e6, 100.0], dtype=torch.float64)
    moved.c2w[:, :3, 3] = moved.c2w[:, :3, 3] * 50 + offset
    frame = ViewerFrame.of_cameras(moved, np.stack([offset - 50, offset + 50]))
    assert frame.up @ np.array([0.0, 0.0, 1.0]) > 0.95
    c2w = look_at(np.array([1.0, -2.0, 0.5]), np.zeros(3), frame.up)
    viewpoint = Viewpoint(c2w, 0.8, 320, 200)
    seen = viewpoint.camera(frame, (160, 100))
    point = torch.tensor([[0.1, 0.2, -0.3]], dtype=torch.float64)
    local = (point.numpy() - c2w[:3, 3]) @ c2w[:3, :3]
    focal = 50 / math.tan(0.4)
    expected = local[0, :2] / local[0, 2] * focal + [80, 50]
    pixels, depth = seen.project(point * frame.unit + torch.from_numpy(frame.centre), 0)
    np.testing.assert_allclose(pixels[0].numpy(), expected, atol=1e-4)
    assert float(depth[0]) / frame.unit == pytest.approx(local[0, 2], rel=1e-6)
    np.testing.assert_allclose(frame.to_scene(c2w)[:3, :3], c2w[:3, :3])
    np.testing.assert_allclose(frame.points(frame.to_scene(c2w)[:3, 3]), c2w[:3, 3], atol=1e-8)
    assert 1 < np.linalg.norm(frame.points(moved.origins.numpy()), axis=1).max() < 5, "a few units around the origin"
