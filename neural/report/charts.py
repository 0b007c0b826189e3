"""Line charts as inline SVG. Colours are CSS classes, so that they follow the page's theme."""

import html
import json
import math
from collections.abc import Callable

from neural.report.contents import Curve

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 10, 28
MAX_POINTS = 320
Points = list[tuple[float, float]]


def chart(curve: Curve) -> str:
    """One figure: title, legend, axes, a faint line as measured and a bold one smoothed where it is noisy."""
    lines = {name: thinned(points) for name, points in curve.lines.items()}
    every = [point for points in lines.values() for point in points]
    x_low, x_high = 0.0, max(x for x, _ in every) or 1.0
    forward = math.log10 if curve.log else float
    y_min, y_max = min(y for _, y in every), max(y for _, y in every)
    y_ticks = _log_ticks(y_min, y_max) if curve.log else _ticks(y_min, y_max, 5)
    y_low, y_high = forward(y_ticks[0]), forward(y_ticks[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        up = (forward(y) - y_low) / ((y_high - y_low) or 1.0)
        return across, HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in y_ticks:
        _, y = place(0, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in [t for t in _ticks(x_low, x_high, 5) if t <= x_high]:
        x, _ = place(tick, y_ticks[0])
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{number(tick)}</text>')
    for index, points in enumerate(lines.values()):
        bold = smoothed(points)
        if len(points) == 1:
            x, y = place(*points[0])
            parts.append(f'<circle class="dot s{index}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
            continue
        if bold is not points:
            parts.append(f'<path class="faint s{index}" d="{_path(points, place)}"/>')
        parts.append(f'<path class="line s{index}" d="{_path(bold, place)}"/>')
    hover = {
        "x": [x_low, x_high],
        "frame": [LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM],
        "unit": curve.unit,
        "lines": [[name, [[_round(x), _round(y)] for x, y in smoothed(points)]] for name, points in lines.items()],
    }
    legend = "".join(f'<span class="key s{i}">{html.escape(name)}</span>' for i, name in enumerate(lines))
    unit = f" <small>{html.escape(curve.unit)}</small>" if curve.unit else ""
    return (
        f'<figure class="chart"><figcaption><b>{html.escape(curve.title)}{unit}</b>{legend}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(curve.title)} over steps" '
        f"data-hover='{html.escape(json.dumps(hover), quote=True)}'>{''.join(parts)}"
        f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/></svg><output></output></figure>'
    )


def thinned(points: Points) -> Points:
    """At most `MAX_POINTS`: means of equal groups, so that no outlier is picked by chance."""
    group = math.ceil(len(points) / MAX_POINTS)
    if group <= 1:
        return points
    groups = [points[start : start + group] for start in range(0, len(points), group)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def smoothed(points: Points) -> Points:
    """Mean over a window of a twentieth of the line, centred; short lines come back as they are."""
    half = len(points) // 40
    if half < 1:
        return points
    result = []
    for index, (x, _) in enumerate(points):
        reach = min(half, index, len(points) - 1 - index)
        window = points[index - reach : index + reach + 1]
        result.append((x, sum(y for _, y in window) / len(window)))
    return result


def number(value: float) -> str:
    """Short for an axis: 1500 -> 1.5k, 0.004 -> 0.004, 2000000 -> 2M."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.3g}"


def _path(points: Points, place: Callable[[float, float], tuple[float, float]]) -> str:
    corners = (place(x, y) for x, y in points)
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners)


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`."""
    if high <= low:
        low, high = low - (abs(low) or 1.0) * 0.1, high + (abs(high) or 1.0) * 0.1
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20 ... around [low, high]; only powers of ten where those would be too many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks: list[float] = []
    for marks in ((1, 2, 5), (1,)):
        every = [mark * 10.0**power for power in range(first, last + 2) for mark in marks]
        start = max(i for i, tick in enumerate(every) if tick <= low * (1 + 1e-9))
        stop = next(i for i in range(start + 1, len(every)) if every[i] >= high * (1 - 1e-9))
        ticks = every[start : stop + 1]
        if len(ticks) <= 7:
            break
    return ticks


def _round(value: float) -> float:
    return float(f"{value:.5g}")
