"""The matrix: every application on every encoding, time of a frame and where it goes, memory traffic, quality.

`python -m tests.bench applications` trains every cell shortly and prints the matrix; at full size numbers and a picture
are kept beside the other results, cell by cell. `python -m tests.bench.applications --help` takes parts of it.

Settings: those of Mubarik et al. 2023, arXiv:2303.05735, table 1 (multi-resolution hash, multi-resolution dense, low
resolution dense), with tables of a size for CPUs; simplex, metric, probed and scalable grids at the hash grid's
arguments, so at its number of parameters (the codes of probed ones apart); both dense grids once more, as fine as the
hash grid's parameters allow; and what has no table.
"""

import argparse
import dataclasses
import datetime
import importlib
import json
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neural.cuda import native
from neural.errors import BackendUnavailable
from neural.train.tasks.field.encoding_config import describe_encoding
from neural.train.tasks.field.encodings import table_values
from tests.bench import machine, matrix_plot
from tests.bench.application_tasks import Application
from tests.bench.harness import Row, Size, Spread, threads
from tests.bench.stages import Stages, bytes_moved, counted, points, watched

# name -> module and class, loaded when it is asked for
APPLICATIONS = {
    "image": ("tests.bench.application_tasks", "ImageApplication"),
    "sdf": ("tests.bench.application_sdf", "SdfApplication"),
    "volume": ("tests.bench.application_tasks", "VolumeApplication"),
    "radiance": ("tests.bench.application_tasks", "RadianceApplication"),
}
PAPER_SHARES = {"hash": 72.4, "dense": 60.0, "lowres": 60.0}  # of encoding and network, its mean over applications
HASHED = ("hash", "simplex", "metric", "probed", "scalable")  # at the same arguments
WAVES = ("triangle", "oneblob")  # without a table
SETTINGS = (*HASHED, "dense", "dense =", "lowres", "lowres =", *WAVES)
REFUSED = {("radiance", "scalable")}  # by the application's configuration
STEPS = {"full": 300, "tiny": 2}
LOG2_SIZE = 17  # of hashed levels at full size: 1 MB each, near a CPU's caches
FRAMES = 3
RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Cell:
    """One application on one encoding.

    Attributes:
        application, setting: Which.
        about: Data and frame.
        encoding: In words.
        table, network: Parameters.
        steps, train_seconds: Of the training; wall time.
        ms: CPU time of a frame at one thread: median of `FRAMES`.
        encoding_share, network_share, rest_share: Percent of it.
        kernels: Calls into the native library for a frame.
        megabytes: That a frame moves, as `stages.bytes_moved` models it.
        quality, unit: Of the trained field.
        samples: Points whose features a frame looks up.
    """

    application: str
    setting: str
    about: str
    encoding: str
    table: int
    network: int
    steps: int
    train_seconds: float
    ms: float
    encoding_share: float
    network_share: float
    rest_share: float
    kernels: int
    megabytes: float
    quality: float
    unit: str
    samples: int = 0

    @property
    def fps(self) -> float:
        """Frames a second at one thread."""
        return 1000 / self.ms

    def row(self) -> Row:
        """As the table has it."""
        shares = f"{self.encoding_share:3.0f} / {self.network_share:3.0f} / {self.rest_share:3.0f} %"
        quality = f"{self.quality:.2f} dB" if self.unit == "dB" else f"{self.quality:.4f} {self.unit}"
        note = (
            f"{self.fps:6.2f} fps, encoding / network / rest {shares}, {self.kernels:4d} kernels, "
            f"{self.megabytes:7.1f} MB, {quality}, {self.table / 1e6:6.3f} M + {self.network / 1e3:4.1f} k parameters, "
            f"{self.encoding}; {self.steps} steps in {self.train_seconds:.0f} s"
        )
        return Row(f"{self.application}, {self.setting}", Spread.of([self.ms]), "ms", note=note)


def run(
    size: Size, applications: Sequence[str] = (), settings: Sequence[str] = (), steps: int | None = None
) -> list[Row]:
    """Fills the matrix, or the part of it that is asked for."""
    if size == "full" and not os.environ.get("NEURAL_DATA"):
        return [Row("applications", None, "ms", note="needs NEURAL_DATA")]
    cells: list[Cell] = []
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as elsewhere:
        folder = RESULTS if size == "full" else Path(elsewhere)
        for name in applications or APPLICATIONS:
            module, kind = APPLICATIONS[name]
            try:
                application: Application = getattr(importlib.import_module(module), kind)(size)
            except BackendUnavailable as error:  # an extra that is not installed
                rows.append(Row(name, None, "ms", note=str(error)))
                continue
            for setting, model in models(application, size).items():
                if settings and setting not in settings:
                    continue
                cell = measure(application, setting, model, steps or STEPS[size])
                cells.append(cell)
                if size == "full":
                    print(f"{cell.row().name}: {cell.ms:.4g} ms, {cell.row().note}", flush=True)
                keep(cell, folder)
    return [*(cell.row() for cell in cells), *rows, *_mean_shares(cells)]


def _mean_shares(cells: Sequence[Cell]) -> list[Row]:
    """Beside the shares that the paper names."""
    rows = []
    for setting, paper in PAPER_SHARES.items():
        shares = [c.encoding_share + c.network_share for c in cells if c.setting == setting]
        if shares:
            note = f"mean over {len(shares)} applications; the paper's, on a GPU with instant-ngp: {paper:g} %"
            value = Spread.of([statistics.mean(shares)])
            rows.append(Row(f"{setting}: encoding and network, share of a frame", value, "%", note=note))
    return rows


def models(application: Application, size: Size) -> dict[str, dict[str, Any]]:
    """Setting -> what the configuration of its encoding is told."""
    hashed = {"log2_hashmap_size": LOG2_SIZE if application.n_dims > 2 else 14} if size == "full" else {
        "log2_hashmap_size": 8, "n_levels": 4, "finest_resolution": 24}  # fmt: skip
    small: dict[str, Any] = {} if size == "full" else {"finest_resolution": 24, "base_resolution": 8}
    budget = table_values(application.resolved({"encoding": "hash", **hashed}).model, application.n_dims)
    found: dict[str, dict[str, Any]] = {
        kind: {"encoding": kind, **hashed} for kind in HASHED if (application.name, kind) not in REFUSED
    }
    for kind in ("dense", "lowres"):
        found[kind] = {"encoding": kind, **small}
        found[f"{kind} ="] = _equal(application, kind, budget)
    found |= {kind: {"encoding": kind} for kind in WAVES}
    return {setting: found[setting] for setting in SETTINGS if setting in found}


def _equal(application: Application, kind: str, budget: int) -> dict[str, Any]:
    """The finest dense grid of a kind that has no more values than `budget`."""

    def model(finest: int) -> dict[str, Any]:
        coarse = finest if kind == "lowres" else min(16, finest)
        return {"encoding": kind, "base_resolution": coarse, "finest_resolution": finest}

    low, high = 4, 1 << 15
    while high - low > 1:
        middle = (low + high) // 2
        fits = table_values(application.resolved(model(middle)).model, application.n_dims) <= budget
        low, high = (middle, high) if fits else (low, middle)
    return model(low)


def measure(application: Application, setting: str, model: Mapping[str, Any], steps: int) -> Cell:
    """Trains one cell and measures its frame."""
    trained = application.train(model, steps)
    with threads(1), torch.no_grad():
        trained.frame()  # what a first frame makes and later ones keep
        frames = []
        for _ in range(FRAMES):
            with watched() as stages:
                trained.frame()
            frames.append(stages)
        with counted(trained.field) as rows:
            trained.frame()
    total = statistics.median(stages.total for stages in frames)
    middle: Stages = next(stages for stages in frames if stages.total == total)
    table = sum(p.numel() for m in trained.field.modules() if isinstance(p := getattr(m, "table", None), nn.Parameter))
    everything = sum(p.numel() for p in trained.field.parameters())
    return Cell(
        application=application.name, setting=setting, about=application.about,
        encoding=describe_encoding(application.resolved(model).model), table=table, network=everything - table,
        steps=steps, train_seconds=trained.seconds, ms=1e3 * total, encoding_share=middle.share("encoding"),
        network_share=middle.share("network"), rest_share=middle.share("rest"), kernels=middle.kernels,
        megabytes=bytes_moved(rows) / 1e6, quality=trained.quality(), unit=application.unit, samples=points(rows),
    )  # fmt: skip


def keep(cell: Cell, folder: Path) -> Path:
    """Puts a cell beside those that are kept, and draws all of them; gives the picture."""
    folder.mkdir(exist_ok=True)
    path = folder / f"applications-{machine.slug()}-{datetime.date.today().isoformat()}.json"
    stored = json.loads(path.read_text()) if path.exists() else {"machine": machine.describe(), "cells": []}
    others = [c for c in stored["cells"] if (c["application"], c["setting"]) != (cell.application, cell.setting)]
    cells = [*others, dataclasses.asdict(cell)]
    names = list(APPLICATIONS)
    cells.sort(key=lambda c: (names.index(c["application"]), SETTINGS.index(c["setting"])))
    path.write_text(json.dumps(stored | {"cells": cells}, indent=1) + "\n")
    picture = path.with_suffix(".png")
    matrix_plot.draw([Cell(**c) for c in cells]).save(picture)
    return picture


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.applications", description=__doc__)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--applications", nargs="*", choices=list(APPLICATIONS), default=[])
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=[])
    parser.add_argument("--steps", type=int, help="of each training")
    options = parser.parse_args(arguments)
    native.retain_heap()
    run(options.size, options.applications, options.settings, options.steps)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
