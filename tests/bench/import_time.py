"""Start-up: what `import neural` costs beyond torch, and that asking for help does not load torch at all."""

import subprocess
import sys

from tests.bench.harness import Row, Size, Spread

_BEYOND_TORCH = """
import time, torch
start = time.perf_counter()
import neural
{use}
print(time.perf_counter() - start)
"""
_HELP = """
import contextlib, io, sys, time
start = time.perf_counter()
from neural.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main(["--help"]) == 0
print(time.perf_counter() - start)
assert "torch" not in sys.modules, "neural --help imported torch"
"""


def run(size: Size) -> list[Row]:
    repeats = 6 if size == "full" else 1
    every_name = "for name in dir(neural): getattr(neural, name)"
    return [
        Row("import neural, beyond torch", _seconds(_BEYOND_TORCH.format(use=""), repeats), "s", at_most=0.3),
        Row("and every public name of it", _seconds(_BEYOND_TORCH.format(use=every_name), repeats), "s"),
        Row("neural --help, without torch", _seconds(_HELP, repeats), "s", at_most=0.3),
    ]


def _seconds(code: str, repeats: int) -> Spread:
    """What `code` prints, run in fresh interpreters; the first of several only warms the disk cache."""
    values = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"start-up failed:\n{done.stderr}")
        values.append(float(done.stdout))
    return Spread.of(values[1:] or values)
