"""Camera paths of the live viewer: keyframes to a file that `neural render` reads, and to a film."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("viser", reason="needs viser, which make installs")

from neural import paths, video
from neural.errors import BadOption
from neural.poses import look_at
from neural.viewer.live.client import Viewpoint, Wish
from neural.viewer.live.panels import path as path_panel
from neural.viewer.live.panels.path import PathPanel, camera_path, file_stem
from neural.viewer.live.panels.plots import MOST, thinned
from neural.viewer.live.panels.training import duration
from neural.viewer.live.panels.view import bounded
from neural.viewer.live.pictures.film import Film
from neural.viewer.live.server import open_door
from neural.viewer.live.subjects.subject import Cut
from neural.viewer.live.viewer import MOST_FILMS, Viewer, snap
from tests.viewer.raw_client import RawClient
from tests.viewer.shown import ball_subject, served
from tests.viewer.test_watch import until

UP = np.array([0.0, 0.0, 1.0])
EYES = ((0.0, -3.0, 0.0), (2.0, -2.0, 0.5), (3.0, 0.0, 0.0))


def keyframes() -> list[Viewpoint]:
    return [Viewpoint(look_at(np.array(eye), np.zeros(3), UP), 0.8, 320, 180) for eye in EYES]


@pytest.mark.parametrize("closed", [False, True])
def test_a_path_passes_its_keyframes_in_the_scenes_frame(closed: bool, tmp_path: Path) -> None:
    frame = ball_subject().frame
    stops = [replace(stop, fov=0.8 + 0.1 * i) for i, stop in enumerate(keyframes())]  # the first one's is kept
    cameras = camera_path(stops, frame, 61, (640, 360), closed=closed)
    expected = np.array(EYES) * frame.unit + frame.centre
    origins = cameras.origins.numpy()
    for eye in expected:
        assert np.linalg.norm(origins - eye, axis=1).min() < 0.08 * frame.unit
    np.testing.assert_allclose(origins[0], expected[0], atol=1e-9)
    np.testing.assert_allclose(origins[-1], expected[0 if closed else -1], atol=1e-9)
    np.testing.assert_allclose(cameras.intrinsics[:, 1], 180 / np.tan(0.4))
    assert cameras.sizes.tolist() == [[640, 360]] * 61
    paths.save(tmp_path / "p.json", cameras)
    again = paths.load(tmp_path / "p.json")
    torch.testing.assert_close(again.c2w, cameras.c2w)


@pytest.mark.parametrize(
    ("typed", "stem"),
    [
        ("a film", "a-film"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "path"),
        ("", "path"),
        ("C:\\x", "C-x"),
        ("\x00/", "path"),
        ("Ü" * 100, "path"),
        ("x" * 500, "x" * 64),
        (".hidden", "hidden"),
    ],
)
def test_a_typed_name_leads_nowhere_else(typed: str, stem: str) -> None:
    assert file_stem(typed) == stem


def finished(film: Film, subject: Any) -> None:
    while film.running:
        if not film.step(subject):
            time.sleep(0.002)
    film.join()


def test_a_film_is_made_frame_by_frame(tmp_path: Path) -> None:
    subject, told = ball_subject(500), []
    cameras = camera_path(keyframes(), subject.frame, 12, (64, 48))
    film = Film(cameras, Wish("depth"), tmp_path / "x" / "film.mp4", 30.0, lambda *said: told.append(said))
    finished(film, subject)
    sentence, written = told[-1]
    assert sentence.startswith("Film: 12 frames")
    assert written is not None
    assert written.exists()
    assert not film.step(subject)
    assert video.installed() is (written.suffix == ".mp4")


def test_a_film_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    subject, told = ball_subject(500), []
    cameras = camera_path(keyframes(), subject.frame, 100, (64, 48))
    film = Film(cameras, Wish(), tmp_path / "film.mp4", 30.0, lambda *said: told.append(said))
    film.step(subject)
    film.cancel()
    film.join()
    assert told[-1] == ("Film stopped.", None)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    subject, told = ball_subject(500), []
    (tmp_path / "taken").write_text("a file")
    cameras = camera_path(keyframes(), subject.frame, 30, (64, 48))
    film = Film(cameras, Wish(), tmp_path / "taken" / "film.mp4", 30.0, lambda *said: told.append(said))
    finished(film, subject)
    assert told[-1][0].startswith("The film cannot be written")
    assert not film.running


def test_a_film_shows_the_scene_where_no_photograph_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A way of looking that compares is of no use along a path; what is cut off stays cut off."""
    made: list[list[np.ndarray]] = []
    monkeypatch.setattr(video, "write", lambda path, frames, fps: (made.append(list(frames)), (path, "written"))[1])
    subject = ball_subject(500)
    cameras = camera_path(keyframes(), subject.frame, 3, (64, 48))
    cut = Cut(box=((-9.0, -9.0, -9.0), (9.0, 9.0, 0.0)))
    for wish in (Wish("error", cut), Wish("colour", cut), Wish("colour")):
        finished(Film(cameras, wish, tmp_path / "film.mp4", 30.0, lambda *said: None), subject)
    compared, colored, whole = map(np.stack, made)
    assert colored.shape == (3, 48, 64, 3)
    assert np.array_equal(compared, colored)
    assert not np.array_equal(colored, whole)


def test_numbers_from_browsers_are_bounded() -> None:
    assert [bounded(value, -1.0, 2.0) for value in (0, "1.5", -7, 1e308, True)] == [0.0, 1.5, -1.0, 2.0, 1.0]
    for nonsense in (float("nan"), float("inf"), -float("inf"), "nan", "wide"):
        with pytest.raises(ValueError, match=r"finite|convert"):
            bounded(nonsense, -1.0, 2.0)
    for nonsense in (None, [1], {}):
        with pytest.raises(TypeError):
            bounded(nonsense, -1.0, 2.0)


class Died(Exception):
    """What no film expects."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("frames", [0, 3])
def test_a_film_whose_encoder_dies_is_over_and_lets_go_of_its_file(
    frames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it dies of: no frame is waited for, somebody is told, and the name is free for another."""

    def write(path: Path, given: Any, **_: Any) -> Any:
        for _, _ in zip(range(frames), given, strict=False):
            pass
        raise Died

    monkeypatch.setattr(video, "write", write)
    subject, told = ball_subject(500), []
    cameras = camera_path(keyframes(), subject.frame, 30, (64, 48))
    film = Film(cameras, Wish(), tmp_path / "film.mp4", 30.0, lambda *said: told.append(said))
    finished(film, subject)
    assert told[-1] == ("The film cannot be made: its encoder failed.", None)
    assert not film.running and not film.busy
    assert not film.step(subject)


def test_a_film_of_frames_that_nobody_makes_any_more_is_told_once(tmp_path: Path) -> None:
    told: list[Any] = []
    film = Film(camera_path(keyframes(), ball_subject(500).frame, 30, (64, 48)), Wish(), tmp_path / "film.mp4", 30.0,
                lambda *said: told.append(said))  # fmt: skip
    assert film.busy
    for _ in range(2):
        film.cancel()
    film.join(20.0)
    assert not film.busy
    assert told == [("Film stopped.", None)]


def test_one_file_is_written_by_one_film_and_so_many_at_once(tmp_path: Path) -> None:
    subject = ball_subject(500)
    viewer = Viewer(subject, open_door(port=0))
    cameras = camera_path(keyframes(), subject.frame, 100, (64, 48))

    def start(name: str) -> Film:
        target = tmp_path / name
        return viewer.start_film(target, lambda: Film(cameras, Wish(), target, 30.0, lambda *said: None))

    try:
        first = start("0.mp4")
        with pytest.raises(BadOption, match="another name"):
            start("0.mp4")
        for number in range(1, MOST_FILMS):
            start(f"{number}.mp4")
        with pytest.raises(BadOption, match="4 films"):
            start("more.mp4")
        for _ in range(3):  # so that files are open
            viewer.work()
        first.cancel()
        first.join()
        start("0.mp4")
    finally:
        viewer.close()
    assert not any(film.busy for film in viewer.films)
    assert list(tmp_path.iterdir()) == [], "films that are given up at the end leave nothing"
    with pytest.raises(BadOption):
        start("after.mp4")


def test_a_film_that_is_begun_while_others_are_looked_after_is_made(tmp_path: Path) -> None:
    """The thread that draws looks after the films while one of the server's adds another."""
    subject = ball_subject(500)
    viewer = Viewer(subject, open_door(port=0))
    cameras = camera_path(keyframes(), subject.frame, 2, (64, 48))
    stop = threading.Event()
    thread = threading.Thread(target=lambda: [viewer.work() for _ in iter(stop.is_set, True)])
    thread.start()
    try:
        for number in range(12):
            target = tmp_path / f"{number}.mp4"
            film = viewer.start_film(target, lambda t=target: Film(cameras, Wish(), t, 30.0, lambda *said: None))
            film.join(20.0)
            assert not film.busy
        until(lambda: viewer.films == [])
    finally:
        stop.set()
        thread.join()
        viewer.close()
    assert len(list(tmp_path.iterdir())) == 12


def test_the_panel_saves_plays_and_films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its buttons do, for a browser that is there."""
    with served(tmp_path) as viewer, RawClient(viewer.door.port) as browser:
        browser.look(EYES[0])
        until(lambda: bool(viewer.clients) and viewer.clients[0].viewpoint is not None)
        (client,) = viewer.clients
        panel = PathPanel(viewer, client, tmp_path)
        panel._act("save")
        assert "two keyframes" in panel._said.content
        for eye in EYES:
            version = client.version
            browser.look(eye)
            until(lambda version=version: client.version > version)
            panel._edit("add")
        panel._edit("remove last")
        assert "2 keyframes" in panel._said.content
        with monkeypatch.context() as few:
            few.setattr(path_panel, "MOST_KEYFRAMES", 3)
            for _ in range(5):
                panel._edit("add")
            assert "3 keyframes" in panel._said.content
            panel._edit("remove last")
        panel._name.value = "../first path"
        panel._seconds.value = 1.0
        panel._act("save")
        assert len(paths.load(tmp_path / "first-path.json")) == 30
        panel._size.value = "640 x 360"
        panel._act("film")
        until(lambda: panel._said.content.startswith("Film: 30 frames"), 60)
        assert (tmp_path / "first-path.mp4").is_file() or (tmp_path / "first-path").is_dir()
        browser.messages(0.3)
        panel._act("play")
        sent = moves(browser, 1.5)
        assert len(sent) >= 3
        np.testing.assert_allclose(sent[0], EYES[0], atol=0.5)
        np.testing.assert_allclose(sent[-1], EYES[1], atol=1e-6)


def moves(browser: RawClient, seconds: float) -> list[Any]:
    """Where a browser's camera is put within a time."""
    messages = browser.messages(seconds)
    return [message["position"] for message in messages if message["type"] == "SetCameraPositionMessage"]


@pytest.mark.parametrize("end", ["click", "leave", "close"])
def test_a_path_is_played_by_a_thread_of_its_own_which_ends(tmp_path: Path, end: str) -> None:
    """The click is over at once, or a few paths would hold all the server's threads; another click stops it."""
    with served(tmp_path) as viewer, RawClient(viewer.door.port) as browser:
        browser.look(EYES[0])
        until(lambda: bool(viewer.clients) and viewer.clients[0].viewpoint is not None)
        panel = PathPanel(viewer, viewer.clients[0], tmp_path)
        panel._keyframes = keyframes()
        panel._seconds.value = path_panel.LONGEST
        panel._act("play")
        playing = panel._playing
        assert playing is not None and playing.busy
        until(lambda: bool(moves(browser, 0.2)))
        assert playing.busy
        if end == "click":
            panel._act("play")
            assert not playing.busy
            browser.messages(0.2)
            assert not moves(browser, 0.4)
            panel._act("play")  # from its beginning
            np.testing.assert_allclose(moves(browser, 0.5)[0], EYES[0], atol=0.1)
            panel._act("play")
        elif end == "leave":
            browser.close()
            until(lambda: not playing.busy, 5)
    until(lambda: not playing.busy, 5)


def test_a_browser_is_put_where_a_photograph_was_taken() -> None:
    subject = ball_subject()
    assert subject.scene is not None
    sent: dict[str, Any] = {}

    class Camera:
        def __setattr__(self, name: str, value: Any) -> None:
            sent[name] = value

    import contextlib

    handle = SimpleNamespace(camera=Camera(), atomic=contextlib.nullcontext)
    viewpoint = Viewpoint(np.eye(4), 1.0, 500, 1000)
    client = SimpleNamespace(handle=handle, viewpoint=viewpoint, speaking=contextlib.nullcontext)
    snap(client, subject, 3)  # type: ignore[arg-type]
    expected = subject.frame.points(subject.scene.cameras.origins[3].numpy())
    np.testing.assert_allclose(sent["position"], expected)
    fx, width = float(subject.scene.cameras.intrinsics[3, 0]), int(subject.scene.cameras.sizes[3, 0])
    assert np.tan(sent["fov"] / 2) == pytest.approx(width / 2 / fx * 2), "a tall window shows the photograph's width"


def test_curves_are_thinned_and_keep_the_last() -> None:
    lines = [{"step": step} for step in range(5 * MOST + 3)]
    some = thinned(lines)
    assert MOST <= len(some) <= 2 * MOST
    assert some[-1] == lines[-1]
    assert thinned(lines[:7]) == lines[:7]


def test_times_are_said_in_words() -> None:
    assert [duration(s) for s in (40, 700, 12_600)] == ["40 s", "12 min", "3.5 h"]


def test_what_is_said_while_the_viewer_closes_does_not_matter(tmp_path: Path) -> None:
    """Its server may be gone before its browsers are."""
    with served(tmp_path) as viewer, RawClient(viewer.door.port) as browser:
        browser.look(EYES[0])
        until(lambda: bool(viewer.clients))
        with pytest.raises(RuntimeError, match="closed"), viewer.clients[0].speaking():
            raise RuntimeError("the loop is closed")
        client = viewer.clients[0]
        viewer.closing.set()
        with client.speaking():
            raise RuntimeError("the loop is closed")
