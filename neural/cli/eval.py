"""`neural eval RUN`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

import neural
from neural.cli.options import call
from neural.interrupt import EXIT_DONE


@dataclass(frozen=True)
class Eval:
    """Score a run, one of photographs on those that it was not trained on; all scores go to RUN/eval.json."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    split: str | None = None
    """Photographs: which images of the scene; "test" by default."""
    background: Literal["auto", "white", "black"] | None = None
    """Photographs: what transparent ones are composited on; as in the run by default."""
    lpips: Literal["alex", "vgg"] | None = None
    """Photographs: network of the LPIPS distance, where its weights are installed; "alex" by default."""
    resolution: int | None = None
    """Signed distances: cells along each side of the grid for the IoU, a multiple of 8; that of the run by default."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Eval, prog="neural eval", args=list(arguments))
    run = neural.load_run(given.run, device=given.device)
    options = {
        "split": given.split,
        "background": given.background,
        "lpips_net": given.lpips,
        "resolution": given.resolution,
    }
    print(call(run.evaluate, options, run.kind, lpips_net="lpips"))
    return EXIT_DONE
