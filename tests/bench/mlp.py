"""The fused MLP against torch.nn: python tests/bench/mlp.py [--points 262144] [--repeats 7] [--json FILE].

32-64-64-16, ReLU, fp32, the public call. Both sides allocate their results and give gradients to inputs and weights;
each takes inputs and upstream gradient in the order in which its neighbours in a network hand them out: torch.nn
row-major, ours feature-major. A large part of torch.nn's time is the kernel mapping and clearing fresh pages for its
hidden layers: --retain-heap takes that out for both. One thread: process CPU time; two threads: wall time; all
interleaved, medians.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn

from neural.cuda import native
from neural.mlp import MLP

FORWARD_FLOP = 2 * (32 * 64 + 64 * 64 + 64 * 16)
# a backward pass computes the hidden layers again, then one product per layer for each of the two gradients
BACKWARD_FLOP = 2 * (32 * 64 + 64 * 64) + 2 * FORWARD_FLOP


def main(args: Sequence[str] | None = None) -> dict[str, float]:
    """Prints the table and the JSON; gives the numbers by name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=2**18)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--retain-heap", action="store_true", help="as training does: freed blocks stay mapped")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(args)
    if options.retain_heap:
        native.retain_heap()
    n_threads, isa = torch.get_num_threads(), native.active_isa()
    try:
        results = measure(options.points, options.repeats)
    finally:
        torch.set_num_threads(n_threads)
        native.set_isa(isa)
    width = max(map(len, results))
    for name, value in results.items():
        print(f"{name:{width}}  {value:10.3f}")
    text = json.dumps(
        {"bench": "mlp", "points": options.points, "retain_heap": options.retain_heap, "isa": isa, **results}
    )
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return results


def measure(points: int, repeats: int) -> dict[str, float]:
    """Milliseconds, ratios and rates by name."""
    ours, rows = MLP(32, 16), (torch.randn(points, 32).requires_grad_(), torch.randn(points, 16))
    features = (rows[0].detach().t().contiguous().t().requires_grad_(), rows[1].t().contiguous().t())
    peer = nn.Sequential(*[m for w, _ in ours.layers() for m in (_linear(w), nn.ReLU())][:-1])
    fastest = native.available_isas()[-1]

    def forward(net: nn.Module) -> Callable[[], None]:
        inputs, _ = features if net is ours else rows

        def run() -> None:
            with torch.no_grad():
                net(inputs)

        return run

    def both(net: nn.Module) -> Callable[[], None]:
        inputs, upstream = features if net is ours else rows

        def run() -> None:
            inputs.grad = None
            net.zero_grad()
            net(inputs).backward(upstream)

        return run

    def with_isa(name: str, run: Callable[[], None]) -> Callable[[], None]:
        def switched() -> None:
            native.set_isa(name)
            run()

        return switched

    torch.set_num_threads(1)
    runs = {"torch.nn forward": forward(peer), "torch.nn forward+backward": both(peer)}
    for name in native.available_isas()[1:]:
        runs[f"{name} forward"] = with_isa(name, forward(ours))
        runs[f"{name} forward+backward"] = with_isa(name, both(ours))
    times = _interleaved(runs, repeats, time.process_time)
    results = {f"{name}, ms": 1e3 * statistics.median(t) for name, t in times.items()}
    mine = times[f"{fastest} forward+backward"]
    for what in ("forward", "forward+backward"):
        results[f"torch.nn / {fastest}, {what}"] = _ratio(times[f"torch.nn {what}"], times[f"{fastest} {what}"])
    if "avx512 forward" in times:
        results["avx2 / avx512, forward+backward"] = _ratio(times["avx2 forward+backward"], mine)
    native.set_isa(fastest)
    results.update(_peak(forward(ours), both(ours), points, repeats))
    results["call on 16 elements, us"] = _overhead()
    return results


def _peak(forward: Callable[[], None], both: Callable[[], None], points: int, repeats: int) -> dict[str, float]:
    """Against pinned FMA loops run in between: the share of one core's peak, and two threads against one."""
    from peak import fma_rate, load_fma_loop

    loop = load_fma_loop()
    rates: dict[int, list[float]] = {1: [], 2: []}
    walls: dict[int, list[float]] = {1: [], 2: []}
    cpu: dict[str, list[float]] = {"core": [], "forward": [], "both": []}
    n_cores = len(os.sched_getaffinity(0))
    for _ in range(repeats):
        for n in (1, 2) if n_cores > 1 else (1,):
            torch.set_num_threads(n)
            rates[n].append(fma_rate(loop, n))
            start = time.perf_counter()
            both()
            walls[n].append(time.perf_counter() - start)
        torch.set_num_threads(1)
        cpu["core"].append(_timed(lambda: loop(2_000_000, 0.5), time.process_time) / loop(2_000_000, 0.5))
        cpu["forward"].append(_timed(forward, time.process_time))
        cpu["both"].append(_timed(both, time.process_time))
    peak = 1 / statistics.median(cpu["core"])
    seconds = {name: statistics.median(t) for name, t in cpu.items()}
    results = {
        "FMA peak of a core, GFLOP/s": peak / 1e9,
        "share of peak, forward": FORWARD_FLOP * points / seconds["forward"] / peak,
        "share of peak, forward+backward": (FORWARD_FLOP + BACKWARD_FLOP) * points / seconds["both"] / peak,
    }
    if n_cores > 1:
        results["FMA loops, two threads / one"] = _ratio(rates[2], rates[1])
        results["forward+backward, one thread / two"] = _ratio(walls[1], walls[2])
    return results


def _overhead() -> float:
    """Microseconds of a forward call on 16 elements, Python included."""
    torch.set_num_threads(1)
    net, inputs = MLP(4, 4, width=16, n_hidden_layers=1), torch.randn(4, 4)
    batches = [_timed(lambda: [net(inputs) for _ in range(1000)], time.process_time) for _ in range(7)]
    return 1e3 * statistics.median(batches)


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight.detach().clone())
    return layer


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def _interleaved(
    runs: dict[str, Callable[[], None]], repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(_timed(run, clock))
    return times


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


if __name__ == "__main__":
    main()
