"""The live viewer: pictures a second with 100k Gaussians, what a training loses to it, and a crowd of browsers.

Browsers are processes beside this that move their cameras 30 times a second and read what comes.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from neural.gaussians.model import Gaussians
from neural.scenes.near import Near
from neural.train.loop import Moment
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.splats.config import DensifyConfig, SplatModelConfig, SplatsConfig
from neural.train.tasks.splats.run import SplatRun
from neural.viewer.live.axes import axis
from neural.viewer.live.frame import ViewerFrame
from neural.viewer.live.subjects.splats import SplatSubject
from neural.viewer.live.viewer import Viewer
from neural.viewer.live.watch import watching
from tests.bench import splats_runs
from tests.bench.harness import Row, Size, Spread
from tests.viewer.crowd import crowd, memory
from tests.viewer.shown import served

GAUSSIANS = 100_000


def run(size: Size) -> list[Row]:
    full = size == "full"
    return [
        _moving(GAUSSIANS if full else 500, 12.0 if full else 1.5),
        *_slowdown(rounds=8 if full else 1, seconds=5.0 if full else 0.3, n=20_000 if full else 200),
        *_crowd(n=20 if full else 2, seconds=300.0 if full else 2.0),
    ]


def cloud(n: int) -> SplatSubject:
    """Gaussians on the walls and floor of a courtyard, as large as a trained scene's, with harmonics of degree 3."""
    rng = np.random.default_rng(0)
    angle, height = rng.uniform(0, 2 * np.pi, n), rng.uniform(-1, 1, n)
    floor = rng.random(n) < 0.4
    radius = np.where(floor, 2.5 * np.sqrt(rng.random(n)), 2.5 + 0.1 * np.sin(9 * angle))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.where(floor, -1.0, height)], -1)
    colors = 0.5 + 0.4 * np.sin(points @ rng.normal(size=(3, 3)) * 4)
    gaussians = Gaussians.from_points(
        torch.from_numpy(points).float(), torch.from_numpy(colors).float(), opacity=0.8, sh_degree=3
    )
    gaussians.sort_morton()
    box = np.array([[-3.0] * 3, [3.0] * 3])
    return SplatSubject(
        gaussians, torch.zeros(3, dtype=torch.float64), name="courtyard", scene=None,
        frame=ViewerFrame(np.zeros(3), 1.0, axis("z")), box=box, background=1.0, near=Near.everywhere(0.01),
    )  # fmt: skip


@contextmanager
def _served(n: int) -> Iterator[Viewer]:
    """A viewer of `cloud(n)` without curves."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), cloud(n), lines=None) as viewer:
        yield viewer


def _moving(n: int, seconds: float) -> Row:
    """Pictures that arrive in each second, after the first few."""
    with _served(n) as viewer, crowd(viewer.door.port, 1, seconds, (seconds, seconds)) as counted:
        pictures = counted()["pictures"]
        shown = viewer.last
    begin = min(3, int(seconds) - 1)  # by then it has found its size
    rates = [max(1e-9, float(sum(at <= picture < at + 1 for picture in pictures))) for at in range(begin, int(seconds))]
    note = f"window 1280 x 720, pictures at last {shown}"
    return Row(f"pictures a second, moving, {n:,} Gaussians", Spread.of(rates), "/s", at_least=10.0, note=note)


def _slowdown(rounds: int, seconds: float, n: int) -> list[Row]:
    """A step with a browser that moves over one with a browser that is only connected, in turns of some seconds.

    A training gets quicker as it goes, so each turn is compared with the mean of the one before and the one after.
    """
    scene = splats_runs.capture("city", 2)
    assert scene is not None
    config = SplatsConfig(
        model=SplatModelConfig(max_gaussians=n, init_gaussians=n), densify=DensifyConfig(strategy="none"),
        run=RunConfig(steps=1_000_000, device="cpu"),
    )  # fmt: skip
    work = splats_runs.task(scene, config)
    step = 0

    def train(look: Callable[[Moment], None] | None, seconds: float) -> tuple[float, float]:
        """Wall and CPU seconds of a step."""
        nonlocal step
        began, cpu, first = time.perf_counter(), time.process_time(), step
        while time.perf_counter() - began < seconds:
            work.step(step, 1_000_000)
            step += 1
            if look is not None:
                look(Moment(step, 1_000_000, time.perf_counter() - began, None, lambda: None, lambda: False))
        steps = step - first
        return (time.perf_counter() - began) / steps, (time.process_time() - cpu) / steps

    train(None, 6 * seconds)  # warm: caches, and most of the change
    alone, watched = [], []
    whole = (2 * rounds + 1) * seconds + 30
    with tempfile.TemporaryDirectory() as folder, watching(port=0) as watch:
        viewer = watch(lambda: SplatRun(Path(folder), scene, work.config, work.gaussians, work.origin))
        with crowd(viewer.viewer.door.port, 1, whole, (whole, whole)):
            _wait_for_one(viewer.viewer)
            spent = viewer.budget.spent
            for _ in range(rounds):
                alone.append(train(None, seconds))
                viewer.budget.resume()
                watched.append(train(viewer.look, seconds))
            alone.append(train(None, seconds))
            share = (viewer.budget.spent - spent) / (rounds * seconds)
    note = f"{100 * share:.1f} % of the time for {viewer.viewer.rate.total} pictures, at last {viewer.viewer.last}"
    rows = []
    for which, name in enumerate(("time", "CPU time")):
        ratios = [
            2 * mine[which] / (before[which] + after[which])
            for mine, before, after in zip(watched, alone[:-1], alone[1:], strict=True)
        ]
        bar = 1.1 if name == "time" else None
        text = f"{name} of a step watched by a browser that moves, over one that is not"
        rows.append(Row(text, Spread.of(ratios), "x", at_most=bar, note=note))
    return rows


def _wait_for_one(viewer: Viewer, seconds: float = 30.0) -> None:
    end = time.perf_counter() + seconds
    while not any(client.viewpoint for client in viewer.clients) and time.perf_counter() < end:
        time.sleep(0.05)


def _crowd(n: int, seconds: float) -> list[Row]:
    """Memory of the server with a crowd that comes and goes, at the end over that after a fifth of the time."""
    with _served(5000) as viewer:
        with crowd(viewer.door.port, n, seconds / 5, (1.0, 5.0)) as counted:
            counted()
        before = memory()
        with crowd(viewer.door.port, n, seconds, (3.0, 15.0)) as counted:
            counts = counted()
        after = memory()
    errors = counts["errors"]
    note = f"{counts['visits']} visits, {len(counts['pictures'])} pictures" + (f"; {errors[:2]}" if errors else "")
    return [
        Row(f"memory, {n} browsers that come and go for {seconds:.0f} s", Spread.of([after / before]), "x",
            at_most=1.05, note=f"{before / 1e6:.0f} MB before"),
        Row("their errors, and one", Spread.of([1.0 + len(errors)]), "", at_most=1.0, note=note),
    ]  # fmt: skip
