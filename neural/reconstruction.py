"""From photographs or a video to a trained scene, its report, its file and its page, in one call.

    RUN/photographs -> PHOTOS   a link; RUN/frames: the frames picked from a video
    RUN/cameras.json  RUN/points.ply  RUN/tracks.npy cameras and points found from them (neural.scenes.photographs)
    RUN/config.json  RUN/checkpoints  RUN/report.html    the training on them, an ordinary run of splats
    RUN/scene.spz  RUN/page.html  RUN/picture.png        what there is to show
    RUN/cameras                                          stages that are finished; may be removed

Each stage is kept when it is done; the same call goes on where it was stopped.
"""

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neural import atomic, runs
from neural.errors import CheckpointError, NotSaved, SceneFormatError
from neural.file_lock import try_lock
from neural.first_look import PAGE, PICTURE, Improving, first_look, show
from neural.scenes.capture import PHOTO_SUFFIXES
from neural.scenes.photographs import cameras, frames, masks, survey, written
from neural.scenes.photographs.plan import planned
from neural.scenes.photographs.settings import CameraSettings
from neural.scenes.photographs.sfm import process
from neural.train import session
from neural.train.loop import Moment, Watcher
from neural.train.tasks.splats import run as splats_run
from neural.train.tasks.splats.config import SplatsConfig
from neural.train.tasks.splats.run import SplatRun

MINUTES = 8.0  # of training on a CPU, where nothing else is asked for
CPU_PIXELS = 250_000  # of a photograph in training on a CPU, about; a GPU takes them as they are, up to ...
GPU_PIXELS = 2_500_000
DEPTH = 0.05  # weight of the depths that structure from motion has measured; 0.5 dB on castle_P30
SOURCE = "reconstruct.json"
SCENE, STAGES = "scene.spz", "cameras"
FIRST, CAMERAS, TRAINING, FILES = "first look", "cameras", "training", "files"  # stages, as they are said
_LISTED = 20  # photographs that are named
_FIRST, _AROUND, _FILES = 45.0, 60.0, 10.0  # seconds of a first look, of scores and report, of the files


@dataclass(frozen=True)
class Reconstruction:
    """What has come of it.

    Attributes:
        folder: Of the run.
        registered: Photographs that have a pose.
        photographs: That were tried.
        run: The trained scene: `evaluate`, `render`, `export`, `scene`.
        files: What there is to look at, in the order of a reader's interest.
    """

    folder: Path
    registered: int
    photographs: int
    run: SplatRun
    files: tuple[Path, ...]


def reconstruct(
    source: str | Path,
    *,
    out: str | Path | None = None,
    minutes: float | None = None,
    settings: CameraSettings | None = None,
    config: SplatsConfig | None = None,
    exposure: bool = True,
    preview: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    watch: session.Watch | None = None,
) -> Reconstruction:
    """Photographs in, a trained scene out; the same call goes on with what is there.

    Args:
        source: A folder of photographs, or a video.
        out: Folder of the run; `runs/<name>` without it.
        minutes: Of training; 8 on a CPU, 30,000 steps on a GPU without it.
        settings: Of the cameras.
        preview: Write a first picture and page from few, small photographs at once, and better ones as the training
            goes on.
        config: Of the training; what is not said is chosen for the device and the photographs.
        exposure: Learn how each photograph was exposed and white-balanced; the scene keeps the mean.
        overwrite: Train anew if the run there was trained on other cameras or told other things.
        progress: Whether to say what is done, with progress bars.
        watch: Someone who looks on at the training; see `neural.viewer.live.watch`.

    Raises:
        SceneFormatError: Nothing to reconstruct from, or too few photographs that overlap; says what to do.
        BackendUnavailable: pycolmap is not installed, or for a video PyAV; or there is no such device.
        StageFailed: Finding the cameras ended badly; finished stages are kept.
        CheckpointError: The folder holds something else.
        NotSaved: The disk is full, or the folder may not be written.
    """
    process.require_pycolmap()
    config = config or SplatsConfig()
    session.with_length(config, None, minutes)  # refuses before anything takes long
    session.choose_device(config.run.device)
    source, settings = Path(source), settings or CameraSettings()
    if not source.exists():
        raise SceneFormatError(source, "no such folder of photographs, and no such video")
    if source.is_file() and source.suffix.lower() in PHOTO_SUFFIXES:
        raise SceneFormatError(source, f"is one photograph; give the folder of all of them: {source.parent}")
    folder = (
        Path(out) if out is not None else Path("runs") / (source.stem if source.is_file() else source.resolve().name)
    )
    say = Say(progress)
    with _opened(folder, source):
        length = 60 * (minutes or config.run.minutes or MINUTES)
        found = find_cameras(source, folder, settings, say, preview=preview, training=length, device=config.run.device)
        optim = replace(config.optim, exposure=exposure or config.optim.exposure)
        if optim.depth is None and found.get("tracks_file_path"):
            optim = replace(optim, depth=DEPTH)
        config = replace(config, optim=optim)
        asked = _asked(config, folder, minutes)
        say.left = {TRAINING: 60 * (asked.run.minutes or 0) + _AROUND, FILES: _FILES} if asked.run.minutes else {}
        say.stage(TRAINING)
        run = splats_run.train(
            folder / written.CAMERAS, asked, out=folder, overwrite=overwrite, progress=progress,
            watch=_watching(watch, (lambda trained: Improving(folder, trained, say)) if preview else None),
        )  # fmt: skip
        say.stage(FILES)
        files = export(run, folder, say)
    return Reconstruction(folder, found["registered"], found["photographs"], run, files)


class _Together:
    """Several who look on, one after the other."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def look(self, moment: Moment) -> None:
        """See `neural.train.loop.Watcher`."""
        for watcher in self._watchers:
            watcher.look(moment)


def _watching(*watches: session.Watch | None) -> session.Watch | None:
    given = [watch for watch in watches if watch is not None]
    return (lambda trained: _Together([watch(trained) for watch in given])) if given else None


# what a disk says that is full or may not be written
_REFUSED = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class Say:
    """Says which stage begins, how long it has been, and about how long it will be.

    Attributes:
        aloud: Whether to say anything.
        left: Seconds that each stage to come will take, about, in their order.
    """

    def __init__(self, aloud: bool) -> None:
        self.aloud, self.left, self._start = aloud, dict[str, float](), time.monotonic()

    def stage(self, name: str, what: str = "") -> None:
        spent = int(time.monotonic() - self._start)
        stages = list(self.left)
        coming = stages[stages.index(name) :] if name in stages else []
        about = f", about {_span(sum(self.left[stage] for stage in coming))} left in all" if coming else ""
        self(f"[{spent // 60}:{spent % 60:02d}] {name}{what}{about}")

    def __call__(self, sentence: str) -> None:
        if self.aloud:
            print(sentence, flush=True)


def _span(seconds: float) -> str:
    return f"{round(seconds / 60)} min" if seconds >= 55 else f"{max(10, 10 * round(seconds / 10))} s"


def find_cameras(
    source: Path,
    folder: Path,
    settings: CameraSettings,
    say: Say,
    *,
    preview: bool = False,
    training: float = 0.0,
    device: str = "auto",
) -> dict[str, Any]:
    """Makes RUN/cameras.json unless it is there for these photographs and settings; gives what it says of itself.

    Args:
        source: A folder of photographs, or a video.
        folder: Of the run; made if it is missing.
        settings: Of the cameras.
        say: Takes what is to be said.
        preview: Whether to write a first picture before.
        training: Seconds that come after, for the time left.
        device: That trains the first picture: auto, cpu or cuda.
    """
    cache = folder / STAGES  # not in RUN/cache, which --overwrite empties
    cache.mkdir(parents=True, exist_ok=True)
    video = source.is_file()
    say.stage("frames of the video" if video else "photographs")
    root, prefix = source, written.PHOTOGRAPHS
    if video:
        prefix = "frames"
        root = frames.picked(source, folder / prefix, settings.frames, progress=say.aloud)
    made_from = _digest(root, folder, settings)
    there = _read(folder / written.CAMERAS)
    if there is not None and there.get("made_from") == made_from:
        if not _shown(there, folder):  # the photographs were moved
            looked = survey.survey(root, weed=settings.weed, without=folder, progress=say.aloud)
            cameras.link(looked, folder, prefix)
        say(f"cameras are there: {there['registered']} of {there['photographs']} photographs")
        return there
    looked = survey.survey(root, weed=settings.weed, without=folder, progress=say.aloud)
    _list("left out", looked.left_out, say)
    for sentence in looked.warnings:
        say(f"  {sentence}")
    cameras.link(looked, folder, prefix)
    length = planned(looked, settings, video=video).seconds
    say.left = {**({FIRST: _FIRST} if preview else {}), CAMERAS: length, TRAINING: training + _AROUND, FILES: _FILES}
    if preview and not (folder / PICTURE).exists():
        say.stage(FIRST)
        first_look(looked, folder, prefix, settings, cache=cache, device=device, say=say)
    say.stage(CAMERAS, f" of {len(looked.photographs)} photographs")
    found = cameras.reconstruct(
        looked, folder, settings, cache=cache, prefix=prefix, video=video, made_from=made_from, progress=say.aloud
    )
    _list("no pose", found.reasons, say)
    for sentence in found.sentences:
        say(f"  {sentence}")
    if found.warning is not None:
        say(f"  WARNING: {found.warning}")
    said = _read(found.path)
    assert said is not None
    return said


def _shown(document: Mapping[str, Any], folder: Path) -> bool:
    """Whether all files that cameras name are there."""
    names = (frame[key] for frame in document["frames"] for key in ("file_path", "mask_path") if key in frame)
    return all((folder / name).is_file() for name in names)


def _list(what: str, reasons: Mapping[str, str], say: Say) -> None:
    for name, why in list(reasons.items())[:_LISTED]:
        say(f"  {what}: {name}: {why}")
    if len(reasons) > _LISTED:
        say(f"  {what}: {len(reasons) - _LISTED} more")


def export(run: SplatRun, folder: Path, say: Say) -> tuple[Path, ...]:
    """Writes the scene, its page and a picture; gives what there is to look at."""
    run.export(folder / SCENE)
    show(run, folder, say)
    files = (folder / name for name in ("report.html", SCENE, PAGE, PICTURE))
    return tuple(path for path in files if path.is_file())


def _asked(config: SplatsConfig, folder: Path, minutes: float | None) -> SplatsConfig:
    """The configuration with a length and a size of photographs that suit the device."""
    part = config.run
    device = session.choose_device(part.device)
    if part.downscale is None:
        most = CPU_PIXELS if device == "cpu" else GPU_PIXELS
        document = _read(folder / written.CAMERAS)
        assert document is not None
        pixels = float(np.median([frame["w"] * frame["h"] for frame in document["frames"]]))
        part = replace(part, downscale=max(1, round((pixels / most) ** 0.5)))
    asked = session.as_long_as_stored(session.with_length(replace(config, run=part), None, minutes), folder)
    if asked.run.minutes is None and asked.run.steps is None and device == "cpu":
        asked = session.with_length(asked, None, MINUTES)
    return asked


@contextlib.contextmanager
def _opened(folder: Path, source: Path) -> Iterator[None]:
    """The folder, for these photographs and this process alone."""
    with _writable(folder):
        runs.refuse_foreign(folder)
        _refuse_namesakes(folder)
        (folder / STAGES).mkdir(parents=True, exist_ok=True)
        with open(folder / STAGES / "lock", "a+b") as lock:
            if not try_lock(lock.fileno()):
                raise CheckpointError(
                    f"{folder}: another process reconstructs into it; wait for it, or choose another --out"
                )
            stored = _read(folder / SOURCE)
            here = {"source": str(source.resolve())}
            made = [name for name in runs.RECONSTRUCTED if name not in (SOURCE, STAGES)]  # nothing of a wrong path
            if (
                stored is not None
                and stored != here
                and os.path.exists(str(stored.get("source")))
                and any(os.path.lexists(folder / name) for name in made)
            ):
                raise CheckpointError(
                    f"{folder}: holds what was reconstructed from {stored.get('source')}, not from {here['source']}; "
                    "choose another --out"
                )
            if stored != here:  # new, or the photographs were moved: what they are, the cameras' digest says
                atomic.write_json(folder / SOURCE, here)
            yield


def _refuse_namesakes(folder: Path) -> None:
    """Files that are named as those of a reconstruction, where none was begun, are somebody's own."""
    if any((folder / begun).exists() for begun in (SOURCE, f"{STAGES}/lock", runs.CONFIG)):
        return
    own = [name for name in runs.RECONSTRUCTED if os.path.lexists(folder / name)]
    if own:
        raise CheckpointError(f"{folder}: holds other files ({', '.join(own[:3])}) and no run; choose another --out")


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Errors of a disk that is full or may not be written become `NotSaved` with the place; others stay."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        raise NotSaved(
            f"{error.filename or folder}: cannot be written ({error.strerror}); free space or choose another --out. "
            "What was finished is kept"
        ) from error


def _digest(root: Path, folder: Path, settings: CameraSettings) -> str:
    """Of all that cameras are made from: names, sizes and times of the pictures and their masks, and the settings."""
    paths = survey.files(root, without=folder)
    paths += masks.beside(paths, root)
    stats = [(Path(os.path.relpath(path, root)).as_posix(), *_stat(path)) for path in paths]
    recipe = json.dumps([cameras.FORMAT, stats, asdict(settings)], sort_keys=True)
    return hashlib.sha256(recipe.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def _stat(path: Path) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object; None if the file is missing or holds something else."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
