"""Frames to an mp4 (extra [video], PyAV), or to numbered PNGs where that is not installed."""

import importlib.util
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from neural import atomic

PIP = "pip install 'av>=14'"
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")


def installed() -> bool:
    """Whether videos can be written."""
    return importlib.util.find_spec("av") is not None


def write(
    path: str | Path, frames: Iterable[UInt8[np.ndarray, "H W 3"]], *, fps: float = 30.0, quality: int = 18
) -> tuple[Path, str]:
    """Write frames as they come; a video appears under its name only when it is whole.

    Args:
        path: A video (`.mp4`, `.mov`, `.mkv`), or a folder for PNGs named 00000.png and so on.
        frames: sRGB, all of one size; made while writing, never held together.
        fps: Frames per second.
        quality: H.264 constant rate factor, 0 (lossless) to 51; 18 is visually lossless.

    Returns:
        What was written (the video, or the folder of PNGs), and a sentence to show: without PyAV, that PNGs
        were written instead and what to install.

    Raises:
        ValueError: For no frames, frames of different sizes, or a name that is neither a video nor a folder.
    """
    path = Path(path)
    if path.suffix and path.suffix.lower() not in VIDEO_SUFFIXES:
        raise ValueError(f"video: {path} must end in {', '.join(VIDEO_SUFFIXES)}, or be a folder for PNGs")
    if not path.suffix:
        count = _write_pngs(path, _checked(frames))
        return path, f"{_frames(count)} in {path}"
    if not installed():
        folder = path.with_suffix("")
        count = _write_pngs(folder, _checked(frames))
        return folder, f"{_frames(count)} in {folder} as PNG, for want of PyAV; for {path.name}: {PIP}"
    count = _write_video(path, _checked(frames), fps, quality)
    return path, f"{_frames(count)}, {count / fps:.1f} s, in {path}"


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count != 1 else ''}"


def _write_video(path: Path, frames: Iterator[np.ndarray], fps: float, quality: int) -> int:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    count = 0
    temporary.touch()  # where that is refused, Python says so with the file's name
    try:
        # +faststart: the index comes first, so that a browser starts before all of it is there.
        with av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
            stream = None
            for frame in frames:
                if stream is None:
                    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                    stream.width, stream.height = frame.shape[1] // 2 * 2, frame.shape[0] // 2 * 2
                    stream.pix_fmt = "yuv420p"  # what every browser plays; it needs even sides
                    stream.options = {"crf": str(quality)}
                even = np.ascontiguousarray(frame[: stream.height, : stream.width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
                count += 1
            if stream is not None:
                container.mux(stream.encode())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _write_pngs(folder: Path, frames: Iterator[np.ndarray]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, frame in enumerate(frames, start=1):
        with atomic.replacing(folder / f"{count - 1:05d}.png") as file:
            Image.fromarray(np.ascontiguousarray(frame)).save(file, "PNG")
    return count


def _checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The frames, each looked at before it is used; the first before any file is made."""
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("video: there are no frames")
    if first.ndim != 3 or first.shape[2] != 3 or first.dtype != np.uint8 or min(first.shape[:2]) < 2:
        raise ValueError(f"video: frames must be [H, W, 3] uint8, 2x2 or more, got {first.shape} {first.dtype}")

    def rest() -> Iterator[np.ndarray]:
        yield first
        for index, frame in enumerate(iterator, start=1):
            if frame.shape != first.shape or frame.dtype != first.dtype:
                raise ValueError(f"video: frame {index} is {frame.shape} {frame.dtype}, frame 0 is {first.shape}")
            yield frame

    return rest()
