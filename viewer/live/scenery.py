"""What is drawn into the scene by the browser: the photographs' cameras, with small pictures, and which way is up."""

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from neural.viewer.live.pictures.photographs import Photographs
from neural.viewer.live.subjects.subject import Subject

if TYPE_CHECKING:
    import viser

MOST_CAMERAS = 400  # that are drawn, evenly chosen
MOST_PICTURES = 120
THUMBNAIL = 112  # pixels of a small picture's longer side
_TRAIN, _TEST = (70, 110, 230), (235, 140, 40)
NODE = "/photographs"


class Scenery:
    """The photographs of a subject as frusta; small pictures are made when there is time.

    Args:
        server: viser's.
        subject: With a scene, or there is nothing to draw.

    Attributes:
        on_snap: Called with a browser's number and a photograph's when a camera is clicked.
        chosen: The photographs that are drawn.
        size: Of a frustum, units of the browser.
    """

    def __init__(self, server: "viser.ViserServer", subject: Subject) -> None:
        self._server = server
        self._photographs = subject.truth if isinstance(subject.truth, Photographs) else None
        self.on_snap: Callable[[int, int], None] = lambda client, index: None
        self._handles: dict[int, Any] = {}
        self.chosen: list[int] = []
        self.size = 0.0
        frame = subject.frame
        server.scene.set_up_direction(tuple(frame.up))
        self._root = server.scene.add_frame(NODE, show_axes=False)
        if subject.scene is not None:
            self._draw(subject)
            self._look_from_first(subject)
        else:
            self._begin(subject.start, np.zeros(3))
        pictures = self.chosen[:: max(1, math.ceil(len(self.chosen) / MOST_PICTURES))]
        self._todo = deque(pictures if self._photographs is not None else ())

    def work(self) -> bool:
        """Makes one small picture; False where none is left to make."""
        if not self._todo or self._photographs is None:
            return False
        index = self._todo.popleft()
        self._handles[index].image = self._photographs.small(index, THUMBNAIL)
        return True

    def show(self, visible: bool) -> None:
        """Shows the cameras to all browsers, or to none."""
        self._root.visible = visible

    def _draw(self, subject: Subject) -> None:
        scene, frame = subject.scene, subject.frame
        assert scene is not None
        n = len(scene.cameras)
        self.chosen = sorted({round(i) for i in np.linspace(0, n - 1, min(n, MOST_CAMERAS))})
        held_out = set(scene.splits.get("test", ()))
        size = self.size = _size(frame.points(scene.cameras.origins.cpu().double().numpy()))
        for index in self.chosen:
            camera = scene.cameras[index]
            wxyz, position = frame.pose(camera.c2w[0].cpu().double().numpy())
            width, height = camera.sizes[0].tolist()
            handle = self._server.scene.add_camera_frustum(
                f"{NODE}/{index}", fov=2 * math.atan(height / 2 / float(camera.intrinsics[0, 1])),
                aspect=width / height, scale=size, thickness=size / 40, wxyz=wxyz, position=position,
                color=_TEST if index in held_out else _TRAIN, format="jpeg", jpeg_quality=70,
                cast_shadow=False, receive_shadow=False,
            )  # fmt: skip
            handle.on_click(self._clicked(index))
            self._handles[index] = handle

    def _clicked(self, index: int) -> Callable[[Any], None]:
        return lambda event: self.on_snap(event.client_id, index)

    def _look_from_first(self, subject: Subject) -> None:
        """Browsers begin near the first photograph, before its picture."""
        scene, frame = subject.scene, subject.frame
        assert scene is not None
        first = (scene.splits.get("train") or (0,))[0]
        c2w = scene.cameras.c2w[first].cpu().double().numpy()
        position = frame.points(c2w[:3, 3])
        ahead = c2w[:3, 2] * max(0.1, float(np.linalg.norm(position)))
        self._begin(position + 0.1 * ahead, position + ahead)

    def _begin(self, position: np.ndarray, target: np.ndarray) -> None:
        start = self._server.initial_camera
        start.position, start.look_at, start.fov = position, target, math.radians(60)


def _size(places: np.ndarray) -> float:
    """Of a frustum, units of the browser: less than the way to the next camera, but to be seen."""
    if len(places) < 2:
        return 0.15
    some = places[:: max(1, len(places) // 200)]
    apart = np.linalg.norm(some[:, None] - some[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    return float(np.clip(0.3 * np.median(apart.min(1)), 0.03, 0.12))
