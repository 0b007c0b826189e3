"""The panel of a browser, by what its page sends: ways of looking, crop box, clip planes, photographs, walking."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("viser", reason="needs viser, which make installs")

from neural.viewer.live import scenery
from neural.viewer.live.client import Client
from neural.viewer.live.panels.view import ARM, ViewPanel
from neural.viewer.live.subjects.subject import Cut
from neural.viewer.live.viewer import BEFORE, Viewer
from tests.viewer.raw_client import RawClient
from tests.viewer.shown import ball_subject, served
from tests.viewer.test_watch import until

EYE = (0.5, -3.0, 0.25)


class Page:
    """A browser that knows its widgets by their labels."""

    def __init__(self, viewer: Viewer, browser: RawClient) -> None:
        self.viewer, self.browser = viewer, browser
        browser.look(EYE)
        until(lambda: bool(viewer.clients) and viewer.clients[0].viewpoint is not None)
        (self.client,) = viewer.clients
        widgets = [m for m in browser.messages(1.0) if m["type"].startswith("Gui") and "props" in m]
        self._widgets = {str(m["props"].get("label")): m for m in widgets}

    def set(self, label: str, value: Any) -> None:
        self.browser.send("GuiUpdateMessage", uuid=self._widgets[label]["uuid"], updates={"value": value})

    def told(self, kind: str, field: str) -> Any:
        """The last value of a field that it is told."""
        found: list[Any] = []

        def asked() -> bool:
            found.extend(m[field] for m in self.browser.messages(0.1) if m["type"] == kind)
            return bool(found)

        until(asked)
        return found[-1]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with served(tmp_path) as viewer, RawClient(viewer.door.port) as browser:
        yield Page(viewer, browser)


def test_what_is_shown_and_how_large_follows_its_widgets(page: Page) -> None:
    for said, scale in (("25 %", 0.25), ("50 %", 0.5), ("7 %", 1.0)):
        page.set("pixels at rest", said)
        until(lambda: page.client.wish.scale == scale)  # noqa: B023
    page.set("scene hides what is behind", False)
    until(lambda: not page.client.wish.occlusion)
    for mode in ("mesh", "no such thing"):  # of other subjects, of none
        page.set("shows", mode)
        page.set("pixels at rest", "25 %")
        until(lambda: page.client.wish.scale == 0.25)
        assert page.client.wish.mode == "colour"
        page.set("pixels at rest", "100 %")
        until(lambda: page.client.wish.scale == 1)
    page.set("shows", "depth")
    until(lambda: page.client.wish.mode == "depth")


def test_a_crop_box_is_cut_and_drawn_as_its_sliders_say(page: Page) -> None:
    low, high = page.viewer.subject.box.tolist()
    page.set("only what is inside", True)
    until(lambda: page.client.wish.cut.box is not None)
    np.testing.assert_allclose(page.client.wish.cut.box, [low, high], rtol=1e-3)
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    page.set("x", (middle[0], high[0]))
    page.set("y", (middle[1] + 0.01, middle[1]))  # the wrong way round
    page.set("z", (low[2], 1e300))
    expected = np.array([[middle[0], middle[1], low[2]], [high[0], middle[1] + 0.01, 1e9]])
    until(lambda: np.allclose(page.client.wish.cut.box, expected, rtol=1e-3))
    page.set("z", (low[2], middle[2]))
    until(lambda: page.client.wish.cut.box is not None and page.client.wish.cut.box[1][2] < 1e8)
    expected[1, 2] = middle[2]
    ends = page.viewer.subject.frame.points(expected)
    until(lambda: np.allclose(page.told("BoxMessage", "props")["dimensions"], ends[1] - ends[0], rtol=1e-3))
    page.set("only what is inside", False)
    until(lambda: page.client.wish.cut == Cut())
    page.told("RemoveSceneNodeMessage", "name")


def test_clip_planes_are_cut_between_near_and_far(page: Page) -> None:
    unit = page.viewer.subject.frame.unit
    page.set("near", 0.5 * unit)
    until(lambda: page.client.wish.cut == Cut(near=0.5 * unit))
    page.set("far end", True)
    until(lambda: page.client.wish.cut == Cut(near=0.5 * unit, far=5 * unit))
    page.set("far", 1e300)
    page.set("near", -1.0)
    until(lambda: page.client.wish.cut == Cut(near=0.0, far=1e9))


def test_the_last_slider_that_moved_has_the_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the server's threads, each of which looks at all the sliders: the first is slow to say what it saw."""
    with served(tmp_path) as viewer, RawClient(viewer.door.port) as browser:
        client = Page(viewer, browser).client
        panel = ViewPanel(viewer, client)
        saying, second, want = threading.Event(), threading.Event(), Client.want
        monkeypatch.setattr(client, "want", lambda **said: (saying.set(), second.wait(0.5), want(client, **said)))
        threads = [threading.Thread(target=panel._cut) for _ in range(2)]
        threads[0].start()
        assert saying.wait(5)
        monkeypatch.setattr(client, "want", lambda **said: (want(client, **said), second.set()))
        panel._near = SimpleNamespace(value=1.5)
        threads[1].start()
        for thread in threads:
            thread.join(10)
        assert client.wish.cut.near == 1.5


def test_photographs_are_gone_through_one_by_one(page: Page) -> None:
    scene = page.viewer.subject.scene
    assert scene is not None
    places = page.viewer.subject.frame.points(scene.cameras.origins.numpy())
    for click, index in (("previous", 7), ("next", 0), ("next", 1), ("here", 1), ("previous", 0)):
        version = page.client.version
        page.browser.look(EYE)
        until(lambda: page.client.version > version)  # noqa: B023
        page.set("stand there", click)
        np.testing.assert_allclose(page.told("SetCameraPositionMessage", "position"), places[index], atol=1e-5)
    page.set("photograph", f"4: {scene.image_names[4]}")
    np.testing.assert_allclose(page.told("SetCameraPositionMessage", "position"), places[4], atol=1e-5)


def test_dragging_turns_around_the_scene_or_around_oneself(page: Page) -> None:
    """The browser looks along +y."""
    page.set("camera", "walk")
    np.testing.assert_allclose(
        page.told("SetCameraLookAtMessage", "look_at"), [EYE[0], EYE[1] + ARM, EYE[2]], atol=1e-6
    )
    page.set("camera", "orbit")
    np.testing.assert_allclose(page.told("SetCameraLookAtMessage", "look_at"), [EYE[0], 0, EYE[2]], atol=1e-6)


def test_what_all_browsers_share_is_shown_to_all(page: Page) -> None:
    page.set("cameras of the photographs", False)
    assert page.told("SetSceneNodeVisibilityMessage", "visible") is False


def test_photographs_are_frusta_that_are_clicked(page: Page) -> None:
    """In the shape of what they show, those that are held out in another colour."""
    scene, drawn = page.viewer.subject.scene, page.viewer.scenery
    assert scene is not None
    held_out = set(scene.splits["test"])
    assert drawn.chosen == list(range(8)) and 0 < len(held_out) < 8
    for index, handle in drawn._handles.items():
        fy, (width, height) = float(scene.cameras.intrinsics[index, 1]), scene.cameras.sizes[index].tolist()
        assert handle.fov == pytest.approx(2 * math.atan(height / 2 / fy))
        assert handle.aspect == pytest.approx(width / height)
        assert tuple(handle.color) == (scenery._TEST if index in held_out else scenery._TRAIN)
    places = page.viewer.subject.frame.points(scene.cameras.origins.numpy())
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    assert 0.03 <= drawn.size < apart[apart > 0].min()
    assert page.client.handle.camera.near == pytest.approx(BEFORE * drawn.size), "who stands in one looks out of it"
    drawn._clicked(3)(SimpleNamespace(client_id=page.client.handle.client_id))
    np.testing.assert_allclose(page.told("SetCameraPositionMessage", "position"), places[3], atol=1e-5)


@pytest.mark.parametrize(("apart", "size"), [(0.2, 0.06), (0.001, 0.03), (5.0, 0.12)])
def test_frusta_are_smaller_than_the_way_to_the_next(apart: float, size: float) -> None:
    places = np.arange(10)[:, None] * np.array([apart, 0, 0])
    assert scenery._size(places) == pytest.approx(size)
    assert scenery._size(places[:1]) == 0.15


def test_of_many_photographs_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from neural.viewer.live.server import open_door

    monkeypatch.setattr(scenery, "MOST_CAMERAS", 3)
    viewer = Viewer(ball_subject(200), open_door(port=0))
    viewer.close()
    assert viewer.scenery.chosen == [0, 4, 7]
