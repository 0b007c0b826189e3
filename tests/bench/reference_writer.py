"""Our files of Gaussians beside those of the reference writer: bytes, seconds, and the error that SOG's palettes leave.

The writer is splat-transform (npm, development only), on the CPU; NEURAL_SPLAT_TRANSFORM names its `bin/cli.mjs`. Both
write the same .ply: splats/playbot_lod3.ply of NEURAL_DATA, generated Gaussians, and some of the bundled city, trained
for half a minute. Errors are those of harmonics of Gaussians that show: the reference forgets the colours of
the others.
"""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from neural.morton import morton_order
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.record import SplatRecord
from neural.train.tasks.splats.config import RunConfig, SplatsConfig
from tests.bench import splats_runs
from tests.bench.harness import Row, Size, Spread

REAL = "splats/playbot_lod3.ply"
KINDS = ((".spz", ("--spz-version", "3")), (".compressed.ply", ()), (".sog", ("-g", "cpu")))
AT_MOST = 1.05
_SHOWS = 1 / 255  # opacity


def rows(folder: Path, size: Size, generated: Callable[[int, int], SplatRecord]) -> list[Row]:
    """Ours over the reference's.

    Args:
        folder: For files.
        size: Of the scenes whose palettes are compared; the reference takes a minute for the full one.
        generated: So many Gaussians of an SH degree.
    """
    names = [f"size of {ending} over the reference writer's" for ending, _ in KINDS]
    cli, real = os.environ.get("NEURAL_SPLAT_TRANSFORM", ""), Path(os.environ.get("NEURAL_DATA", "")) / REAL
    if not Path(cli).is_file() or not real.is_file():
        return [Row(name, None, "x", note="needs NEURAL_DATA and NEURAL_SPLAT_TRANSFORM") for name in names]
    found = []
    for name, (ending, options) in zip(names, KINDS, strict=True):
        ours, theirs, _ = _written(folder, formats.read(real), ending, (cli, *options))
        found.append(_ratio(name, ours.stat().st_size, theirs.stat().st_size, ""))
    n = 10_000 if size == "full" else 1000
    for scene, record in (("generated", generated(n, 3)), ("trained", _some(_trained(size), n))):
        found += _palettes(folder, f"{scene}, {len(record):,}, SH 3", record, cli)
    return found


def _palettes(folder: Path, scene: str, record: SplatRecord, cli: str) -> list[Row]:
    """Bytes, squared error of harmonics, and seconds of a .sog."""
    ours, theirs, (mine, others) = _written(folder, record, ".sog", (cli, "-g", "cpu"))
    errors = [_error(record, formats.read(path)) for path in (ours, theirs)]
    return [
        _ratio(f"size of .sog over the reference writer's, {scene}", ours.stat().st_size, theirs.stat().st_size, ""),
        _ratio(f"error of its palette over the reference writer's, {scene}", *errors, f"{errors[0]:.3g} squared"),
        Row(f"seconds of the reference writer over ours, {scene}", _one(others / mine), "x", note=f"{others:.1f} s"),
    ]


def _written(
    folder: Path, record: SplatRecord, ending: str, reference: Sequence[str]
) -> tuple[Path, Path, tuple[float, float]]:
    """The files, ours first, and the seconds that each took, with reading the .ply."""
    source, ours, theirs = folder / "source.ply", folder / f"ours{ending}", folder / f"theirs{ending}"
    formats.write(source, record)
    began = time.perf_counter()
    formats.write(ours, formats.read(source))
    between = time.perf_counter()
    cli, *options = reference
    subprocess.run(["node", cli, "-q", "-w", str(source), *options, str(theirs)], check=True, capture_output=True)
    return ours, theirs, (between - began, time.perf_counter() - between)


def _error(record: SplatRecord, read: SplatRecord) -> float:
    """Sum of squares over the harmonics of those that show. Writers sort: a row is found again by its place."""
    order = _rows(record.means, read.means)
    shows = record.opacity_logits > np.log(_SHOWS / (1 - _SHOWS))
    return float(np.square(read.shN[order] - record.shN, dtype=np.float64)[shows].sum())


def _rows(places: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Of each place the nearest, every one of them once."""
    points, others = torch.from_numpy(places), torch.from_numpy(among)
    order = torch.cat([torch.cdist(part, others).argmin(1) for part in points.split(2048)])
    assert len(order.unique()) == len(others), "places that a file does not tell apart"
    return order.numpy()


def _trained(size: Size) -> SplatRecord:
    """The bundled city, 600 steps at half size."""
    scene, steps = splats_runs.capture("city", 2), 600 if size == "full" else 3
    assert scene is not None
    work = splats_runs.task(scene, SplatsConfig(run=RunConfig(steps=steps, device="cpu")))
    splats_runs.train(work, steps)
    return work.gaussians.to_record()


def _some(record: SplatRecord, n: int) -> SplatRecord:
    """About n of them, in Morton order so that all of the scene has its share."""
    return record.taken(morton_order(torch.from_numpy(record.means)).numpy()[:: max(1, len(record) // n)])


def _ratio(name: str, ours: float, theirs: float, note: str) -> Row:
    return Row(name, _one(ours / theirs), "x", at_most=AT_MOST, note=note)


def _one(value: float) -> Spread:
    return Spread(value, value, value)
