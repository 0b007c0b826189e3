"""A page that opens from disk: cameras and points that turn under the mouse, the facts, and all photographs."""

import base64
import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from neural import atomic
from neural.errors import SceneFormatError
from neural.overview.contents import UNUSED, Overview, Photograph
from neural.overview.plan import SPLIT_COLORS, camera_length, directions, framing, frustum
from neural.report.pictures import data_uri
from neural.scenes import photos

_MOST_POINTS = 60_000
_MOST_PHOTOGRAPHS = 240
_SIDE = 176  # of a thumbnail, pixels


def write(overview: Overview, path: str | Path, *, progress: bool = False) -> None:
    """Replaces a file by the page.

    Raises:
        OSError: The disk refuses.
    """
    atomic.write_page(path, render(overview, progress=progress))


def render(overview: Overview, *, progress: bool = False) -> str:
    """The page as one string; it needs nothing else."""
    here = Path(__file__).parent
    title = html.escape(overview.title)
    rows = "".join(f"<tr><th>{html.escape(k)}<td>{html.escape(v)}" for k, v in overview.rows)
    notes = "".join(f"<p>{html.escape(note)}" for note in overview.notes)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{(here / 'page.css').read_text('utf-8')}</style><body><h1>{title}</h1>"
        '<div id="stage"><canvas></canvas><output></output></div>'
        "<p class=hint>Drag turns, with Shift (or the right button) it moves, the wheel comes nearer; a camera tells "
        f"its photograph.</p>{notes}<table>{rows}</table>{_sheet(overview.photographs, progress)}"
        f'<script type="application/json" id="scene">{_data(overview)}</script>'
        f"<script>{(here / 'page.js').read_text('utf-8')}</script></body></html>\n"
    )


def chosen(photographs: Sequence[Photograph], most: int = _MOST_PHOTOGRAPHS) -> list[int]:
    """Which photographs are shown: all, or an even choice of those that are used and of those that are not."""
    if len(photographs) <= most:
        return list(range(len(photographs)))
    idle = [i for i, photograph in enumerate(photographs) if photograph.split == UNUSED]
    busy = [i for i, photograph in enumerate(photographs) if photograph.split != UNUSED]
    idle_share = min(len(idle), max(most // 4, most - len(busy)))
    return sorted([*_evenly(busy, most - idle_share), *_evenly(idle, idle_share)])


def _evenly(indices: list[int], most: int) -> list[int]:
    if len(indices) <= most:
        return indices
    return [indices[i * len(indices) // most] for i in range(most)]


def _sheet(photographs: Sequence[Photograph], progress: bool) -> str:
    """All photographs, small; what cannot be read says so in its place."""
    if not photographs:
        return ""
    shown = chosen(photographs)
    unused = sum(photograph.split == UNUSED for photograph in photographs)
    without = f", {unused} of them without a camera" if unused else ""
    limit = f"; {len(shown)} are shown" if len(shown) < len(photographs) else ""
    figures = "".join(_figures(photographs, tqdm(shown, "photographs", leave=False, disable=not progress)))
    return f"<h2>{len(photographs)} photographs{without}{limit}</h2><div class=sheet>{figures}</div>"


def _figures(photographs: Sequence[Photograph], shown: Sequence[int]) -> Iterator[str]:
    for index in shown:
        photograph = photographs[index]
        try:
            picture = f'<img alt="" src="{data_uri(photos.thumbnail(photograph.path, _SIDE), 74)}">'
        except SceneFormatError as error:
            picture = f"<p class=broken>{html.escape(error.reason)}</p>"
        yield (
            f'<figure data-camera="{index}" style="--split:{_css(photograph.split)}" class="{_class(photograph)}">'
            f"{picture}<figcaption>{html.escape(photograph.name)}<small>{html.escape(_said(photograph))}</small>"
            "</figcaption></figure>"
        )


def _class(photograph: Photograph) -> str:
    return UNUSED if photograph.split == UNUSED else "used"


def _said(photograph: Photograph) -> str:
    names = {"train": "training", "test": "held out", "val": "validation", UNUSED: "no camera"}
    return names.get(photograph.split, photograph.split)


def _css(split: str) -> str:
    return "#{:02x}{:02x}{:02x}".format(*SPLIT_COLORS.get(split, (110, 90, 160)))


def _data(overview: Overview) -> str:
    """What the script draws, about the middle of the scene in units of half its width; JSON that may stand in HTML."""
    points, colors = overview.some_points(_MOST_POINTS)
    middle, span = framing(overview, points)
    length = camera_length(overview, span)

    def packed(places: np.ndarray) -> np.ndarray:
        return (places - middle) * (2 / span)

    frusta = [frustum(c2w, half, length) for c2w, half in zip(overview.c2w, overview.half_views, strict=True)]
    axes = directions(overview)["from the side"]
    scene = {
        "points": _base64(packed(points).astype("<f4")),
        "colors": _base64(colors),
        "cameras": [np.round(packed(places), 5).tolist() for places in frusta],
        "cameraColors": [_css(split) for split in overview.splits],
        "names": [photograph.name for photograph in overview.photographs[: len(overview.c2w)]],
        "box": None if overview.box is None else np.round(packed(overview.box), 5).tolist(),
        "axes": axes.tolist(),
    }
    return json.dumps(scene).replace("<", "\\u003c")


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
