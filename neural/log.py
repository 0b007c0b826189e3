"""What a run measures on its way: `metrics.jsonl`, and TensorBoard where it is installed."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from neural import atomic


class MetricsLog:
    """Scalars by step, appended to `RUN/metrics.jsonl` and to TensorBoard.

    The file holds one JSON object a line, `step` first.

    Args:
        folder: The run's folder.
        step: The step that the run goes on from; later lines, written before it was killed, are removed. 0
            removes all but step 0.
        tensorboard: "auto" writes to `RUN/tensorboard` if the package is installed.
    """

    def __init__(self, folder: str | Path, step: int = 0, *, tensorboard: str = "auto") -> None:
        self.path = Path(folder) / "metrics.jsonl"
        cut_back(self.path, step)
        self._file = open(self.path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115  closed by close()
        self._board = _tensorboard(Path(folder) / "tensorboard", step) if tensorboard == "auto" else None

    def write(self, step: int, values: Mapping[str, float | None]) -> None:
        """Append one line; NaN and infinities become null."""
        clean = {name: atomic.finite(value) for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **clean}, allow_nan=False) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in clean.items():
                if value is not None:
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, without one that a killed process left half-written."""
    path = Path(folder) / "metrics.jsonl"
    return _lines(path) if path.exists() else []


def cut_back(path: Path, step: int) -> None:
    """Drop the lines after `step`, so that a resumed run writes each step once."""
    if not path.exists():
        return
    with atomic.replacing(path, "w") as file:
        for line in _lines(path):
            if line["step"] <= step:
                file.write(json.dumps(line) + "\n")


def _lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
    return lines


def _tensorboard(folder: Path, step: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)
