"""Signed distances: seconds to the armadillo's inside, and metric grids beside a hash grid of their size."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from neural.evaluate_sdf import overlap
from neural.scenes.files import mesh as meshes
from neural.scenes.mesh_distance import MeshDistance, inside_of_grid
from neural.scenes.solid import build
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.field.encodings import build_field
from neural.train.tasks.field.run import look_up
from neural.train.tasks.sdf.config import SdfConfig, SdfOptimConfig, SdfSamplingConfig, resolve
from neural.train.tasks.sdf.task import SdfTask
from tests.bench.harness import Row, Size, Spread

GOAL, SECONDS = 0.99, 180.0
STEPS = 1000  # what 180 s hold on two quiet cores, and more; the run ends where the goal is reached
EQUAL_STEPS = 2000
# MetricGrids' own sizes for signed distances: 905 k parameters with the decoder.
METRIC = FieldConfig(encoding="metric", n_levels=15, log2_hashmap_size=15, finest_resolution=2048, hidden_layers=4)


def run(size: Size) -> list[Row]:
    try:
        import open3d  # noqa: F401
    except ImportError as error:
        return [Row("armadillo", None, "s", at_most=SECONDS, note=f"needs neural[mesh]: {error}")]
    data = os.environ.get("NEURAL_DATA")
    if size == "full" and not data:
        return [Row("armadillo: seconds to IoU 0.99", None, "s", at_most=SECONDS, note="needs NEURAL_DATA")]
    distance = _distance(Path(data or "") / "meshes" / "armadillo.obj" if size == "full" else None)
    inside = inside_of_grid(distance, 256 if size == "full" else 16)
    return [_until_right(distance, inside, size), *_metric_over_hash(distance, inside, size)]


def _until_right(distance: MeshDistance, inside: np.ndarray, size: Size) -> Row:
    """Training time, sampling included, up to the first look at which the goal is reached; looks are not counted."""
    full = size == "full"
    model = FieldConfig(log2_hashmap_size=19) if full else FieldConfig(n_levels=3, log2_hashmap_size=10)
    steps, every = (STEPS, 100) if full else (4, 2)
    task = _task(distance, model, steps, size)
    spent, reached, step = 0.0, 0.0, 0
    while step < steps and reached < GOAL:
        began = time.perf_counter()
        for number in range(step, step + every):
            task.step(number, steps)
        step += every
        spent += time.perf_counter() - began
        reached = _iou(task, inside)
    name = "armadillo, table 2^19: seconds to IoU 0.99" if full else "ball: seconds of four steps"
    note = f"wall, {torch.get_num_threads()} threads; IoU {reached:.4f} after {step} steps, {len(inside)}^3 cells"
    value = Spread.of([spent]) if reached >= GOAL or not full else None
    return Row(name, value, "s", at_most=SECONDS if full else None, note=note)


def _metric_over_hash(distance: MeshDistance, inside: np.ndarray, size: Size) -> list[Row]:
    """IoU of metric grids and of a hash grid with as many parameters, after as many steps."""
    full = size == "full"
    metric = METRIC if full else replace(METRIC, n_levels=2, log2_hashmap_size=8, finest_resolution=32)
    steps = EQUAL_STEPS if full else 2
    scores, sizes = {}, {}
    for encoding in ("metric", "hash"):
        hidden = metric.hidden_layers if encoding == "metric" else 2
        model = replace(metric, encoding=encoding, hidden_layers=hidden)
        task = _task(distance, model, steps, size)
        for step in range(steps):
            task.step(step, steps)
        scores[encoding], sizes[encoding] = _iou(task, inside), sum(p.numel() for p in task.field.parameters())
    counts = f"{sizes['metric']:,} and {sizes['hash']:,} parameters, {steps} steps each"
    rows = [Row(f"IoU, {name}", Spread.of([max(value, 1e-6)]), "") for name, value in scores.items()]
    errors = (1 - scores["hash"]) / max(1 - scores["metric"], 1e-9)
    return [*rows, Row("1 - IoU: hash over metric", Spread.of([errors]), "x", at_least=1.0, note=counts)]


def _distance(path: Path | None) -> MeshDistance:
    if path is not None:
        return MeshDistance(build(meshes.read(path), path))
    from tests.shapes import icosphere

    return MeshDistance(build(icosphere(2), "ball"))


def _task(distance: MeshDistance, model: FieldConfig, steps: int, size: Size) -> SdfTask:
    sampling = SdfSamplingConfig() if size == "full" else SdfSamplingConfig(batch_size=256, shard_size=256)
    config = resolve(SdfConfig(model, sampling, SdfOptimConfig()), "cpu")
    config = replace(config, run=replace(config.run, steps=steps))
    return SdfTask(build_field(config.model, 3, 1, seed=0), distance, config, torch.device("cpu"))


def _iou(task: SdfTask, inside: np.ndarray) -> float:
    field = task.averaged_field()
    return overlap(lambda points: look_up(field, points)[:, 0], inside, progress=False)
