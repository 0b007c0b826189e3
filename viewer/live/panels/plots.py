"""Curves of a run: the loss and the PSNR, as metrics.jsonl has them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import viser

MOST = 400  # points of a curve
HEIGHT = 160  # pixels of a plot
_LOSS, _TRAIN, _TEST = "#d9534f", "#3a6fd8", "#e08a1e"


class Plots:
    """Two plots in a panel.

    Args:
        gui: viser's, within the container that they go to.
        lines: What is known already; each has `step`.
    """

    def __init__(self, gui: "viser.GuiApi", lines: Sequence[Mapping[str, Any]] = ()) -> None:
        from viser import uplot

        self._lines: list[Mapping[str, Any]] = list(lines)
        axes = (uplot.Axis(), uplot.Axis(size=56))
        loss, psnr = self._curves()
        step = uplot.Series(label="step")
        scales = {"x": uplot.Scale(time=False), "y": uplot.Scale(distr=3)}
        self._loss = gui.add_uplot(
            loss, (step, uplot.Series(label="loss", stroke=_LOSS, width=2, spanGaps=True)), title="loss", height=HEIGHT,
            scales=scales, axes=axes,
        )  # fmt: skip
        self._psnr = gui.add_uplot(
            psnr,
            (
                step, uplot.Series(label="training", stroke=_TRAIN, width=2, spanGaps=True),
                uplot.Series(label="held out", stroke=_TEST, width=2, spanGaps=True, points={"show": True, "size": 6}),
            ),
            title="PSNR, dB", height=HEIGHT, scales={"x": uplot.Scale(time=False)}, axes=axes,
        )  # fmt: skip

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Lines of metrics.jsonl were written."""
        self._lines.extend(lines)
        self._loss.data, self._psnr.data = self._curves()

    def _curves(self) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        lines = [line for line in self._lines if "loss" in line]
        lines = thinned(lines) or [{"step": 0}]
        columns = [_column(lines, name) for name in ("step", "loss", "psnr", "test_psnr")]
        steps, loss, psnr, held_out = columns
        loss[~(loss > 0)] = np.nan  # of which there is no logarithm
        return (steps, _filled(steps, loss)), (steps, _filled(steps, psnr), _filled(steps, held_out))


def thinned(lines: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """About `MOST` of the lines, evenly, with all that hold a held-out score."""
    every = max(1, len(lines) // MOST)
    last = len(lines) - 1
    return [line for i, line in enumerate(lines) if i % every == 0 or i == last or line.get("test_psnr") is not None]


def _column(lines: list[Mapping[str, Any]], name: str) -> np.ndarray:
    values = (line.get(name) for line in lines)
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)


def _filled(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values between those that are known, on straight lines; a plot knows no gaps."""
    known = np.isfinite(values)
    return np.interp(steps, steps[known], values[known]) if known.any() else np.ones_like(values)
