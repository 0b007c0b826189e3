"""Signed distances from the outside: train a field on a mesh, take a run up again, score it, show it, mesh it."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural import evaluate_sdf, metrics, paths, runs
from neural.cameras import Cameras
from neural.errors import BadOption, CheckpointError
from neural.evaluate_sdf import SdfScores
from neural.meshing import march
from neural.report import View
from neural.scenes import solid as solids
from neural.scenes.files import mesh as meshes
from neural.scenes.files.mesh import Mesh
from neural.scenes.mesh_distance import MeshDistance, inside_of_grid, refuse_hollow
from neural.scenes.solid import Solid
from neural.train import session
from neural.train.draws import step_generator
from neural.train.film import FilmedRun, to_bytes
from neural.train.tasks.field.encoding_config import describe_encoding
from neural.train.tasks.field.encodings import build_field
from neural.train.tasks.field.run import FieldRun, look_up, stored_field
from neural.train.tasks.sdf import pictures
from neural.train.tasks.sdf.config import SdfConfig, resolve
from neural.train.tasks.sdf.samples import SurfacePoints
from neural.train.tasks.sdf.task import SdfTask
from neural.train.trained import Shown

SCORING_STREAM = 4
N_SCORED = 1 << 16  # points of each kind
FILM_SIZE = 240  # pixels along each side of the film in the report
SIZE = 800  # pixels of a rendered frame


class SdfRun(FieldRun, FilmedRun):
    """A trained signed distance field with its mesh and folder.

    Called with points, it gives signed distances, in the mesh's own frame and unit.

    Attributes:
        folder: Where everything of the run lies.
        config: Resolved.
        field: Points of the unit cube to distances in its sides (averaged weights, where averaging is on).
        solid: The mesh, mended, with its place in the unit cube.
    """

    task = "sdf"
    kind = "signed distance field"
    exports = (".ply", ".obj", ".glb")
    film_patience = 10.0
    film_frames = (12, 36)

    def __init__(
        self, folder: Path, solid: Solid, config: SdfConfig, field: nn.Module, distance: MeshDistance | None = None
    ) -> None:
        self.folder, self.solid, self.config, self.field = folder, solid, config, field
        self._mesh_distance = distance
        self._written: dict[Path, tuple[int, int]] = {}  # corners and triangles of exports

    def __call__(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
        """Signed distances, negative inside. The field ends at its cube: points beyond have their nearest point's
        distance and the way from it, which is never less than the distance itself."""
        unit = self.solid.to_unit(points)
        within = unit.clip(0, 1)
        beyond = np.linalg.norm(unit - within, axis=1)
        return (self.distance(torch.from_numpy(within).float()).numpy() + beyond) * self.solid.side

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """The field at points of the unit cube, in its sides; tensors of the CPU."""
        return look_up(self.field, points)[:, 0]

    @property
    def mesh_distance(self) -> MeshDistance:
        """Exact distances to the mesh, in the unit cube (extra [mesh])."""
        if self._mesh_distance is None:
            self._mesh_distance = MeshDistance(self.solid, self.config.sampling.sign)
        return self._mesh_distance

    def evaluate(self, *, resolution: int | None = None, progress: bool = True) -> SdfScores:
        """Scores the field; also written to RUN/eval.json.

        Args:
            resolution: Cells along each side of the grid for the IoU, a multiple of 8; the configuration's without it.
            progress: Whether to draw progress bars.

        Raises:
            BadOption: Another resolution.
            BackendUnavailable: Open3D is not there.
        """
        true, resolution = self.mesh_distance, resolution or self.config.view.resolution
        try:
            inside = inside_of_grid(true, resolution)
        except ValueError as error:
            raise BadOption(f"--resolution: {error}") from error
        generator = step_generator(self.config.run.seed, 0, SCORING_STREAM)
        on, faced = SurfacePoints(true).draw_with_normals(N_SCORED, generator)
        near = on + self.config.sampling.near_sigma * torch.randn(N_SCORED, 3, generator=generator)
        anywhere = torch.rand(N_SCORED // 4, 3, generator=generator)
        scores = SdfScores(
            iou=evaluate_sdf.overlap(self.distance, inside, progress=progress), resolution=resolution,
            mae_near=self._error(near.clamp(0, 1)), mae_anywhere=self._error(anywhere),
            mae_surface=float(self.distance(on).abs().double().mean()),
            normals=evaluate_sdf.normal_error(self.distance, on, faced), unit=self.solid.side, sign=true.sign,
        )  # fmt: skip
        scores.write(self.folder)
        return scores

    def picture(
        self, cameras: Cameras, index: int = 0, *, background: Literal["white", "black"] = "white"
    ) -> Float[Tensor, "H W 3"]:
        """A sphere-traced picture, sRGB; cameras in the frame of the unit cube (`neural.train.tasks.sdf.pictures`)."""
        width, height = cameras.sizes[index].tolist()
        return pictures.picture_of_field(self.distance, cameras, index, background).rgb.reshape(height, width, 3)

    def into_unit(self, cameras: Cameras) -> Cameras:
        """Cameras of the mesh's own frame in that of the unit cube."""
        c2w = cameras.c2w.clone()
        c2w[:, :3, 3] = torch.from_numpy(self.solid.to_unit(c2w[:, :3, 3].numpy()))
        return replace(cameras, c2w=c2w)

    def export(self, path: Path, *, resolution: int = 256) -> Path:
        """Writes the surface as a mesh (.ply or .obj) in the frame of the mesh that it was trained on.

        Args:
            path: Its ending decides the format.
            resolution: Cells of the unit cube along each side.

        Raises:
            BadOption: No cells, or no surface.
            BackendUnavailable: scikit-image is not there.
            NotSaved: The disk refuses.
        """
        if not 2 <= resolution <= 4096:
            raise BadOption(f"--resolution must be between 2 and 4096, got {resolution}")
        vertices, faces = march(self.distance, resolution)
        if not len(faces):
            raise BadOption(f"there is no surface at --resolution {resolution}: train longer, or choose a finer one")
        self._written[Path(path)] = len(vertices), len(faces)
        return meshes.write(Path(path), self.solid.from_unit(vertices), faces)

    def exported(self, path: Path) -> str:
        """See `TrainedRun`."""
        corners, triangles = self._written[path]
        return f"{corners:,} corners, {triangles:,} triangles, {path.stat().st_size / 1e6:.1f} MB, in {path}"

    def show(self, scores: SdfScores | None, *, progress: bool = True) -> Shown:
        """See `TrainedRun`."""
        solid = self.solid
        box = np.ptp(solid.vertices, axis=0)
        data = {
            "corners": f"{len(solid.vertices):,}",
            "faces": f"{len(solid.faces):,}",
            "borders": "closed" if solid.closed else f"{len(solid.open_edges):,} open edges",
            "inside": f"by {self.mesh_distance.sign}",
            "size": " x ".join(f"{side:.4g}" for side in box),
            "unit cube": f"side {solid.side:.4g}",
        }
        size = min(FILM_SIZE, self.config.view.size)
        film = self._film(lambda n: pictures.turntable(solid, n, size), progress)
        return Shown(solid.name, data, self._views(), "Turntable", "mesh", None, film, warnings=solid.repairs)

    def _views(self) -> list[View]:
        view = self.config.view
        cameras = pictures.turntable(self.solid, view.views, view.size)
        views = []
        for index in range(view.views):
            image = self.picture(cameras, index)
            true = pictures.picture_of_mesh(self.mesh_distance, cameras, index).rgb.reshape(image.shape)
            views.append(View(
                f"{360 * index // view.views} degrees", to_bytes(image), to_bytes(true), psnr=metrics.psnr(image, true),
                ssim=metrics.ssim(image, true),
            ))  # fmt: skip
        return views

    def _along(self, path: str, frames: int, downscale: int) -> Cameras:
        if path == "train":
            raise BadOption("--path train: a signed distance has no photographs; use --path orbit or a file")
        if path != "orbit":
            cameras = self.into_unit(paths.load(Path(path)))
            return cameras.scaled(1 / downscale) if downscale > 1 else cameras
        if SIZE // downscale < 2:
            raise BadOption(f"nothing is left of the pictures at --downscale {downscale}")
        return pictures.turntable(self.solid, frames, SIZE // downscale)

    def _image(self, cameras: Cameras, index: int) -> Float[Tensor, "H W 3"]:
        return self.picture(cameras, index)

    def _error(self, points: Float[Tensor, "N 3"]) -> float:
        true = torch.from_numpy(self.mesh_distance.signed(points.numpy()))
        return float((self.distance(points) - true).abs().double().mean())


def train(
    path: str | Path,
    config: SdfConfig | None = None,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    watch: session.Watch | None = None,
) -> SdfRun:
    """Trains a signed distance field on a mesh file, or goes on with the run in `out`; see `sdf`."""
    return sdf(path, config=config, out=out, overwrite=overwrite, progress=progress, watch=watch)


def sdf(
    mesh: str | Path | Mesh,
    *,
    config: SdfConfig | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    watch: session.Watch | None = None,
) -> SdfRun:
    """Trains a signed distance field on a mesh, or goes on with the run in `out`; then scores it and writes a report.

    Args:
        mesh: File (.obj, or .ply with faces), or a mesh made in Python.
        config: The defaults suit the device.
        steps: In place of the configuration's.
        minutes: In place of the configuration's.
        out: Folder of the run; `runs/<mesh>-sdf` without it.
        overwrite: Start anew.
        progress: Whether to draw progress bars.
        watch: Someone who looks on; see `neural.viewer.live.watch`.

    Raises:
        SceneFormatError: The mesh cannot be used.
        BackendUnavailable: Open3D is not there.
        CheckpointError: The folder holds another run.
        DivergenceError: The loss became NaN or Inf.
        Interrupted: A signal came; the state is saved.
    """
    asked = session.with_length(config or SdfConfig(), steps, minutes)
    source = "mesh" if isinstance(mesh, Mesh) else str(Path(mesh).resolve())
    folder = Path(out) if out is not None else runs.default_folder(source, SdfRun.task)
    if not overwrite:
        asked = session.as_long_as_stored(asked, folder)
    resolved = resolve(asked, session.choose_device(asked.run.device))
    triangles = mesh if isinstance(mesh, Mesh) else meshes.read(Path(source))
    solid = solids.build(triangles, source if isinstance(mesh, Mesh) else Path(source))
    distance = MeshDistance(solid, resolved.sampling.sign)

    def build() -> SdfTask:
        field = build_field(resolved.model, 3, 1, seed=resolved.run.seed)
        return SdfTask(field, distance, resolved, torch.device(resolved.run.device))

    def check() -> None:
        points = SurfacePoints(distance).draw(1 << 12, step_generator(0, 0))
        offsets = resolved.sampling.near_sigma * torch.randn(points.shape, generator=step_generator(0, 1))
        refuse_hollow(distance, (points + offsets).numpy())

    def announce() -> str:
        line = f"{solid.name}: {len(solid.vertices):,} corners, {len(solid.faces):,} faces, inside by {distance.sign}"
        border = "" if solid.closed else f" ({len(solid.open_edges):,} open edges)"
        mended = "".join(f"\nmended: {repair}" for repair in solid.repairs)
        return f"{session.headline(line + border, resolved, folder)}{mended}\n{_chosen(resolved)}"

    def finish(task: SdfTask) -> SdfRun:
        return SdfRun(folder, solid, resolved, task.averaged_field(), distance)

    return session.train(
        resolved, folder, {"task": SdfRun.task, "scene": source, "digest": _digest(triangles)}, check=check,
        build=build, finish=finish, announce=announce, overwrite=overwrite, progress=progress, watch=watch,
    )  # fmt: skip


def load_sdf(folder: Path, *, device: Literal["auto", "cpu", "cuda"] = "auto", scene: Mesh | None = None) -> SdfRun:
    """Takes up a trained signed distance field; see `neural.load_run`. `scene`: the mesh, if it was made in Python."""
    config, identity = session.read_stored(folder, SdfRun.task, SdfConfig)
    source = str(identity["scene"])
    triangles = scene if scene is not None else _read_again(folder, source)
    if _digest(triangles) != identity.get("digest"):
        raise CheckpointError(
            f"{folder}: {source} is not the mesh that was trained; restore it, or pass load_run(..., scene=) if it was "
            "made in Python"
        )
    solid = solids.build(triangles, source if scene is not None else Path(source))
    return SdfRun(folder, solid, config, stored_field(folder, config, 3, 1, device))


def _read_again(folder: Path, source: str) -> Mesh:
    if not Path(source).is_file():
        raise session.gone(folder, "mesh", source)
    return meshes.read(Path(source))


def _digest(mesh: Mesh) -> str:
    """Of corners and faces, to tell a mesh from another in the same place."""
    state = hashlib.blake2b(np.ascontiguousarray(mesh.vertices, "<f8").tobytes(), digest_size=16)
    state.update(np.ascontiguousarray(mesh.faces, "<i8").tobytes())
    return state.hexdigest()


def _chosen(config: SdfConfig) -> str:
    """The values that were chosen, in one line."""
    sampling = config.sampling
    return (
        f"chosen: {describe_encoding(config.model)}, {sampling.batch_size:,} points a step, "
        f"{sampling.near_sigma:g} of the cube about the surface"
    )
