"""A training step of a radiance field on a real capture, ours against the same recipe in plain torch."""

import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from neural.rays import generate
from neural.render.volume import march
from neural.scenes.load import load
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.radiance.config import ModelConfig, RadianceConfig, SamplingConfig, resolve
from neural.train.tasks.radiance.task import RadianceTask, build_field
from tests.bench.harness import Row, Size, interleave
from tests.bench.plain_field import PlainField

CITY = Path(__file__).parents[2] / "data" / "city"
WARM_UP = 400  # steps before anything is timed: the occupancy grid has settled then


def run(size: Size) -> list[Row]:
    capture = os.environ.get("NEURAL_DATA")
    if size == "full" and not capture:
        return [Row("fox: over plain torch", None, "x", at_least=8.0, note="needs NEURAL_DATA")]
    task = _task(size, Path(capture or "") / "fox" if size == "full" else CITY)
    warm_up, repeats = (WARM_UP, 15) if size == "full" else (2, 2)
    for step in range(warm_up):
        task.step(step, 5000)
    plain = PlainField(task.field)
    state = {"step": warm_up}

    def ours() -> None:
        task.step(state["step"], 5000)
        state["step"] += 1

    times = interleave({"neural": ours, "plain torch": lambda: _plain_step(task, plain, state["step"])}, repeats,
                       clock=time.perf_counter)  # fmt: skip
    name, n = ("fox" if size == "full" else "city"), torch.get_num_threads()
    return [
        Row(f"{name}: step, neural", times.of("neural"), "ms", note=f"wall, {n} threads, {task._n_rays} rays"),
        Row(f"{name}: step, plain torch", times.of("plain torch"), "ms", note="same samples, marched by ours"),
        Row(f"{name}: over plain torch", times.ratio("plain torch", "neural"), "x", at_least=8.0),
    ]


def _task(size: Size, path: Path) -> RadianceTask:
    small = size == "tiny"
    scene = load(path, downscale=4 if small else 1)
    config = RadianceConfig(run=RunConfig(steps=5000, device="cpu"))
    if small:
        sampling = SamplingConfig(target_samples=2048, initial_rays=64, occupancy_resolution=32, steps_per_box=64)
        config = replace(config, model=ModelConfig(n_levels=4, log2_hashmap_size=10), sampling=sampling)
    resolved = resolve(config, "cpu", unbounded=scene.unbounded, background=scene.background)
    return RadianceTask(build_field(resolved, scene), scene, resolved, torch.device("cpu"))


def _plain_step(task: RadianceTask, plain: PlainField, step: int) -> None:
    """The batch that our task would take at this step, through the plain field."""
    pixels = task._sampler.draw(step, task._n_rays)
    background = task._background(step, len(pixels.rgb))
    rays = generate(task._cameras, pixels.image_indices, pixels.centres)
    samples = march(rays, task.occupancy, task.marching, jitter=(task.config.run.seed, step))
    target = torch.addcmul(pixels.rgb * pixels.alpha[:, None], (1 - pixels.alpha)[:, None], background)
    plain.step(rays, samples, target, background, task.marching.early_stop)
