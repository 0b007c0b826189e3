"""Curves of a run: the loss and the PSNR, as metrics.jsonl has them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import viser

MOST = 400  # points of a curve
HEIGHT = 160  # pixels of a plot
CURVES = (
    ("loss", "loss", "#d9534f"),
    ("psnr", "PSNR of what is trained on, dB", "#3a6fd8"),
    ("test_psnr", "PSNR of a held-out photograph, dB", "#e08a1e"),
    ("check_psnr", "PSNR of a quick look, dB", "#e08a1e"),
    ("test_iou", "IoU of points that no step sees", "#3a9d5d"),
)


class Plots:
    """Plots in a panel; those of which nothing is known yet are hidden.

    Args:
        gui: viser's, within the container that they go to.
        lines: What is known already; each has `step`.
    """

    def __init__(self, gui: "viser.GuiApi", lines: Sequence[Mapping[str, Any]] = ()) -> None:
        from viser import uplot

        self._lines: list[Mapping[str, Any]] = list(lines)
        axes = (uplot.Axis(), uplot.Axis(size=56))
        step = uplot.Series(label="step")
        linear, logarithmic = uplot.Scale(time=False), uplot.Scale(distr=3)
        self._plots = [
            gui.add_uplot(
                _curve(self._lines, name), (step, uplot.Series(label=name, stroke=stroke, width=2)), title=title,
                height=HEIGHT, axes=axes, visible=_known(self._lines, name),
                scales={"x": linear, "y": logarithmic} if name == "loss" else {"x": linear},
            )
            for name, title, stroke in CURVES
        ]  # fmt: skip

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Lines of metrics.jsonl were written."""
        self._lines.extend(lines)
        for (name, _, _), plot in zip(CURVES, self._plots, strict=True):
            if _known(self._lines, name):
                plot.data = _curve(self._lines, name)
                plot.visible = True


def _known(lines: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(line.get(name) is not None for line in lines)


def _curve(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the lines that have one."""
    having = thinned([line for line in lines if line.get(name) is not None])
    points = np.array([(line["step"], line[name]) for line in having], dtype=np.float64).reshape(-1, 2)
    if name == "loss":
        points = points[points[:, 1] > 0]  # of others there is no logarithm
    return points[:, 0].copy(), points[:, 1].copy()


def thinned(lines: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """About `MOST` of the lines, evenly, and the last."""
    every = max(1, len(lines) // MOST)
    return lines[::-1][::every][::-1]
