"""Gaussian splats from the outside: train a scene, take a run up again, score it, render it, write its file."""

from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural import checkpoint, memory, runs
from neural.cameras import Cameras
from neural.errors import BadOption, CheckpointError
from neural.export import SUFFIXES, export, written
from neural.gaussians.model import Gaussians
from neural.render.rendering import Rendering
from neural.render.splats import render_camera
from neural.scenes.load import load
from neural.scenes.near import Near
from neural.scenes.scene import Scene
from neural.settings import nearest
from neural.train import session
from neural.train.tasks.capture import photographs, provenance
from neural.train.tasks.capture.photographs import BACKGROUNDS
from neural.train.tasks.capture.run import TrainedCapture
from neural.train.tasks.capture.surfaces import export_surface
from neural.train.tasks.splats import start as splats_start
from neural.train.tasks.splats.build import (
    build_gaussians,
    count_points,
    masked_share,
    points_of,
    refuse_unseen,
)
from neural.train.tasks.splats.config import STARTS, SplatsConfig, resolve
from neural.train.tasks.splats.exposure import Exposure
from neural.train.tasks.splats.page import PAGE, export_page
from neural.train.tasks.splats.sizes import STATE_BYTES, STEP_BYTES
from neural.train.tasks.splats.sparse_depth import require_observations
from neural.train.tasks.splats.start import Start
from neural.train.tasks.splats.task import SplatsTask
from neural.viewer.page import FOLDER

_NAMES = ("means", "quats", "log_scales", "opacity_logits", "sh0", "shN")


class SplatRun(TrainedCapture):
    """Trained Gaussians with their scene and folder.

    Attributes:
        folder: Where everything of the run lies.
        scene: The capture it was trained on.
        config: Resolved.
        gaussians: In the scene's axes, relative to `origin`.
        origin: float64, a point of the scene.
    """

    task = "splats"
    kind = "Gaussian splats"
    exports = (*SUFFIXES, PAGE, ".obj")

    def __init__(
        self, folder: Path, scene: Scene, config: SplatsConfig, gaussians: Gaussians, origin: Float[Tensor, "3"]
    ) -> None:
        self.folder, self.scene, self.config = folder, scene, config
        self.gaussians, self.origin = gaussians, origin

    @cached_property
    def near(self) -> Near:
        """Smallest depths that are drawn."""
        return Near.of(self.scene, self.config.model.clear)

    @property
    def several_exposures(self) -> bool:
        """See `TrainedCapture`."""
        return self.config.optim.exposure

    def render_camera(
        self, cameras: Cameras, index: int = 0, *, background: Literal["white", "black"] | None = None
    ) -> Rendering:
        """See `TrainedCapture`."""
        color = torch.full((3,), BACKGROUNDS[background or self.config.run.background])
        posed = cameras.relative_to(self.origin).to(self.gaussians.means.device)
        return render_camera(self.gaussians, posed, index, background=color, near=self.near.at(cameras.origins[index]))

    def export(
        self,
        path: str | Path,
        *,
        frame: str = "input",
        axes: str | None = None,
        tile: float | None = None,
        exposure: str | None = None,
        sh_bits: tuple[int, int] | None = None,
        version: int | None = None,
        form: Literal["splats", "mesh", "points", "maps"] | None = None,
        resolution: int | None = None,
        faces: int | None = None,
        texture: int | None = None,
    ) -> Path:
        """Writes a file of any ending in `exports`; see `neural.export.export`, and for .html
        `neural.viewer.page.write_page`.

        Args:
            path: Its ending decides the format.
            frame: "input": coordinates of the capture's files; "scene": those of the training; or axes such as RUB.
            axes: Of the file, in place of the format's own.
            tile: Side of cubes to write a file each for; gives the index of them.
            exposure: Name of a training photograph whose learnt colours are baked in.
            sh_bits: Of a `.spz`: bits of harmonics of degree 1, and of those above.
            version: Of a `.spz`.
            form: "mesh" (.glb, .ply, .obj), "points" (.ply) or "maps" (a folder) in place of the splats: see
                `export_surface`. An .obj is a mesh without saying so.
            resolution: Of mesh and points, voxels along the longest side of the scene's box; 256 by default.
            faces: Triangles that a mesh is simplified to; 50,000 of one with a texture by default.
            texture: Pixels along a side of the texture of a .glb, 2048 by default; 0 for colours of the corners.

        Raises:
            BackendUnavailable: A page, whose viewer was not built.
            BadOption: Another ending or frame, an option that the format does not know or what it cannot hold, an
                unknown photograph, or a run that has learnt no exposure.
        """
        if form is None:
            form = "mesh" if Path(path).suffix.lower() == ".obj" else "splats"
        if form != "splats":
            if tile is not None or exposure is not None or sh_bits is not None or version is not None:
                raise BadOption(f"--form {form} takes frame, axes, resolution and faces, and no other option")
            return export_surface(
                Path(path), self.render_camera, self.scene, form, frame=frame, axes=axes, resolution=resolution,
                faces=faces, texture=texture,
            )  # fmt: skip
        if any(option is not None for option in (resolution, faces, texture)):
            raise BadOption("--resolution, --faces and --texture are those of --form mesh or points")
        colors = None if exposure is None else self._exposure_of(exposure)
        options = {name: value for name, value in (("sh_bits", sh_bits), ("version", version)) if value is not None}
        scene = self.scene
        if Path(path).suffix.lower() == PAGE:
            if frame not in ("input", "scene") or axes is not None or tile is not None or options:
                raise BadOption("a page takes frame (input or scene) and exposure, and no other option")
            return export_page(
                path, self.gaussians, scene, origin=self.origin, colors=colors, near=self.near,
                similarity=np.linalg.inv(scene.world_to_scene) if frame == "input" else np.eye(4),
                background=BACKGROUNDS[self.config.run.background],
            )  # fmt: skip
        try:
            return export(
                self.gaussians, path, frame=frame, axes=axes, tile=tile, origin=self.origin,
                world_to_scene=scene.world_to_scene, metres_per_unit=scene.metres_per_unit, crs=scene.crs,
                input_axes=scene.axes, colors=colors, **options,
            )  # fmt: skip
        except ValueError as error:
            raise BadOption(str(error)) from error

    def exported(self, path: Path) -> str:
        """What `neural export` says of a file that `export` has written."""
        size = sum(file.stat().st_size for file in written(path))
        said = f"{self.gaussians.n:,} Gaussians, {size / 1e6:.1f} MB, in {path}"
        if path.name == FOLDER:
            return f"{said} and the folder scene beside it\ncopy both to a web host: from a disk it is a coarse preview"
        if path.suffix.lower() == PAGE:
            return f"{said}\nopen it in a browser, from the disk or from any web host"
        if not self.gaussians.antialiased:
            return said
        known = "the file says that they are antialiased"
        lost = "they are antialiased, which a .splat cannot say"
        return (
            f"{said}\n{lost if path.suffix.lower() == '.splat' else known}; a viewer that does not know it draws what "
            "is small too thick: train without --model.antialiased for it"
        )

    def _exposure_of(self, name: str) -> Tensor:
        names = [self.scene.image_names[i] for i in self.scene.splits["train"]]
        if name not in names:
            raise BadOption(f"no training photograph {name!r}{nearest(name, names)}")
        change = checkpoint.load_latest(self.folder).tensors.get("model/exposure")
        if change is None:
            raise BadOption("this run has learnt no exposure; train with --optim.exposure")
        exposure = Exposure(len(names))
        exposure.change.data = change
        return exposure.matrix(names.index(name)).detach()

    def facts(self) -> dict[str, str]:
        """See `TrainedCapture`."""
        return {"Gaussians": f"{self.gaussians.n:,}"}


def train(
    scene: str | Path,
    config: SplatsConfig | None = None,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    watch: session.Watch | None = None,
) -> SplatRun:
    """Trains Gaussians on a capture, or goes on with the run in `out`; then scores them and writes a report.

    Raises:
        SceneFormatError: The capture cannot be used.
        CheckpointError: The folder holds another run.
        TooLarge: More Gaussians than fit into memory.
        DivergenceError: The loss became NaN or Inf.
        Interrupted: A signal came; the state is saved.
    """
    folder = out or runs.default_folder(scene, SplatRun.task)
    asked = config or SplatsConfig()
    if not overwrite:
        asked = session.as_long_as_stored(asked, folder)
    capture = load(
        scene, downscale=asked.run.downscale or 1, cache=folder / runs.CACHE, test_every=asked.run.split_every
    )
    return splats(capture, config=asked, out=folder, overwrite=overwrite, progress=progress, watch=watch)


def splats(
    scene: Scene,
    *,
    config: SplatsConfig | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    max_gaussians: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    watch: session.Watch | None = None,
) -> SplatRun:
    """Trains Gaussians on a scene, or goes on with the run in `out`; then scores them and writes a report.

    Args:
        scene: With train and test splits.
        config: What is not said is chosen for the device and the scene.
        steps: In place of the configuration's.
        minutes: In place of the configuration's.
        max_gaussians: In place of the configuration's.
        out: Folder of the run; `runs/<scene>-splats` without it. An existing run goes on.
        overwrite: Start anew.
        progress: Whether to draw progress bars.
        watch: Someone who looks on; see `neural.viewer.live.watch`.

    Returns:
        What was trained: `evaluate`, `render`, `render_camera`, `export`, and `gaussians` themselves.

    Raises:
        SceneFormatError: The scene, or a file to start from, cannot be used.
        CheckpointError: The folder holds another run.
        TooLarge: More Gaussians than fit into memory.
        DivergenceError: The loss became NaN or Inf.
        Interrupted: A signal came; the state is saved.
    """
    asked = session.with_length(config or SplatsConfig(), steps, minutes)
    if max_gaussians is not None:
        asked = replace(asked, model=replace(asked.model, max_gaussians=max_gaussians))
    folder = Path(out) if out is not None else runs.default_folder(scene.path or scene.name, SplatRun.task)
    if not overwrite:
        asked = session.as_long_as_stored(asked, folder)
    start = None
    if asked.model.init not in STARTS:
        start = splats_start.read(Path(asked.model.init))
        asked = replace(asked, model=replace(asked.model, init=str(start.path.resolve())))
    resolved = resolve(
        asked, session.choose_device(asked.run.device),
        n_points=count_points(scene) if start is None else start.count,
        shorter_side=int(scene.cameras.sizes.min()), background=scene.background,
        start=None if start is None else start.kind, antialiased=start is not None and start.antialiased,
        masked=masked_share(scene) if asked.optim.masks == "auto" else 0.0,
    )  # fmt: skip
    if resolved.model.init == "points":  # all of this before a run begins
        points_of(scene)
    if resolved.optim.depth:
        require_observations(scene)
    device = torch.device(resolved.run.device)
    most, state = resolved.model.max_gaussians or 0, STATE_BYTES[resolved.model.sh_degree]
    each = state + STEP_BYTES + (state if resolved.run.steps is None else 0)  # a rehearsal takes steps on copies
    memory.require(device, most, each, "Gaussians", "choose at most --model.max-gaussians")
    origin = scene.aabb.mean(0)
    made = cache(lambda: build_gaussians(resolved, scene, origin, start))

    def check() -> None:
        photographs.check(scene)
        refuse_unseen(made(), scene, origin, Near.of(scene, resolved.model.clear).closest)

    return session.train(
        resolved, folder, provenance.identity(SplatRun.task, scene, provenance.source_of(scene, folder)), check=check,
        build=lambda: SplatsTask(made(), origin, scene, resolved, device),
        finish=lambda task: SplatRun(folder, scene, resolved, task.gaussians, origin),
        announce=lambda: f"{provenance.headline(scene, resolved, folder)}\n{_chosen(resolved, start, scene)}",
        overwrite=overwrite, progress=progress, watch=watch,
    )  # fmt: skip


def load_splats(
    folder: Path, *, device: Literal["auto", "cpu", "cuda"] = "auto", scene: Scene | None = None
) -> SplatRun:
    """Takes up trained Gaussians; see `neural.load_run`."""
    config, identity = session.read_stored(folder, SplatRun.task, SplatsConfig)
    capture = scene or provenance.read_scene(folder, identity, config)
    provenance.same_scene(folder, identity, capture)
    latest = checkpoint.load_latest(folder)
    try:
        parts = {name: latest.tensors[f"model/{name}"] for name in _NAMES}
        gaussians = Gaussians(*parts.values(), antialiased=config.model.antialiased)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{folder}: its checkpoint holds no Gaussians ({error}); start anew") from error
    place = torch.device(session.choose_device(device))
    return SplatRun(folder, capture, config, gaussians.to(place), capture.aabb.mean(0))


def _chosen(config: SplatsConfig, start: Start | None, scene: Scene) -> str:
    """The values that were chosen, in one line."""
    model, optim = config.model, config.optim
    most = model.max_gaussians or 0
    size = most * STATE_BYTES[model.sh_degree]
    source = "the points" if model.init == "points" else "chance"
    if start is not None:
        source = _source(start, model.init_gaussians or 0)
    if model.sky:
        source += f", {model.sky:,} of a sky"
    masks = f", masks {optim.masks}" if scene.masks is not None else ""
    if optim.masks == "thin":
        masks += " (of an object; else --optim.masks ignore)"
    return (
        f"chosen: {model.init_gaussians:,} Gaussians from {source}, at most {most:,} ({size / 1e6:.0f} MB in "
        f"training), {config.densify.strategy}, SH degree {model.sh_degree}, photographs from 1/{optim.coarse} of "
        f"their size, background {config.run.background}{masks}"
    )


def _source(start: Start, n: int) -> str:
    """What of a file is started from."""
    if start.kind == "mesh":
        return f"the surface of {start.path.name}"
    if start.count <= n:
        return f"{start.path.name}"
    which = "the most visible" if start.kind == "splats" else "a random choice"
    return f"{start.path.name} ({which} of its {start.count:,}; --model.max-gaussians or --model.init-gaussians cut it)"
