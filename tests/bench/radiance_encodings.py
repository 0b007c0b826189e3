"""Radiance on simplices against the hash grid: steps in turns on equal numbers of samples, then the scores.

Both fields see the same pixels with the same random numbers, take as many samples a step, and have levels of equal
longest edge and equal table size. Scores are of held-out views drawn by the field as it is after equal steps.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from neural import metrics
from neural.render.volume import render_image
from neural.scenes.load import load
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.capture.photographs import photograph
from neural.train.tasks.radiance.config import ModelConfig, RadianceConfig, SamplingConfig, resolve
from neural.train.tasks.radiance.task import RadianceTask, build_field
from tests.bench.harness import Row, Size, Spread, interleave

CITY = Path(__file__).parents[2] / "data" / "city"
STEPS = 1500
WARM_UP = 400  # steps before anything is timed: the occupancy grid has settled then
VIEWS = 4  # held-out ones that are scored
FASTER, LOSS = 1.2, -0.3


def run(size: Size) -> list[Row]:
    data = os.environ.get("NEURAL_DATA")
    if size == "full" and not data:
        return [Row("lego: step, hash over simplex", None, "x", at_least=FASTER, note="needs NEURAL_DATA")]
    path = Path(data or "") / "lego_400" if size == "full" else CITY
    steps, warm_up, repeats = (STEPS, WARM_UP, 25) if size == "full" else (6, 2, 2)
    takes = {encoding: _Take(_task(size, path, encoding), steps) for encoding in ("hash", "simplex")}
    for take in takes.values():
        take.until(warm_up)
    times = interleave(takes, repeats, clock=time.perf_counter)
    for take in takes.values():
        take.until(steps)
    scores = {name: _score(take.task) for name, take in takes.items()}
    name, n = path.name.split("_")[0], torch.get_num_threads()
    rows = [
        Row(f"{name}: step, {encoding}", times.of(encoding), "ms",
            note=f"wall, {n} threads, {sum(p.numel() for p in take.task.field.parameters()):,} parameters")
        for encoding, take in takes.items()
    ]  # fmt: skip
    rows.append(Row(f"{name}: step, hash over simplex", times.ratio("hash", "simplex"), "x", at_least=FASTER))
    rows += [
        Row(f"{name}: PSNR after {steps} steps, {encoding}", Spread.of([score]), "dB", note=f"{VIEWS} held-out views")
        for encoding, score in scores.items()
    ]
    difference = Spread.of([scores["simplex"] - scores["hash"]])
    return [*rows, Row(f"{name}: PSNR, simplex above hash", difference, "dB", at_least=LOSS)]


class _Take:
    """The steps of a task, one after the other."""

    def __init__(self, task: RadianceTask, steps: int) -> None:
        self.task, self.steps, self.done = task, steps, 0

    def __call__(self) -> None:
        self.task.step(self.done, self.steps)
        self.done += 1

    def until(self, step: int) -> None:
        assert self.done <= step, f"{self.done} steps have been taken, and scores say {step}"
        while self.done < step:
            self()


def _task(size: Size, path: Path, encoding: str) -> RadianceTask:
    small = size == "tiny"
    scene = load(path, downscale=4 if small else 1)
    model = ModelConfig(encoding=encoding)  # type: ignore[arg-type]
    config = RadianceConfig(model=model, run=RunConfig(steps=STEPS, device="cpu"))
    if small:
        sampling = SamplingConfig(target_samples=2048, initial_rays=64, occupancy_resolution=32, steps_per_box=64)
        config = replace(config, model=replace(model, n_levels=4, log2_hashmap_size=10), sampling=sampling)
    resolved = resolve(config, "cpu", unbounded=scene.unbounded, background=scene.background)
    return RadianceTask(build_field(resolved, scene), scene, resolved, torch.device("cpu"))


def _score(task: RadianceTask) -> float:
    """Mean PSNR of a few held-out views, at full size."""
    held_out = task.scene.splits["test"]
    views = held_out[:: max(1, len(held_out) // VIEWS)][:VIEWS]
    scene = task.scene.subset(views)
    cameras = scene.cameras.relative_to(task.field.origin).to(task.device, torch.float32)
    scores = []
    for index in range(len(views)):
        with torch.no_grad():
            image = render_image(
                task.averaged_field(), cameras, index, task.occupancy, task.marching, background=task.background_color()
            ).rgb.cpu()
        target = photograph(scene, index, task.config.run.background)
        scores.append(float(metrics.psnr(image.reshape(target.shape), target)))
    return sum(scores) / len(scores)
