"""`neural edit clean IN OUT`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from neural import runs
from neural.cli import UsageError
from neural.cli.edit.result import Out, Source, finish, refusals
from neural.interrupt import EXIT_DONE

if TYPE_CHECKING:
    from neural.edit.criterion import Criterion
    from neural.gaussians.model import Gaussians
    from neural.scenes.near import Near
    from neural.scenes.scene import Scene

Name = Literal["faint", "large", "sparse", "islands", "needle", "unseen", "contradicted"]
_LOOKING = ("unseen", "contradicted")  # which need a capture


@dataclass(frozen=True)
class Clean:
    """Remove floaters and what does not show. What each criterion found, by which numbers, is printed."""

    source: Source
    """A Gaussian scene, or the folder of a run."""
    out: Out
    """The file to write."""
    by: tuple[Name, ...] = ("faint", "large", "sparse", "islands")
    """Criteria: opacity too low to be drawn; large beside the scene; far from neighbours; small groups apart; longest
    axis many times the next; and with a capture: shown by no camera; contradicted by the photographs."""
    capture: Path | None = None
    """Capture that the scene was trained on; of a run it is known."""
    opacity: float = 1 / 255
    """faint: below this."""
    share: float = 0.1
    """large: standard deviations above this share of the scene's diagonal."""
    deviations: float = 3.0
    """sparse: mean distances to neighbours that many standard deviations above the usual, in logarithms."""
    neighbours: int = 8
    """sparse: how many."""
    group: int = 30
    """islands: groups of fewer than these."""
    cell: float | None = None
    """islands: side of the cells that join them; by default six times the distance of neighbours."""
    ratio: float = 30.0
    """needle: longest axis over the next."""
    views: int = 1
    """unseen: in fewer views than these."""
    error: float = 0.1
    """contradicted: colours wrong by more than this, root mean square, 0 to 1."""
    background: Literal["auto", "white", "black"] = "auto"
    """contradicted: what is behind the scene; auto: that of the training, or of the capture."""
    clear: float | None = None
    """unseen, contradicted: what is not drawn before cameras, as `--model.clear` of the training; by default that of
    the run, or 0.5."""
    dry_run: bool = False
    """Only say what would go."""
    overwrite: bool = False
    """Replace OUT if it is there; IN is never written over."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Clean, prog="neural edit clean", args=list(arguments))
    if not given.by:
        raise UsageError("--by needs at least one criterion")
    looking = [name for name in given.by if name in _LOOKING]
    is_run = (given.source / runs.CONFIG).is_file()
    if looking and given.capture is None and not is_run:
        raise UsageError(f"{looking[0]} needs --capture, the photographs' cameras that the scene was trained on")

    from neural.edit import clean, files

    if not given.dry_run:
        files.require_free(given.out, inputs=[given.source], overwrite=given.overwrite)
    gaussians = files.read(given.source)
    with refusals():
        cleaned = clean(gaussians, _criteria(given, gaussians, bool(looking)))
    print(cleaned)
    said = f"{cleaned.gaussians.n:,} of {gaussians.n:,} Gaussians"
    if given.dry_run:
        print(f"{said} would stay; nothing is written")
    else:
        finish(cleaned.gaussians, given.out, [given.source], given.overwrite, said)
    return EXIT_DONE


def _criteria(given: Clean, gaussians: "Gaussians", looking: bool) -> "list[Criterion]":
    from neural.edit import Contradicted, Faint, Islands, Large, Needle, Sparse, Unseen

    capture = _capture(given, gaussians) if looking else None
    made: list[Criterion] = []
    for name in dict.fromkeys(given.by):
        if name == "faint":
            made.append(Faint(given.opacity))
        elif name == "large":
            made.append(Large(given.share))
        elif name == "sparse":
            made.append(Sparse(given.deviations, given.neighbours))
        elif name == "islands":
            made.append(Islands(given.group, given.cell))
        elif name == "needle":
            made.append(Needle(given.ratio))
        elif name == "unseen":
            assert capture is not None
            train = capture.scene.cameras[list(capture.scene.splits["train"])]
            made.append(Unseen(train, given.views, near=capture.near, progress=True))
        else:
            assert capture is not None
            made.append(Contradicted(capture.scene, given.error, capture.background, near=capture.near, progress=True))
    return made


@dataclass(frozen=True)
class _Capture:
    """What was photographed, in the frame of the file, and how the training drew it."""

    scene: "Scene"
    background: Literal["white", "black"]
    near: "Near"


def _capture(given: Clean, gaussians: "Gaussians") -> _Capture:
    import neural
    from neural.edit import files
    from neural.scenes.near import Near

    if given.capture is not None:
        scene = neural.load(given.capture)
        background, clear = scene.background, None
    else:
        run = neural.load_run(given.source, device="cpu")
        scene, background, clear = run.scene, run.config.run.background, run.config.model.clear
    if given.background != "auto":
        background = given.background
    if given.clear is not None:
        clear = given.clear
    beside = files.beside(scene, gaussians)
    near = Near.of(beside) if clear is None else Near.of(beside, clear)
    return _Capture(beside, "white" if background == "white" else "black", near)
