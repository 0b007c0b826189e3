"""Camera paths for videos: an orbit, a flight along the photographs, or a path kept in a JSON file.

A path is plain `Cameras`: one pinhole camera per frame, with the lens of the first photograph unless told
otherwise.
"""

import json
import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float64

from neural.arrangement import camera_radius, focus_point, up_direction
from neural.cameras import Cameras
from neural.errors import SceneFormatError
from neural.poses import look_at, nearest_rigid, quarter_turns, quat_from_rotation, rotation_from_quat, slerp

_MAX_FRAMES = 1_000_000


def orbit(
    cameras: Cameras,
    n_frames: int = 120,
    *,
    focus: Float64[np.ndarray, "3"] | None = None,
    up: Float64[np.ndarray, "3"] | None = None,
) -> Cameras:
    """A closed ellipse through the viewpoints of the photographs, looking at the scene's focus.

    Around an object the ellipse encircles it with the mean radii and height of the cameras. Cameras that
    see it from one side only (a gap of more than 150 degrees) are not left for views that no photograph
    supports: the path is then an ellipse inside their range of azimuth and elevation.

    Args:
        cameras: The photographs' cameras.
        n_frames: Frames of one round; the first frame follows the last.
        focus: Where to look, scene units; default: where the optical axes meet. For parallel views (drones)
            that is a guess, so give the middle of the scene box.
        up: World up; default: estimated from the cameras.
    """
    _check_frames(n_frames)
    focus = _viewed(cameras) if focus is None else np.asarray(focus, dtype=np.float64)
    up = up_direction(cameras) if up is None else np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    offsets = cameras.origins.detach().cpu().double().numpy() - focus
    height = offsets @ up
    flat = offsets - height[:, None] * up
    east, north = _plane_axes(flat, up)
    x, y = flat @ east, flat @ north
    middle, half_range = _covered(np.arctan2(y, x))
    turns = 2 * np.pi * np.arange(n_frames) / n_frames
    if half_range == np.pi:
        a, b = (math.sqrt(2 * float(np.mean(side**2))) for side in (x, y))
        path = np.cos(turns)[:, None] * a * east + np.sin(turns)[:, None] * b * north + np.median(height) * up
    else:
        elevations = np.arctan2(height, np.hypot(x, y))
        low, high = np.quantile(elevations, [0.1, 0.9])
        azimuth = middle + 0.8 * half_range * np.cos(turns)
        elevation = (low + high) / 2 + 0.8 * (high - low) / 2 * np.sin(turns)
        around = np.cos(azimuth)[:, None] * east + np.sin(azimuth)[:, None] * north
        distance = np.median(np.linalg.norm(offsets, axis=1))
        path = distance * (np.cos(elevation)[:, None] * around + np.sin(elevation)[:, None] * up)
    return _with_lens(cameras, np.stack([look_at(focus + offset, focus, up) for offset in path]))


def along_cameras(cameras: Cameras, n_frames: int = 120, *, order: Literal["nearest", "given"] = "nearest") -> Cameras:
    """A flight that passes every photograph's viewpoint: cubic spline of positions, slerp of rotations.

    Args:
        cameras: The viewpoints, at least two.
        n_frames: Frames from the first viewpoint to the last.
        order: "nearest" goes on to the nearest viewpoint not yet visited, "given" keeps the order of the
            cameras.
    """
    _check_frames(n_frames)
    if len(cameras) < 2:
        raise ValueError("along_cameras needs at least two cameras; use orbit for one")
    c2w = cameras.c2w.detach().cpu().double().numpy()
    if order == "nearest":
        c2w = c2w[_nearest_chain(c2w[:, :3, 3])]
    positions = c2w[:, :3, 3]
    quats = [quat_from_rotation(pose[:3, :3]) for pose in c2w]
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    knots = np.concatenate([[0], np.cumsum(steps + 1e-3 * max(float(steps.mean()), 1e-9))])
    poses = np.tile(np.eye(4), (n_frames, 1, 1))
    for pose, s in zip(poses, np.linspace(0, knots[-1], n_frames), strict=True):
        i = min(int(np.searchsorted(knots, s, side="right")) - 1, len(knots) - 2)
        t = (s - knots[i]) / (knots[i + 1] - knots[i])
        pose[:3, 3] = _hermite(positions, knots, i, t)
        pose[:3, :3] = rotation_from_quat(slerp(quats[i], quats[i + 1], t))
    return _with_lens(cameras, poses)


def upright(cameras: Cameras, up: Float64[np.ndarray, "3"]) -> Cameras:
    """Pinhole cameras that see the same, turned by quarters until up is nearest to the top of their pictures.

    Telephones store photographs that were taken upright on their sides; a film with their poses would lie too.

    Args:
        cameras: Of photographs.
        up: World up.
    """
    poses = cameras.c2w.detach().cpu().double().numpy().copy()
    lenses = cameras.intrinsics.detach().cpu().double().numpy().copy()
    sizes = cameras.sizes.detach().cpu().numpy().copy()
    for pose, lens, size in zip(poses, lenses, sizes, strict=True):
        for _ in range(quarter_turns(pose, up)):  # a quarter anticlockwise: x is what y was, y what -x was
            pose[:3, :2] = np.stack([pose[:3, 1], -pose[:3, 0]], axis=1)
            lens[:] = lens[1], lens[0], lens[3], size[0] - lens[2]
            size[:] = size[::-1].copy()
    return Cameras.pinhole(*map(torch.from_numpy, (poses, lenses, sizes)))


def save(path: str | Path, cameras: Cameras, *, fps: float = 30.0) -> None:
    """Write a path as JSON, to a temporary name first."""
    frames = [
        {
            "c2w": c2w,
            **dict(zip(("fx", "fy", "cx", "cy"), lens, strict=True)),
            "width": size[0],
            "height": size[1],
        }
        for c2w, lens, size in zip(
            cameras.c2w.tolist(), cameras.intrinsics.tolist(), cameras.sizes.tolist(), strict=True
        )
    ]
    text = json.dumps({"format": "neural-path", "version": 1, "axes": "opencv", "fps": fps, "frames": frames})
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def load(path: str | Path) -> Cameras:
    """Read a path written by `save`.

    Raises:
        SceneFormatError: Not such a file, or a frame with an impossible pose or lens.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SceneFormatError(path, "no such file; write one with neural.paths.save") from None
    except (ValueError, RecursionError) as error:
        raise SceneFormatError(path, f"not a JSON camera path: {error}") from error
    if not isinstance(content, dict) or content.get("format") != "neural-path" or content.get("version") != 1:
        raise SceneFormatError(
            path, 'expected "format": "neural-path", "version": 1 at the top; write one with neural.paths.save'
        )
    frames = content.get("frames")
    if not isinstance(frames, list) or not 0 < len(frames) <= _MAX_FRAMES:
        raise SceneFormatError(path, f"frames: expected a list of 1 to {_MAX_FRAMES} frames")
    parsed = [_frame(path, i, frame) for i, frame in enumerate(frames)]
    c2w, lenses, sizes = (np.stack(part) for part in zip(*parsed, strict=True))
    return Cameras.pinhole(torch.from_numpy(c2w), torch.from_numpy(lenses), torch.from_numpy(sizes))


def _check_frames(n_frames: int) -> None:
    if not 1 <= n_frames <= _MAX_FRAMES:
        raise ValueError(f"a path has 1 to {_MAX_FRAMES} frames, got {n_frames}")


def _frame(path: Path, index: int, frame: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One frame of a file: c2w, fx fy cx cy, width height."""
    try:
        c2w = np.array(frame["c2w"], dtype=np.float64)
        lens = np.array([frame[key] for key in ("fx", "fy", "cx", "cy")], dtype=np.float64)
        size = np.array([frame[key] for key in ("width", "height")], dtype=np.int64)
        if c2w.shape != (4, 4):
            raise ValueError(f"c2w is {list(c2w.shape)}, not [4, 4]")
        if not (np.isfinite(lens).all() and (lens[:2] > 0).all()):
            raise ValueError(f"fx fy cx cy are {lens.tolist()}; focal lengths must be positive and finite")
        if not ((size > 0) & (size <= 65536)).all():
            raise ValueError(f"width height are {size.tolist()}, not 1 to 65536")
        return nearest_rigid(c2w)[0], lens, size
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SceneFormatError(path, f"frames[{index}]: {error}") from error


def _with_lens(cameras: Cameras, c2w: Float64[np.ndarray, "N 4 4"]) -> Cameras:
    """Pinhole cameras at `c2w` with the first camera's field of view."""
    n = len(c2w)
    intrinsics = cameras.intrinsics[:1].detach().cpu().double().repeat(n, 1)
    return Cameras.pinhole(torch.from_numpy(c2w), intrinsics, cameras.sizes[:1].cpu().repeat(n, 1))


def _viewed(cameras: Cameras) -> Float64[np.ndarray, "3"]:
    """The focus, or for cameras that agree on none a point as far ahead of them as they are spread."""
    focus, agreement = focus_point(cameras)
    if agreement >= 0.3:
        return focus
    forward = cameras.c2w[:, :3, 2].mean(dim=0)
    ahead = cameras.origins.mean(dim=0) + forward * max(camera_radius(cameras), 1e-3)
    return ahead.detach().cpu().double().numpy()


def _plane_axes(flat: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal axes of the horizontal offsets: the axes of the ellipse, right-handed with `up`."""
    seed = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    basis = np.stack([seed / np.linalg.norm(seed), np.cross(up, seed / np.linalg.norm(seed))])
    planar = flat @ basis.T
    long_axis = np.linalg.eigh(planar.T @ planar)[1][:, -1]
    east = long_axis @ basis
    return east, np.cross(up, east)


def _covered(azimuths: np.ndarray) -> tuple[float, float]:
    """Middle and half width of the azimuths seen; half width pi when no gap exceeds 150 degrees."""
    ordered = np.sort(azimuths)
    gaps = np.diff(np.append(ordered, ordered[0] + 2 * np.pi))
    widest = int(np.argmax(gaps))
    if gaps[widest] <= np.radians(150):
        return 0.0, np.pi
    half_range = (2 * np.pi - gaps[widest]) / 2
    return float(ordered[(widest + 1) % len(ordered)] + half_range), float(half_range)


def _nearest_chain(positions: np.ndarray) -> list[int]:
    """Visit all positions from the first, each time the nearest one left."""
    left = np.ones(len(positions), dtype=bool)
    chain = [0]
    left[0] = False
    while left.any():
        distance = np.where(left, np.linalg.norm(positions - positions[chain[-1]], axis=1), np.inf)
        chain.append(int(np.argmin(distance)))
        left[chain[-1]] = False
    return chain


def _hermite(points: np.ndarray, knots: np.ndarray, i: int, t: float) -> np.ndarray:
    """Cubic Hermite segment i at t in [0, 1]; tangents by central differences over the chord-length knots."""

    def tangent(j: int) -> np.ndarray:
        before, after = max(j - 1, 0), min(j + 1, len(points) - 1)
        return (points[after] - points[before]) / (knots[after] - knots[before])

    width = knots[i + 1] - knots[i]
    s = 1 - t
    ends = (1 + 2 * t) * s * s * points[i] + t * t * (3 - 2 * t) * points[i + 1]
    return ends + width * (t * s * s * tangent(i) - t * t * s * tangent(i + 1))
