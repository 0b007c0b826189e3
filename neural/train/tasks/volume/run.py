"""Volumes from the outside: train one, take a run up again, score it, render it."""

from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural import atomic, evaluate, memory, metrics, paths, runs
from neural.cameras import Cameras
from neural.errors import BadOption, CheckpointError
from neural.render.cloud import Lighting, Lit, Medium, occupancy_of, render_picture
from neural.render.occupancy import OccupancyGrid
from neural.render.rendering import Rendering
from neural.report import CameraPlot, View
from neural.scenes.volumes.survey import FAINT, Survey, survey
from neural.scenes.volumes.views import around, ring
from neural.scenes.volumes.voxels import Voxels, load_voxels
from neural.train import session
from neural.train.film import FILM_PIXELS, FilmedRun, to_bytes
from neural.train.tasks.field.encoding_config import describe_encoding
from neural.train.tasks.field.encodings import build_field
from neural.train.tasks.field.run import FieldRun, look_up, stored_field
from neural.train.tasks.volume.config import VolumeConfig, resolve
from neural.train.tasks.volume.export import write_grid
from neural.train.tasks.volume.points import VolumePoints
from neural.train.tasks.volume.scores import VolumeScores
from neural.train.tasks.volume.task import Picture, VolumeTask, medium_of
from neural.train.trained import MAX_SHOWN, Shown

COVERED = 0.01  # opacity of a pixel that shows the volume
CHECKED_POINTS = 1 << 18  # of the mean error in density
SMALL, SMALL_SHADOWS = 96, 64  # pixels and shadow cells of a quick look


class VolumeRun(FieldRun, FilmedRun):
    """A trained volume with its grid and folder.

    Attributes:
        voxels: The grid it was trained on.
        survey: What a pass over the grid found.
        lighting: Sun and sky of its pictures.
        occupancy: Where samples are taken, in the grid and in the field alike.
    """

    task: ClassVar[str] = "volume"
    kind: ClassVar[str] = "volume"
    exports: ClassVar[tuple[str, ...]] = (".npy",)

    def __init__(
        self,
        folder: Path,
        voxels: Voxels,
        seen: Survey,
        config: VolumeConfig,
        field: nn.Module,
        occupancy: OccupancyGrid | None = None,
    ) -> None:
        self.folder, self.voxels, self.survey, self.config, self.field = folder, voxels, seen, config, field
        self.lighting = _lighting(config)
        self.occupancy = _occupancy(seen, config, self.device) if occupancy is None else occupancy

    @property
    def medium(self) -> Medium:
        """The field: positions in the unit cube to density (1 / edge) and albedo."""
        return medium_of(self.field, self.survey.densest)

    def render_camera(self, cameras: Cameras, index: int = 0, *, truth: bool = False) -> Rendering:
        """One camera's picture; fields of the result have H W rows.

        Args:
            cameras: In the grid's frame.
            index: Which of them.
            truth: Show the grid instead of the field.
        """
        lit = self._lit_grid if truth else self._lit_field
        return render_picture(lit, cameras.to(self.device, torch.float32), index, self.occupancy)

    def evaluate(self, *, progress: bool = True) -> VolumeScores:
        """PSNR and SSIM of rendered pictures and the error in density; also written to RUN/eval.json."""
        view = self.config.view
        cameras = around(self.survey.box, view.views, view.size)
        covered: list[float] = []
        shown: Tensor | None = None

        def of_field(index: int) -> Tensor:
            nonlocal shown
            shown = self._image(cameras, index)
            return shown

        def of_grid(index: int) -> Tensor:
            rendering = self.render_camera(cameras, index, truth=True)
            image = rendering.rgb.reshape(view.size, view.size, 3).cpu()
            assert shown is not None
            covered.append(metrics.psnr(shown, image, (rendering.alpha > COVERED).cpu().reshape(image.shape[:2])))
            return image

        pictures = evaluate.evaluate(
            of_field, of_grid, range(view.views), names=_names(view.views), background="sky", split="around",
            progress=progress,
        )  # fmt: skip
        points = VolumePoints(self.survey, self.voxels.box, self.config.run.seed).evenly(CHECKED_POINTS)
        found = look_up(self.field, points)[:, 0].clamp(min=0) * self.survey.densest
        truth = self.voxels.densities(points)
        error = float((found.double() - truth.double()).abs().mean())
        scores = VolumeScores(pictures, sum(covered) / len(covered), error, self.survey.mean, view.size)
        atomic.write_json(self.folder / "eval.json", scores.as_dict())
        return scores

    def export(self, path: Path) -> Path:
        """Writes a voxel grid of the field, as large as the one it was trained on; see `volume.export.write_grid`."""
        return write_grid(self.medium, self.occupancy, self.voxels.sizes, Path(path))

    def show(self, scores: VolumeScores | None, *, progress: bool = True) -> Shown:
        """See `TrainedRun`: pictures of grid and field, the cameras, a short orbit."""
        view, views = self.config.view, []
        cameras = around(self.survey.box, view.views, view.size)
        for index, score in enumerate(scores.pictures.images[:MAX_SHOWN] if scores is not None else ()):
            images = (to_bytes(self._image(cameras, index)), to_bytes(self._image(cameras, index, truth=True)))
            views.append(View(score.name, *images, psnr=score.psnr, ssim=score.ssim, lpips=score.lpips))
        small = max(1, round(view.size / FILM_PIXELS**0.5))
        film = self._film(lambda n: self._along("orbit", n, small), progress)
        return Shown(
            title=self.voxels.name,
            data={
                "grid": " x ".join(map(str, self.voxels.sizes)) + f" voxels, {self.voxels.n_bytes / 1e6:.1f} MB",
                "density": f"mean {self.survey.mean:.3g}, at most {self.survey.densest:.3g} per edge",
                "occupied": f"{self.survey.occupied_share:.1%} of {self.survey.peaks.shape[0]}^3 cells",
            },
            views=views,
            views_title="Rendered pictures",
            truth="grid",
            cameras=CameraPlot.from_c2w(cameras.c2w.numpy(), range(view.views), self.voxels.box.numpy()),
            video=film if film.is_file() else None,
        )

    def _along(self, path: str, frames: int, downscale: int) -> Cameras:
        if path == "train":
            raise BadOption("a volume has no photographs to pass; use --path orbit or a file with poses")
        size = self.config.view.size
        if downscale > size // 2:
            raise BadOption(f"nothing is left of pictures of {size} pixels at --downscale {downscale}")
        if path == "orbit":
            return ring(self.survey.box, frames, size // downscale)
        cameras = paths.load(Path(path))
        return cameras.scaled(1 / downscale) if downscale > 1 else cameras

    def _image(self, cameras: Cameras, index: int, truth: bool = False) -> Float[Tensor, "H W 3"]:
        width, height = cameras.sizes[index].tolist()
        return self.render_camera(cameras, index, truth=truth).rgb.reshape(height, width, 3).cpu()

    def lit(self, *, truth: bool = False, shadow_resolution: int | None = None) -> Lit:
        """The field, or the grid, under the light of the run's pictures.

        Args:
            truth: The grid.
            shadow_resolution: Cells along the longest edge of what holds the sun's light; the configuration's without.
        """
        medium, cells = self.voxels.sample if truth else self.medium, self.config.view.shadow_resolution
        shadows = cells if shadow_resolution is None else shadow_resolution
        return Lit(medium, self.occupancy, self.lighting, box=self.voxels.box, shadow_resolution=shadows)

    @cached_property
    def _lit_field(self) -> Lit:
        return self.lit()

    @cached_property
    def _lit_grid(self) -> Lit:
        return self.lit(truth=True)


def train(
    scene: str | Path,
    config: VolumeConfig | None = None,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    watch: session.Watch | None = None,
) -> VolumeRun:
    """Trains a field on a voxel grid, or goes on with the run in `out`; then scores it and writes a report.

    Raises:
        SceneFormatError: The grid cannot be used.
        TooLarge: It has to be read as a whole and does not fit, or the encoding's table does not.
        CheckpointError: The folder holds another run.
        DivergenceError: The loss became NaN or Inf.
        Interrupted: A signal came; the state is saved.
    """
    asked = config or VolumeConfig()
    voxels = load_voxels(scene, density_scale=asked.sampling.density_scale)
    return _train(voxels, asked, out or runs.default_folder(scene, VolumeRun.task), overwrite, progress, watch)


def volume(
    voxels: Voxels | str | Path,
    *,
    config: VolumeConfig | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    watch: session.Watch | None = None,
) -> VolumeRun:
    """Trains a field of density and albedo on a voxel grid.

    Args:
        voxels: A .npy or .npz file, or what `neural.scenes.volumes.voxels` gives for arrays of your own.
        config: Model, sampling, optimiser, pictures and run; the defaults suit the device.
        steps: In place of the configuration's.
        minutes: In place of the configuration's.
        out: Folder of the run; `runs/<name>-volume` without it. An existing run goes on.
        overwrite: Start anew.
        progress: Whether to draw progress bars.
        watch: Someone who looks on; see `neural.viewer.live.watch`.
    """
    asked = session.with_length(config or VolumeConfig(), steps, minutes)
    if not isinstance(voxels, Voxels):
        voxels = load_voxels(voxels, density_scale=asked.sampling.density_scale)
    folder = Path(out) if out is not None else runs.default_folder(voxels.path or voxels.name, VolumeRun.task)
    return _train(voxels, asked, folder, overwrite, progress, watch)


def load_volume(
    folder: Path, *, device: Literal["auto", "cpu", "cuda"] = "auto", scene: Voxels | None = None
) -> VolumeRun:
    """Takes up a trained volume; see `neural.load_run`."""
    config, identity = session.read_stored(folder, VolumeRun.task, VolumeConfig)
    if scene is None:
        if not Path(identity["scene"]).is_file():
            raise session.gone(folder, "grid", identity["scene"])
        scene = load_voxels(identity["scene"], density_scale=config.sampling.density_scale)
    seen = survey(scene, config.sampling.occupancy_resolution)
    if _identity(scene, seen)["grid"] != identity.get("grid"):
        raise CheckpointError(
            f"{folder}: {identity['scene']} is not the grid that was trained on: it is now "
            f"{_identity(scene, seen)['grid']}, and was {identity.get('grid')}; restore it"
        )
    return VolumeRun(folder, scene, seen, config, stored_field(folder, config, 3, 4, device))


def _train(
    voxels: Voxels, asked: VolumeConfig, folder: Path, overwrite: bool, progress: bool, watch: session.Watch | None
) -> VolumeRun:
    if not overwrite:
        asked = session.as_long_as_stored(asked, folder)
    config = resolve(asked, session.choose_device(asked.run.device), max(voxels.sizes))
    seen = survey(voxels, config.sampling.occupancy_resolution)
    device = torch.device(config.run.device)
    occupancy = cache(lambda: _occupancy(seen, config, device))  # the same for all that look on

    def build() -> VolumeTask:
        field = build_field(config.model, 3, 4, seed=config.run.seed)
        return VolumeTask(field, _near(voxels, device), seen, config, device, _quick_look(voxels.box, seen, config))

    return session.train(
        config, folder, {"task": VolumeRun.task, **_identity(voxels, seen)}, check=lambda: None, build=build,
        finish=lambda task: VolumeRun(folder, voxels, seen, config, task.averaged_field(), occupancy()),
        announce=lambda: f"{session.headline(_described(voxels, seen), config, folder)}\n{_chosen(config)}",
        overwrite=overwrite, progress=progress, watch=watch,
    )  # fmt: skip


def _identity(voxels: Voxels, seen: Survey) -> dict[str, Any]:
    """Where the grid came from, and what tells it from another in the same place."""
    return {
        "scene": str(voxels.path.resolve()) if voxels.path is not None else voxels.name,
        "grid": {
            "sizes": list(voxels.sizes), "densest": seen.densest, "mean": seen.mean, "mean_square": seen.mean_square
        },
    }  # fmt: skip


def _near(voxels: Voxels, device: torch.device) -> Voxels:
    """The grid on a GPU, where it takes no more than a quarter of what is free there; else where it is."""
    if device.type == "cpu" or 4 * voxels.n_bytes > memory.available(device):
        return voxels
    return voxels.to(device)


def _quick_look(box: Float[Tensor, "2 3"], seen: Survey, config: VolumeConfig) -> Picture:
    device, lighting = torch.device(config.run.device), _lighting(config)
    occupancy = occupancy_of(seen.peaks, FAINT, steps=SMALL, device=device)
    camera = around(seen.box, 1, SMALL, elevations=(20.0, 20.0)).to(device, torch.float32)

    def picture(medium: Medium) -> Tensor:
        lit = Lit(medium, occupancy, lighting, box=box, shadow_resolution=SMALL_SHADOWS)
        return render_picture(lit, camera, 0, occupancy).rgb.cpu().reshape(SMALL, SMALL, 3)

    return picture


def _occupancy(seen: Survey, config: VolumeConfig, device: torch.device) -> OccupancyGrid:
    return occupancy_of(seen.peaks, FAINT, steps=config.view.steps_per_edge, device=device)


def _lighting(config: VolumeConfig) -> Lighting:
    return Lighting(azimuth=config.view.sun_azimuth, elevation=config.view.sun_elevation)


def _names(n: int) -> list[str]:
    return [f"view {index + 1}" for index in range(n)]


def _described(voxels: Voxels, seen: Survey) -> str:
    sizes = " x ".join(map(str, voxels.sizes))
    return f"{voxels.name}: {sizes} voxels of density up to {seen.densest:.3g} / edge (mean {seen.mean:.3g})"


def _chosen(config: VolumeConfig) -> str:
    """The values that were chosen, in one line."""
    sampling = config.sampling
    return (
        f"chosen: {describe_encoding(config.model)}; {sampling.points} points a step, {sampling.occupied_share:.0%} of "
        "them where the grid holds anything"
    )
