"""Camera paths of one browser: keyframes, a look along them, a file for `neural render --path`, a film."""

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neural import paths
from neural.cameras import Cameras
from neural.errors import NeuralError
from neural.viewer.live.client import Client, Viewpoint
from neural.viewer.live.panels.playing import PLAYED, Playing
from neural.viewer.live.panels.view import bounded
from neural.viewer.live.pictures.film import Film
from neural.viewer.live.viewer import Viewer

FPS = 30.0
LONGEST = 60.0  # seconds of a path
MOST_KEYFRAMES = 200
MOST_DOWNLOAD = 64 << 20  # bytes of a film that is offered at once
_SIZES = {"640 x 360": (640, 360), "1280 x 720": (1280, 720), "1920 x 1080": (1920, 1080)}
_NODE = "/path"
_COLOR = (230, 60, 110)


class PathPanel:
    """Widgets of one browser.

    Args:
        viewer: That makes its pictures.
        client: The browser.
        folder: Where files are put.
    """

    def __init__(self, viewer: Viewer, client: Client, folder: Path) -> None:
        self._viewer, self._client, self._folder = viewer, client, folder
        self._keyframes: list[Viewpoint] = []
        self._editing = threading.Lock()  # of the server's threads, which call for one click each
        self._film: Film | None = None
        self._playing: Playing | None = None
        gui = client.handle.gui
        edit = gui.add_button_group("keyframe", ("add", "remove last", "clear"), hint="Where the camera stands now")
        edit.on_click(lambda event: self._edit(str(event.target.value)))
        self._seconds = gui.add_slider("seconds", min=1.0, max=LONGEST, step=0.5, initial_value=6.0)
        self._closed = gui.add_checkbox("back to the first", False)
        self._closed.on_update(lambda _: self._edit("closed"))
        self._size = gui.add_dropdown("film", tuple(_SIZES), initial_value="1280 x 720")
        self._name = gui.add_text("name", "path")
        acts = ("play", "film") if viewer.subject.flat else ("play", "save", "film")
        act = gui.add_button_group("path", acts)
        act.on_click(lambda event: self._act(str(event.target.value)))
        self._said = gui.add_markdown("Add two keyframes or more.")

    def _edit(self, what: str) -> None:
        with self._editing:
            self._change(what)

    def _change(self, what: str) -> None:
        viewpoint = self._client.viewpoint
        if what == "add" and viewpoint is not None and len(self._keyframes) < MOST_KEYFRAMES:
            self._keyframes.append(viewpoint)
        elif what == "remove last" and self._keyframes:
            self._keyframes.pop()
        elif what == "clear":
            self._keyframes.clear()
        self._draw()

    def _act(self, what: str) -> None:
        with self._editing:
            self._do(what)

    def _do(self, what: str) -> None:
        if what == "film" and self._film is not None and self._film.running:
            self._film.cancel()
            return
        if len(self._keyframes) < 2:
            self._said.content = "Add two keyframes or more first."
            return
        try:
            {"play": self._play, "save": self._save, "film": self._start_film}[what]()
        except (OSError, NeuralError) as error:
            self._said.content = f"Failed: {error}"

    def _cameras(self, rate: float) -> Cameras:
        """The path in the scene's frame, so many cameras a second."""
        size = _SIZES[str(self._size.value)]
        seconds = bounded(self._seconds.value, 1.0, LONGEST)
        return camera_path(
            self._keyframes, self._viewer.subject.frame, max(2, round(seconds * rate)), size,
            closed=bool(self._closed.value),
        )  # fmt: skip

    def _save(self) -> None:
        target = self._folder / f"{file_stem(str(self._name.value))}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        paths.save(target, self._cameras(FPS), fps=FPS)
        self._said.content = f"Saved: `neural render RUN --path {target}`"
        self._client.handle.send_file_download(target.name, target.read_bytes())

    def _start_film(self) -> None:
        target = self._folder / f"{file_stem(str(self._name.value))}.mp4"
        cameras, wish = self._cameras(FPS), self._client.wish
        self._film = self._viewer.start_film(target, lambda: Film(cameras, wish, target, FPS, self._tell))

    def _tell(self, sentence: str, done: Path | None) -> None:
        """A film has come further, or to its end."""
        with self._client.speaking():
            self._say(sentence, done)

    def _say(self, sentence: str, done: Path | None) -> None:
        self._said.content = sentence
        if done is not None and done.is_file() and done.stat().st_size <= MOST_DOWNLOAD:
            self._client.handle.send_file_download(done.name, done.read_bytes())

    def _play(self) -> None:
        """Begins to move the browser's camera along the path; a second click stops it."""
        if self._playing is not None and self._playing.busy:
            self._playing.stop()
            return
        frame = self._viewer.subject.frame
        poses = [frame.pose(c2w) for c2w in self._cameras(PLAYED).c2w.numpy()]
        self._playing = Playing(self._client, poses)

    def _draw(self) -> None:
        """The keyframes and the way between them, in this browser."""
        scene, count = self._client.handle.scene, len(self._keyframes)
        scene.remove_by_name(_NODE)
        self._said.content = f"{count} keyframe{'s' if count != 1 else ''}"
        for i, keyframe in enumerate(self._keyframes):
            wxyz, position = self._viewer.subject.frame.pose(self._viewer.subject.frame.to_scene(keyframe.c2w))
            scene.add_camera_frustum(
                f"{_NODE}/{i}", fov=keyframe.fov, aspect=keyframe.width / keyframe.height, scale=0.08, thickness=0.004,
                color=_COLOR, wxyz=wxyz, position=position, cast_shadow=False, receive_shadow=False,
            )  # fmt: skip
        if count >= 2:
            way = self._viewer.subject.frame.points(self._cameras(8.0).origins.numpy())
            scene.add_line_segments(
                f"{_NODE}/way", np.stack([way[:-1], way[1:]], 1).astype(np.float32), _COLOR, thickness=0.006
            )


def camera_path(
    keyframes: list[Viewpoint], frame: Any, n_frames: int, size: tuple[int, int], *, closed: bool = False
) -> Cameras:
    """Cameras along keyframes: a cubic spline, with the first one's field of view.

    Args:
        keyframes: At least two.
        frame: `ViewerFrame` of the scene, whose coordinates the result has.
        n_frames: How many.
        size: Width and height of the pictures.
        closed: Whether it ends where it began.
    """
    chain = [*keyframes, keyframes[0]] if closed else keyframes
    first = Viewpoint(keyframes[0].c2w, keyframes[0].fov, *size)
    stops = [Viewpoint(stop.c2w, first.fov, *size).camera(frame, size) for stop in chain]
    joined = Cameras.pinhole(*(_joined(stops, name) for name in ("c2w", "intrinsics", "sizes")))
    return paths.along_cameras(joined, n_frames, order="given")


def file_stem(name: str) -> str:
    """What of a name that was typed in a browser may name a file: no folders, no dots."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:64] or "path"


def _joined(cameras: list[Cameras], name: str) -> Any:
    return torch.cat([getattr(camera, name) for camera in cameras])
