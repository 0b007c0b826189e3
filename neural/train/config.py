"""What any training can be told: length, place and habits of its run.

The configuration of a task is made of frozen dataclasses with literals only, no torch: the command line is made from
them. None or "auto" means "chosen by the task's `resolve`", which fills in what suits the device and the data; the
resolved configuration is what a run stores.
"""

from dataclasses import dataclass
from typing import Literal

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class BaseRunConfig:
    """Length, place and habits of any run."""

    steps: int | None = None
    """Training steps in all; a finished run goes on if this grows."""
    minutes: float | None = None
    """Instead of steps: after a warm-up their number is fixed once so that the training takes this long."""
    seed: int = 0
    """Of every random choice."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; "auto" takes a GPU if there is one."""
    checkpoint_minutes: float = 1.0
    """Minutes between two checkpoints; one is always written at the end and on Ctrl-C."""
    eval_every: int | None = None
    """Steps between two quick scores; None: a tenth of the run, however far it grows."""
    log_every: int = 20
    """Steps between two lines of metrics.jsonl."""


def check_base_run(run: BaseRunConfig) -> None:
    """Refuses lengths and intervals that no run can have, naming the flag."""
    if run.steps is not None and run.minutes is not None:
        raise ValueError("--steps and --minutes exclude each other; give one")
    for name in ("steps", "eval_every", "log_every"):
        check_between(name.replace("_", "-"), getattr(run, name), 1, 1 << 40)
    for name in ("minutes", "checkpoint_minutes"):
        check_positive(name.replace("_", "-"), getattr(run, name))
    check_between("seed", run.seed, 0, (1 << 63) - 1)


def check_between(name: str, value: float | None, low: float, high: float) -> None:
    """Refuse a value outside [low, high]; None has not been given."""
    if value is not None and not low <= value <= high:
        raise ValueError(f"--{name.replace('_', '-')} must be between {low} and {high}, got {value}")


def check_positive(name: str, value: float | None) -> None:
    """Refuse a value that is not positive and finite; None has not been given."""
    if value is not None and not 0 < value < float("inf"):
        raise ValueError(f"--{name.replace('_', '-')} must be above 0 and finite, got {value}")
