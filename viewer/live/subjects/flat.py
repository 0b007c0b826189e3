"""A learnt picture to look at, from near and far: it hangs in space, a unit of the scene to the pixel."""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neural.cameras import Cameras
from neural.scenes.scene import Scene
from neural.train.tasks.field.run import look_up
from neural.train.tasks.image.run import ImageRun
from neural.viewer.live.frame import ViewerFrame
from neural.viewer.live.pictures.modes import directions
from neural.viewer.live.subjects.subject import Cut, Drawn, Layers, Subject, Truth, banded, never

_WALL = 0.16  # sRGB around the picture
_FINER = 3  # looks along a pixel's side, where several of the picture's pixels fall into it, at most
_SHAPE = 1.3  # width over height of a window that a picture is to fit into
_HALF_VIEW = math.radians(30)  # of the vertical field that browsers begin with
_MARGIN = 1.1

Colors = Callable[[Float64[Tensor, "N 2"]], Float[Tensor, "N K"]]
"""Places in the picture, in its pixels from the left and the top, to what is shown there."""


class FlatSubject:
    """A picture: x to the right and y down along its pixels, z into it; nothing of it is cut off. See `Subject`.

    Args:
        run: Trained, or in training.
        truth: The picture that it was trained on.
    """

    modes: tuple[str, ...] = ("colour", "picture", "error")
    flat = True
    scene: Scene | None = None

    def __init__(self, run: ImageRun, truth: Truth | None = None) -> None:
        picture = run.data.picture
        self.name, self._run = picture.name, run
        self._width, self._height = picture.width, picture.height
        self.box = np.array([[0.0, 0.0, 0.0], [self._width, self._height, 0.0]])
        unit = max(self._width, self._height) / 2
        self.frame = ViewerFrame(self.box.mean(0), unit, np.array([0.0, -1.0, 0.0]))
        away = _MARGIN * max(self._height, self._width / _SHAPE) / 2 / math.tan(_HALF_VIEW)
        self.start = np.array([0.0, 0.0, -away / unit])
        self.truth: Truth | None = Drawn(self._stored_layers) if truth is None else truth

    @torch.no_grad()
    def layers(
        self,
        camera: Cameras,
        cut: Cut,
        *,
        clusters: bool = False,
        bands: int = 1,
        stale: Callable[[], bool] = never,
    ) -> Layers | None:
        """See `Subject`."""
        return self._layers(self._learnt, camera, bands, stale)

    def facts(self) -> str:
        """See `Subject`."""
        return ", ".join(f"{value} {name}" for name, value in self._run.facts().items())

    def _stored_layers(self, camera: Cameras, cut: Cut, *, bands: int, stale: Callable[[], bool]) -> Layers | None:
        return self._layers(self._stored, camera, bands, stale)

    def _learnt(self, places: Float64[Tensor, "N 2"]) -> Float[Tensor, "N K"]:
        data = self._run.data
        return data.shown(look_up(self._run.field, (places / data.side).float()))

    def _stored(self, places: Float64[Tensor, "N 2"]) -> Float[Tensor, "N K"]:
        data, (columns, rows) = self._run.data, places.long().numpy().T
        return data.shown(data.values(data.picture.gather(rows, columns)))

    def _layers(self, colors: Colors, camera: Cameras, bands: int, stale: Callable[[], bool]) -> Layers | None:
        finer = self._looks(camera)
        made = []
        for part in banded(camera, bands):
            layers = self._seen(colors, part.scaled(finer))
            made.append(torch.nn.functional.avg_pool2d(layers, finer) if finer > 1 else layers)
            if stale():
                return None
        whole = torch.cat(made, dim=1)
        return Layers(whole[:3].permute(1, 2, 0), whole[3], whole[4])

    def _seen(self, colors: Colors, camera: Cameras) -> Float[Tensor, "5 H W"]:
        """Red, green, blue, opacity and distance of a camera's pixels."""
        rays = directions(camera).double()
        origin = camera.c2w[0, :3, 3]
        distance = -origin[2] / rays[..., 2]
        places = origin[:2] + distance[..., None] * rays[..., :2]
        size = torch.tensor([self._width, self._height])
        inside = ((places >= 0) & (places < size)).all(-1) & (distance > 0) & distance.isfinite()
        made = torch.zeros(5, *inside.shape)
        made[:3] = _WALL
        made[:3, inside] = colors(places[inside]).t().expand(3, -1)
        made[3], made[4] = inside, torch.where(inside, distance, 0.0)
        return made

    def _looks(self, camera: Cameras) -> int:
        """So many along a pixel's side that few of the picture's pixels are left out."""
        away = float(camera.c2w[0, 2, 3].abs())
        return min(_FINER, max(1, math.ceil(away / float(camera.intrinsics[0, 0]) - 0.01)))


def of_run(run: ImageRun, earlier: Subject | None) -> FlatSubject:
    """The picture of a run; see `choose.subject_of_run`."""
    return FlatSubject(run, None if earlier is None else earlier.truth)
