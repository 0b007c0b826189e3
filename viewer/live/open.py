"""`neural.viewer.live.open.view`: looks at a run or a file until Ctrl-C."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from neural import log, runs
from neural.scenes.files.gaussians import formats
from neural.train import session
from neural.train.load import load_run
from neural.train.tasks.capture.photographs import BACKGROUNDS
from neural.viewer.live.axes import axis
from neural.viewer.live.panels.tabs import Tabs
from neural.viewer.live.server import PORT, open_door
from neural.viewer.live.subjects.choose import subject_of_file, subject_of_run
from neural.viewer.live.viewer import Viewer

PATHS = "paths"  # folder of a run for camera paths and films


def view(
    what: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str | None = None,
    up: str | None = None,
    background: Literal["white", "black"] = "black",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Shows a run or a file of Gaussians in any browser that comes, until `stop` says so.

    Args:
        what: Folder of a run, or a file.
        host: To listen on; see `open_door`.
        port: First to try.
        token: That browsers must know.
        up: x, -x, y, -y, z or -z; without it from the photographs, of a file from its axes.
        background: Behind the Gaussians of a file.
        device: Where to render.
        stop: Asked at least twice a second.

    Raises:
        BackendUnavailable: viser is not installed.
        BadOption: A run that cannot be shown, or an address that cannot be listened on.
        CheckpointError: No run.
        SceneFormatError: A file that is not of Gaussians.
    """
    path = Path(what)
    if not (path / runs.CONFIG).is_file():
        path = formats.index_in(path) or path
    place = session.choose_device(device)
    if path.is_dir():
        run = load_run(path, device=place)
        subject = subject_of_run(run)
        folder, lines = path / PATHS, log.read(path)
    else:
        folder, lines = path.parent / f"{path.stem}-{PATHS}", None
        behind = BACKGROUNDS[background]
        subject = subject_of_file(path, None, background=behind, device=torch.device(place))
    if up is not None:
        subject.frame = replace(subject.frame, up=axis(up))
    door = open_door(host=host, port=port, token=token, label=f"neural: {subject.name}")
    viewer = Viewer(subject, door)
    try:
        Tabs(viewer, folder, lines)
        print(door.directions(), flush=True)
        viewer.serve(stop)
    finally:
        viewer.close()
