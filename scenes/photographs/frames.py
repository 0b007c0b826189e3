"""Frames of a video that are worth reconstructing from: sharp ones, spread over the way the camera went.

Two passes. The first looks at every frame at a small size: how sharp it is, and how much the picture has changed since
the one before. The video is then cut into as many stretches as frames are wanted, of equal length in a mean of time and
change, so that a camera that rests gives few frames and one that turns gives many; the sharpest of each is kept.
"""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from neural import atomic
from neural.errors import BackendUnavailable, NotSaved, SceneFormatError
from neural.scenes.photographs import quality

PIP = "pip install 'neural[video]'"
FEWEST = 3
_A_SECOND, _LEAST, _MOST = 2.0, 40, 300  # frames picked
_SMALL = 480  # pixels of the longer side in the first pass
_JPEG = 95
_DAMAGE = (OSError, ValueError, EOFError)  # what PyAV's errors are besides its own


@dataclass(frozen=True)
class _Look:
    time: float
    sharpness: float
    change: float


def picked(video: Path, folder: Path, wanted: int | None = None, *, progress: bool = True) -> Path:
    """The chosen frames as JPEGs in a folder of their own; those of an earlier call if nothing has changed.

    Args:
        video: Any file that PyAV decodes.
        folder: Replaced when all frames are written.
        wanted: How many; by default two a second, 40 to 300.
        progress: Whether to draw progress bars.

    Raises:
        BackendUnavailable: PyAV is missing.
        SceneFormatError: Not a video, or one of too few frames.
        NotSaved: No room for the frames.
    """
    stat = _stat(video)
    recipe = {"video": str(video.absolute()), "size": stat[0], "time": stat[1], "wanted": wanted}
    made = folder / ".made.json"
    if made.is_file() and json.loads(made.read_text("utf-8")) == recipe:
        return folder
    if folder.exists() and not made.is_file():  # somebody's own
        raise SceneFormatError(folder, "is there and holds no frames picked by neural; choose another --out")
    looks = _looked(video, progress)
    if len(looks) < FEWEST:
        raise SceneFormatError(
            video,
            f"a video of {len(looks)} frame{'s' * (len(looks) != 1)}, and at least {FEWEST} from different places are "
            "needed; film for some seconds while walking around the scene",
        )
    chosen = choose(looks, wanted or _wanted(looks))
    temporary = folder.with_name(f".{folder.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _write(video, set(chosen), temporary, progress)
        atomic.write_json(temporary / made.name, recipe)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise NotSaved(f"{folder}: frames cannot be written: {error.strerror or error}") from error
    return folder


def choose(looks: list[_Look], wanted: int) -> list[int]:
    """The sharpest frame of each of `wanted` stretches of equal time and change."""
    n = len(looks)
    if wanted >= n:
        return list(range(n))
    change = np.cumsum([look.change for look in looks])
    time = np.array([look.time for look in looks]) - looks[0].time
    way = 0.5 * change / max(float(change[-1]), 1e-9) + 0.5 * time / max(float(time[-1]), 1e-9)
    stretch = np.minimum((way / max(float(way[-1]), 1e-9) * wanted).astype(int), wanted - 1)
    sharp = np.array([look.sharpness for look in looks])
    return [
        int(members[np.argmax(sharp[members])]) for k in range(wanted) if len(members := np.flatnonzero(stretch == k))
    ]


def _wanted(looks: list[_Look]) -> int:
    seconds = max(0.0, looks[-1].time - looks[0].time)
    return int(min(max(math.ceil(_A_SECOND * seconds), _LEAST), _MOST))


def _looked(video: Path, progress: bool) -> list[_Look]:
    """Every frame at a small size."""
    looks: list[_Look] = []
    before: np.ndarray | None = None
    with _opened(video) as (container, stream):
        rate = float(stream.average_rate or 30)
        total = stream.frames or None
        for index, frame in enumerate(
            tqdm(_frames(container, stream), "video", total, disable=not progress, leave=False)
        ):
            shrink = min(1.0, _SMALL / max(frame.width, frame.height))
            size = max(1, round(frame.width * shrink)), max(1, round(frame.height * shrink))
            grey = frame.reformat(width=size[0], height=size[1], format="gray").to_ndarray()
            thumbnail = np.asarray(Image.fromarray(grey).resize((32, 32), Image.Resampling.BOX)).astype(np.float32)
            change = 0.0 if before is None else float(np.abs(thumbnail - before).mean())
            before = thumbnail
            time = float(frame.time) if frame.time is not None else index / rate
            looks.append(_Look(time, quality.sharpness(grey), change))
    return looks


def _write(video: Path, chosen: set[int], folder: Path, progress: bool) -> None:
    last = max(chosen)
    with (
        _opened(video) as (container, stream),
        tqdm(total=len(chosen), desc="frames", disable=not progress, leave=False) as bar,
    ):
        for index, frame in enumerate(_frames(container, stream)):
            if index in chosen:
                image = frame.to_image()
                turns = round(getattr(frame, "rotation", 0) / 90) % 4
                if turns:
                    image = image.rotate(90 * turns, expand=True)
                image.save(folder / f"frame_{index:06d}.jpg", quality=_JPEG)
                bar.update()
            if index >= last:
                break


@contextmanager
def _opened(video: Path) -> Iterator[tuple[Any, Any]]:
    try:
        import av
    except ImportError:
        raise BackendUnavailable(f"{video}: videos are read with PyAV, which is not installed: {PIP}") from None
    try:
        container = av.open(str(video))
    except _DAMAGE as error:
        if not _stat(video)[0]:
            raise SceneFormatError(video, "the file is empty; copy it again from its source") from error
        why = getattr(error, "strerror", None) or error
        raise SceneFormatError(
            video, f"not a video that can be read ({why}); copy it again if it is damaged, else convert it to mp4"
        ) from error
    with container:
        if not container.streams.video:
            raise SceneFormatError(video, "has no pictures, only sound; give the video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Decoded frames; packets that are damaged are left out, and a video that breaks off ends there."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:  # its last packet was empty, which empties the decoder too
            return
        except _DAMAGE:
            break
        with suppress(*_DAMAGE):
            yield from packet.decode()
    with suppress(*_DAMAGE):
        yield from stream.codec_context.decode(None)


def _stat(video: Path) -> tuple[int, int]:
    try:
        stat = video.stat()
    except OSError as error:
        raise SceneFormatError(video, f"cannot be read: {error.strerror}") from error
    return stat.st_size, stat.st_mtime_ns
