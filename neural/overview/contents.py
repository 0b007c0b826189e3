"""What an overview shows, from a capture or from Gaussians, in the frame of the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from neural.overview.unused import unused
from neural.scenes.files.gaussians import axes
from neural.scenes.files.gaussians.packing import opacities
from neural.scenes.files.gaussians.record import SH_C0, SplatRecord
from neural.scenes.scene import Scene

Rows = Sequence[tuple[str, str]]
UNUSED = "unused"
_LEVEL = 0.98  # cosine, of 11 degrees
_FAINT = 0.2  # opacity below which a Gaussian is no point of a picture


@dataclass(frozen=True)
class Photograph:
    """One image of the capture, or one beside them that has no camera.

    Args:
        name: As the capture says it.
        path: Its file.
        split: "train", "test", another split of the capture, or `UNUSED`.
    """

    name: str
    path: Path
    split: str


@dataclass(frozen=True)
class Overview:
    """A scene from outside.

    Args:
        title: Its name.
        c2w: Poses of the cameras, OpenCV axes.
        half_views: Half the width and height of each image at depth 1.
        splits: Of each camera.
        points: Places in the scene.
        colors: sRGB of each.
        n_points: How many there are in all.
        box: Of the scene, or None.
        up: Unit vector.
        notes: Sentences for under the picture: frame, unit, CRS.
        metres_per_unit: Where known.
        rows: Everything that `neural info` says.
        photographs: Those of the cameras, in their order, then those that have none.
    """

    title: str
    c2w: Float64[np.ndarray, "C 4 4"]
    half_views: Float64[np.ndarray, "C 2"]
    splits: tuple[str, ...]
    points: Float64[np.ndarray, "P 3"]
    colors: UInt8[np.ndarray, "P 3"]
    n_points: int
    box: Float64[np.ndarray, "2 3"] | None
    up: Float64[np.ndarray, "3"]
    notes: tuple[str, ...]
    metres_per_unit: float | None
    rows: Rows
    photographs: tuple[Photograph, ...]

    @classmethod
    def of_scene(cls, scene: Scene, rows: Rows = ()) -> "Overview":
        """A capture."""
        cameras = scene.cameras
        splits = ["none"] * len(cameras)
        for name, members in scene.splits.items():
            for member in members:
                splits[member] = name
        paths = scene.image_paths or ()
        used = [Photograph(*row) for row in zip(scene.image_names, paths, splits, strict=True)] if paths else []
        up = levelled(scene.up)
        unit = "of unknown length" if scene.metres_per_unit is None else f"of {scene.metres_per_unit:g} m"
        frame = "that of the files" if np.allclose(scene.world_to_scene, np.eye(4)) else "that of the files, moved"
        return cls(
            title=scene.name,
            c2w=cameras.c2w.numpy(),
            half_views=(cameras.sizes / 2 / cameras.intrinsics[:, :2]).numpy(),
            splits=tuple(splits),
            points=np.zeros((0, 3)) if scene.points is None else scene.points.xyz,
            colors=np.zeros((0, 3), dtype=np.uint8) if scene.points is None else scene.points.rgb,
            n_points=0 if scene.points is None else len(scene.points),
            box=scene.aabb.numpy(),
            up=up,
            notes=(
                f"frame: {frame}; up: {axis_name(up)}, "
                + (f"as {scene.axes} axes have it" if scene.says_up else "estimated from the cameras"),
                f"unit: {unit}; CRS: {scene.crs or 'not stated'}",
            ),
            metres_per_unit=scene.metres_per_unit,
            rows=rows,
            photographs=(*used, *(Photograph(path.name, path, UNUSED) for path in unused(paths))),
        )

    @classmethod
    def of_gaussians(cls, title: str, record: SplatRecord, rows: Rows = ()) -> "Overview":
        """A Gaussian scene in the axes that its file says: its centres, those that hardly show left out."""
        shown = opacities(record.opacity_logits) >= _FAINT
        shown = shown if shown.any() else np.ones(len(record), dtype=bool)
        rgb = (0.5 + SH_C0 * record.sh0[shown]).clip(0, 1) * 255 + 0.5
        named = record.placement.axes
        up = axes.up(named)
        return cls(
            title=title,
            c2w=np.zeros((0, 4, 4)),
            half_views=np.zeros((0, 2)),
            splits=(),
            points=record.means[shown].astype(np.float64),
            colors=rgb.astype(np.uint8),
            n_points=len(record),
            box=None,
            up=up,
            notes=(
                f"frame: that of the file; up: {axis_name(up)}, as {named} axes have it",
                "unit and CRS: not stated",
            ),
            metres_per_unit=None,
            rows=rows,
            photographs=(),
        )

    @classmethod
    def of_photographs(cls, title: str, paths: Sequence[Path], rows: Rows = ()) -> "Overview":
        """Photographs without cameras."""
        return cls(
            title=title,
            c2w=np.zeros((0, 4, 4)),
            half_views=np.zeros((0, 2)),
            splits=(),
            points=np.zeros((0, 3)),
            colors=np.zeros((0, 3), dtype=np.uint8),
            n_points=0,
            box=None,
            up=np.array([0.0, 0.0, 1.0]),
            notes=("no cameras so far",),
            metres_per_unit=None,
            rows=rows,
            photographs=tuple(Photograph(path.name, path, UNUSED) for path in paths),
        )

    def some_points(self, most: int) -> tuple[Float64[np.ndarray, "Q 3"], UInt8[np.ndarray, "Q 3"]]:
        """At most so many of the points, an even choice by chance, always the same, and their colours."""
        if len(self.points) <= most:
            return self.points, self.colors
        chosen = np.random.default_rng(0).choice(len(self.points), most, replace=False)
        return self.points[chosen], self.colors[chosen]


def levelled(up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """The axis of the file that this is, if it is about one: the estimate knows no better than that."""
    largest = int(np.abs(up).argmax())
    return np.sign(up[largest]) * np.eye(3)[largest] if abs(up[largest]) > _LEVEL else up


def axis_name(direction: Float64[np.ndarray, "3"]) -> str:
    """`+z`, or the three numbers of a direction that is none of the axes."""
    largest = int(np.abs(direction).argmax())
    if abs(direction[largest]) == 1:
        return f"{'+' if direction[largest] > 0 else '-'}{'xyz'[largest]}"
    return "(" + ", ".join(f"{value:.2f}" for value in direction) + ")"
