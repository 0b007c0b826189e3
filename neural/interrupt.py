"""Ctrl-C and SIGTERM: a training saves and ends, anything else ends at once; either way with a sentence and a code.

with stoppable():                      # a command: a signal raises Interrupted wherever it is
    with Interrupt() as interrupt:     # its loop: a signal sets a flag, looked at between steps
        for step in range(steps):
            ...
            if interrupt:
                save()
                interrupt.leave()
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn

EXIT_DONE = 0
EXIT_PROBLEM = 1  # what was asked for could not be done on this machine, or `doctor` found something missing
EXIT_USAGE = 2
EXIT_INPUT = 3


SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal stopped the work; the message says what has become of it.

    Args:
        signum: The signal.
        state: What is saved, and how to go on.
    """

    def __init__(self, signum: int, state: str = "saved. The same command goes on from here.") -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; {state}")
        self.signum, self.state = signum, state
        self.exit_code = 128 + signum  # 130 for Ctrl-C, 143 for SIGTERM

    def __reduce__(self) -> tuple[Any, ...]:  # what pickle calls it with again
        return type(self), (self.signum, self.state)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Lets SIGINT and SIGTERM raise `Interrupted` for the length of a block, so that it is left in good order.

    Outside the main thread, where Python allows no handlers, signals keep their usual effect.
    """

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted(signum, "nothing that was saved is harmed. Give the same command again.")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # a signal that is ignored stays so: a job in the background of a script must not hear the terminal's Ctrl-C
    heard = [signum for signum in SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]
    previous = {signum: signal.signal(signum, stop) for signum in heard}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)


class Interrupt:
    """Turns SIGINT and SIGTERM into a flag for the length of a `with` block.

    The flag is the truth value of the object. A second signal raises `Interrupted` at once, for a loop that
    hangs. Outside the main thread, where Python allows no handlers, signals keep their usual effect.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._previous: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.signum is not None

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
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
            raise Interrupted(
                signum, "the second time, so without saving. The same command goes on from the last save."
            )
        self.signum = signum
        print("\nstopping after this step and saving; once more stops at once", file=sys.stderr, flush=True)
