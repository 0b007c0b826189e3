"""The panel of one browser: what it shows of the scene, how much of it, and how its camera is moved."""

import math
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from neural.viewer.live.client import Client, Order
from neural.viewer.live.pictures.modes import MODES
from neural.viewer.live.pictures.painter import Picture
from neural.viewer.live.subjects.subject import Cut
from neural.viewer.live.viewer import Viewer, snap

if TYPE_CHECKING:
    import viser

STATUS_EVERY = 0.5  # seconds
ARM = 0.05  # units of the browser from the eye to the point it turns around, when walking
_SCALES = {"25 %": 0.25, "50 %": 0.5, "100 %": 1.0}
_FARTHEST = 1e9  # scene units
_BOX_COLOR = (255, 170, 40)
_BOX = "/crop_box"


class ViewPanel:
    """Widgets of one browser.

    Args:
        viewer: That makes its pictures.
        client: The browser.
    """

    def __init__(self, viewer: Viewer, client: Client) -> None:
        self._viewer, self._client = viewer, client
        self._gui = client.handle.gui
        self._told = 0.0
        self._box: Any = None
        self._cutting = threading.Lock()  # of the server's threads: the last to look has the last word
        subject = viewer.subject
        self._mode = self._gui.add_dropdown("shows", subject.modes, hint="What pictures are made of")
        self._mode.on_update(lambda _: self._choose_mode())
        self._add_photographs()
        self._add_controls()
        if not subject.flat:
            self._add_crop()
            self._add_clip()
        self._status = self._gui.add_markdown("")

    def tell(self, order: Order, picture: Picture) -> None:
        """A picture was sent to this browser."""
        now = time.perf_counter()
        if now - self._told < STATUS_EVERY and order.level == "moving":
            return
        self._told = now
        height, width = picture.rgb.shape[:2]
        text = f"{width} x {height}, {self._viewer.rate.per_second():.1f} pictures/s"
        if MODES[order.wish.mode].compares:
            found = "no photograph was taken from here" if picture.psnr is None else f"PSNR {picture.psnr:.2f} dB"
            text += f"; {found}"
        self._status.content = text

    def _choose_mode(self) -> None:
        mode = str(self._mode.value)
        if mode in self._viewer.subject.modes:  # what comes from a browser need not be one of its options
            self._client.want(mode=mode)

    def _add_photographs(self) -> None:
        scene = self._viewer.subject.scene
        if scene is None:
            return
        names = tuple(f"{i}: {name}" for i, name in enumerate(scene.image_names))
        self._photograph = self._gui.add_dropdown("photograph", names, hint="Stand where it was taken")
        self._photograph.on_update(lambda _: self._snap())
        turn = self._gui.add_button_group("stand there", ("previous", "here", "next"))
        turn.on_click(lambda event: self._turn(str(event.target.value), len(names)))

    def _snap(self) -> None:
        snap(self._client, self._viewer.subject, self._index())

    def _turn(self, where: str, count: int) -> None:
        """Goes on to another photograph, or back to this one."""
        by = {"previous": -1, "here": 0, "next": 1}.get(where, 0)
        names = self._photograph.options
        self._photograph.value = names[(self._index() + by) % count]
        self._snap()

    def _index(self) -> int:
        return int(str(self._photograph.value).partition(":")[0])

    def _add_controls(self) -> None:
        controls = self._gui.add_button_group(
            "camera", ("orbit", "walk"), hint="Drag to turn around the scene, or around yourself; W A S D Q E to move"
        )
        controls.on_click(lambda event: self._turn_about(str(event.target.value)))
        scale = self._gui.add_dropdown("pixels at rest", tuple(_SCALES), initial_value="100 %")
        scale.on_update(lambda _: self._client.want(scale=_SCALES.get(str(scale.value), 1.0)))
        hides = self._gui.add_checkbox("scene hides what is behind", True)
        hides.on_update(lambda _: self._client.want(occlusion=bool(hides.value)))

    def _turn_about(self, what: str) -> None:
        """Puts the point that dragging turns around: into the scene, or before the eye."""
        viewpoint = self._client.viewpoint
        if viewpoint is None:
            return
        eye, ahead = viewpoint.c2w[:3, 3], viewpoint.c2w[:3, 2]
        arm = ARM if what == "walk" else max(1.0, float(-eye @ ahead))
        self._client.handle.camera.look_at = eye + arm * ahead

    def _add_crop(self) -> None:
        box = self._viewer.subject.box
        size = box[1] - box[0]
        with self._gui.add_folder("crop box", expand_by_default=False):
            self._crop = self._gui.add_checkbox("only what is inside", False)
            self._crop.on_update(lambda _: self._cut())
            self._ranges = []
            for axis, name in enumerate("xyz"):
                low, high = float(box[0, axis] - 0.25 * size[axis]), float(box[1, axis] + 0.25 * size[axis])
                step = max((high - low) / 200, 1e-9)
                slider = self._gui.add_multi_slider(
                    name, min=low, max=high, step=step, initial_value=(float(box[0, axis]), float(box[1, axis]))
                )
                slider.on_update(lambda _: self._cut())
                self._ranges.append(slider)

    def _add_clip(self) -> None:
        unit = self._viewer.subject.frame.unit
        with self._gui.add_folder("clip planes", expand_by_default=False):
            self._near = self._gui.add_slider("near", min=0.0, max=4 * unit, step=unit / 50, initial_value=0.0)
            self._clip_far = self._gui.add_checkbox("far end", False)
            self._far = self._gui.add_slider(
                "far", min=unit / 10, max=10 * unit, step=unit / 20, initial_value=5 * unit
            )
            for widget in (self._near, self._clip_far, self._far):
                widget.on_update(lambda _: self._cut())

    def _cut(self) -> None:
        with self._cutting:
            self._cut_as_asked()

    def _cut_as_asked(self) -> None:
        box = None
        if self._crop.value:
            sides = [sorted(bounded(end, -_FARTHEST, _FARTHEST) for end in slider.value) for slider in self._ranges]
            (x0, x1), (y0, y1), (z0, z1) = ((side[0], side[-1]) for side in sides)
            box = (x0, y0, z0), (x1, y1, z1)
        far = bounded(self._far.value, 0.0, _FARTHEST) if self._clip_far.value else float("inf")
        near = bounded(self._near.value, 0.0, _FARTHEST)
        self._draw_box(box)
        self._client.want(cut=Cut(box, near, far))

    def _draw_box(self, box: tuple[tuple[float, float, float], tuple[float, float, float]] | None) -> None:
        if self._box is not None:
            self._box.remove()
            self._box = None
        if box is None:
            return
        low, high = self._viewer.subject.frame.points(np.array(box))
        self._box = self._client.handle.scene.add_box(
            _BOX, color=_BOX_COLOR, dimensions=tuple(high - low), position=tuple((low + high) / 2), wireframe=True,
            cast_shadow=False, receive_shadow=False,
        )  # fmt: skip


def bounded(value: Any, low: float, high: float) -> float:
    """A number that a browser has sent, within bounds: it need not keep to those of its widget.

    Raises:
        ValueError, TypeError: No number; the server says so and goes on.
    """
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("a number must be finite")
    return min(high, max(low, number))


def add_scene_widgets(gui: "viser.GuiApi", viewer: Viewer) -> None:
    """Widgets that all browsers share: which way is up, and whether cameras are drawn."""
    from neural.viewer.live.axes import AXES, axis

    if viewer.subject.scene is not None:
        shown = gui.add_checkbox("cameras of the photographs", True)
        shown.on_update(lambda _: viewer.scenery.show(bool(shown.value)))
    choices = ("as found", *AXES)
    up = gui.add_dropdown("up", choices)

    def turn(_: Any) -> None:
        found = viewer.subject.frame.up
        direction = found if up.value == choices[0] else axis(str(up.value))
        viewer.door.viser.scene.set_up_direction(tuple(float(value) for value in direction))

    up.on_update(turn)
