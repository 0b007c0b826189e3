"""What `neural info` says of a capture, of Gaussians and of photographs without cameras, a pair of words a line."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from neural.arrangement import camera_radius, focus_point
from neural.cameras import CAMERA_MODELS, Cameras
from neural.errors import SceneFormatError
from neural.overview.contents import UNUSED, Overview, axis_name, levelled
from neural.scenes import photos
from neural.scenes.capture import Points
from neural.scenes.files.gaussians import axes, formats, packing
from neural.scenes.files.gaussians.record import Placement, SplatRecord
from neural.scenes.files.mesh import Mesh
from neural.scenes.scene import Scene

Row = tuple[str, str]


def of_scene(scene: Scene, path: Path) -> list[Row]:
    """A capture: what it is, its images, lenses, points, frame, and what its reader noticed."""
    cameras = scene.cameras
    low, high = scene.aabb.tolist()
    splits = ", ".join(f"{name} {len(indices)}" for name, indices in scene.splits.items())
    _, agreement = focus_point(cameras)
    moved = not np.allclose(scene.world_to_scene, np.eye(4))
    rows = [
        ("scene", f"{scene.name} ({path})"),
        ("format", scene.format or "made in memory"),
        ("images", f"{len(cameras)}: {splits}"),
        ("sizes", _sizes(cameras.sizes.tolist())),
        ("lenses", _lenses(cameras)),
        ("masks", "none" if scene.masks is None else f"{len(scene.masks)}"),
        ("points", "none" if scene.points is None else _points(scene.points, cameras)),
        ("box", box(low, high) + (", unbounded" if scene.unbounded else "")),
        ("extent", f"{float(scene.extent):.4g} scene units"),
        ("cameras", f"within {camera_radius(cameras):.4g} units; {agreement:.0%} look at one point"),
        ("up", f"{axis_name(levelled(scene.up))}, as the {'files say' if scene.says_up else 'cameras are held'}"),
        ("frame", "the files say that the scene was moved; exports undo it" if moved else "that of the files"),
        ("scale", "unknown" if scene.metres_per_unit is None else f"{scene.metres_per_unit:g} m per unit"),
    ]
    if scene.crs is not None:
        rows.append(("CRS", scene.crs))
    if scene.background is not None:
        rows.append(("background", scene.background))
    return rows + [("warning", warning) for warning in scene.warnings]


def left_out(overview: Overview) -> list[Row]:
    """Photographs that lie beside those of the capture and have no camera."""
    idle = [photograph.name for photograph in overview.photographs if photograph.split == UNUSED]
    return [("unused", f"{len(idle)} photographs without a camera: {_some(idle)}")] if idle else []


def of_photographs(path: Path, files: Sequence[Path]) -> list[Row]:
    """A folder of photographs."""
    sizes, broken = [], []
    for file in files:
        try:
            info = photos.probe(file)
            sizes.append((info.width, info.height))
        except SceneFormatError:
            broken.append(file.name)
    rows = [
        ("photographs", f"{len(files)} ({path})"),
        ("sizes", _sizes(sizes) if sizes else "none"),
        ("cameras", f"none; neural reconstruct {path} finds them"),
    ]
    return rows + ([("warning", f"{len(broken)} cannot be read: {_some(broken)}")] if broken else [])


def of_gaussians(record: SplatRecord, path: Path) -> list[Row]:
    """A Gaussian scene, in the axes that its file says."""
    low, high = record.means.min(axis=0).tolist(), record.means.max(axis=0).tolist()
    most_low, most_high = np.quantile(record.means, [0.01, 0.99], axis=0).tolist()
    scales = np.exp(np.quantile(record.log_scales, [0.01, 0.5, 0.99]))
    opacities = packing.opacities(record.opacity_logits)
    named = record.placement.axes
    rows = [("Gaussians", f"{len(record):,} ({path})")]
    if not path.name.lower().endswith(formats.INDICES):  # beside which the rest of it lies
        size = path.stat().st_size
        rows.append(("file", f"{size / 1e6:.2f} MB, {size / len(record):.1f} bytes a Gaussian"))
    return [
        *rows,
        ("colours", f"spherical harmonics of degree {record.sh_degree}"),
        ("antialiased", "yes" if record.antialiased else "no"),
        ("axes", f"{named}: {axis_name(axes.up(named))} is up; of these numbers, and of those of edits"),
        ("box", box(low, high)),
        ("98 % in", box(most_low, most_high)),
        ("scales", f"median {scales[1]:.3g}, 98 % from {scales[0]:.3g} to {scales[2]:.3g} units"),
        ("opacities", f"mean {opacities.mean():.3g}, {(opacities < 0.05).mean():.1%} below 0.05"),
        *_placement(record.placement),
    ]


def of_mesh(mesh: Mesh, path: Path) -> list[Row]:
    """Triangles."""
    vertices = mesh.vertices
    return [
        ("mesh", f"{len(mesh.faces):,} triangles, {len(vertices):,} corners ({path})"),
        ("box", box(vertices.min(axis=0).tolist(), vertices.max(axis=0).tolist())),
    ]


def of_points(xyz: Float64[np.ndarray, "P 3"], path: Path) -> list[Row]:
    """Points of a file, at least one."""
    return [
        ("points", f"{len(xyz):,} ({path})"),
        ("box", box(xyz.min(axis=0).tolist(), xyz.max(axis=0).tolist())),
    ]


def box(low: Sequence[float], high: Sequence[float]) -> str:
    """Both corners to a thousandth of the longest side, however far from the origin they are."""
    places = 3 - math.floor(math.log10(max(b - a for a, b in zip(low, high, strict=True)) or 1.0))
    corners = (", ".join(f"{round(value, places) + 0.0:.15g}" for value in corner) for corner in (low, high))
    return " to ".join(f"({corner})" for corner in corners)


def _placement(placement: Placement) -> list[Row]:
    """Where the file says that it lies."""
    rows = []
    if placement.metres_per_unit is not None:
        rows.append(("scale", f"{placement.metres_per_unit:g} m per unit"))
    if placement.crs is not None:
        rows.append(("CRS", placement.crs))
    if any(placement.offset):
        taken = ", ".join(f"{value:.15g}" for value in placement.offset)
        rows.append(("offset", f"({taken}), taken off these numbers"))
    return rows


def _points(points: Points, cameras: Cameras) -> str:
    """How many, and how far from where they were seen they are projected: what proves conventions."""
    seen = points.observations
    if seen is None or not len(seen.points):
        return f"{len(points):,}"
    errors = []
    for camera in np.unique(seen.cameras):
        rows = seen.cameras == camera
        pixels, _ = cameras.project(torch.from_numpy(points.xyz[seen.points[rows]]), int(camera))
        errors.append(np.linalg.norm(pixels.numpy() - seen.pixels[rows], axis=1))
    median = float(np.nanmedian(np.concatenate(errors)))
    return f"{len(points):,}, seen {len(seen.points):,} times, projected to {median:.2f} px of there (median)"


def _lenses(cameras: Cameras) -> str:
    """Kinds of lenses, and how wide they see, across."""
    kinds = Counter(CAMERA_MODELS[model] for model in cameras.models.tolist())
    named = ", ".join(name if len(kinds) == 1 else f"{count} {name}" for name, count in sorted(kinds.items()))
    wide = torch.rad2deg(2 * torch.atan(cameras.sizes[:, 0] / 2 / cameras.intrinsics[:, 0]))
    low, high = float(wide.min()), float(wide.max())
    spread = f"{low:.1f}" if high - low < 0.05 else f"{low:.1f} to {high:.1f}"
    if kinds.keys() != {"fisheye"}:
        return f"{named}, {spread} degrees across"
    angle = torch.rad2deg(cameras.sizes[:, 0] / cameras.intrinsics[:, 0])
    return f"{named}, about {float(angle.median()):.0f} degrees across"


def _sizes(sizes: Sequence[Sequence[int]]) -> str:
    distinct = sorted({tuple(size) for size in sizes})
    shown = ", ".join(f"{width}x{height}" for width, height in distinct[:4])
    return shown + (f" and {len(distinct) - 4} more" if len(distinct) > 4 else "")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
