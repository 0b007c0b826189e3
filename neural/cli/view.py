"""`neural view RUN`: look at what has been trained, in a browser."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from neural.cli import UsageError
from neural.interrupt import EXIT_DONE

UP = Literal["x", "-x", "y", "-y", "z", "-z"]


@dataclass(frozen=True)
class View:
    """Look at a run, or at a file of Gaussians, in a browser (extra [viewer])."""

    what: tyro.conf.Positional[Path]
    """Folder of a run, of any task, or Gaussians: .ply, .compressed.ply, .spz, .sog (also its folder), .splat, .glb,
    .usdc, .usda."""
    host: str = "127.0.0.1"
    """Address to listen on. One that others reach needs a token, which is made if none is given."""
    port: int = 8080
    """First port to try; the next free one is taken."""
    token: str | None = None
    """What browsers must know: 12 or more letters, digits, - and _."""
    up: UP | None = None
    """Which way is up; by default as the photographs were held, of a file as its axes say."""
    background: Literal["white", "black"] = "black"
    """Behind the Gaussians of a file."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(View, prog="neural view", args=list(arguments))
    if not given.what.exists():
        raise UsageError(f"{given.what}: no such folder or file; give a run or a file of Gaussians")

    from neural.interrupt import Interrupted
    from neural.viewer.live.open import view

    try:
        view(
            given.what, host=given.host, port=given.port, token=given.token, up=given.up,
            background=given.background, device=given.device,
        )  # fmt: skip
    except Interrupted as stop:
        if stop.signum != 2:  # SIGTERM keeps its code
            raise
    return EXIT_DONE
