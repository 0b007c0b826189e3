"""How a benchmark measures: contenders interleaved in one process, medians and quartiles, bars beside values.

The machine may be shared. Process CPU time at one thread hardly notices; contenders that take turns meet the same
neighbours; a ratio is the median of the ratios of single rounds. Wall time over threads is judged against pinned
multiply-add loops that run in the same rounds, and not at all where those do not scale.
"""

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from neural.cuda import native
from tests.threads import threads

Size = Literal["full", "tiny"]
Verdict = Literal["pass", "FAIL", "not measurable now", ""]
Work = Callable[[], object]
MEASURABLE = 1.5  # two pinned threads over one: below this the cores are busy with something else


@dataclass(frozen=True)
class Spread:
    """A median and its quartiles."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        if len(values) == 1:
            return Spread(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(median, low, high)

    def scaled(self, factor: float) -> "Spread":
        return Spread(self.median * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What was measured.
        value: In `unit`; None if it could not be (then `note` says why).
        unit: Of the value: ms, us, s, x, GFLOP/s, MB ...
        at_least: The bar, if more is better.
        at_most: The bar, if less is better.
        note: What one needs to know beside the number.
    """

    name: str
    value: Spread | None
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.at_least is None and self.at_most is None:
            return ""
        if self.value is None:
            return "not measurable now"
        above = self.at_least is None or self.value.median >= self.at_least
        below = self.at_most is None or self.value.median <= self.at_most
        return "pass" if above and below else "FAIL"

    @property
    def bar(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"


@dataclass(frozen=True)
class Times:
    """Seconds of each contender, round by round."""

    seconds: Mapping[str, Sequence[float]]

    def of(self, name: str, unit: float = 1e3) -> Spread:
        """Time of one contender, in ms unless told otherwise."""
        return Spread.of(self.seconds[name]).scaled(unit)

    def ratio(self, slower: str, faster: str) -> Spread:
        """How many times longer `slower` took than `faster`, round by round."""
        pairs = zip(self.seconds[slower], self.seconds[faster], strict=True)
        return Spread.of([a / b for a, b in pairs])

    def fastest(self, names: Sequence[str]) -> str:
        """The one of `names` with the smallest median."""
        return min(names, key=lambda name: statistics.median(self.seconds[name]))


def interleave(
    contenders: Mapping[str, Work], repeats: int, clock: Callable[[], float] = time.process_time, batch: int = 1
) -> Times:
    """Runs every contender once to warm up, then all of them in turn, `repeats` times.

    Args:
        contenders: What to run, by name.
        repeats: Rounds.
        clock: CPU time of the process by default.
        batch: Calls per measurement, for work below the clock's resolution; times are per call.
    """
    for work in contenders.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, work in contenders.items():
            start = clock()
            for _ in range(batch):
                work()
            seconds[name].append((clock() - start) / batch)
    return Times(seconds)


@contextmanager
def instruction_set(name: str) -> Iterator[None]:
    """Runs the kernels of one instruction set inside the block."""
    before = native.active_isa()
    native.set_isa(name)
    try:
        yield
    finally:
        native.set_isa(before)


def fma_rate(n_threads: int, iterations: int) -> float:
    """Flop per second of wall time of multiply-add loops, each on a core of its own."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    flop: list[float] = []

    def work(index: int) -> None:
        if cores:
            os.sched_setaffinity(0, {cores[index % len(cores)]})  # of this thread alone
        flop.append(native.lib.fma_peak(iterations))

    workers = [threading.Thread(target=work, args=(index,)) for index in range(n_threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(flop) / (time.perf_counter() - start)


def two_threads(name: str, work: Work, size: Size, at_least: float = 0.85) -> Row:
    """How much of the second core `work` uses: its gain from two threads over that of multiply-add loops."""
    repeats, iterations = (7, 2_000_000) if size == "full" else (2, 1000)
    gains, limits = [], []
    for count in (1, 2):
        with threads(count):
            work()
    for _ in range(repeats):
        rates, seconds = [], []
        for count in (1, 2):
            rates.append(fma_rate(count, iterations))
            with threads(count):
                start = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - start)
        gains.append(seconds[0] / seconds[1])
        limits.append(rates[1] / rates[0])
    limit = statistics.median(limits)
    note = f"x{statistics.median(gains):.2f} where pinned FMA loops gain x{limit:.2f}"
    share = None if limit < MEASURABLE else Spread.of([gain / limit for gain in gains])
    return Row(f"{name}: two threads, share of the FMA loops' gain", share, "", at_least=at_least, note=note)
