"""Gaussians in and out: from files of every format and from runs, never over what was read."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from neural import runs
from neural.errors import BadOption, SceneFormatError
from neural.export import SUFFIXES, recorded, write_record
from neural.gaussians.model import Gaussians
from neural.scenes.files.gaussians import formats, guarded
from neural.scenes.files.gaussians.axes import change, flipped, own
from neural.scenes.files.gaussians.sog.files import META
from neural.scenes.scene import Scene

_MOST_INDEX = 1 << 26  # bytes


def read(path: str | Path) -> Gaussians:
    """Gaussians of a file, a SOG folder, or a run, on the CPU.

    Args:
        path: A run gives its latest checkpoint in the frame of its capture's files, as `neural export` writes it.

    Returns:
        The Gaussians in the axes that the capture has or the file says (`placement.axes`), in RDF where it says none:
        their coordinates are those that other programs, `neural info` and the viewer show.

    Raises:
        SceneFormatError: Nothing there, or nothing of Gaussians.
        CheckpointError: A run without a checkpoint, or one whose capture is gone.
    """
    path = Path(path)
    if (path / runs.CONFIG).is_file():
        return _of_run(path)
    if path.is_dir():
        index = formats.index_in(path)
        if index is None:
            raise SceneFormatError(path, f"a folder that is neither a run ({runs.CONFIG}) nor a SOG scene ({META})")
        path = index
    if not path.exists():
        raise SceneFormatError(path, "there is no such file")
    return Gaussians.from_record(own(formats.read(path)))


def write(
    gaussians: Gaussians, path: str | Path, *, inputs: Iterable[str | Path] = (), overwrite: bool = False
) -> Path:
    """Writes a file in the frame that the Gaussians are in.

    Args:
        gaussians: What is written, in their `placement.axes`.
        path: Its ending decides the format. A `.ply` or `.sog` keeps the axes and says them, others have their own.
        inputs: What they were made from: never written over.
        overwrite: Whether another file of that name may be replaced.

    Raises:
        BadOption: The file is an input, or there is one already; another ending; a format that cannot say where the
            scene lies.
        NotSaved: The disk refuses.
    """
    require_free(path, inputs=inputs, overwrite=overwrite)
    path = Path(path)
    record = gaussians.to_record()
    own_axes = record.placement.axes
    try:
        return write_record(path, flipped(record, (own_axes, "RDF")), axes=formats.axes_for(path, own_axes))
    except ValueError as error:  # such as a format that cannot say where the scene lies
        raise BadOption(str(error)) from error


def require_free(path: str | Path, *, inputs: Iterable[str | Path] = (), overwrite: bool = False) -> None:
    """Refuses what `write` would, before there is anything to write.

    Raises:
        BadOption: As there.
    """
    path = Path(path)
    if not formats.is_writable(path):
        raise BadOption(f"the result must end in {', '.join(SUFFIXES)}, got {path}")
    if path.is_dir():
        raise BadOption(f"{path} is a folder; name a file in it")
    if not path.exists():
        return
    for given in map(Path, inputs):
        if any(path.samefile(file) for file in _parts(given) if file.exists()):
            raise BadOption(f"{path} is the input; inputs are never written over, so name another file")
    if not overwrite:
        raise BadOption(f"{path} is there already; name another file, or give --overwrite")


def _parts(given: Path) -> list[Path]:
    """The files that an input is read from, but for the pictures of a SOG, which no result is called after."""
    if given.is_dir():
        index = formats.index_in(given)
        return [given / META, given / runs.CONFIG, *([] if index is None else _parts(index))]
    name = given.name.lower()
    if not given.is_file() or not (name == formats.LEVELS or name.endswith(formats.TILES)):
        return [given]
    content = guarded.read_index(given, _MOST_INDEX)
    named = content.get("filenames", []) if name == formats.LEVELS else content.get("tiles", [])
    listed = named if isinstance(named, list) else []
    names = [one.get("file") if isinstance(one, dict) else one for one in listed]
    return [given, *(given.parent / one for one in names if isinstance(one, str) and "\0" not in one)]


def beside(scene: Scene, gaussians: Gaussians) -> Scene:
    """A capture in the frame that Gaussians were read in: that of its files in their axes, less the file's offset."""
    turn = np.eye(4)
    turn[:3, :3] = change((scene.axes, gaussians.placement.axes))
    back = turn @ np.linalg.inv(scene.world_to_scene)
    back[:3, 3] -= gaussians.placement.offset
    return scene if np.array_equal(back, np.eye(4)) else scene.transformed(back)


def _of_run(folder: Path) -> Gaussians:
    from neural.train.load import load_run

    task = runs.read_config(folder).get("task")
    if task != "splats":
        raise SceneFormatError(folder, f"a run of the task {task!r}, which has no Gaussians; give one of splats")
    run = load_run(folder, device="cpu")
    scene = run.scene
    record = recorded(
        run.gaussians, origin=run.origin, world_to_scene=scene.world_to_scene, metres_per_unit=scene.metres_per_unit,
        crs=scene.crs,
    )  # fmt: skip
    return Gaussians.from_record(replace(record, placement=replace(record.placement, axes=scene.axes)))
