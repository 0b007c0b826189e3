"""Ctrl-C that saves: a signal sets a flag, the loop looks at it between steps.

with Interrupt() as interrupt:
    for step in range(steps):
        ...
        if interrupt:
            save()
            interrupt.leave()
"""

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn

EXIT_DONE = 0
EXIT_PROBLEM = 1  # what was asked for could not be done on this machine, or `doctor` found something missing
EXIT_USAGE = 2
EXIT_INPUT = 3


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal and has saved its state; the same command goes on from there."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum  # 130 for Ctrl-C, 143 for SIGTERM


class Interrupt:
    """Turns SIGINT and SIGTERM into a flag for the length of a `with` block.

    The flag is the truth value of the object. A second signal raises `KeyboardInterrupt` at once, for a loop
    that hangs. Outside the main thread, where Python allows no handlers, signals keep their usual effect.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._previous: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.signum is not None

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()

    def leave(self) -> NoReturn:
        """Raise `Interrupted` with the exit code of the signal; call it once everything is saved."""
        if self.signum is None:
            raise ValueError("Interrupt.leave: no signal came; test the object first")
        raise Interrupted(self.signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            raise KeyboardInterrupt(f"second {signal.Signals(signum).name}: stopped without saving")
        self.signum = signum
        print("\nstopping after this step and saving; once more stops at once", file=sys.stderr, flush=True)
