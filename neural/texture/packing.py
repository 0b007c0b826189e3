"""Shapes of pixels laid beside one another on a strip, each let down until it touches what lies below.

Source: Lévy, Petitjean, Ray and Maillot 2002, "Least squares conformal maps for automatic texture atlas generation",
section 4 (the horizon that each shape rests on).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from numpy.lib.stride_tricks import sliding_window_view


class Shape(NamedTuple):
    """What a chart covers in each of its columns.

    Attributes:
        low: First row.
        high: Row after the last.
    """

    low: Int64[np.ndarray, "W"]
    high: Int64[np.ndarray, "W"]


def shapes(
    chart: Int64[np.ndarray, "T"], column: Int64[np.ndarray, "T"], row: Int64[np.ndarray, "T"],
    sizes: Int64[np.ndarray, "C 2"], margin: int,
) -> list[Shape]:  # fmt: skip
    """Of the pixels of each chart, with a margin around them.

    Args:
        chart: Of each pixel.
        column: From 0 to the chart's width.
        row: From 0.
        sizes: Widths and heights of the charts, without the margin.
        margin: Pixels on each side, so that shapes become larger by two margins.
    """
    wide = sizes[:, 0] + 2 * margin
    start = np.cumsum(wide) - wide
    low, high = np.full(wide.sum(), np.iinfo(np.int64).max), np.full(wide.sum(), -1)
    for shift in range(2 * margin + 1):
        at = start[chart] + column + shift
        np.minimum.at(low, at, row)
        np.maximum.at(high, at, row + 2 * margin + 1)
    empty = high < 0  # where a triangle is too thin to hold the centre of a pixel: anywhere between top and bottom
    low[empty], high[empty] = 0, np.repeat(sizes[:, 1] + 2 * margin, wide)[empty]
    return [Shape(low[a:b], high[a:b]) for a, b in zip(start, start + wide, strict=True)]


def packed(given: Sequence[Shape], side: int) -> tuple[Int64[np.ndarray, "C 2"], int]:
    """Column and row of each shape's first, the tallest laid first, and how many rows that takes.

    Args:
        given: Shapes no wider than that.
        side: Columns of the strip.
    """
    horizon = np.zeros(side, np.int64)
    places = np.zeros((len(given), 2), np.int64)
    for i in sorted(range(len(given)), key=lambda i: (-int(given[i].high.max()), -len(given[i].high), i)):
        low, high = given[i]
        rest = (sliding_window_view(horizon, len(low)) - low).max(axis=1)
        x = int(rest.argmin())
        y = max(int(rest[x]), 0)
        places[i] = x, y
        horizon[x : x + len(low)] = y + high
    return places, int(horizon.max())
