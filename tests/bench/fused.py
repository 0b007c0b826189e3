"""Rendering and training in one pass against our own ops, over table sizes; where to switch; memory over the batch.

Inference renders a held-out view with the field as it is after a short training. Training is a whole step (pixels,
rays, marching, loss, gradients, Adam), steps in one pass and op by op in turn on one field, with equal numbers of rays.
"""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from neural.render import fused
from neural.render.volume import render_image
from neural.scenes.load import load
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.radiance.config import ModelConfig, RadianceConfig, SamplingConfig, resolve
from neural.train.tasks.radiance.task import RadianceTask, build_field
from tests.bench.harness import Row, Size, Spread, interleave, threads

CITY = Path(__file__).parents[2] / "data" / "city"
SIZES = (12, 13, 15, 17, 19)  # log2 of entries per level; up to 13 the table fits an L2 cache of 1 MB
L2_BYTES = 1 << 20
WARM_UP = 200  # steps before anything is timed: surfaces have formed, the occupancy grid has settled


def run(size: Size) -> list[Row]:
    capture = os.environ.get("NEURAL_DATA")
    if size == "full" and not capture:
        return [Row("fused over unfused", None, "x", at_least=1.05, note="needs NEURAL_DATA")]
    path = Path(capture or "") / "lego_400" if size == "full" else CITY
    rows, ratios = [], {}
    for log2 in SIZES if size == "full" else (8,):
        task = _task(size, path, log2)
        n_bytes = fused.table_bytes(task.field)
        fits = n_bytes <= 1.05 * L2_BYTES
        for step in range(WARM_UP if size == "full" else 2):
            task.step(step, 5000)
        inference, training = _inference(task, size), _training(task, size)
        ratios[n_bytes] = inference.median, training.median
        name = f"{path.name}, table of {n_bytes / 1e6:.2g} MB"
        rows += [
            Row(f"{name}: inference", inference, "x", at_least=1.05 if fits else None, note="fused over unfused"),
            Row(f"{name}: training", training, "x", at_least=1.0 if fits else None, note="whole steps"),
        ]
    for i, (name, most) in enumerate((("inference", fused.INFERENCE_BYTES), ("training", fused.TRAINING_BYTES))):
        wins = max((n / 1e6 for n, ratio in ratios.items() if ratio[i] >= 1), default=0.0)
        note = f"largest measured table where one pass wins; the switch is at {most / 1e6:.3g} MB"
        rows.append(Row(f"switch, {name}", Spread.of([max(wins, 1e-6)]), "MB", note=note))
    return rows + _memory(size)


def _task(size: Size, path: Path, log2: int, target_samples: int | None = None) -> RadianceTask:
    small = size == "tiny"
    scene = load(path, downscale=4 if small else 2)
    config = RadianceConfig(
        model=ModelConfig(log2_hashmap_size=log2),
        sampling=SamplingConfig(path="fused", target_samples=target_samples),
        run=RunConfig(steps=5000, device="cpu"),
    )  # fmt: skip
    if small:
        sampling = SamplingConfig(
            target_samples=target_samples or 2048,
            initial_rays=64,
            occupancy_resolution=32,
            steps_per_box=64,
            path="fused",
        )
        config = replace(config, model=ModelConfig(n_levels=4, log2_hashmap_size=log2), sampling=sampling)
    resolved = resolve(config, "cpu", unbounded=scene.unbounded, background=scene.background)
    return RadianceTask(build_field(resolved, scene), scene, resolved, torch.device("cpu"))


def _inference(task: RadianceTask, size: Size) -> Spread:
    view = task.scene.subset("test").cameras.relative_to(task.field.origin).to("cpu", torch.float32)
    background = task.background_color()

    def render(path: fused.Path) -> None:
        render_image(task.field, view, 0, task.occupancy, task.marching, background=background, path=path)

    with threads(1):
        times = interleave(
            {"unfused": lambda: render("unfused"), "fused": lambda: render("fused")}, 9 if size == "full" else 2
        )
    return times.ratio("unfused", "fused")


def _training(task: RadianceTask, size: Size) -> Spread:
    n_rays, state = task._n_rays, {"step": 1000}

    def step(one_pass: bool) -> None:
        task._fused, task._n_rays = one_pass, n_rays
        while state["step"] % task.config.sampling.occupancy_interval == 0:  # an update of the grid is neither's
            state["step"] += 1
        task.step(state["step"], 5000)
        state["step"] += 1

    with threads(1):
        times = interleave({"unfused": lambda: step(False), "fused": lambda: step(True)}, 15 if size == "full" else 2)
    return times.ratio("unfused", "fused")


_PEAK = """
import pathlib, re, sys, torch
from neural.render import fused
from neural.render.volume import trace
from tests.bench import fused as bench
task = bench._task(sys.argv[1], pathlib.Path(sys.argv[2]), 8, 1 << 22)
task.occupancy.bitfield.fill_(255)
way, few, many = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
def run(n):
    task._fused, task._n_rays = way == "fused", n
    task.step(1, 5000)
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) / 1e3
run(few)
before = peak()
run(many)
print(peak() - before)
"""


def _memory(size: Size) -> list[Row]:
    """How much higher a step's peak is for four times the rays (the marched samples are not cut)."""
    if sys.platform != "linux":
        return [Row("memory of four times the batch", None, "MB", note="reads /proc")]
    few = 256 if size == "full" else 64
    scene = Path(os.environ.get("NEURAL_DATA", "")) / "lego_400" if size == "full" else CITY
    rows = []
    for way in ("unfused", "fused"):
        command = [sys.executable, "-c", _PEAK, size, str(scene), way, str(few), str(4 * few)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        more = max(float(re.findall(r"\S+", done.stdout)[-1]), 1e-3)
        bar = 16.0 if way == "fused" and size == "full" else None
        note = f"peak of a step of {4 * few} rays over one of {few}"
        rows.append(Row(f"memory, {way}", Spread.of([more]), "MB", at_most=bar, note=note))
    return rows
