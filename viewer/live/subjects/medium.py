"""A volume to look at: a medium of density and albedo under sun and sky, beside the grid that it was trained on."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch

from neural.cameras import Cameras
from neural.render.cloud import Lit, render_picture
from neural.render.rendering import Marching
from neural.scenes.scene import Scene
from neural.train.tasks.volume.run import VolumeRun
from neural.viewer.live.frame import ViewerFrame
from neural.viewer.live.subjects.radiance import Cropped
from neural.viewer.live.subjects.subject import Cut, Drawn, Layers, Subject, Truth, aside, banded, never, whole

_NEARER = 0.8  # than usual: clouds are flat
QUICK_SHADOWS = 64  # cells along the longest edge of what holds the sun's light: made anew for each state of a training


class MediumSubject:
    """A volume; see `Subject`. What is cut off still throws its shadow.

    Args:
        run: Trained, or in training.
        frame: Of the grid.
        quick: Whether another will soon follow; shadows are coarse then.
        truth: The grid, with shadows as coarse.
    """

    modes: tuple[str, ...] = ("colour", "depth", "alpha", "grid", "error")
    flat = False
    scene: Scene | None = None

    def __init__(self, run: VolumeRun, frame: ViewerFrame, *, quick: bool, truth: Truth | None = None) -> None:
        self.name, self.frame, self.quick, self._run = run.voxels.name, frame, quick, run
        self.box = run.survey.box.numpy()
        self.start = _NEARER * aside(frame.up)
        self.truth: Truth | None = Drawn(self._grid_layers) if truth is None else truth
        self._cropped = Cropped(run.occupancy, torch.zeros(3, dtype=torch.float64))

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
        return self._layers(self._field, camera, cut, bands, stale)

    def facts(self) -> str:
        """See `Subject`."""
        return ", ".join(f"{value} {name}" for name, value in self._run.facts().items())

    def _grid_layers(self, camera: Cameras, cut: Cut, *, bands: int, stale: Callable[[], bool]) -> Layers | None:
        return self._layers(self._grid, camera, cut, bands, stale)

    def _layers(self, lit: Lit, camera: Cameras, cut: Cut, bands: int, stale: Callable[[], bool]) -> Layers | None:
        occupancy = self._cropped.to(cut)
        posed = camera.to(self._run.device, torch.float32)
        marching = Marching(near=cut.near, far=cut.far)
        parts = (render_picture(lit, part, 0, occupancy, marching) for part in banded(posed, bands))
        return whole(parts, camera, stale)

    @cached_property
    def _field(self) -> Lit:
        return self._run.lit(shadow_resolution=self._shadows)

    @cached_property
    def _grid(self) -> Lit:
        return self._run.lit(truth=True, shadow_resolution=self._shadows)

    @property
    def _shadows(self) -> int:
        cells: int = self._run.config.view.shadow_resolution
        return min(cells, QUICK_SHADOWS) if self.quick else cells


def of_run(run: VolumeRun, earlier: Subject | None, *, quick: bool) -> MediumSubject:
    """The field of a run; see `choose.subject_of_run`."""
    if isinstance(earlier, MediumSubject):
        return MediumSubject(run, earlier.frame, quick=quick, truth=earlier.truth if earlier.quick == quick else None)
    low, high = run.survey.box.numpy()
    frame = ViewerFrame((low + high) / 2, float(np.linalg.norm(high - low)) / 2, np.array([0.0, 0.0, 1.0]))
    return MediumSubject(run, frame, quick=quick)
