"""The report page of a run: gathers what `neural.report` draws."""

import platform
import shlex
import sys
from pathlib import Path

import torch

import neural
from neural import log, report
from neural.runs import Run
from neural.train.trained import Scores, Shown, TrainedRun


def write(trained: TrainedRun, run: Run, scores: Scores | None, seconds: float, shown: Shown) -> Path:
    """Writes RUN/report.html and gives its path."""
    page = trained.folder / "report.html"
    report.write(page, _contents(trained, run, scores, seconds, shown))
    return page


def _contents(trained: TrainedRun, run: Run, scores: Scores | None, seconds: float, shown: Shown) -> report.Report:
    steps = run.config["run"]["steps"]
    length = f"{int(seconds) // 60} min {int(seconds) % 60} s"
    place = _machine(trained.config.run.device)
    reached = {} if scores is None else scores.tiles()
    return report.Report(
        title=shown.title,
        subtitle=f"{trained.kind}, {steps:,} steps in {length} on {place}",
        headline={**reached, "steps": f"{steps:,}", "training": length, **trained.facts()},
        views=shown.views,
        protocol=str(scores).replace("\n", "; ") if scores is not None else "no held-out images",
        curves=report.curves_from_history(log.read(trained.folder)),
        cameras=shown.cameras,
        scene=shown.data,
        settings=run.config,
        command=_command(trained, run),
        environment={
            "neural": neural.__version__,
            "torch": torch.__version__,
            "Python": platform.python_version(),
            "machine": place,
            "system": f"{platform.system()} {platform.release()}",
        },
        video=shown.video,
        warnings=shown.warnings,
        views_title=shown.views_title,
        truth=shown.truth,
    )


def _command(trained: TrainedRun, run: Run) -> str:
    if sys.argv and Path(sys.argv[0]).name in ("neural", "__main__.py"):
        return shlex.join(["neural", *sys.argv[1:]])
    return shlex.join(
        ["neural", "train", trained.task, str(run.config["scene"]), "--out", str(trained.folder),
         "--steps", str(run.config["run"]["steps"])]
    )  # fmt: skip


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    from neural.cuda import native

    return f"{torch.get_num_threads()} CPU threads ({native.active_isa()})"
