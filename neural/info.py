"""`neural info PATH`: what a capture, a picture, a voxel grid, a Gaussian scene or a run holds, said and drawn."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neural import checkpoint, runs
from neural.errors import BadOption, NotSaved, SceneFormatError
from neural.scenes.pictures.picture import SUFFIXES as PICTURES
from neural.scenes.volumes.header import is_grid

if TYPE_CHECKING:
    from neural.overview.contents import Overview

DRAWINGS = (".png", ".html")
MESHES = (".obj", ".ply")
Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Found:
    """What a path holds.

    Args:
        rows: What to say of it, two texts a line.
        overview: What to draw of it, which may take reading; None for what has no places.
    """

    rows: Rows
    overview: "Callable[[], Overview] | None" = None

    @property
    def text(self) -> str:
        """The rows, aligned."""
        width = max(len(name) for name, _ in self.rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.rows)


def describe(path: str | Path) -> str:
    """Text for a run's folder, or for any capture or Gaussian scene that can be read.

    Raises:
        SceneFormatError: If there is nothing there, or no reader knows it.
    """
    return find(path).text


def find(path: str | Path) -> Found:
    """What is there.

    Raises:
        SceneFormatError: As for `describe`.
    """
    path = Path(path)
    if not path.exists():
        raise SceneFormatError(path, "there is no such file or folder")
    if (path / runs.CONFIG).is_file():
        return _run(path)
    if is_grid(path):
        return Found(_grid(path))
    if path.is_file() and path.suffix.lower() in PICTURES:
        return Found(_picture(path))
    index = _gaussian_file(path)
    if index is not None:
        return _gaussians(index)
    if path.is_file() and path.suffix.lower() in MESHES:
        return Found(_mesh(path))
    return _scene(path)


def draw(found: Found, path: str | Path, *, progress: bool = False) -> None:
    """Draws cameras and points: a picture from above and from the side, or a page that turns, with all photographs.

    Args:
        found: What `find` gave.
        path: A `.png` or a `.html`; replaced if it is there.
        progress: Whether to show a bar while photographs are read.

    Raises:
        BadOption: Another ending, or something that has neither cameras nor points.
        NotSaved: The disk refuses.
    """
    path = Path(path)
    if path.suffix.lower() not in DRAWINGS:
        raise BadOption(f"a drawing must end in {' or '.join(DRAWINGS)}, got {path}")
    if found.overview is None:
        raise BadOption(f"{found.rows[0][0]} {found.rows[0][1]}: nothing with cameras or points to draw")
    overview = found.overview()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".html":
            from neural.overview import page

            page.write(overview, path, progress=progress)
        else:
            from neural.overview import plan

            if not len(overview.c2w) and not len(overview.points):
                raise BadOption(
                    f"{overview.title} has no cameras and no points; {path.stem}.html shows its photographs"
                )
            plan.draw(overview, path)
    except OSError as error:
        raise NotSaved(f"{path}: cannot be written: {error.strerror}") from error


def _run(path: Path) -> Found:
    config = runs.flatten(runs.read_config(path))
    step = checkpoint.latest_step(path)
    of = f" of {config[runs.STEPS]}" if config.get(runs.STEPS) else ""
    source = config.get("scene", "unknown")
    rows = [
        ("run", str(path)),
        ("scene", str(source)),
        ("trained", f"{step}{of} steps" if step is not None else "no checkpoint yet"),
    ]
    try:
        rows.append(("scores", str(json.loads((path / "eval.json").read_text("utf-8"))["summary"])))
    except FileNotFoundError:
        rows.append(("scores", f"none yet; neural eval {path}"))
    except (OSError, ValueError, KeyError, TypeError):
        rows.append(("scores", f"eval.json cannot be read; neural eval {path} writes it anew"))
    rows += [(name, str(value)) for name, value in config.items() if name != "scene"]

    def overview() -> "Overview":
        trained_on = _scene(Path(str(source)))
        assert trained_on.overview is not None
        return trained_on.overview()

    return Found(rows, overview if config.get("task") in ("splats", "radiance") else None)


def _picture(path: Path) -> Rows:
    from neural.scenes.pictures.picture import probe

    header = probe(path)
    return [
        ("picture", str(path)),
        ("size", f"{header.width} x {header.height}, {header.width * header.height / 1e6:.1f} megapixels"),
        ("values", f"{header.dtype}, {'linear light' if header.linear else 'sRGB'}"),
        ("channels", f"{header.channels}{', the last one alpha' if header.alpha else ''}"),
        ("decoded", f"{header.n_bytes / 1e6:.1f} MB"),
    ] + [("warning", warning) for warning in header.warnings]


def _gaussian_file(path: Path) -> Path | None:
    from neural.scenes.files.gaussians import formats

    if path.is_dir():
        return formats.index_in(path)
    return path if formats.holds_gaussians(path) else None


def _mesh(path: Path) -> Rows:
    from neural.overview import facts
    from neural.scenes.files import mesh, ply

    if path.suffix.lower() == ".obj" or ply.read_layout(path).get("face", (0, ()))[0]:
        return facts.of_mesh(mesh.read(path), path)
    xyz, _ = ply.read_points(path)
    if not len(xyz):
        raise SceneFormatError(path, "has no points")
    return facts.of_points(xyz, path)


def _gaussians(path: Path) -> Found:
    from neural.overview import facts
    from neural.overview.contents import Overview
    from neural.scenes.files.gaussians import axes, formats

    record = axes.own(formats.read(path))
    rows = facts.of_gaussians(record, path)
    return Found(rows, lambda: Overview.of_gaussians(path.name, record, rows))


def _grid(path: Path) -> Rows:
    from neural.overview import facts
    from neural.scenes.volumes.survey import survey
    from neural.scenes.volumes.voxels import load_voxels

    voxels = load_voxels(path)
    found = survey(voxels, 64)
    low, high = voxels.box.tolist()
    return [
        ("voxel grid", str(path)),
        ("size", " x ".join(map(str, voxels.sizes)) + f" voxels, {voxels.n_bytes / 1e6:.1f} MB"),
        ("values", f"{str(voxels.density.dtype).removeprefix('torch.')}, {voxels.contents}"),
        ("box", facts.box(low, high)),
        ("density", f"mean {found.mean:.4g}, at most {found.densest:.4g} per edge"),
        ("occupied", f"{found.occupied_share:.1%} of 64^3 cells"),
    ]


def _scene(path: Path) -> Found:
    from neural.overview import facts
    from neural.overview.contents import Overview
    from neural.scenes.formats import detect
    from neural.scenes.load import load

    if path.is_file() and not detect.knows(path):
        raise SceneFormatError(
            path,
            "no file that is known here: there may be the list of cameras of a capture, Gaussians, points or a mesh, "
            "a picture, a voxel grid; or the folder of a run, a capture or photographs",
        )
    pictures = detect.photographs_without_cameras(path)
    if pictures:
        rows = facts.of_photographs(path, pictures)
        return Found(rows, lambda: Overview.of_photographs(path.absolute().name, pictures, rows))
    scene = load(path)
    rows = facts.of_scene(scene, path)
    overview = Overview.of_scene(scene, rows)
    rows += facts.left_out(overview)
    return Found(rows, lambda: overview)
