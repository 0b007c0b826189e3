"""A radiance field to look at."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cameras import Cameras
from neural.render.occupancy import OccupancyGrid
from neural.render.rendering import Marching
from neural.render.volume import render_image
from neural.scenes.scene import Scene
from neural.train.tasks.capture.photographs import BACKGROUNDS
from neural.train.tasks.radiance.run import RadianceRun
from neural.viewer.live.frame import ViewerFrame
from neural.viewer.live.subjects.capture import modes_of, truth_of
from neural.viewer.live.subjects.subject import Cut, Layers, Subject, Truth, aside, banded, never, whole


class Cropped:
    """An occupancy grid without the cells outside a box, which is kept until another box is asked for.

    Args:
        occupancy: The whole; it may change.
        origin: Of the box's coordinates in those of the grid.
    """

    def __init__(self, occupancy: OccupancyGrid, origin: Float[Tensor, "3"]) -> None:
        self._occupancy, self._origin = occupancy, origin
        self._mask: tuple[object, Tensor] | None = None

    def to(self, cut: Cut) -> OccupancyGrid:
        """The grid, or what of it lies in the box of a cut."""
        if cut.box is None:
            return self._occupancy
        if self._mask is None or self._mask[0] != cut.box:
            box = torch.tensor(cut.box, dtype=torch.float64) - self._origin
            self._mask = cut.box, self._occupancy.mask_within(box)
        return self._occupancy.masked(self._mask[1])


class RadianceSubject:
    """A radiance field; see `Subject`.

    Args:
        run: Trained, or in training.
        frame: Of its scene.
        truth: The photographs.
    """

    flat = False

    def __init__(self, run: RadianceRun, frame: ViewerFrame, truth: Truth | None) -> None:
        self.name, self.frame, self.truth, self._run = run.scene.name, frame, truth, run
        self.scene: Scene | None = run.scene
        self.box = run.scene.aabb.numpy()
        self.modes, self.start = modes_of(truth), aside(frame.up)
        self._cropped = Cropped(run.occupancy, run.field.origin)

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
        run = self._run
        device = run.occupancy.bitfield.device
        marching: Marching = replace(run.marching, near=max(run.marching.near, cut.near), far=cut.far)
        posed = camera.relative_to(run.field.origin).to(device, torch.float32)
        background = torch.full((3,), BACKGROUNDS[run.config.run.background], device=device)
        occupancy, path = self._cropped.to(cut), run.config.sampling.path
        parts = (
            render_image(run.field, part, 0, occupancy, marching, background=background, path=path)
            for part in banded(posed, bands)
        )
        return whole(parts, camera, stale)

    def facts(self) -> str:
        """See `Subject`."""
        return ", ".join(f"{value} {name}" for name, value in self._run.facts().items())


def of_run(run: RadianceRun, earlier: Subject | None) -> RadianceSubject:
    """The field of a run; see `choose.subject_of_run`."""
    scene = run.scene
    if earlier is not None:
        return RadianceSubject(run, earlier.frame, earlier.truth)
    frame = ViewerFrame.of_cameras(scene.cameras, scene.aabb.numpy(), scene.up)
    return RadianceSubject(run, frame, truth_of(scene, frame, run.config.run.background))
