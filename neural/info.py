"""`neural info PATH`: what a capture, a picture, a voxel grid, a Gaussian scene or a run holds, in aligned lines."""

import json
import math
from pathlib import Path
from typing import Any

from neural import checkpoint, runs
from neural.errors import SceneFormatError
from neural.scenes.pictures.picture import SUFFIXES as PICTURES
from neural.scenes.volumes.header import is_grid


def describe(path: str | Path) -> str:
    """Text for a run's folder, or for any capture or Gaussian scene that can be read.

    Raises:
        SceneFormatError: If there is nothing there, or no reader knows it.
    """
    path = Path(path)
    if not path.exists():
        raise SceneFormatError(path, "there is no such file or folder")
    if (path / runs.CONFIG).is_file():
        rows = _run(path)
    else:
        is_picture = path.is_file() and path.suffix.lower() in PICTURES
        read = _grid if is_grid(path) else _picture if is_picture else _gaussians if _is_gaussian(path) else _scene
        rows = read(path)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _run(path: Path) -> list[tuple[str, str]]:
    config = runs.flatten(runs.read_config(path))
    step = checkpoint.latest_step(path)
    of = f" of {config[runs.STEPS]}" if config.get(runs.STEPS) else ""
    rows = [
        ("run", str(path)),
        ("scene", str(config.get("scene", "unknown"))),
        ("trained", f"{step}{of} steps" if step is not None else "no checkpoint yet"),
    ]
    try:
        rows.append(("scores", str(json.loads((path / "eval.json").read_text("utf-8"))["summary"])))
    except FileNotFoundError:
        rows.append(("scores", f"none yet; neural eval {path}"))
    except (OSError, ValueError, KeyError, TypeError):
        rows.append(("scores", f"eval.json cannot be read; neural eval {path} writes it anew"))
    return rows + [(name, str(value)) for name, value in config.items() if name != "scene"]


def _picture(path: Path) -> list[tuple[str, str]]:
    from neural.scenes.pictures.picture import probe

    header = probe(path)
    return [
        ("picture", str(path)),
        ("size", f"{header.width} x {header.height}, {header.width * header.height / 1e6:.1f} megapixels"),
        ("values", f"{header.dtype}, {'linear light' if header.linear else 'sRGB'}"),
        ("channels", f"{header.channels}{', the last one alpha' if header.alpha else ''}"),
        ("decoded", f"{header.n_bytes / 1e6:.1f} MB"),
    ] + [("warning", warning) for warning in header.warnings]


def _is_gaussian(path: Path) -> bool:
    from neural.scenes.files.gaussians import formats

    return path.is_file() and formats.holds_gaussians(path)


def _gaussians(path: Path) -> list[tuple[str, str]]:
    import numpy as np

    from neural.scenes.files.gaussians import formats, packing
    from neural.scenes.files.gaussians.sog_files import META

    record = formats.read(path)
    low, high = record.means.min(axis=0).tolist(), record.means.max(axis=0).tolist()
    most_low, most_high = np.quantile(record.means, [0.01, 0.99], axis=0).tolist()
    scales = np.exp(np.quantile(record.log_scales, [0.01, 0.5, 0.99]))
    opacities = packing.opacities(record.opacity_logits)
    rows = [("Gaussians", f"{len(record):,} ({path})")]
    if path.name.lower() != META:  # beside which the rest of it lies
        size = path.stat().st_size
        rows.append(("file", f"{size / 1e6:.2f} MB, {size / len(record):.1f} bytes a Gaussian"))
    return [
        *rows,
        ("colours", f"spherical harmonics of degree {record.sh_degree}"),
        ("antialiased", "yes" if record.antialiased else "no"),
        ("box", _box(low, high)),
        ("98 % in", _box(most_low, most_high)),
        ("scales", f"median {scales[1]:.3g}, 98 % from {scales[0]:.3g} to {scales[2]:.3g} units"),
        ("opacities", f"mean {opacities.mean():.3g}, {(opacities < 0.05).mean():.1%} below 0.05"),
    ]


def _grid(path: Path) -> list[tuple[str, str]]:
    from neural.scenes.volumes.survey import survey
    from neural.scenes.volumes.voxels import load_voxels

    voxels = load_voxels(path)
    found = survey(voxels, 64)
    low, high = voxels.box.tolist()
    return [
        ("voxel grid", str(path)),
        ("size", " x ".join(map(str, voxels.sizes)) + f" voxels, {voxels.n_bytes / 1e6:.1f} MB"),
        ("values", f"{str(voxels.density.dtype).removeprefix('torch.')}, {voxels.contents}"),
        ("box", _box(low, high)),
        ("density", f"mean {found.mean:.4g}, at most {found.densest:.4g} per edge"),
        ("occupied", f"{found.occupied_share:.1%} of 64^3 cells"),
    ]


def _scene(path: Path) -> list[tuple[str, str]]:
    from neural.scenes.load import load

    scene = load(path)
    cameras = scene.cameras
    low, high = scene.aabb.tolist()
    splits = ", ".join(f"{name} {len(indices)}" for name, indices in scene.splits.items())
    rows = [
        ("scene", f"{scene.name} ({path})"),
        ("images", f"{len(cameras)}: {splits}"),
        ("sizes", _sizes(cameras.sizes.tolist())),
        ("points", str(len(scene.points.xyz)) if scene.points is not None else "none"),
        ("box", _box(low, high) + (", unbounded" if scene.unbounded else "")),
        ("extent", f"{float(scene.extent):.4g} scene units"),
    ]
    if scene.metres_per_unit is not None:
        rows.append(("scale", f"{scene.metres_per_unit:g} m per unit"))
    if scene.crs is not None:
        rows.append(("CRS", scene.crs))
    if scene.background is not None:
        rows.append(("background", scene.background))
    return rows + [("warning", warning) for warning in scene.warnings]


def _sizes(sizes: list[Any]) -> str:
    distinct = sorted({tuple(size) for size in sizes})
    shown = ", ".join(f"{width}x{height}" for width, height in distinct[:4])
    return shown + (f" and {len(distinct) - 4} more" if len(distinct) > 4 else "")


def _box(low: list[float], high: list[float]) -> str:
    """Both corners to a thousandth of the longest side, however far from the origin they are."""
    places = 3 - math.floor(math.log10(max(b - a for a, b in zip(low, high, strict=True)) or 1.0))
    corners = (", ".join(f"{round(value, places) + 0.0:.15g}" for value in corner) for corner in (low, high))
    return " to ".join(f"({corner})" for corner in corners)
