"""What a report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8


@dataclass(frozen=True)
class View:
    """One held-out photograph, or whatever is known to be true, beside its rendering."""

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    """The rendering, sRGB."""
    target: UInt8[np.ndarray, "H W 3"]
    """The photograph, sRGB, composited on the same background."""
    psnr: float
    ssim: float | None = None
    lpips: float | None = None


@dataclass(frozen=True)
class Curve:
    """One chart: lines over the training step."""

    title: str
    unit: str
    lines: dict[str, list[tuple[float, float]]]
    """Name of a line -> (step, value)."""
    log: bool = False
    """Whether the values are drawn on a logarithmic axis; they are then above 0."""


@dataclass(frozen=True)
class CameraPlot:
    """The scene seen from outside: cameras, box and sparse points, in one frame."""

    positions: Float[np.ndarray, "C 3"]
    forwards: Float[np.ndarray, "C 3"]
    """Viewing directions, unit length."""
    held_out: Bool[np.ndarray, " C"]
    """Whether a camera is a test camera."""
    up: Float[np.ndarray, " 3"]
    box: Float[np.ndarray, "2 3"]
    points: Float[np.ndarray, "P 3"] | None = None
    colors: UInt8[np.ndarray, "P 3"] | None = None

    @staticmethod
    def from_c2w(
        c2w: Float[np.ndarray, "C 4 4"], held_out: Sequence[int], box: Float[np.ndarray, "2 3"], **points: Any
    ) -> "CameraPlot":
        """From OpenCV camera poses; up is the mean of the cameras' own.

        Args:
            c2w: Camera to world.
            held_out: Indices of the test cameras.
            box: Corners of the scene's box.
            points: `points` and `colors`, if there are any.
        """
        is_held_out = np.zeros(len(c2w), dtype=bool)
        is_held_out[list(held_out)] = True
        up = -c2w[:, :3, 1].mean(axis=0)
        length = np.linalg.norm(up)
        up = up / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
        return CameraPlot(c2w[:, :3, 3], c2w[:, :3, 2], is_held_out, up, np.asarray(box), **points)


@dataclass(frozen=True)
class Report:
    """Everything on the page, in its order."""

    title: str
    """The scene's name."""
    subtitle: str
    """What was trained and where: "radiance field, 5000 steps in 4 min 52 s on 2 CPU cores"."""
    headline: Mapping[str, str]
    """The few numbers at the top: label -> value."""
    views: Sequence[View]
    """Held-out images; beyond `MAX_VIEWS` only their scores are shown."""
    protocol: str
    """How the scores were taken: "12 images, white, test; ..."."""
    curves: Sequence[Curve]
    cameras: CameraPlot | None
    scene: Mapping[str, str]
    """Facts about the capture: label -> value."""
    settings: Mapping[str, Any]
    """The resolved configuration, nested."""
    command: str
    """What to type to get this again."""
    environment: Mapping[str, str]
    """Versions and machine: label -> value."""
    video: Path | None = None
    """An mp4 to put inside, up to `MAX_VIDEO_BYTES`."""
    warnings: Sequence[str] = field(default=())
    views_title: str = "Held-out views"
    truth: str = "photograph"
    """What the right half of a view is."""


# Columns of metrics.jsonl that become charts: (title, unit, log, {column: name of the line}).
_CHARTS: tuple[tuple[str, str, bool, dict[str, str]], ...] = (
    ("Loss", "", True, {"loss": "training"}),
    ("PSNR", "dB", False, {"psnr": "training", "test_psnr": "held out", "check_psnr": "check"}),
    ("IoU", "", False, {"test_iou": "held out"}),
    ("Error near the surface", "sides of the cube", True, {"test_mae": "held out"}),
)
_PER_SECOND = "_per_second"  # ending of the column that says how fast


def curves_from_history(history: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Charts of `loss`, `psnr`, `test_psnr` (of what is held out), `check_psnr` (of what is not) and
    `rays_per_second`, or whatever is counted, as far as there.
    """
    curves = []
    speeds = {name for line in history for name in line if name.endswith(_PER_SECOND)} - {"steps" + _PER_SECOND}
    charts = [("Speed", f"{name.removesuffix(_PER_SECOND)}/s", False, {name: "training"}) for name in sorted(speeds)]
    for title, unit, log, columns in [*_CHARTS, *charts]:
        lines = {}
        for column, name in columns.items():
            values = [(line["step"], line[column]) for line in history if isinstance(line.get(column), int | float)]
            if log:
                values = [(step, value) for step, value in values if value > 0]
            if values:
                lines[name] = values
        if lines:
            curves.append(Curve(title, unit, lines, log))
    return curves
