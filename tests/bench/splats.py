"""Training steps of Gaussian splats: their rate, what a larger scene costs, against OpenSplat's CPU path, memory."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from neural.cameras import CAMERA_MODELS, Cameras
from neural.cuda.gaussian_projection import project
from neural.cuda.gaussian_tiles import intersect
from neural.gaussians.model import Gaussians
from neural.scenes.images import ImageStack
from neural.scenes.load import load
from neural.scenes.scene import Scene
from neural.train.tasks.splats.build import build_gaussians
from neural.train.tasks.splats.config import (
    DensifyConfig,
    RunConfig,
    SplatModelConfig,
    SplatOptimConfig,
    SplatsConfig,
    resolve,
)
from neural.train.tasks.splats.task import SplatsTask
from tests.bench.harness import Row, Size, Spread, interleave, threads

# Seconds of a step, mean over the first 40 from the capture's points at full size: OpenSplat's CPU build, which
# uses one thread, measured once on this kind of machine. It is AGPL and not part of this suite.
OPENSPLAT = {"alexander_colmap": 1.82, "drone_caliterra": 1.03}
STEPS_PER_SECOND = 12.0
LENSES = {"pinhole": [0.0] * 8, "opencv": [-0.1, 0.01, 1e-3, -1e-3] + [0.0] * 4, "fisheye": [0.05, -0.01] + [0.0] * 6}


def run(size: Size) -> list[Row]:
    n, side, repeats = (100_000, 400, 15) if size == "full" else (400, 32, 2)
    return [*_rate(n, side, repeats), *_growth(n, side, repeats), *_memory(size), *_opensplat(size)]


def _rate(n: int, side: int, repeats: int) -> list[Row]:
    """A whole step: photograph, projection, sort, blending, loss, backward, Adam."""
    task = shells(n, side)
    with threads(2):
        times = interleave({"step": _stepper(task), "sorting": lambda: _sorting(task)}, repeats, time.perf_counter)
    rate = Spread.of([1 / s for s in times.seconds["step"]])
    return [
        Row(f"{n} Gaussians, {side}x{side}: steps", rate, "1/s", at_least=STEPS_PER_SECOND, note="wall, 2 threads"),
        Row("  projection and sorting", times.ratio("sorting", "step").scaled(100), "%", at_most=25, note="of a step"),
    ]


def _growth(n: int, side: int, repeats: int) -> list[Row]:
    """The same view of a scene with ten times as many Gaussians, the others out of sight."""
    small, large = shells(n, side, lazy=True), shells(n, side, elsewhere=9 * n, lazy=True)
    with threads(2):
        times = interleave({"small": _stepper(small), "large": _stepper(large)}, repeats, time.perf_counter)
    return [
        Row(f"step, scene of {10 * n}, {n} in view", times.of("large"), "ms", note="wall, 2 threads, lazy Adam"),
        Row("  over a scene of those in view", times.ratio("large", "small"), "x", at_most=1.2),
        *(_growth_behind(lens, n, side, repeats) for lens in ("opencv", "fisheye")),
    ]


def _growth_behind(lens: str, n: int, side: int, repeats: int) -> Row:
    """The same behind a bent lens."""
    tasks = {"small": shells(n, side, lazy=True, lens=lens)}
    tasks["large"] = shells(n, side, elsewhere=9 * n, lazy=True, lens=lens)
    with threads(2):
        times = interleave({name: _stepper(task) for name, task in tasks.items()}, repeats, time.perf_counter)
    return Row(f"  the same behind the lens {lens}", times.ratio("large", "small"), "x", at_most=1.2)


def _opensplat(size: Size) -> list[Row]:
    folder = os.environ.get("NEURAL_DATA")
    if size == "tiny":
        return []
    rows = []
    for name, theirs in OPENSPLAT.items():
        for n_threads, bar in ((1, 12.0), (2, 20.0)):
            title = f"{name}: first 40 steps, {n_threads} thread{'s' * (n_threads > 1)}, over OpenSplat"
            if not folder:
                rows.append(Row(title, None, "x", at_least=bar, note="needs NEURAL_DATA"))
                continue
            seconds = _first_steps(Path(folder) / name, n_threads)
            note = f"{1e3 * seconds.median:.0f} ms a step against {1e3 * theirs:.0f}"
            over = Spread(theirs / seconds.median, theirs / seconds.high, theirs / seconds.low)
            rows.append(Row(title, over, "x", at_least=bar, note=note))
    return rows


def _first_steps(path: Path, n_threads: int) -> Spread:
    """Seconds of a step, over the first 40 from all points of the capture, photographs at their size."""
    scene = load(path)
    config = SplatsConfig(
        densify=DensifyConfig(strategy="none"),
        optim=SplatOptimConfig(coarse=1),
        run=RunConfig(steps=7000, device="cpu"),
    )
    assert scene.points is not None
    resolved = resolve(config, "cpu", n_points=len(scene.points), background=scene.background)
    origin = scene.aabb.mean(0)
    with threads(n_threads):
        task = SplatsTask(build_gaussians(resolved, scene, origin), origin, scene, resolved, torch.device("cpu"))
        seconds = []
        for step in range(40):
            began = time.perf_counter()
            task.step(step, 7000)
            seconds.append(time.perf_counter() - began)
    return Spread.of(seconds)


def _memory(size: Size) -> list[Row]:
    """Peak of a step beside torch, per Gaussian, in a process of its own."""
    rows = []
    n = 400_000 if size == "full" else 20_000
    for elsewhere, share in ((0, 1.0), (9, 0.1)):
        done = subprocess.run(
            [sys.executable, "-c", _MEMORY, str(n // (1 + elsewhere)), str(n // (1 + elsewhere) * elsewhere)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"measuring memory failed:\n{done.stderr[-2000:]}")
        each = Spread.of([float(done.stdout)])
        bar = 1000 + 300 * share if size == "full" else None  # a small scene's image and stacks are most of it
        rows.append(
            Row(f"peak of a step, {share:.0%} in view", each, "B/Gaussian", at_most=bar, note=f"{n} Gaussians, SH 3")
        )
    return rows


_MEMORY = """
import os, sys
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
from tests.bench.splats import shells
def status(key):
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))
shells(2000, 200).step(5000, 7000)
before = status("VmRSS")
task = shells(int(sys.argv[1]), 200, elsewhere=int(sys.argv[2]), lazy=sys.argv[2] != "0")
for step in range(3):
    task.step(5000 + step, 7000)
print((status("VmHWM") - before) / task.gaussians.n)
"""


def shells(
    n: int, side: int, *, elsewhere: int = 0, lazy: bool = False, seed: int = 0, lens: str = "pinhole"
) -> SplatsTask:
    """A task on `n` small Gaussians in shells before four cameras, some 2.4 tiles each, and others out of sight."""
    generator = torch.Generator().manual_seed(seed)
    focal = 1.2 * side
    z = 2 + torch.randint(8, (n + elsewhere,), generator=generator) / 2
    pixels = side * torch.rand(2, n + elsewhere, generator=generator)
    means = torch.stack([*(pixels - side / 2) / focal * z, z], 1)
    means[n:, 2] *= -1  # behind the cameras
    scales = 1.45 / focal * z[:, None] * torch.exp(0.4 * torch.randn(n + elsewhere, 3, generator=generator))
    rest = torch.randn(n + elsewhere, 15, 3, generator=generator) * 0.05
    gaussians = Gaussians(
        means, torch.randn(n + elsewhere, 4, generator=generator), scales.log(),
        torch.logit(0.05 + 0.9 * torch.rand(n + elsewhere, generator=generator)),
        torch.randn(n + elsewhere, 3, generator=generator), rest,
    )  # fmt: skip
    gaussians.sort_morton()
    poses = torch.eye(4, dtype=torch.float64).repeat(4, 1, 1)
    poses[:, 0, 3] = torch.linspace(-0.05, 0.05, 4)
    intrinsics = torch.tensor([[focal, focal, side / 2, side / 2]], dtype=torch.float64).repeat(4, 1)
    cameras = Cameras(
        poses, intrinsics, torch.tensor([[side, side]]).repeat(4, 1), torch.full((4,), CAMERA_MODELS.index(lens)),
        torch.tensor([LENSES[lens]], dtype=torch.float64).repeat(4, 1),
    )  # fmt: skip
    images = np.random.default_rng(seed).integers(0, 255, (4, side, side, 3), dtype=np.uint8)
    box = torch.tensor([[-3.0, -3, -6], [3, 3, 6]], dtype=torch.float64)
    scene = Scene(
        "shells", None, cameras, ImageStack.from_arrays(list(images)), None, ("0", "1", "2", "3"),
        {"train": (0, 1, 2, 3), "test": ()}, None, box, np.eye(4),
    )  # fmt: skip
    config = SplatsConfig(
        model=SplatModelConfig(max_gaussians=n + elsewhere), densify=DensifyConfig(strategy="none"),
        optim=SplatOptimConfig(coarse=1, lazy=lazy), run=RunConfig(steps=7000, device="cpu"),
    )  # fmt: skip
    resolved = resolve(config, "cpu", shorter_side=side)
    resolved = replace(resolved, optim=replace(resolved.optim, means_lr=1e-9))  # the scene stays what it is
    return SplatsTask(gaussians, torch.zeros(3, dtype=torch.float64), scene, resolved, torch.device("cpu"))


def _stepper(task: SplatsTask):
    """One step after the other, late in a run: all spherical harmonics count, photographs have their size."""
    state = {"step": 5000}

    def work() -> None:
        task.step(state["step"], 7000)
        state["step"] += 1

    return work


def _sorting(task: SplatsTask) -> None:
    g, view = task.gaussians, task._camera(1, 0)
    with torch.no_grad():
        parameters = (g.means, g.quats, g.log_scales, g.opacity_logits)
        projected = project(*parameters, view.w2c, view.intrinsics, view.size, near=view.near)
        intersect(*projected, view.size)
