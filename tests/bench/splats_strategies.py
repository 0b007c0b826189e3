"""MCMC and the budget against adaptive control at equal steps and counts: held-out PSNR of four captures.

Adaptive control says how many Gaussians there are; the others then have exactly as many to spend. All begin with the
same points or random centres, each with the opacity, sizes and rates that it has by default, and with moments that go
on where a view sees nothing (`lazy` is off): the difference is that of the strategies. Runs differ by half a dB with
their seed, so each is made with three of them and their mean counts.
"""

from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from neural.scenes.scene import Scene
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.splats.config import DensifyConfig, SplatModelConfig, SplatOptimConfig, SplatsConfig
from tests.bench import splats_runs
from tests.bench.harness import Row, Size, Spread, threads


@dataclass(frozen=True)
class Setting:
    """A capture as small as a run of about a minute wants it."""

    name: str
    downscale: int
    start: int  # Gaussians at first
    most: int  # that adaptive control may have


SETTINGS = (
    Setting("lego_400", 3, 2500, 5000),
    Setting("fox", 6, 2500, 5000),
    Setting("alexander_colmap", 6, 2500, 5000),
    Setting("drone_caliterra", 6, 2500, 5000),
)
TINY = (Setting("city", 8, 60, 90),)
STEPS = {"full": 2000, "tiny": 12}
SEEDS = {"full": (0, 1, 2), "tiny": (0,)}
BAR = 3  # of four scenes


def run(size: Size) -> list[Row]:
    settings, rows, differences = (SETTINGS if size == "full" else TINY), [], []
    with threads(1):
        for setting in settings:
            scene = splats_runs.capture(setting.name, setting.downscale)
            if scene is None:
                rows.append(Row(setting.name, None, "dB", note="needs NEURAL_DATA"))
                continue
            found, difference = _compare(scene, setting, STEPS[size], SEEDS[size])
            rows += found
            differences.append(difference)
    better = Spread.of([sum(d >= 0 for d in differences)]) if len(differences) == len(SETTINGS) else None
    note = "mean differences " + ", ".join(f"{d:+.2f}" for d in differences) + " dB"
    rows.append(Row("scenes where MCMC is as good as adaptive control", better, "of 4", note=note, at_least=BAR))
    return rows


def _compare(scene: Scene, setting: Setting, steps: int, seeds: tuple[int, ...]) -> tuple[list[Row], float]:
    """Rows of one scene, and by how much MCMC is better than adaptive control."""
    strategies: tuple[Literal["adaptive", "mcmc", "budget"], ...] = ("adaptive", "mcmc", "budget")
    scores: dict[str, list[float]] = {strategy: [] for strategy in strategies}
    seconds: dict[str, list[float]] = {strategy: [] for strategy in strategies}
    counts = []
    for seed in seeds:
        count = setting.most
        for strategy in strategies:
            config = SplatsConfig(
                model=SplatModelConfig(max_gaussians=count, init_gaussians=min(setting.start, count)),
                densify=DensifyConfig(strategy=strategy),
                optim=SplatOptimConfig(lazy=False),
                run=RunConfig(steps=steps, device="cpu", seed=seed),
            )
            work = splats_runs.task(scene, config)
            seconds[strategy].append(splats_runs.train(work, steps))
            scores[strategy].append(splats_runs.held_out(work))
            count = work.gaussians.n if strategy == "adaptive" else count
        counts.append(count)
    rows = [
        Row(
            f"{setting.name}, 1/{setting.downscale}: {strategy}", Spread.of(scores[strategy]), "dB",
            note=f"{min(counts)} to {max(counts)} Gaussians, {steps} steps of "
            f"{1000 * median(seconds[strategy]):.1f} ms, seeds {', '.join(map(str, seeds))}",
        )
        for strategy in strategies
    ]  # fmt: skip
    return rows, fmean(scores["mcmc"]) - fmean(scores["adaptive"])
