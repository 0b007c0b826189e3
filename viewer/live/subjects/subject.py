"""What can be looked at: it gives colour, opacity and depth of one camera, whatever it is made of."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from neural.cameras import Cameras
from neural.render.rendering import Rendering
from neural.scenes.scene import Scene
from neural.viewer.live.frame import ViewerFrame

START = (2.2, 0.7)  # units of the browser, aside and above, from where something without photographs is looked at


@dataclass(frozen=True)
class Cut:
    """What of a scene is left out.

    Attributes:
        box: Smallest and largest corner of what is shown, scene units; None for all.
        near, far: Distance from the eye between which things are shown, scene units.
    """

    box: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    near: float = 0.0
    far: float = math.inf


class Layers(NamedTuple):
    """One picture, row by row.

    Attributes:
        rgb: sRGB on the background.
        alpha: Opacity.
        depth: Expected distance along the ray, scene units, not divided by alpha.
        normals: Unit vectors in the scene's axes, 0 where nothing is; None where only the depths tell them.
    """

    rgb: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    depth: Float[Tensor, "H W"]
    normals: Float[Tensor, "H W 3"] | None = None


def never() -> bool:
    """Is not stale."""
    return False


class Truth(Protocol):
    """What a subject was trained on, as a camera sees it."""

    def seen_by(
        self, camera: Cameras, cut: Cut, *, bands: int = 1, stale: Callable[[], bool] = never
    ) -> tuple[Float[Tensor, "H W 3"] | None, Bool[Tensor, "H W"] | None]:
        """sRGB for the pixels of a camera, and where there is any; None and None where nothing is known, or nobody
        wants it any more. Arguments as in `Subject.layers`."""


class Subject(Protocol):
    """Something that cameras can look at.

    Attributes:
        name: Of the scene.
        frame: Between its coordinates and the browser's.
        scene: The photographs, where there are any.
        modes: Names of the ways of looking (`neural.viewer.live.pictures.modes.MODES`) that make sense for it.
        truth: What it was trained on, to compare with; None where that is not here.
        box: float64 [2, 3], around all of it.
        flat: It has no depth: nothing to cut, and no path that `neural render` takes.
        start: Eye of a browser that comes, in its frame; it looks at the origin. Only where there is no scene.
    """

    name: str
    frame: ViewerFrame
    scene: Scene | None
    modes: tuple[str, ...]
    truth: Truth | None
    box: Float64[np.ndarray, "2 3"]
    flat: bool
    start: Float64[np.ndarray, "3"]

    def layers(
        self,
        camera: Cameras,
        cut: Cut,
        *,
        clusters: bool = False,
        bands: int = 1,
        stale: Callable[[], bool] = never,
    ) -> Layers | None:
        """What the one camera sees, in the scene's frame.

        Args:
            camera: One pinhole camera.
            cut: What is left out.
            clusters: Each in a colour of its own; only where `modes` has them.
            bands: Parts that it is made in, from the top.
            stale: Asked between two of them whether nobody wants it any more; the result is None then.
        """

    def facts(self) -> str:
        """What it is made of, in a few words."""


class Drawn:
    """The truth of a subject that is drawn just as the subject is; see `Truth`.

    Args:
        layers: As `Subject.layers`, of what it was trained on.
    """

    def __init__(self, layers: Callable[..., Layers | None]) -> None:
        self._layers = layers

    def seen_by(
        self, camera: Cameras, cut: Cut, *, bands: int = 1, stale: Callable[[], bool] = never
    ) -> tuple[Float[Tensor, "H W 3"] | None, Bool[Tensor, "H W"] | None]:
        """See `Truth`."""
        made = self._layers(camera, cut, bands=bands, stale=stale)
        if made is None:
            return None, None
        return made.rgb, torch.ones_like(made.alpha, dtype=torch.bool)


def aside(up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """An eye at the side of something around the origin, a little above; units of the browser."""
    side = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    return START[0] * side / np.linalg.norm(side) + START[1] * up


def rows(camera: Cameras, first: int, last: int) -> Cameras:
    """The pinhole camera of some rows of one's picture."""
    intrinsics, sizes = camera.intrinsics.clone(), camera.sizes.clone()
    intrinsics[:, 3] -= first
    sizes[:, 1] = last - first
    return Cameras.pinhole(camera.c2w, intrinsics, sizes)


def banded(camera: Cameras, bands: int) -> Iterable[Cameras]:
    """The cameras of so many parts of one's picture, from the top."""
    height = int(camera.sizes[0, 1])
    return (rows(camera, height * band // bands, height * (band + 1) // bands) for band in range(bands))


def whole(parts: Iterable[Rendering], camera: Cameras, stale: Callable[[], bool]) -> Layers | None:
    """Bands put together; None where nobody waits for all of them."""
    made: list[Rendering] = []
    for part in parts:
        made.append(part)
        if stale():
            return None
    width, height = camera.sizes[0].tolist()
    rgb, alpha, depth = (torch.cat([getattr(part, name) for part in made]).cpu() for name in ("rgb", "alpha", "depth"))
    return Layers(rgb.reshape(height, width, 3), alpha.reshape(height, width), depth.reshape(height, width))
