"""`neural eval RUN`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

import neural
from neural.cli import UsageError, choose
from neural.interrupt import EXIT_DONE


@dataclass(frozen=True)
class Eval:
    """Score a run on photographs that it was not trained on; all scores go to RUN/eval.json."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    split: str = "test"
    """Which images of the scene."""
    background: Literal["auto", "white", "black"] = "auto"
    """What transparent photographs are composited on; "auto": as in the run."""
    lpips: Literal["alex", "vgg"] = "alex"
    """Network of the LPIPS distance, where its weights are installed."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Eval, prog="neural eval", args=list(arguments))
    run = neural.load_run(given.run, device=given.device)
    choose("split", given.split, list(run.scene.splits))
    if not run.scene.splits[given.split]:
        raise UsageError(f"the split {given.split!r} of {run.scene.name} has no images; choose another")
    print(run.evaluate(split=given.split, background=given.background, lpips_net=given.lpips))
    return EXIT_DONE
