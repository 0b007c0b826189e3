"""What every trained thing can do, whatever it is: be scored, be shown on a page, say its facts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from neural.report import CameraPlot, View

MAX_SHOWN = 12  # views in a report


class Scores(Protocol):
    """What `evaluate` gives: text whose first line is the headline, and the few numbers that lead a report."""

    def tiles(self) -> dict[str, str]:
        """Label -> value."""


@dataclass(frozen=True)
class Shown:
    """What a report shows of the trained thing itself; see `neural.report.Report`."""

    title: str
    data: Mapping[str, str]
    """Facts about what it was trained on: label -> value."""
    views: Sequence[View] = ()
    views_title: str = "Held-out views"
    truth: str = "photograph"
    cameras: CameraPlot | None = None
    video: Path | None = None
    warnings: Sequence[str] = field(default=())


class TrainedRun(ABC):
    """Something trained, with its folder.

    Besides `evaluate`, a run may have `render(**options) -> Path` and `export(path, **options) -> Path`; the command
    line passes on the options that it was given and those take (`neural.cli.options`). They raise `BadOption` for
    values that this run cannot serve.

    Attributes:
        folder: Where everything of the run lies.
        config: Resolved; has a part `run`.
    """

    task: ClassVar[str]
    """As in `neural train TASK`."""
    kind: ClassVar[str]
    """What it is, for the title of a report."""
    exports: ClassVar[tuple[str, ...]] = ()
    """Endings of the files that `export` writes; none if there is no `export`."""

    folder: Path
    config: Any

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What a report says of the model: name -> value."""

    @abstractmethod
    def evaluate(self, *, progress: bool = True) -> Scores:
        """Scores it; also written to RUN/eval.json, whose "summary" is their first line.

        Raises:
            BadOption: Nothing to score against.
        """

    @abstractmethod
    def show(self, scores: Any, *, progress: bool = True) -> Shown:
        """What its report shows; may write a film to the folder.

        Args:
            scores: What `evaluate` gave, None where there is nothing to score against.
            progress: Whether to draw progress bars.
        """

    def exported(self, path: Path) -> str:
        """What `neural export` says of a file that `export` has written."""
        return f"{path.stat().st_size / 1e6:.1f} MB in {path}"

    def scorable(self) -> bool:
        """Whether there is anything to score against."""
        return True
