"""A large training step gives the same bits on any number of threads, and again when it is repeated."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from neural.scenes.load import load
from neural.scenes.scene import Scene
from neural.train.loop import StepResult
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.radiance.config import ModelConfig, OptimConfig, RadianceConfig, SamplingConfig, resolve
from neural.train.tasks.radiance.task import RadianceTask, build_field
from tests.threads import threads

# Everything that learns, with more rays and samples than torch or a kernel leaves to one thread; neither number is a
# multiple of what threads work on at a time.
CONFIG = RadianceConfig(
    model=ModelConfig(
        n_levels=4, log2_hashmap_size=12, base_resolution=8, finest_resolution=64, density_width=16, color_width=16,
        color_layers=1, appearance_dims=4,
    ),
    sampling=SamplingConfig(
        initial_rays=20_033, max_rays=20_033, target_samples=1 << 19, occupancy_resolution=16
    ),
    optim=OptimConfig(warmup_steps=0, refine_poses=True, exposure=True, distortion=0.01, random_background=True),
    run=RunConfig(steps=100, device="cpu"),
)  # fmt: skip


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, write_capture) -> Scene:
    return load(write_capture(tmp_path_factory.mktemp("determinism") / "scene"))


def two_steps(
    scene: Scene, config: RadianceConfig, n_threads: int
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor], list[StepResult]]:
    """Every gradient of the first two steps, the state after them, and what they reported."""
    task = RadianceTask(build_field(config, scene), scene, config, torch.device("cpu"))
    learning = dict(task.field.named_parameters()) | task._own_parameters()
    gradients: list[dict[str, Tensor]] = []
    update = task.optimiser.step

    def step(scale: float) -> None:
        found = {name: p.grad.clone() for name, p in learning.items() if p.grad is not None}
        for group in task.optimiser.groups:
            found |= {name: buffer.grad.clone() for name, buffer in group.buffers.items()}
        gradients.append(found)
        update(scale)

    task.optimiser.step = step
    with threads(n_threads):
        results = [task.step(i, 100) for i in range(2)]
    return gradients, task.tensors(), results


@pytest.mark.parametrize(
    ("model", "loss", "steps_per_box"),
    [
        ({"contraction": "none", "density_activation": "exp"}, "huber", 32),
        ({"contraction": "ball", "density_activation": "softplus"}, "l2", 6),
    ],
    ids=["box", "unbounded"],
)
def test_a_large_step_has_the_same_bits_on_any_number_of_threads(
    model: dict[str, Any], loss: str, steps_per_box: int, scene: Scene
) -> None:
    asked = replace(
        CONFIG, model=replace(CONFIG.model, **model), optim=replace(CONFIG.optim, loss=loss),
        sampling=replace(CONFIG.sampling, steps_per_box=steps_per_box),
    )  # fmt: skip
    config = resolve(asked, "cpu")
    gradients, state, results = two_steps(scene, config, 1)
    assert all(r.count > 16_384 and r.extra["samples"] > 65_536 for r in results)
    for found in gradients:
        assert {"appearance", "poses", "exposure", "encoding.table", "density_mlp.params"} <= found.keys()
        assert all(bool(g.any()) for g in found.values())
    for n_threads in (1, 2, 3):
        again, other, same = two_steps(scene, config, n_threads)
        assert [(r.loss, r.psnr) for r in same] == [(r.loss, r.psnr) for r in results]
        for step, (a, b) in enumerate(zip(gradients, again, strict=True)):
            for name in a:
                assert torch.equal(a[name], b[name]), f"{name}, step {step}, {n_threads} threads"
        for name, value in state.items():
            assert torch.equal(value, other[name]), f"{name}, {n_threads} threads"
