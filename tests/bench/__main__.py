"""Benchmarks: `python -m tests.bench [SUITE ...] [--size tiny] [--save]`.

Prints a table per suite, measured value beside bar, and with --save keeps everything under tests/bench/results/.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when OpenMP loads, so before torch

import argparse
import dataclasses
import datetime
import importlib
import json
from collections.abc import Sequence
from pathlib import Path

# suite -> module with `run(size) -> list[Row]`
SUITES = {
    "applications": "tests.bench.applications",
    "core": "tests.bench.core",
    "fused": "tests.bench.fused",
    "gaussians": "tests.bench.gaussians",
    "splats": "tests.bench.splats",
    "hash_grid": "tests.bench.hash_grid",
    "simplex": "tests.bench.simplex",
    "metric_grids": "tests.bench.metric_grids",
    "mlp": "tests.bench.mlp",
    "overhead": "tests.bench.overhead",
    "image": "tests.bench.image",
    "radiance": "tests.bench.radiance",
    "radiance_encodings": "tests.bench.radiance_encodings",
    "sdf": "tests.bench.sdf",
    "splats_recipe": "tests.bench.splats_recipe",
    "splats_strategies": "tests.bench.splats_strategies",
    "memory": "tests.bench.memory",
    "scalable": "tests.bench.scalable",
    "import": "tests.bench.import_time",
    "viewer": "tests.bench.viewer",
    "emulator": "tests.bench.emulator",
    "page": "tests.bench.page",
    "reconstruct": "tests.bench.reconstruct",
    "edit": "tests.bench.edit",
    "formats": "tests.bench.formats",
}
RESULTS = Path(__file__).with_name("results")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all by default")
    parser.add_argument("--size", choices=("full", "tiny"), default="full", help="tiny only shows that it runs")
    parser.add_argument("--save", action="store_true", help=f"keep the numbers under {RESULTS.name}/")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        parser.error(f"no suite {', '.join(unknown)}; choose of {', '.join(SUITES)}")

    from neural.cuda import native
    from tests.bench import machine

    native.retain_heap()
    about = machine.describe()
    print("\n".join(f"{key:>15}: {value}" for key, value in about.items()))
    results = {}
    for name in options.suites or SUITES:
        rows = importlib.import_module(SUITES[name]).run(options.size)
        print(f"\n{name}\n{table(rows)}", flush=True)
        results[name] = [dataclasses.asdict(row) | {"verdict": row.verdict} for row in rows]
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{machine.slug()}-{datetime.date.today().isoformat()}.json"
        earlier = json.loads(path.read_text()) if path.exists() else {}
        if earlier.get("size") == options.size:  # of this day: suites that did not run now keep their numbers
            results = earlier["suites"] | results
        path.write_text(json.dumps({"machine": about, "size": options.size, "suites": results}, indent=1) + "\n")
        print(f"\nsaved as {path}")
    return 0


def table(rows: Sequence) -> str:
    """Rows in columns: name, median (quartiles), bar, verdict, note."""
    lines = []
    for row in rows:
        value = "-"
        if row.value is not None:
            value = f"{row.value.median:.3g} {row.unit}".rstrip() + f" ({row.value.low:.3g} .. {row.value.high:.3g})"
        lines.append((row.name, value, row.bar, row.verdict, row.note))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        "  " + "  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[4]]).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    raise SystemExit(main())
