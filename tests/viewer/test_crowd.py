"""Many browsers at once: no error, and nothing stays behind of those that have left."""

import gc
import math
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("viser", reason="needs viser, which make installs")

from neural.viewer.live.client import Client
from neural.viewer.live.panels.tabs import Tabs
from neural.viewer.live.server import open_door
from neural.viewer.live.subjects.subject import Cut
from neural.viewer.live.viewer import Viewer
from tests.viewer.crowd import crowd, memory
from tests.viewer.raw_client import RawClient
from tests.viewer.shown import ball_subject, served
from tests.viewer.test_watch import until


def test_two_browsers_have_cameras_and_wishes_of_their_own(tmp_path: Path) -> None:
    with served(tmp_path) as viewer, RawClient(viewer.door.port) as one, RawClient(viewer.door.port) as two:
        one.look((0.0, -3.0, 0.0))
        first = one.pictures(1)[0]
        two.look((0.0, -2.2, 0.0), (160, 120))
        near = two.pictures(1)[0]
        assert first.shape == (180, 320, 3)
        assert near.shape == (120, 160, 3)
        assert (near < 200).mean() > 2 * (first < 200).mean(), "the ball is nearer"
        assert len(viewer.clients) == 2
        one.messages(1.0)  # its sharp picture
        (small,) = (client for client in viewer.clients if client.viewpoint and client.viewpoint.width == 160)
        small.want(mode="alpha")
        assert abs(int(two.pictures(1)[0][60, 80].max()) - 255) < 10
        assert all(message.get("rgb_data") is None for message in one.messages(0.5)), "it was not asked"
    until(lambda: viewer.clients == [])


def leave_all(port: int, n: int) -> None:
    for _ in range(n):
        with RawClient(port) as client:
            client.look((0.0, -3.0, 0.0))


def test_browsers_that_leave_at_once_are_forgotten(tmp_path: Path) -> None:
    """Before their panels are built, and before a picture is made."""
    with served(tmp_path) as viewer:
        leave_all(viewer.door.port, 12)
        until(lambda: viewer.clients == [] and viewer.door.guard.clients == 0)
        with RawClient(viewer.door.port) as client:
            client.look((0.0, -3.0, 0.0))
            assert client.pictures(1)[0].std() > 10


def remembered() -> int:
    """How many browsers there still are objects of."""
    from viser import ClientHandle

    gc.collect()
    return sum(type(thing) in (Client, ClientHandle) for thing in gc.get_objects())


def test_nothing_stays_of_a_browser_that_has_left(tmp_path: Path) -> None:
    before = remembered()
    with served(tmp_path) as viewer:
        with RawClient(viewer.door.port) as client:
            client.look((0.0, -3.0, 0.0))
            client.pictures(1)
            assert remembered() > before
        until(lambda: viewer.clients == [])
        until(lambda: remembered() == before)


def test_a_browser_that_leaves_while_its_panel_is_built_leaves_nothing(tmp_path: Path) -> None:
    """The server says that it has gone before the panel is known that has to go with it."""
    building, left = threading.Event(), threading.Event()

    def slow(client: Client) -> None:  # before the panel
        building.set()
        assert left.wait(20)

    viewer = Viewer(ball_subject(200), open_door(port=0))
    viewer.on_join.append(slow)
    tabs = Tabs(viewer, tmp_path, None)
    gone: list[Client] = []
    viewer.on_leave.append(gone.append)
    try:
        with RawClient(viewer.door.port) as browser:
            browser.look((0.0, -3.0, 0.0))
            assert building.wait(20)
        until(lambda: gone != [])
        left.set()
        until(lambda: len(gone) == 2)
        assert viewer.clients == []
        assert tabs._views == {}
    finally:
        left.set()
        viewer.close()


def test_a_browser_that_has_left_before_it_is_known_is_forgotten() -> None:
    """viser's threads say that one comes and that it goes in any order."""
    viewer = Viewer(ball_subject(200), open_door(port=0))
    try:
        with RawClient(viewer.door.port) as client:
            client.look((0.0, -3.0, 0.0))
            until(lambda: len(viewer.clients) == 1)
            handle = viewer.clients[0].handle
        until(lambda: viewer.clients == [])
        viewer._join(handle)
        assert viewer.clients == []
    finally:
        viewer.close()


def test_a_browser_that_leaves_in_the_middle_of_its_picture_harms_nobody(tmp_path: Path) -> None:
    slowly, drawing, left = threading.Event(), threading.Event(), threading.Event()
    subject = ball_subject(500)
    layers = subject.layers

    def slow(*arguments: Any, **options: Any) -> Any:
        if slowly.is_set():
            drawing.set()
            left.wait(20)
        return layers(*arguments, **options)

    subject.layers = slow  # type: ignore[method-assign]
    with served(tmp_path, subject) as viewer, RawClient(viewer.door.port) as other:
        other.look((0.0, -3.0, 0.0))
        assert other.pictures(1)[0].std() > 10
        (staying,) = viewer.clients
        until(lambda: staying.order(0) is None)
        sent: list[Client] = []
        viewer.on_picture.append(lambda order, picture: sent.append(order.client))
        slowly.set()
        with RawClient(viewer.door.port) as browser:
            browser.look((0.0, -3.0, 0.0))
            assert drawing.wait(20)
            (leaving,) = (client for client in viewer.clients if client is not staying)
        until(lambda: viewer.clients == [staying])
        assert leaving.gone
        left.set()
        other.look((0.0, -2.5, 0.0))
        until(lambda: sent != [])
        assert staying.given is not None and leaving.given is None
        assert set(sent) == {staying}


def test_the_one_who_waits_longest_is_served_first(tmp_path: Path) -> None:
    """One that moves all the time does not starve the others."""
    viewer = Viewer(ball_subject(200), open_door(port=0))
    try:
        with RawClient(viewer.door.port) as busy, RawClient(viewer.door.port) as patient:
            busy.look((0.0, -3.0, 0.0))
            patient.look((0.0, -2.5, 0.0))
            until(lambda: [client.viewpoint is not None for client in viewer.clients] == [True, True])
            while viewer.turn():
                pass
            first, second = viewer.clients
            served_last = []
            for step in range(6):  # both always want a picture
                first.want(scale=0.5 + 0.01 * step)
                second.want(scale=0.5 + 0.01 * step)
                assert viewer.turn()
                served_last.append(max(viewer.clients, key=lambda client: client.waiting_since()))
            assert served_last[0] is not served_last[1]
            assert served_last == served_last[:2] * 3
    finally:
        viewer.close()


def test_a_browser_that_sends_nonsense_harms_nobody(tmp_path: Path) -> None:
    """Values that no widget of the page would send: what makes the pictures goes on."""
    values: list[Any] = [
        "no such mode",
        "",
        None,
        -1,
        1e308,
        math.nan,
        math.inf,
        [1, 2],
        [[]],
        {"a": 1},
        "x" * 1000,
        True,
    ]
    with served(tmp_path) as viewer, RawClient(viewer.door.port) as client:
        client.look((0.0, -3.0, 0.0))
        widgets = [m for m in client.messages(2.0) if m["type"].startswith("Gui") and "props" in m]
        labels = {str(widget["props"].get("label")) for widget in widgets}
        assert {"shows", "near", "x", "seconds", "name", "pixels at rest"} <= labels
        for widget in widgets:
            if "label" in widget["props"]:
                for value in values:
                    client.send("GuiUpdateMessage", uuid=widget["uuid"], updates={"value": value})
        client.messages(1.0)
        (here,) = viewer.clients
        here.want(mode="colour", cut=Cut())
        client.look((0.1, -3.0, 0.0))
        assert client.pictures(1)[0].std() > 10


@pytest.mark.slow
def test_twenty_come_move_and_leave_for_half_a_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path) as viewer:
        with crowd(viewer.door.port, 20, 10.0, (1.0, 3.0)) as counted:  # what is made once is made
            counted()
        until(lambda: viewer.clients == [])
        before, threads = memory(), threading.active_count()
        with crowd(viewer.door.port, 20, 30.0, (1.0, 5.0)) as counted:
            counts = counted()
        until(lambda: viewer.clients == [] and viewer.door.guard.clients == 0)
        assert counts["errors"] == []
        assert counts["visits"] >= 50
        assert len(counts["pictures"]) >= 50
        assert memory() - before < 24 << 20, "about what pools keep, whatever the number of visits"
        assert threading.active_count() <= max(threads, 40)
        assert "Traceback" not in "".join(capsys.readouterr())
