"""A signed distance field to look at: sphere-traced, beside the mesh that it was trained on."""

from collections.abc import Callable

import numpy as np
import torch

from neural.cameras import Cameras
from neural.rays import Rays, image_rays, intersect_aabb
from neural.render.sphere_trace import Span, within_unit_cube
from neural.scenes.scene import Scene
from neural.train.tasks.sdf.pictures import UP, Met, field_met, mesh_met, shaded
from neural.train.tasks.sdf.run import SdfRun
from neural.viewer.live.frame import ViewerFrame
from neural.viewer.live.subjects.subject import Cut, Drawn, Layers, Subject, Truth, banded, never

EYE = np.array([0.9, 0.7, 2.1])  # units of the browser; models mostly look along z
Meets = Callable[[Rays, Span | None], Met]


class SurfaceSubject:
    """A surface, in the frame of the mesh; what is cut through is shown as solid. See `Subject`.

    Args:
        run: Trained, or in training.
        frame: Of the mesh.
        truth: The mesh.
    """

    modes: tuple[str, ...] = ("colour", "depth", "normal", "mesh", "error")
    flat = False
    scene: Scene | None = None

    def __init__(self, run: SdfRun, frame: ViewerFrame, truth: Truth | None = None) -> None:
        self.name, self.frame, self._run = run.solid.name, frame, run
        self.box = np.stack([run.solid.vertices.min(0), run.solid.vertices.max(0)])
        self.start = EYE
        self.truth: Truth | None = Drawn(self._mesh_layers) if truth is None else truth

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
        return self._layers(lambda rays, span: field_met(self._run.distance, rays, span), camera, cut, bands, stale)

    def facts(self) -> str:
        """See `Subject`."""
        return ", ".join(f"{value} {name}" for name, value in self._run.facts().items())

    def _mesh_layers(self, camera: Cameras, cut: Cut, *, bands: int, stale: Callable[[], bool]) -> Layers | None:
        mesh = self._run.mesh_distance
        return self._layers(lambda rays, span: mesh_met(mesh, rays, span), camera, cut, bands, stale)

    def _layers(self, meets: Meets, camera: Cameras, cut: Cut, bands: int, stale: Callable[[], bool]) -> Layers | None:
        side = self._run.solid.side
        posed = self._run.into_unit(camera)
        parts, normals = [], []
        for part in banded(posed, bands):
            rays = image_rays(part, 0)
            met = meets(rays, self._span(rays, cut))
            parts.append(shaded(met, posed.c2w[0]))
            normals.append(met.normals)
            if stale():
                return None
        width, height = camera.sizes[0].tolist()
        rgb, alpha, depth = (torch.cat([getattr(part, name) for part in parts]) for name in ("rgb", "alpha", "depth"))
        return Layers(
            rgb.reshape(height, width, 3), alpha.reshape(height, width), side * depth.reshape(height, width),
            torch.cat(normals).reshape(height, width, 3),
        )  # fmt: skip

    def _span(self, rays: Rays, cut: Cut) -> Span | None:
        """What a cut leaves of rays, in the frame of the unit cube; None where nothing is cut off."""
        if cut == Cut():
            return None
        first, last = within_unit_cube(rays)
        if cut.box is not None:
            entered, left = intersect_aabb(rays, torch.from_numpy(self._run.solid.to_unit(np.array(cut.box))))
            first, last = torch.maximum(first, entered), torch.minimum(last, left)
        side = self._run.solid.side
        return first.clamp(min=cut.near / side), last.clamp(max=cut.far / side)


def of_run(run: SdfRun, earlier: Subject | None) -> SurfaceSubject:
    """The field of a run; see `choose.subject_of_run`."""
    if earlier is not None:
        return SurfaceSubject(run, earlier.frame, earlier.truth)
    solid = run.solid
    reach = float(np.linalg.norm(solid.vertices - solid.centre, axis=1).max())
    return SurfaceSubject(run, ViewerFrame(solid.centre, reach, UP))
