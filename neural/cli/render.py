"""`neural render RUN`: a film along a camera path, or a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

import neural
from neural.cli import UsageError
from neural.cli.options import call
from neural.interrupt import EXIT_DONE


@dataclass(frozen=True)
class Render:
    """Render a run: along a camera path to a video (extra [video]) or a folder of PNGs, or to one picture."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    path: str | None = None
    """"orbit" around the scene (the default), "train" through the photographs' cameras, or a file written by
    `neural.paths.save`."""
    out: Path | None = None
    """Video file (.mp4) or folder, RUN/<path>.mp4 by default; a picture (.png) for what is no film."""
    frames: int | None = None
    """Number of frames, 120 by default; a file's own poses are rendered one by one."""
    fps: float | None = None
    """Frames per second of the video; 30 by default."""
    downscale: int | None = None
    """Render smaller by this whole factor."""
    size: int | None = None
    """Images: pixels along the longer side of the picture; as many as the part has by default."""
    crop: tuple[int, int, int, int] | None = None
    """Images: left, top, width and height of the part to show, in pixels of the picture it was trained on."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Render, prog="neural render", args=list(arguments))
    _check(given)
    run = neural.load_run(given.run, device=given.device)
    options = {name: getattr(given, name) for name in ("path", "out", "frames", "fps", "downscale", "size", "crop")}
    call(run.render, options, run.kind)
    return EXIT_DONE


def _check(given: Render) -> None:
    """Refuses values that no run can serve, before one is loaded."""
    wrong_fps = given.fps is not None and not 0 < given.fps <= 1000
    if any(value is not None and value < 1 for value in (given.frames, given.downscale)) or wrong_fps:
        raise UsageError("--frames and --downscale must be 1 or more, --fps between 0 and 1000")
    if given.path is not None and given.path not in ("orbit", "train") and not Path(given.path).is_file():
        raise UsageError(f"--path must be orbit, train or a file with poses, got {given.path!r}")

    from neural import video

    endings = ("", ".png", *video.VIDEO_SUFFIXES)
    if given.out is not None and given.out.suffix.lower() not in endings:
        raise UsageError(f"--out must be a folder or end in {', '.join(endings[1:])}, got {given.out}")
