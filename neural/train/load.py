"""A finished or interrupted run of any task, taken up again."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from neural import runs
from neural.errors import CheckpointError
from neural.train.trained import TrainedRun


@dataclass(frozen=True)
class Source:
    """Where a task's runs are defined: imported when one is taken up."""

    module: str
    run: str
    """Class of the run."""
    load: str
    """Function `(folder, *, device, ...)` that gives it."""


SOURCES = {
    "radiance": Source("neural.train.tasks.radiance.run", "RadianceRun", "load_radiance"),
    "sdf": Source("neural.train.tasks.sdf.run", "SdfRun", "load_sdf"),
    "splats": Source("neural.train.tasks.splats.run", "SplatRun", "load_splats"),
    "image": Source("neural.train.tasks.image.run", "ImageRun", "load_image"),
    "volume": Source("neural.train.tasks.volume.run", "VolumeRun", "load_volume"),
}


def load_run(
    folder: str | Path, *, device: Literal["auto", "cpu", "cuda"] = "auto", field: Any = None, scene: Any = None
) -> Any:
    """Takes up a trained run: a `RadianceRun`, a `SplatRun` or what else its task gives.

    Args:
        folder: What `--out` named.
        device: Where to render.
        field: For a radiance run that was trained on a field of your own: the same field; its values are replaced.
        scene: For a run that was trained on data made or changed in Python: the same data.

    Raises:
        CheckpointError: No run, no checkpoint, or one that does not fit; what it was trained on is gone or other data.
        SceneFormatError: What it was trained on cannot be read any more.
    """
    source = _source(folder)
    given = {name: value for name, value in (("field", field), ("scene", scene)) if value is not None}
    return getattr(importlib.import_module(source.module), source.load)(Path(folder), device=device, **given)


def run_class(folder: str | Path) -> type[TrainedRun]:
    """The class of a run, which is not loaded for it.

    Raises:
        CheckpointError: No run, or one of an unknown task.
    """
    source = _source(folder)
    return getattr(importlib.import_module(source.module), source.run)


def _source(folder: str | Path) -> Source:
    task = runs.read_config(folder).get("task")
    if not isinstance(task, str) or task not in SOURCES:
        raise CheckpointError(f"{folder}: a run of an unknown task ({task!r}); was it trained by a newer version?")
    return SOURCES[task]
