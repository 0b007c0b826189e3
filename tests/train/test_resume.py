"""A run that was stopped, in whatever way and whenever, ends as if it had never been."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from neural import checkpoint, cli, log

ROOT = Path(__file__).resolve().parents[2]
SAVE_ALWAYS = ["--checkpoint-minutes", "1e-6"]
STEPS = 40
EVERYTHING = [
    "--model.table-precision", "float16",
    "--optim.refine-poses", "--optim.exposure", "--model.appearance-dims", "4", "--optim.distortion", "0.01",
    "--optim.decay", "milestones", "--model.density-activation", "softplus", "--seed", "7",
]  # fmt: skip


EVERY_SPLAT = [
    "--optim.refine-poses", "--optim.exposure", "--optim.views", "2", "--model.antialiased",
    "--densify.strategy", "mcmc", "--seed", "7",
]  # fmt: skip


def train(scene: Path, out: Path, *flags: str, task: str = "radiance") -> list[str]:
    return ["train", task, str(scene), "--out", str(out), *flags]


def stopped(command: list[str], out: Path, when: Callable[[], bool], signum: signal.Signals) -> tuple[int, float, str]:
    """Runs a command in a process of its own and sends a signal as soon as `when` holds.

    Returns:
        Exit code, seconds from the signal to the end, what was printed to stderr.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(
        [sys.executable, "-m", "neural", *command], cwd=out.parent, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        limit = time.monotonic() + 60
        while not when():
            assert process.poll() is None, f"ended before it was stopped: {process.communicate()[1]}"
            assert time.monotonic() < limit, "never came to the step at which it was to be stopped"
            time.sleep(0.001)
        began = time.monotonic()
        process.send_signal(signum)
        printed = process.communicate(timeout=60)[1]
        return process.returncode, time.monotonic() - began, printed
    finally:
        process.kill()


def at_step(out: Path, step: int) -> Callable[[], bool]:
    """Whether the run has logged a step."""
    path = out / "metrics.jsonl"
    return lambda: path.exists() and path.read_bytes().count(b"\n") >= step


def assert_same_end(left: Path, right: Path) -> None:
    """Two runs left the same last checkpoint, bit for bit, and the same scores."""
    one, other = checkpoint.load_latest(left), checkpoint.load_latest(right)
    assert one.step == other.step
    assert one.tensors.keys() == other.tensors.keys()
    different = [name for name in one.tensors if not torch.equal(one.tensors[name], other.tensors[name])]
    assert not different, f"differ after the resume: {different}"
    assert (left / "eval.json").read_text() == (right / "eval.json").read_text()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, write_capture) -> Path:
    return write_capture(tmp_path_factory.mktemp("resume") / "ball")


@pytest.mark.parametrize(
    ("task", "flags", "signals"),
    [
        ("radiance", [], [signal.SIGKILL, signal.SIGKILL, signal.SIGKILL]),
        ("radiance", EVERYTHING, [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]),
        ("splats", [], [signal.SIGKILL, signal.SIGKILL, signal.SIGKILL]),
        ("splats", EVERY_SPLAT, [signal.SIGTERM, signal.SIGKILL, signal.SIGINT]),
    ],
    ids=["killed", "interrupted, everything on", "splats, killed", "splats, interrupted, everything on"],
)
def test_a_stopped_run_ends_bit_equal_to_one_that_was_not(
    scene: Path,
    tmp_path: Path,
    smallest: dict[str, list[str]],
    task: str,
    flags: list[str],
    signals: list[signal.Signals],
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    common = [*smallest[task], *flags, "--steps", str(STEPS), "--eval-every", "7"]
    assert cli.main(train(scene, whole, *common, task=task)) == 0
    command = train(scene, out, *common, *SAVE_ALWAYS, task=task)
    moments = sorted(random.Random(len(flags)).sample(range(1, STEPS - 6), len(signals)))
    for moment, signum in zip(moments, signals, strict=True):
        code, seconds, printed = stopped(command, out, at_step(out, moment), signum)
        reached = checkpoint.latest_step(out)
        assert reached is None or reached < STEPS, "too late to test anything: make the steps slower"
        if signum == signal.SIGKILL:
            assert code == -signal.SIGKILL
            continue
        assert code == 128 + signum
        assert seconds < 5
        assert "saved. The same command goes on from here." in printed
        assert reached is not None and reached >= moment
    assert cli.main(command) == 0
    assert_same_end(whole, out)
    assert [line["step"] for line in log.read(out)] == list(range(1, STEPS + 1))
    for line, same in zip(log.read(whole), log.read(out), strict=True):
        assert (line["loss"], line.get("test_psnr")) == (same["loss"], same.get("test_psnr"))


@pytest.mark.parametrize("task", ["radiance", "splats"])
def test_minutes_fix_the_steps_once_and_a_resume_keeps_them(
    scene: Path, tmp_path: Path, smallest: dict[str, list[str]], task: str
) -> None:
    out, whole = tmp_path / "minutes", tmp_path / "steps"
    command = train(scene, out, *smallest[task], "--minutes", "0.04", *SAVE_ALWAYS, task=task)

    def fixed() -> int | None:
        path = out / "config.json"
        return json.loads(path.read_text())["run"]["steps"] if path.exists() else None

    code, _, _ = stopped(command, out, lambda: fixed() is not None, signal.SIGKILL)
    assert code == -signal.SIGKILL
    steps = fixed()
    assert steps is not None
    assert cli.main(command) == 0
    assert fixed() == steps == checkpoint.latest_step(out)
    if task == "radiance":  # whose rates are flat while the steps are not known; photographs of splats get larger
        assert cli.main(train(scene, whole, *smallest[task], "--steps", str(steps))) == 0
        assert_same_end(whole, out)
    assert cli.main(["eval", str(out)]) == 0  # its configuration holds minutes and the steps that they became


def test_steps_may_grow_and_nothing_else_may_change(scene: Path, tmp_path: Path, small: list[str], capsys) -> None:
    out = tmp_path / "run"
    assert cli.main(train(scene, out, *small, "--steps", "8")) == 0
    report, scores = (out / "report.html").stat().st_mtime_ns, (out / "eval.json").read_text()
    assert cli.main(train(scene, out, *small, "--steps", "8")) == 0  # done: nothing to do, nothing written
    assert (out / "report.html").stat().st_mtime_ns == report
    capsys.readouterr()
    assert cli.main(train(scene, out, *small)) == 0  # no length asked for: that of the run
    assert "all of its 8 steps are done" in capsys.readouterr().out
    assert checkpoint.latest_step(out) == 8
    assert cli.main(train(scene, out, *small, "--steps", "16")) == 0
    assert checkpoint.latest_step(out) == 16
    assert (out / "report.html").stat().st_mtime_ns > report
    assert (out / "eval.json").read_text() != scores
    capsys.readouterr()
    assert cli.main(train(scene, out, *small, "--steps", "12")) == 3
    assert "run.steps may only grow: 16 there, 12 here" in capsys.readouterr().err
    assert cli.main(train(scene, out, *small, "--steps", "16", "--optim.lr", "0.02", "--seed", "3")) == 3
    refused = capsys.readouterr().err
    assert "optim.lr: 0.01 there, 0.02 here" in refused
    assert "run.seed: 0 there, 3 here" in refused
    assert cli.main(train(scene, out, *small, "--steps", "4", "--seed", "3", "--overwrite")) == 0
    assert [line["step"] for line in log.read(out)] == [1, 2, 3, 4]


def test_a_finish_that_was_killed_is_made_up_for(scene: Path, tmp_path: Path, small: list[str]) -> None:
    """Killed between the last checkpoint and the report, also after growing: the scores are not those of before."""
    out = tmp_path / "run"
    assert cli.main(train(scene, out, *small, "--steps", "4")) == 0
    old = (out / "eval.json").read_text()
    command = train(scene, out, *small, "--steps", "8")
    stopped(command, out, lambda: checkpoint.latest_step(out) == 8, signal.SIGKILL)
    assert cli.main(command) == 0
    assert (out / "report.html").exists()
    assert (out / "eval.json").read_text() != old


def test_training_leaves_torchs_own_generator_alone(scene: Path, tmp_path: Path, small: list[str]) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert cli.main(train(scene, tmp_path / "run", *small, "--steps", "3")) == 0
    assert torch.equal(torch.get_rng_state(), before)
