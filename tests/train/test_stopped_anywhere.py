"""SIGINT and SIGTERM outside the training loop: the right code, a sentence, and the same command finishes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neural import checkpoint, cli

ROOT = Path(__file__).resolve().parents[2]
STEPS = 6
# The function before which a signal comes, and whether the training is over by then.
PLACES = {
    "decoding": ("neural.scenes.photos", "decode", False),
    "setting up": ("neural.train.tasks.radiance.run", "build_field", False),
    "setting up splats": ("neural.train.tasks.splats.run", "build_gaussians", False),
    "scoring": ("neural.metrics", "ssim", True),
    "filming": ("neural.paths", "orbit", True),
    "reporting": ("neural.report.page", "render", True),
}
# Says so and waits at the first call, in a thread only for a moment: a pool waits for what it has begun.
SCRIPT = """
import importlib, os, sys, threading, time
from neural import cli
module, name = importlib.import_module(sys.argv[1]), sys.argv[2]
original = getattr(module, name)
def waiting(*arguments, **options):
    os.write(1, b"here\\n")  # at once: threads that print interleave
    time.sleep(60 if threading.current_thread() is threading.main_thread() else 0.5)
    return original(*arguments, **options)
setattr(module, name, waiting)
sys.exit(cli.main(sys.argv[3:]))
"""


def stopped(place: str, signum: signal.Signals, command: list[str]) -> tuple[int, str]:
    """Exit code and stderr of a command that gets a signal at a place."""
    module, name, _ = PLACES[place]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, module, name, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        while (line := process.stdout.readline()) != "here\n":
            assert line, process.communicate()[1]
        process.send_signal(signum)
        return process.wait(timeout=5), process.communicate()[1]
    finally:
        process.kill()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory, write_capture) -> Path:
    return write_capture(tmp_path_factory.mktemp("stopped") / "ball", n=6, size=(24, 18))


@pytest.mark.parametrize("place", PLACES)
def test_a_training_is_stopped_anywhere_and_finished_by_the_same_command(
    capture: Path, tmp_path: Path, smallest: dict[str, list[str]], place: str
) -> None:
    signum = signal.SIGTERM if len(place) % 2 else signal.SIGINT
    out, trained, task = tmp_path / "run", PLACES[place][2], "splats" if "splats" in place else "radiance"
    command = ["train", task, str(capture), "--out", str(out), "--steps", str(STEPS), *smallest[task]]
    code, printed = stopped(place, signum, command)
    assert code == 128 + signum
    assert f"stopped by {signum.name}; nothing that was saved is harmed." in printed
    assert "Traceback" not in printed
    assert checkpoint.latest_step(out) == (STEPS if trained else None)
    assert not (out / "report.html").exists()
    assert not [path for path in out.rglob("*") if path.suffix == ".tmp" or path.name.startswith(".")]
    assert cli.main(command) == 0
    assert json.loads((out / "eval.json").read_text())["n_images"] == 2
    assert (out / "report.html").exists()


def test_rendering_is_stopped_without_half_a_film(capture: Path, tmp_path: Path, small: list[str]) -> None:
    out = tmp_path / "run"
    assert cli.main(["train", "radiance", str(capture), "--out", str(out), "--steps", "2", *small]) == 0
    before = sorted(path.name for path in out.iterdir())
    code, printed = stopped("filming", signal.SIGTERM, ["render", str(out), "--out", str(out / "film.mp4")])
    assert code == 143
    assert "stopped by SIGTERM" in printed and "Traceback" not in printed
    assert sorted(path.name for path in out.iterdir()) == before
