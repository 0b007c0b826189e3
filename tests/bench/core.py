"""The machine itself: multiply-add rate of every instruction set, and what a second thread brings."""

from neural.cuda import native
from tests.bench.harness import Row, Size, Spread, fma_rate, instruction_set


def run(size: Size) -> list[Row]:
    repeats, iterations = (7, 4_000_000) if size == "full" else (2, 1000)
    rows = []
    for isa in native.available_isas():
        with instruction_set(isa):
            rates = [fma_rate(1, iterations) for _ in range(repeats)]
        rows.append(Row(f"FMA rate, {isa}, 1 thread", Spread.of(rates).scaled(1e-9), "GFLOP/s"))
    gains = [fma_rate(2, iterations) / fma_rate(1, iterations) for _ in range(repeats)]
    rows.append(Row("FMA rate, 2 threads over 1", Spread.of(gains), "x", note="2 on a quiet machine"))
    return rows
