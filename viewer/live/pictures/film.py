"""A film along a path, made between the pictures for browsers and written by a thread of its own."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from neural import video
from neural.cameras import Cameras
from neural.train.film import to_bytes
from neural.viewer.live.client import Wish
from neural.viewer.live.pictures.modes import MODES, Seen
from neural.viewer.live.subjects.subject import Subject

AHEAD = 2  # frames that wait for the encoder, at most


class _Cancelled(Exception):
    """The film is not wanted any more."""


class Film:
    """One film; `step` renders a frame, in the thread that owns the scene.

    Args:
        cameras: One for each frame, in the scene's frame.
        wish: How the scene is shown; without the photographs that are compared with.
        target: The file.
        fps: Frames a second.
        tell: Called with a sentence, and the film when it is whole. At the end it is called in any case.

    Attributes:
        target: The file.
    """

    def __init__(
        self, cameras: Cameras, wish: Wish, target: Path, fps: float, tell: Callable[[str, Path | None], None]
    ) -> None:
        self.target, self._cameras, self._fps, self._tell = target, cameras, fps, tell
        self._wish = wish if not MODES[wish.mode].compares else Wish(cut=wish.cut)
        self._frames: queue.Queue[np.ndarray] = queue.Queue(AHEAD)
        self._next = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write, name="film", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether frames are still to come."""
        return not self._stopped.is_set() and self._next < len(self._cameras)

    @property
    def busy(self) -> bool:
        """Whether its file is not yet closed."""
        return self._thread.is_alive()

    def step(self, subject: Subject) -> bool:
        """Renders the next frame if the encoder waits for one; False if there was nothing to do."""
        if not self.running or self._frames.full():
            return False
        mode = MODES[self._wish.mode]
        camera = self._cameras[self._next]
        layers = subject.layers(camera, self._wish.cut, clusters=mode.clusters)
        assert layers is not None, "it is never stale"
        self._frames.put_nowait(to_bytes(mode.paint(Seen(layers, camera))))  # by this thread alone: there is room
        self._next += 1
        if self._next % 10 == 0:
            self._tell(f"Film: frame {self._next} of {len(self._cameras)}; click again to stop", None)
        return True

    def cancel(self) -> None:
        """Gives it up; nothing is left of it."""
        self._stopped.set()

    def join(self, seconds: float | None = None) -> None:
        """Waits until the file is closed, or for so long."""
        self._thread.join(seconds)

    def _write(self) -> None:
        sentence, written = "The film cannot be made: its encoder failed.", None
        try:
            written, said = video.write(self.target, self._all(), fps=self._fps)
            sentence = f"Film: {said}"
        except _Cancelled:
            sentence = "Film stopped."
        except OSError as error:
            sentence = f"The film cannot be written: {error}"
        finally:
            self._stopped.set()  # whatever the encoder died of, no frame is waited for any more
            self._tell(sentence, written)

    def _all(self) -> Iterator[np.ndarray]:
        given = 0
        while given < len(self._cameras):
            if self._stopped.is_set():
                raise _Cancelled
            try:
                frame = self._frames.get(timeout=0.1)
            except queue.Empty:
                continue
            given += 1
            yield frame
