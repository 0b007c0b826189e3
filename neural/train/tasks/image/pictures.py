"""Pictures of a learnt image: any part of it at any size, and what the report shows beside the truth."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from neural import metrics
from neural.report import View
from neural.train.film import to_bytes
from neural.train.tasks.field.run import look_up
from neural.train.tasks.image.data import ImageData

BAND_PIXELS = 1 << 19  # that are rendered or scored at once, about
OVERVIEW = 1000  # pixels, longer side of the report's picture of the whole
ZOOM = 320  # pixels, side of the report's pictures of parts


def part(
    field: nn.Module, data: ImageData, place: tuple[int, int, int, int],
    size: tuple[int, int] | None = None, rows: tuple[int, int] | None = None,
) -> Float[Tensor, "H W K"]:  # fmt: skip
    """Learnt values on a grid over a part of the picture.

    Args:
        field: Positions to values.
        data: The picture.
        place: Left, top, width and height of the part, in pixels of the picture.
        size: Columns and rows of the grid; those of the part without it.
        rows: First row and row behind the last of those that are wanted; all without it.
    """
    left, top, width, height = place
    n_columns, n_rows = size or (width, height)
    first, last = rows or (0, n_rows)
    x = (left + (torch.arange(n_columns, dtype=torch.float64) + 0.5) * (width / n_columns)) / data.side
    y = (top + (torch.arange(first, last, dtype=torch.float64) + 0.5) * (height / n_rows)) / data.side
    points = torch.stack([x.float().repeat(last - first), y.float().repeat_interleave(n_columns)]).t()
    return look_up(field, points).reshape(last - first, n_columns, -1)


def bands(height: int, width: int, what: str, progress: bool) -> Iterator[tuple[int, int]]:
    """First row and row behind the last of bands of about `BAND_PIXELS` pixels."""
    rows = max(1, BAND_PIXELS // width)
    for top in tqdm(range(0, height, rows), desc=what, unit="band", disable=not progress, leave=False):
        yield top, min(top + rows, height)


def overview(field: nn.Module, data: ImageData, psnr: float | None = None, ssim: float | None = None) -> View:
    """The whole, made smaller by leaving pixels out; with the scores of all of it, where those are known."""
    picture = data.picture
    scale = min(1.0, OVERVIEW / max(picture.width, picture.height))
    columns, rows = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    at = ((np.arange(rows) + 0.5) / scale).astype(int).clip(max=picture.height - 1)
    across = ((np.arange(columns) + 0.5) / scale).astype(int).clip(max=picture.width - 1)
    places = torch.from_numpy(np.stack(np.meshgrid(at, across, indexing="ij")).reshape(2, -1))
    values = look_up(field, data.positions(places[0], places[1])).reshape(rows, columns, -1)
    truth = data.values(picture.gather(places[0].numpy(), places[1].numpy()))
    name = "the whole" if scale == 1 else "the whole, every so-many-th pixel"
    return _view(name, data.shown(values), data.shown(truth.reshape(rows, columns, -1)), psnr, ssim)


def zooms(field: nn.Module, data: ImageData) -> Iterator[View]:
    """Parts where the picture has most detail, of a few evenly spaced ones; none of a small picture."""
    picture = data.picture
    if min(picture.width, picture.height) < 2 * ZOOM:
        return
    found = []
    for y in np.linspace(0, picture.height - ZOOM, 6).astype(int):
        for x in np.linspace(0, picture.width - ZOOM, 6).astype(int):
            pixels = picture.pixels[y : y + ZOOM : 4, x : x + ZOOM : 4].astype(np.float32)
            found.append((float(np.abs(np.diff(pixels, axis=1)).mean()), int(x), int(y)))
    for _, x, y in sorted(found, reverse=True)[:3]:
        truth = data.values(picture.pixels[y : y + ZOOM, x : x + ZOOM])
        shown = data.shown(part(field, data, (x, y, ZOOM, ZOOM)))
        yield _view(f"{ZOOM} x {ZOOM} at {x}, {y}", shown, data.shown(truth))


def _view(name: str, shown: Tensor, truth: Tensor, psnr: float | None = None, ssim: float | None = None) -> View:
    """Grey pictures are shown as colour."""
    image, target = (to_bytes(x.expand(-1, -1, 3)) for x in (shown, truth))
    if psnr is None:
        psnr = metrics.psnr(shown, truth)
        ssim = metrics.ssim(shown, truth)
    return View(name, image, target, psnr=psnr, ssim=ssim)
