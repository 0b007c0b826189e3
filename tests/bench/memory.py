"""Peak memory of a whole run on a real capture: reading it, training, scoring, film and report."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.harness import Row, Size, Spread

CITY = Path(__file__).parents[2] / "data" / "city"
TINY = ("--steps", "4", "--downscale", "4", "--sampling.target-samples", "2048", "--sampling.steps-per-box", "64")
_RUN = """
import contextlib, pathlib, re, resource, sys
from neural.cli import main
with contextlib.redirect_stdout(sys.stderr):
    code = main(sys.argv[1:])
assert code == 0
if sys.platform == "linux":  # ru_maxrss would be no less than what the parent had when it started this process
    peak = 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
print(peak / 1e6)
"""


def run(size: Size) -> list[Row]:
    capture = os.environ.get("NEURAL_DATA")
    if size == "tiny":
        return [_row("city", CITY, TINY)]
    if not capture:
        return [Row("fox: peak of a whole run", None, "MB", at_most=2500, note="needs NEURAL_DATA")]
    return [_row("fox", Path(capture) / "fox", ("--minutes", "1.5"))]


def _row(name: str, scene: Path, length: tuple[str, ...]) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        command = ("train", "radiance", str(scene), "--out", f"{folder}/run", *length)
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *command], capture_output=True, text=True, check=False
        )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"the run failed:\n{done.stderr[-2000:]}")
    peak = Spread.of([float(done.stdout)])
    return Row(
        f"{name}: peak of a whole run", peak, "MB", at_most=2500, note=f"neural train radiance {' '.join(length)}"
    )
