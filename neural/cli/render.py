"""`neural render RUN --path orbit|train|FILE`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

import neural
from neural.cli import UsageError
from neural.interrupt import EXIT_DONE


@dataclass(frozen=True)
class Render:
    """Render a run along a camera path to a video (extra [video]) or a folder of PNGs."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    path: str = "orbit"
    """"orbit" around the scene, "train" through the photographs' cameras, or a file written by `neural.paths.save`."""
    out: Path | None = None
    """Video file (.mp4) or folder; RUN/<path>.mp4 by default."""
    frames: int = 120
    """Number of frames; a file's own poses are rendered one by one."""
    fps: float = 30.0
    """Frames per second of the video."""
    downscale: int = 1
    """Render smaller by this whole factor."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Render, prog="neural render", args=list(arguments))
    if given.frames < 1 or not 0 < given.fps <= 1000 or given.downscale < 1:
        raise UsageError("--frames and --downscale must be 1 or more, --fps between 0 and 1000")
    if given.path not in ("orbit", "train") and not Path(given.path).is_file():
        raise UsageError(f"--path must be orbit, train or a file with poses, got {given.path!r}")

    from neural import video

    if given.out is not None and given.out.suffix.lower() not in ("", *video.VIDEO_SUFFIXES):
        raise UsageError(f"--out must be a folder or end in {', '.join(video.VIDEO_SUFFIXES)}, got {given.out}")
    run = neural.load_run(given.run, device=given.device)
    if given.path == "train" and len(run.scene.splits["train"]) < 2:
        raise UsageError("--path train needs two photographs; use --path orbit")
    if given.downscale > int(run.scene.cameras.sizes.min()):
        raise UsageError(f"nothing is left of the pictures at --downscale {given.downscale}")
    run.render(path=given.path, out=given.out, frames=given.frames, fps=given.fps, downscale=given.downscale)
    return EXIT_DONE
