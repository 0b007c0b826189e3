"""A camera path played in one browser by a thread of its own: the server has few, and each of them serves all."""

import threading
import time
from collections.abc import Sequence

import numpy as np

from neural.viewer.live.client import Client

PLAYED = 15.0  # poses a second that a browser is sent

Pose = tuple[np.ndarray, np.ndarray]
"""wxyz and position, in the browser's frame."""


class Playing:
    """Moves a browser's camera along poses, from now to the last of them, until it leaves.

    Args:
        client: The browser.
        poses: `PLAYED` a second; those that come too late are left out.
    """

    def __init__(self, client: Client, poses: Sequence[Pose]) -> None:
        self._client, self._poses = client, poses
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._move, name="path", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether it still moves the camera."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Moves it no more, once this returns."""
        self._stopped.set()
        self._thread.join()

    def _move(self) -> None:
        began, camera = time.perf_counter(), self._client.handle.camera
        while not (self._stopped.wait(1 / PLAYED) or self._client.gone):
            at = round((time.perf_counter() - began) * PLAYED)
            wxyz, position = self._poses[min(at, len(self._poses) - 1)]
            with self._client.speaking(), self._client.handle.atomic():
                camera.position, camera.wxyz = position, wxyz
            if at >= len(self._poses) - 1:
                return
