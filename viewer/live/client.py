"""One browser: where it stands, what it wants to see, and what it has been given."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float64

from neural.cameras import Cameras
from neural.poses import rotation_from_quat
from neural.viewer.live.frame import ViewerFrame
from neural.viewer.live.subjects.subject import Cut

if TYPE_CHECKING:
    import viser

STILL_AFTER = 0.18  # seconds without a move: the camera has come to rest
REFRESH = 0.5  # seconds between pictures of a training that goes on, for a camera at rest
_FARTHEST = 1e7  # units of the browser
_LARGEST = 8192  # pixels of a window's side

Level = Literal["moving", "still"]


@dataclass(frozen=True)
class Viewpoint:
    """A browser's camera and window.

    Attributes:
        c2w: In the browser's frame, OpenCV axes.
        fov: Vertical, radians.
        width, height: Of the window, pixels.
    """

    c2w: Float64[np.ndarray, "4 4"]
    fov: float
    width: int
    height: int

    @classmethod
    def of(cls, camera: Any) -> "Viewpoint | None":
        """What a browser has sent; None where that is no camera."""
        try:
            wxyz, position = np.asarray(camera.wxyz, float), np.asarray(camera.position, float)
            fov, width, height = float(camera.fov), int(camera.image_width), int(camera.image_height)
        except (TypeError, ValueError, OverflowError, AssertionError):
            return None
        usable = wxyz.shape == (4,) and position.shape == (3,) and bool(np.isfinite(wxyz).all())
        if not usable or not 1e-6 < np.linalg.norm(wxyz) < 1e6 or not (np.abs(position) < _FARTHEST).all():
            return None
        if not 0.01 < fov < 3.1 or not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
            return None
        c2w = np.eye(4)
        c2w[:3, :3], c2w[:3, 3] = rotation_from_quat(wxyz), position
        return cls(c2w, fov, width, height)

    def camera(self, frame: ViewerFrame, size: tuple[int, int]) -> Cameras:
        """The same view of the scene as a picture of `size` (width, height)."""
        tall = math.tan(self.fov / 2)
        wide = tall * self.width / self.height
        lens = [size[0] / 2 / wide, size[1] / 2 / tall, size[0] / 2, size[1] / 2]
        return Cameras.pinhole(
            torch.from_numpy(frame.to_scene(self.c2w))[None], torch.tensor([lens], dtype=torch.float64),
            torch.tensor([size]),
        )  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """How a browser wants to look."""

    mode: str = "colour"
    cut: Cut = field(default_factory=Cut)
    scale: float = 1.0
    """Of the window's pixels, where the camera rests."""
    occlusion: bool = True
    """Whether what is drawn into the scene is hidden by what is in front of it."""


@dataclass(frozen=True)
class Given:
    """The picture that a browser has."""

    version: int
    level: Level
    moment: int
    at: float


@dataclass(frozen=True)
class Order:
    """A picture to be made."""

    client: "Client"
    viewpoint: Viewpoint
    wish: Wish
    version: int
    level: Level

    def stale(self) -> bool:
        """Whether the camera has moved on."""
        return self.client.version != self.version or self.client.gone


class Client:
    """What is known of one browser; `look` and `want` are called by the server's threads.

    Args:
        handle: viser's.
        wake: Called where there is something new to do.
        present: Whether it is still connected.
        clock: Seconds that have passed.
    """

    def __init__(
        self,
        handle: "viser.ClientHandle",
        wake: Callable[[], None],
        present: Callable[[], bool] = lambda: True,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.handle, self._wake, self._present, self._clock = handle, wake, present, clock
        self._lock = threading.Lock()
        self._viewpoint: Viewpoint | None = None
        self._wish = Wish()
        self._moved = -math.inf
        self.version = 0
        self.gone = False
        self.given: Given | None = None

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Around what is sent to it: a browser may leave at any moment, and then what is sent does not matter."""
        try:
            yield
        except (RuntimeError, KeyError, AssertionError):  # viser's, of a handle that is gone
            if not self.gone and self._present():
                raise

    @property
    def wish(self) -> Wish:
        """How it wants to look."""
        return self._wish

    @property
    def viewpoint(self) -> Viewpoint | None:
        """Where it stands; None before it has said so."""
        return self._viewpoint

    def look(self, camera: Any) -> None:
        """The browser's camera or window has changed."""
        viewpoint = Viewpoint.of(camera)
        if viewpoint is None:
            return
        with self._lock:
            first = self._viewpoint is None
            self._viewpoint = viewpoint
            self.version += 1
            self._moved = -math.inf if first else self._clock()
        self._wake()

    def want(self, **changes: Any) -> None:
        """The browser's wishes have changed."""
        with self._lock:
            self._wish = replace(self._wish, **changes)
            self.version += 1
        self._wake()

    def order(self, moment: int) -> Order | None:
        """The picture that it lacks.

        Args:
            moment: Of the scene; a picture of an earlier one is old, and made anew now and then.
        """
        with self._lock:
            if self._viewpoint is None or self.gone:
                return None
            now = self._clock()
            moving = now - self._moved < STILL_AFTER
            given = self.given
            level: Level = "moving" if moving else "still"
            fresh = given is not None and given.version == self.version
            if given is not None and fresh and given.level == level:
                due = given.moment != moment and now - given.at >= REFRESH
                return Order(self, self._viewpoint, self._wish, self.version, level) if due else None
            return Order(self, self._viewpoint, self._wish, self.version, level)

    def took(self, order: Order, moment: int) -> None:
        """A picture was sent."""
        self.given = Given(order.version, order.level, moment, self._clock())

    def waits(self) -> float:
        """Seconds until it may want another picture by itself."""
        rest = STILL_AFTER - (self._clock() - self._moved)
        return rest if rest > 0 else math.inf

    def waiting_since(self) -> float:
        """When it got its last picture."""
        return -math.inf if self.given is None else self.given.at
