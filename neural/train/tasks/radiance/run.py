"""Radiance fields from the outside: train one, take a run up again, score it, render it."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from neural import checkpoint, runs
from neural.cameras import Cameras
from neural.errors import CheckpointError
from neural.fields.radiance import RadianceField
from neural.render.occupancy import OccupancyGrid
from neural.render.rendering import Rendering
from neural.render.volume import Marching, render_image
from neural.scenes.load import load
from neural.scenes.scene import Scene
from neural.train import session
from neural.train.restore import restore
from neural.train.tasks.capture import photographs, provenance
from neural.train.tasks.capture.photographs import BACKGROUNDS
from neural.train.tasks.capture.run import TrainedCapture
from neural.train.tasks.capture.surfaces import export_surface
from neural.train.tasks.field.activation import activate_stored
from neural.train.tasks.field.encoding_config import describe_encoding
from neural.train.tasks.radiance.config import RadianceConfig, resolve
from neural.train.tasks.radiance.task import RadianceTask, build_field, build_marching, build_occupancy, load_occupancy


class RadianceRun(TrainedCapture):
    """A trained radiance field with its scene and folder.

    Attributes:
        folder: Where everything of the run lies.
        scene: The capture it was trained on.
        config: Resolved.
        field: What is rendered (averaged weights, where averaging is on).
        occupancy: Where the field is not empty.
        marching: Steps along rays.
    """

    task = "radiance"
    kind = "radiance field"
    exports = (".glb", ".ply", ".obj")

    def __init__(
        self,
        folder: Path,
        scene: Scene,
        config: RadianceConfig,
        field: RadianceField,
        occupancy: OccupancyGrid,
        marching: Marching,
    ) -> None:
        self.folder, self.scene, self.config = folder, scene, config
        self.field, self.occupancy, self.marching = field, occupancy, marching

    def render_camera(
        self, cameras: Cameras, index: int = 0, *, background: Literal["white", "black"] | None = None
    ) -> Rendering:
        """See `TrainedCapture`."""
        device = self.occupancy.bitfield.device
        color = torch.full((3,), BACKGROUNDS[background or self.config.run.background], device=device)
        posed = cameras.relative_to(self.field.origin).to(device, torch.float32)
        return render_image(
            self.field, posed, index, self.occupancy, self.marching, background=color, path=self.config.sampling.path
        )

    def export(
        self,
        path: str | Path,
        *,
        form: Literal["mesh", "points", "maps"] = "mesh",
        frame: str = "input",
        axes: str | None = None,
        resolution: int | None = None,
        faces: int | None = None,
        texture: int | None = None,
    ) -> Path:
        """Writes what the field shows its training cameras; see `export_surface`.

        Args:
            path: A mesh as .glb, .ply or .obj, points as .ply, maps of depth and normals as a folder.
            form: Which of them.
            frame: "input": coordinates of the capture's files; "scene": those of the training; or axes such as RUB.
            axes: Of the file, in place of the format's own.
            resolution: Voxels along the longest side of the scene's box; 256 by default.
            faces: Triangles that a mesh is simplified to; 50,000 of one with a texture by default.
            texture: Pixels along a side of the texture of a .glb, 2048 by default; 0 for colours of the corners.

        Raises:
            BadOption: Another ending, frame or number, or no surface.
            BackendUnavailable: Open3D is not there.
        """
        return export_surface(
            Path(path), self.render_camera, self.scene, form, frame=frame, axes=axes, resolution=resolution,
            faces=faces, texture=texture,
        )  # fmt: skip

    def facts(self) -> dict[str, str]:
        """See `TrainedCapture`."""
        return {"parameters": f"{sum(p.numel() for p in self.field.parameters()) / 1e6:.2f} M"}


def train(
    scene: str | Path,
    config: RadianceConfig | None = None,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    watch: session.Watch | None = None,
) -> RadianceRun:
    """Trains a radiance field on a capture, or goes on with the run in `out`; then scores it and writes a report.

    Raises:
        SceneFormatError: The capture cannot be used.
        CheckpointError: The folder holds another run.
        DivergenceError: The loss became NaN or Inf.
        Interrupted: A signal came; the state is saved.
    """
    folder = out or runs.default_folder(scene, RadianceRun.task)
    asked = config or RadianceConfig()
    if not overwrite:
        asked = session.as_long_as_stored(asked, folder)
    capture = load(
        scene, downscale=asked.run.downscale or 1, cache=folder / runs.CACHE, test_every=asked.run.split_every
    )
    resolved = resolve(
        asked, session.choose_device(asked.run.device), unbounded=capture.unbounded, background=capture.background
    )
    return _train(None, capture, resolved, folder, overwrite, progress, str(Path(scene).resolve()), watch)


def radiance(
    field: RadianceField,
    scene: Scene,
    *,
    config: RadianceConfig | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    watch: session.Watch | None = None,
) -> RadianceRun:
    """Trains a field of your own on a scene of your own; the model part of `config` is not looked at.

    Args:
        field: What to train.
        scene: With train and test splits.
        config: Sampling, optimiser and run; the defaults suit the device.
        steps: In place of the configuration's.
        minutes: In place of the configuration's.
        out: Folder of the run; `runs/<scene>-radiance` without it. An existing run goes on.
        overwrite: Start anew.
        progress: Whether to draw progress bars.
        watch: Someone who looks on; see `neural.viewer.live.watch`.
    """
    asked = session.with_length(config or RadianceConfig(), steps, minutes)
    asked = replace(asked, model=replace(asked.model, contraction=field.contraction))
    folder = Path(out) if out is not None else runs.default_folder(scene.path or scene.name, RadianceRun.task)
    if not overwrite:
        asked = session.as_long_as_stored(asked, folder)
    resolved = resolve(asked, session.choose_device(asked.run.device), background=scene.background)
    return _train(field, scene, resolved, folder, overwrite, progress, provenance.source_of(scene, folder), watch)


def load_radiance(
    folder: Path,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    field: RadianceField | None = None,
    scene: Scene | None = None,
) -> RadianceRun:
    """Takes up a trained radiance field; see `neural.load_run`."""
    config, identity = session.read_stored(folder, RadianceRun.task, RadianceConfig)
    capture = scene or provenance.read_scene(folder, identity, config)
    provenance.same_scene(folder, identity, capture)
    if identity.get("own_field") and field is None:
        raise CheckpointError(
            f"{folder}: was trained on a field made in Python; pass load_run(..., field=) the same one"
        )
    shown = field if field is not None else build_field(config, capture)
    place = torch.device(session.choose_device(device))
    latest = checkpoint.load_latest(folder)
    occupancy = build_occupancy(config, shown, place)
    marching = build_marching(config, shown)
    try:
        restore(shown, latest.tensors, config.optim.ema)
        activate_stored(shown, config.model, latest.tensors)
        load_occupancy(occupancy, latest.tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return RadianceRun(folder, capture, config, shown.to(place), occupancy, marching)


def _train(
    field: RadianceField | None,
    scene: Scene,
    config: RadianceConfig,
    folder: Path,
    overwrite: bool,
    progress: bool,
    source: str,
    watch: session.Watch | None,
) -> RadianceRun:
    def finish(task: RadianceTask) -> RadianceRun:
        return RadianceRun(folder, scene, config, task.averaged_field(), task.occupancy, task.marching)

    device = torch.device(config.run.device)
    identity = provenance.identity(RadianceRun.task, scene, source) | {"own_field": field is not None}
    return session.train(
        config, folder, identity, check=lambda: photographs.check(scene),
        build=lambda: RadianceTask(field or build_field(config, scene), scene, config, device), finish=finish,
        announce=lambda: f"{provenance.headline(scene, config, folder)}\n{_chosen(config)}",
        overwrite=overwrite, progress=progress, watch=watch,
    )  # fmt: skip


def _chosen(config: RadianceConfig) -> str:
    """The values that were chosen, in one line."""
    model, sampling = config.model, config.sampling
    plural = "" if sampling.cascades == 1 else "s"
    return (
        f"chosen: {describe_encoding(model)}, "
        f"contraction {model.contraction}, {sampling.target_samples} samples a step, {sampling.cascades} occupancy "
        f"cascade{plural} of {sampling.occupancy_resolution}^3, background {config.run.background}"
    )
