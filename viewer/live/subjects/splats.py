"""Gaussians to look at: those of a run, and those of a file."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neural.cameras import Cameras
from neural.gaussians.model import Gaussians
from neural.gaussians.order import CLUSTER
from neural.render.splats import render_bands
from neural.scenes.files.gaussians import axes, formats
from neural.scenes.files.gaussians.record import SH_C0
from neural.scenes.near import NEAR, Near
from neural.scenes.scene import Scene
from neural.train.tasks.capture.photographs import BACKGROUNDS
from neural.train.tasks.splats.run import SplatRun
from neural.viewer.live.frame import ViewerFrame
from neural.viewer.live.subjects.capture import modes_of, truth_of
from neural.viewer.live.subjects.subject import Cut, Layers, Subject, Truth, aside, never, whole

_HIDDEN = -30.0  # logit of an opacity that is not drawn
_GOLDEN = 0.618034  # steps of this part of a turn keep hues apart


class SplatSubject:
    """Gaussians; see `Subject`.

    Args:
        gaussians: Relative to `origin`.
        origin: float64, of the scene.
        background: Grey level behind everything.
        near: Smallest depths that are drawn.
        truth: The photographs that they were trained on.
    """

    flat = False

    def __init__(
        self,
        gaussians: Gaussians,
        origin: Float[Tensor, "3"],
        *,
        name: str,
        frame: ViewerFrame,
        scene: Scene | None,
        box: Float64[np.ndarray, "2 3"],
        background: float,
        near: Near,
        truth: Truth | None = None,
    ) -> None:
        self.name, self.frame, self.scene, self.box, self.truth = name, frame, scene, box, truth
        self.modes, self.start = modes_of(truth, clusters=True), aside(frame.up)
        self._gaussians, self._origin, self._background, self.near = gaussians, origin, background, near

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
        posed = camera.relative_to(self._origin).to(self._gaussians.means.device)
        shown = self._cut(cut, posed)
        if clusters:
            shown = _in_cluster_colors(shown)
        background = torch.full((3,), self._background)
        near = max(self.near.at(camera.origins[0]), cut.near)
        parts = render_bands(shown, posed, 0, background=background, near=near, bands=bands)
        return whole(parts, camera, stale)

    def facts(self) -> str:
        """See `Subject`."""
        return f"{self._gaussians.n:,} Gaussians"

    def _cut(self, cut: Cut, posed: Cameras) -> Gaussians:
        """The Gaussians with those outside made invisible; all else is shared."""
        means = self._gaussians.means.detach()
        hidden = None
        if cut.box is not None:
            low, high = (torch.tensor(corner, dtype=torch.float64) - self._origin for corner in cut.box)
            hidden = ((means < low.to(means)) | (means > high.to(means))).any(-1)
        if math.isfinite(cut.far):
            c2w = posed.c2w[0].to(means)
            beyond = (means - c2w[:3, 3]) @ c2w[:3, 2] > cut.far
            hidden = beyond if hidden is None else hidden | beyond
        if hidden is None:
            return self._gaussians
        g = self._gaussians
        logits = g.opacity_logits.detach().masked_fill(hidden, _HIDDEN)
        return Gaussians(g.means, g.quats, g.log_scales, logits, g.sh0, g.shN, antialiased=g.antialiased)


def of_run(run: SplatRun, earlier: Subject | None) -> SplatSubject:
    """The Gaussians of a run; see `choose.subject_of_run`."""
    scene = run.scene
    box = scene.aabb.numpy()
    frame = ViewerFrame.of_cameras(scene.cameras, box, scene.up) if earlier is None else earlier.frame
    background = run.config.run.background
    return SplatSubject(
        run.gaussians, run.origin, name=scene.name, frame=frame, scene=scene, box=box,
        background=BACKGROUNDS[background],
        near=earlier.near if isinstance(earlier, SplatSubject) else run.near,
        truth=truth_of(scene, frame, background) if earlier is None else earlier.truth,
    )  # fmt: skip


def of_file(
    path: Path, up: Float64[np.ndarray, "3"] | None, *, background: float, device: torch.device
) -> SplatSubject:
    """The Gaussians of a file of any format that is read, in the axes that it says; without `up` theirs is up.

    Raises:
        SceneFormatError: Not such a file, or damaged.
    """
    record = axes.own(formats.read(path))
    means = record.means.astype(np.float64)
    frame = ViewerFrame.of_points(means, axes.up(record.placement.axes) if up is None else up)
    origin = torch.from_numpy(frame.centre)
    gaussians = Gaussians.from_record(record)
    gaussians.means.data.copy_(torch.from_numpy(means - frame.centre))
    gaussians.sort_morton()
    reached = np.quantile(means, [0.01, 0.99], axis=0)
    return SplatSubject(
        gaussians.to(device), origin, name=path.name, frame=frame, scene=None, box=reached, background=background,
        near=Near.everywhere(NEAR * frame.unit),
    )  # fmt: skip


def _in_cluster_colors(g: Gaussians) -> Gaussians:
    """The same Gaussians, each run of `CLUSTER` rows in one hue."""
    clusters = torch.arange(g.n, device=g.means.device) // CLUSTER
    turn = (clusters[:, None] * _GOLDEN + torch.tensor([0.0, 1 / 3, 2 / 3], device=g.means.device)) % 1
    rgb = 0.55 + 0.4 * torch.cos(2 * math.pi * turn)
    return Gaussians(
        g.means, g.quats, g.log_scales, g.opacity_logits, (rgb - 0.5) / SH_C0, g.shN[:, :0], antialiased=g.antialiased
    )
