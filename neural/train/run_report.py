"""The report page of a run: gathers what `neural.report` draws."""

import platform
import shlex
import sys
from pathlib import Path

import numpy as np
import torch

import neural
from neural import log, report
from neural.evaluate import Evaluation
from neural.runs import Run
from neural.train.trained import TrainedRun, photograph

MAX_SHOWN = 12  # held-out views in the page


def write(trained: TrainedRun, run: Run, scores: Evaluation | None, seconds: float, film: Path | None) -> Path:
    """Writes RUN/report.html and gives its path."""
    page = trained.folder / "report.html"
    report.write(page, _contents(trained, run, scores, seconds, film))
    return page


def _contents(
    trained: TrainedRun, run: Run, scores: Evaluation | None, seconds: float, film: Path | None
) -> report.Report:
    scene, steps = trained.scene, run.config["run"]["steps"]
    length = f"{int(seconds) // 60} min {int(seconds) % 60} s"
    place = _machine(trained.config.run.device)
    headline = {"steps": f"{steps:,}", "training": length, **trained.facts()}
    if scores is not None:
        similarity = {} if scores.ssim is None else {"SSIM": f"{scores.ssim:.4f}"}
        headline = {"PSNR": f"{scores.psnr:.2f} dB", **similarity, **headline}
        if scores.lpips is not None:
            headline["LPIPS"] = f"{scores.lpips:.4f}"
    box = scene.aabb.numpy()
    points = scene.points
    chosen = slice(None) if points is None else slice(None, None, max(1, len(points) // 2000))
    return report.Report(
        title=scene.name,
        subtitle=f"{trained.kind}, {steps:,} steps in {length} on {place}",
        headline=headline,
        views=_views(trained, scores),
        protocol=str(scores).replace("\n", "; ") if scores is not None else "no held-out images",
        curves=report.curves_from_history(log.read(trained.folder)),
        cameras=report.CameraPlot.from_c2w(
            scene.cameras.c2w.numpy(), scene.splits["test"], box,
            points=None if points is None else points.xyz[chosen],
            colors=None if points is None else points.rgb[chosen],
        ),
        scene={
            "images": f"{len(scene.splits['train'])} for training, {len(scene.splits['test'])} held out",
            "size": f"{scene.cameras.sizes[0, 0]} x {scene.cameras.sizes[0, 1]}",
            "box": " x ".join(f"{side:.3g}" for side in np.diff(box, axis=0)[0]) + " scene units",
            "unbounded": "yes" if scene.unbounded else "no",
            "points": "none" if points is None else f"{len(points):,}",
        },
        settings=run.config,
        command=_command(trained, run),
        environment={
            "neural": neural.__version__,
            "torch": torch.__version__,
            "Python": platform.python_version(),
            "machine": place,
            "system": f"{platform.system()} {platform.release()}",
        },
        video=film if film is not None and film.is_file() else None,
        warnings=scene.warnings,
    )  # fmt: skip


def _views(trained: TrainedRun, scores: Evaluation | None) -> list[report.View]:
    if scores is None:
        return []
    views = []
    for score in scores.images[:MAX_SHOWN]:
        index = trained.scene.image_names.index(score.name)
        target = photograph(trained.scene, index, trained.config.run.background)
        image = trained.render_camera(trained.scene.cameras, index).rgb.cpu().reshape(target.shape)
        views.append(
            report.View(score.name, _bytes(image), _bytes(target), psnr=score.psnr, ssim=score.ssim, lpips=score.lpips)
        )
    return views


def _bytes(image: torch.Tensor) -> np.ndarray:
    return (image.clamp(0, 1).numpy() * 255 + 0.5).astype(np.uint8)


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
