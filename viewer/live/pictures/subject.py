"""What is looked at: trained Gaussians, a trained field, a file; each gives colour, opacity and depth of one camera."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neural.cameras import Cameras
from neural.errors import BadOption
from neural.gaussians.model import Gaussians
from neural.gaussians.order import CLUSTER
from neural.render.occupancy import OccupancyGrid
from neural.render.rendering import Marching, Rendering
from neural.render.splats import render_bands
from neural.render.volume import render_image
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.record import SH_C0
from neural.scenes.scene import Scene
from neural.train.tasks.capture.photographs import BACKGROUNDS
from neural.train.tasks.radiance.run import RadianceRun
from neural.train.tasks.splats.near import NEAR, Near
from neural.train.tasks.splats.run import SplatRun
from neural.viewer.live.frame import ViewerFrame

_HIDDEN = -30.0  # logit of an opacity that is not drawn
_GOLDEN = 0.618034  # steps of this part of a turn keep hues apart


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
    """

    rgb: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    depth: Float[Tensor, "H W"]


def never() -> bool:
    """Is not stale."""
    return False


class Subject(Protocol):
    """Something that cameras can look at.

    Attributes:
        name: Of the scene.
        frame: Between its coordinates and the browser's.
        scene: The photographs, where there are any.
        clustered: Whether it has clusters to colour.
        box: float64 [2, 3], around all of it.
    """

    name: str
    frame: ViewerFrame
    scene: Scene | None
    clustered: bool
    box: Float64[np.ndarray, "2 3"]

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
            clusters: Each in a colour of its own.
            bands: Parts that it is made in, from the top.
            stale: Asked between two of them whether nobody wants it any more; the result is None then.
        """

    def facts(self) -> str:
        """What it is made of, in a few words."""


class SplatSubject:
    """Gaussians; see `Subject`.

    Args:
        gaussians: Relative to `origin`.
        origin: float64, of the scene.
        background: Grey level behind everything.
        near: Smallest depths that are drawn.
    """

    clustered = True

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
    ) -> None:
        self.name, self.frame, self.scene, self.box = name, frame, scene, box
        self._gaussians, self._origin, self._background, self._near = gaussians, origin, background, near

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
        near = max(self._near.at(camera.origins[0]), cut.near)
        parts = render_bands(shown, posed, 0, background=background, near=near, bands=bands)
        return _whole(parts, camera, stale)

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


class FieldSubject:
    """A radiance field; see `Subject`.

    Args:
        run: Trained, or in training.
    """

    clustered = False

    def __init__(self, run: RadianceRun, frame: ViewerFrame) -> None:
        self.name, self.frame, self._run = run.scene.name, frame, run
        self.scene: Scene | None = run.scene
        self.box = run.scene.aabb.numpy()
        self._mask: tuple[object, Tensor] | None = None

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
        occupancy, height = self._occupancy(cut), int(camera.sizes[0, 1])
        parts = (
            render_image(
                run.field, rows(posed, height * band // bands, height * (band + 1) // bands), 0, occupancy, marching,
                background=background, path=run.config.sampling.path,
            )
            for band in range(bands)
        )  # fmt: skip
        return _whole(parts, camera, stale)

    def facts(self) -> str:
        """See `Subject`."""
        return ", ".join(f"{value} {name}" for name, value in self._run.facts().items())

    def _occupancy(self, cut: Cut) -> OccupancyGrid:
        """The grid of the run, or one without the cells outside the box."""
        if cut.box is None:
            return self._run.occupancy
        if self._mask is None or self._mask[0] != cut.box:
            box = torch.tensor(cut.box, dtype=torch.float64) - self._run.field.origin
            self._mask = cut.box, self._run.occupancy.mask_within(box)
        return self._run.occupancy.masked(self._mask[1])


def subject_of_run(run: object, frame: ViewerFrame | None = None) -> Subject:
    """What a trained run shows.

    Args:
        run: Of splats or of a radiance field.
        frame: Of an earlier look at the same run.

    Raises:
        BadOption: A run of another kind.
    """
    if not isinstance(run, SplatRun | RadianceRun):
        kind = getattr(run, "kind", type(run).__name__)
        raise BadOption(f"a run of kind {kind!r} has no live viewer so far; splats and radiance fields have")
    scene = run.scene
    frame = frame or ViewerFrame.of_cameras(scene.cameras, scene.aabb.numpy())
    if isinstance(run, RadianceRun):
        return FieldSubject(run, frame)
    return SplatSubject(
        run.gaussians, run.origin, name=scene.name, frame=frame, scene=scene, box=scene.aabb.numpy(),
        background=BACKGROUNDS[run.config.run.background], near=run.near,
    )  # fmt: skip


def subject_of_file(path: Path, up: Float64[np.ndarray, "3"], *, background: float, device: torch.device) -> Subject:
    """The Gaussians of a file of any format that is read.

    Raises:
        SceneFormatError: Not such a file, or damaged.
    """
    record = formats.read(path)
    means = record.means.astype(np.float64)
    frame = ViewerFrame.of_points(means, up)
    origin = torch.from_numpy(frame.centre)
    gaussians = Gaussians.from_record(record)
    gaussians.means.data.copy_(torch.from_numpy(means - frame.centre))
    gaussians.sort_morton()
    reached = np.quantile(means, [0.01, 0.99], axis=0)
    return SplatSubject(
        gaussians.to(device), origin, name=path.name, frame=frame, scene=None, box=reached, background=background,
        near=Near.everywhere(NEAR * frame.unit),
    )  # fmt: skip


def rows(camera: Cameras, first: int, last: int) -> Cameras:
    """The pinhole camera of some rows of one's picture."""
    intrinsics, sizes = camera.intrinsics.clone(), camera.sizes.clone()
    intrinsics[:, 3] -= first
    sizes[:, 1] = last - first
    return Cameras.pinhole(camera.c2w, intrinsics, sizes)


def _whole(parts: Iterable[Rendering], camera: Cameras, stale: Callable[[], bool]) -> Layers | None:
    """Bands put together; None where nobody waits for all of them."""
    made: list[Rendering] = []
    for part in parts:
        made.append(part)
        if stale():
            return None
    width, height = camera.sizes[0].tolist()
    rgb, alpha, depth = (torch.cat([getattr(part, name) for part in made]).cpu() for name in ("rgb", "alpha", "depth"))
    return Layers(rgb.reshape(height, width, 3), alpha.reshape(height, width), depth.reshape(height, width))


def _in_cluster_colors(g: Gaussians) -> Gaussians:
    """The same Gaussians, each run of `CLUSTER` rows in one hue."""
    clusters = torch.arange(g.n, device=g.means.device) // CLUSTER
    turn = (clusters[:, None] * _GOLDEN + torch.tensor([0.0, 1 / 3, 2 / 3], device=g.means.device)) % 1
    rgb = 0.55 + 0.4 * torch.cos(2 * math.pi * turn)
    return Gaussians(
        g.means, g.quats, g.log_scales, g.opacity_logits, (rgb - 0.5) / SH_C0, g.shN[:, :0], antialiased=g.antialiased
    )
