"""Edits of a million generated Gaussians of SH degree 3: seconds each; and how well floaters of a real scene are found.

The generated scene is a shell with clumps on it, as surfaces are. The real one is splats/playbot_lod3.ply with floaters
put between it and eight cameras; see `tests.edit.pictures.floaters`.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from neural.edit import Box, Islands, Polygon, Sparse, clean, crop, decimate, merge, similarity, transform
from neural.gaussians.model import Gaussians
from neural.scenes.files.gaussians import formats
from tests.bench.harness import Row, Size, Spread, threads
from tests.edit.pictures import VIEWS, floaters, pictures, psnr

REAL = "splats/playbot_lod3.ply"
CORNERS = tuple((float(torch.cos(t)), float(torch.sin(t))) for t in torch.linspace(0, 6, 40))


def run(size: Size) -> list[Row]:
    with threads(1):
        return [*speed(size), *quality(size)]


def speed(size: Size) -> list[Row]:
    """Seconds of CPU time at one thread; a cleaning includes neighbours and groups."""
    n = 1_000_000 if size == "full" else 3000
    scene = generated(n)
    left, right = (crop(scene, Box((-9, -9, -9), (0.1, 9, 9)), keep=keep) for keep in ("inside", "outside"))
    works: list[tuple[str, float, Callable[[], object]]] = [
        ("crop, turned box", 2, lambda: crop(scene, Box((-1, -1, -0.5), (1, 1, 0.5), (1, 2, 3, 30)))),
        ("crop, box, reach of 3 deviations", 4, lambda: crop(scene, Box((-1, -1, -0.5), (1, 1, 0.5)), reach=3)),
        ("crop, polygon of 40 corners", 4, lambda: crop(scene, Polygon(CORNERS, "z"))),
        ("transform, turned and scaled", 4, lambda: transform(scene, similarity(scale=2, rotate=(1, 2, 3, 50)))),
        ("merge, two halves", 4, lambda: merge([left, right])),
        ("merge, twins dropped", 8, lambda: merge([left, scene], overlap="twins")),
        ("decimate to half", 60, lambda: decimate(scene, n // 2)),
        ("clean, sparse alone", 12, lambda: clean(scene, [Sparse()])),
        ("clean, islands alone", 12, lambda: clean(scene, [Islands()])),
        ("clean, default criteria", 24, lambda: clean(scene)),
    ]
    return [Row(f"{name}, {n:,}", seconds(work, 1 if bar >= 60 else 3), "s", at_most=bar) for name, bar, work in works]


def quality(size: Size) -> list[Row]:
    """Precision and recall of the default criteria, and what pictures are worth before and after."""
    path = Path(os.environ.get("NEURAL_DATA", "")) / REAL
    if not path.is_file():
        return [Row("floaters of a real scene", None, "", note=f"needs NEURAL_DATA with {REAL}")]
    real = Gaussians.from_record(formats.read(path))
    many = 300 if size == "full" else 50
    dirty = merge([real, floaters(real, many)])
    cleaned = clean(dirty)
    gone, wanted = ~cleaned.kept, torch.arange(dirty.n) >= real.n
    right, truth = int((gone & wanted).sum()), pictures(real, VIEWS)
    before, after, kept = (psnr(truth, pictures(g, VIEWS)) for g in (dirty, cleaned.gaussians, clean(real).gaussians))
    return [
        Row("floaters: recall", one(right / many), "", at_least=0.95, note=f"{many} among {real.n:,}"),
        Row("floaters: precision", one(right / max(1, int(gone.sum()))), "", note="of all that went"),
        Row("floaters: PSNR before", one(before), "dB"),
        Row("floaters: PSNR after", one(after), "dB", at_least=40),
        Row("a scene without floaters, cleaned: PSNR", one(kept), "dB", at_least=40),
    ]


def generated(n: int) -> Gaussians:
    """A shell with clumps, discs that lie about on it, a few Gaussians far away."""
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    means = torch.nn.functional.normalize(randn(n, 3), dim=1) * (1 + 0.004 * randn(n, 1))
    means[: n // 4] = (
        0.1 * means[: n // 4] + torch.nn.functional.normalize(randn(12, 3), dim=1).repeat(n // 48 + 1, 1)[: n // 4]
    )
    means[-n // 1000 :] *= 3
    scales = -6 + 0.5 * randn(n, 3) - torch.tensor([0.0, 0.0, 2.0])
    return Gaussians(means, randn(n, 4), scales, randn(n) + 1, randn(n, 3), 0.1 * randn(n, 15, 3))


def seconds(work: Callable[[], object], turns: int) -> Spread:
    """Process CPU time of some turns."""
    times = []
    for _ in range(turns):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return Spread.of(times)


def one(value: float) -> Spread:
    return Spread(value, value, value)
