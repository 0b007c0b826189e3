"""Run folders: where a training leaves everything, and when it may go on.

    RUN/config.json      the resolved configuration
    RUN/metrics.jsonl    one line per logged step       (neural.log)
    RUN/checkpoints/     the last two checkpoints       (neural.checkpoint)
    RUN/eval.json  RUN/report.html  RUN/video.mp4  RUN/cache/  RUN/lock

A run goes on if the resolved configuration is the same; `run.steps` may grow, and an option that is younger than the
run has its default there. One process at a time: the lock is the operating system's, so one that a killed process left
behind counts for nothing.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neural import atomic
from neural.errors import CheckpointError
from neural.file_lock import try_lock

CONFIG = "config.json"
CACHE = "cache"
STEPS = "run.steps"
MINUTES = "run.minutes"
# What --overwrite removes. Anything else in the folder is the user's.
OWN_FILES = (CONFIG, "metrics.jsonl", "eval.json", "report.html", "checkpoints", CACHE, "tensorboard")
# What `neural reconstruct` puts beside them; a run may begin where these are, and --overwrite leaves them.
RECONSTRUCTED = (
    "reconstruct.json", "cameras", "cameras.json", "points.ply", "tracks.npy", "photographs", "masks", "frames",
    "preview", "scene.spz", "page.html", "picture.png",
)  # fmt: skip
MAX_CONFIG_BYTES = 16 << 20


def default_folder(scene: str | Path, task: str) -> Path:
    """`runs/<scene>-<task>`, the scene named by its folder or, for a file, by its stem."""
    path = Path(scene).resolve()
    name = path.stem if path.suffix and not path.is_dir() else path.name
    return Path("runs") / f"{name or 'scene'}-{task}"


@contextlib.contextmanager
def opened(
    folder: str | Path,
    config: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    prepare: Callable[[], object] | None = None,
) -> Iterator["Run"]:
    """Create a run folder, or take up the run in it, and hold its lock for the length of the block.

    Args:
        folder: Created with its parents if missing.
        config: The resolved configuration as nested plain values (strings, numbers, booleans, None, lists).
        defaults: What options have that are not given, None or "auto" where that is chosen; for runs that are older
            than an option.
        overwrite: Remove the run in the folder (only files that a run writes) and start anew.
        prepare: Called once the folder is known to be free or to fit, and before anything else in it changes: if it
            raises, no run has begun and none is lost. It may write to `cache`.

    Raises:
        CheckpointError: If another process trains the run, the folder holds other files, the configuration
            differs (every differing key is named with both values) or asks for fewer steps.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: a folder is expected, this is a file; choose another --out.")
    refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        for left in _half_configs(folder):
            left.unlink()
        stored = read_config(folder) if (folder / CONFIG).exists() and not overwrite else None
        merged = _plain(config) if stored is None else merge(folder, stored, _plain(config), _plain(defaults or {}))
        if overwrite:
            remove(folder, (CACHE,))
        if prepare is not None:
            prepare()
        if overwrite:
            remove(folder, [name for name in OWN_FILES if name != CACHE])
        run = Run(folder, merged, resumed=stored is not None)
        if merged != stored:
            atomic.write_json(folder / CONFIG, merged)
        yield run


class Run:
    """An open run folder."""

    def __init__(self, folder: Path, config: dict[str, Any], *, resumed: bool) -> None:
        self.folder = folder
        self.config = config
        """The resolved configuration; with `--minutes`, a resumed run has the `run.steps` fixed then."""
        self.resumed = resumed
        """Whether the folder held this run already."""

    def fix_steps(self, steps: int) -> None:
        """Store the number of steps that a warm-up found to fill `--minutes`; every resume uses it."""
        self.config = {**self.config, "run": {**self.config["run"], "steps": steps}}
        atomic.write_json(self.folder / CONFIG, self.config)


def read_config(folder: str | Path) -> dict[str, Any]:
    """The resolved configuration of a run.

    Raises:
        CheckpointError: If the folder holds no run or its configuration cannot be read.
    """
    path = Path(folder) / CONFIG
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path}: larger than {MAX_CONFIG_BYTES >> 20} MiB, not a run's configuration.")
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: not a run (no {CONFIG}); give the folder that --out named.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); start anew with --overwrite.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: an object is expected, got {type(config).__name__}; use --overwrite.")
    return config


def merge(folder: Path, stored: dict[str, Any], asked: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration to go on with, or a refusal.

    The stored `run.steps` holds where none are asked for; where some are, they replace `run.minutes`. An option that
    the stored run does not know has its default there, or what is chosen now.

    Raises:
        CheckpointError: Names each key that differs, with both values.
    """
    here, there = flatten(asked), flatten(stored)
    for key, value in flatten(defaults).items():
        if key in here and key not in there:
            there[key] = here[key] if value in (None, "auto") else value
    if here.get(STEPS) is None:
        here[STEPS] = there.get(STEPS)
    else:
        here[MINUTES] = there.get(MINUTES)
    before, now = there.get(STEPS), here.get(STEPS)
    if isinstance(before, int) and isinstance(now, int) and now < before:
        raise CheckpointError(
            f"{folder}: {STEPS} may only grow: {before} there, {now} here. "
            "Ask for more, choose another --out, or start anew with --overwrite."
        )
    absent = object()
    different = [
        f"  {key}: {_show(there.get(key, '(absent)'))} there, {_show(here.get(key, '(absent)'))} here"
        for key in sorted(here.keys() | there.keys())
        if key != STEPS and here.get(key, absent) != there.get(key, absent)
    ]
    if different:
        raise CheckpointError(
            f"{folder}: holds a run with another configuration:\n" + "\n".join(different) + "\n"
            "Use the same values to go on with it, choose another --out, or start anew with --overwrite."
        )
    merged = dict(asked)
    if "run" in asked:
        merged["run"] = {**asked["run"], "steps": now}
        if MINUTES in there:
            merged["run"]["minutes"] = there[MINUTES]
    return merged


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`: the names that flags and messages use."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def remove(folder: Path, names: Sequence[str] = OWN_FILES) -> None:
    """Remove what a run writes, the configuration last, so that a half-removed run is still known as one."""
    for name in reversed(names):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def refuse_foreign(folder: Path) -> None:
    """A folder with files but no run in it is somebody's data: neither trained into nor removed.

    Raises:
        CheckpointError: Names the files.
    """
    if not folder.is_dir() or (folder / CONFIG).exists():
        return
    own = {*OWN_FILES, *RECONSTRUCTED, "lock", *(path.name for path in _half_configs(folder))}
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in own)
    if foreign:
        shown = ", ".join(foreign[:3]) + (" ..." if len(foreign) > 3 else "")
        raise CheckpointError(f"{folder}: holds other files ({shown}) and no run; choose another --out.")


def _half_configs(folder: Path) -> list[Path]:
    """What a process that was killed while it wrote the configuration has left."""
    return list(folder.glob(f".{CONFIG}.*.tmp"))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # The file stays when the lock goes: removing it would let two processes lock two files of the same name.
    with open(folder / "lock", "a+", encoding="utf-8") as file:
        if not try_lock(file.fileno()):
            file.seek(0)
            owner = file.read(64).strip() or "unknown"
            raise CheckpointError(
                f"{folder}: process {owner} trains this run now; wait for it, stop it, or choose another --out."
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """As it will read back from JSON: tuples become lists."""
    return json.loads(json.dumps(config, allow_nan=False))


def _show(value: Any) -> str:
    return value if value == "(absent)" else json.dumps(value)
