"""Rendering beside a training: a bucket of seconds that fills slowly, so that watching costs its share and no more."""

import time
from collections import deque
from collections.abc import Callable

SHARE = 0.085  # of the time of training: with the little that is not measured, it takes less than 10 % longer
CAPACITY = 0.4  # seconds saved up at most, for the first pictures after a rest
WINDOW = 5.0  # seconds over which the rate is counted


class Budget:
    """Token bucket of rendering time.

    What is spent may exceed what is there: what a picture costs is known afterwards only. The debt is paid first.

    Args:
        share: Seconds of rendering for each of training.
        clock: Seconds that have passed.
    """

    def __init__(self, share: float = SHARE, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.share, self._clock = share, clock
        self._tokens = CAPACITY
        self._since = clock()
        self.spent = self.trained = 0.0

    def earn(self) -> None:
        """Training went on since the last call, or since `resume`."""
        now = self._clock()
        passed = max(0.0, now - self._since)
        self._since = now
        self.trained += passed
        self._tokens = min(CAPACITY, self._tokens + self.share * passed)

    def resume(self) -> None:
        """Training begins again now: what passed before does not count."""
        self._since = self._clock()

    def spend(self, seconds: float) -> None:
        """Rendering took so long."""
        self.spent += seconds
        self._tokens -= seconds

    @property
    def left(self) -> float:
        """Seconds that may be spent now; below 0 is a debt."""
        return self._tokens


class Rate:
    """Events a second, over the last `WINDOW` seconds.

    Args:
        clock: Seconds that have passed.

    Attributes:
        total: All that there were.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._times: deque[float] = deque(maxlen=1000)
        self.total = 0

    def count(self) -> None:
        """One happened now."""
        self.total += 1
        self._times.append(self._clock())

    def per_second(self) -> float:
        """How many there were, for each second since the first of them."""
        now = self._clock()
        while self._times and now - self._times[0] > WINDOW:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        return len(self._times) / max(now - self._times[0], 1e-3)
