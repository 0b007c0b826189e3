"""The errors that a caller can react to; everything else is a ValueError or TypeError with a remedy."""

from pathlib import Path


class NeuralError(Exception):
    """Base of the library's own errors."""


class SceneFormatError(NeuralError):
    """An input file cannot be used as it is.

    Args:
        path: The file at fault.
        reason: What was expected, what came, and what to do.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:  # what pickle calls it with again
        return type(self), (self.path, self.reason)


class BackendUnavailable(NeuralError):
    """A compiled part, a device or an extra is missing; the message says what brings it."""


class CheckpointError(NeuralError):
    """A checkpoint or a run folder cannot be continued; the message names the key at fault."""


class NotSaved(CheckpointError):
    """A checkpoint could not be written, for want of room or of rights; earlier ones are intact."""


class TooLarge(NeuralError, ValueError):
    """More than can be counted or held; the message says what to make smaller."""


class StageFailed(NeuralError):
    """A stage that runs in a process of its own ended without a result; says which, why and what to do."""


class DivergenceError(NeuralError):
    """A loss or gradient became NaN or Inf.

    Args:
        step: At which it was seen.
        what: The value or tensor at fault.
    """

    def __init__(self, step: int, what: str) -> None:
        super().__init__(
            f"step {step}: {what}; the last checkpoint is untouched. Lower --optim.lr (of splats: "
            "--optim.lr-scale), or look for photographs or poses that are broken"
        )
        self.step, self.what = step, what

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return type(self), (self.step, self.what)


class BadOption(NeuralError, ValueError):
    """An option of `evaluate`, `render` or `export` that this run cannot serve; says what it takes."""
