"""Gaussians that do not fit are refused before a run begins, with how many would."""

from pathlib import Path

import pytest
import torch

from neural import cli
from neural.errors import TooLarge
from neural.train import memory, splats_run
from tests import ball, splat_tasks

CPU = torch.device("cpu")


def test_this_machine_has_memory() -> None:
    free = memory.free_bytes(CPU)
    assert free is None or 50e6 < free < 1e15


def test_as_many_as_fit_are_taken_and_one_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1_264_000)
    memory.refuse_too_many(1000, 3, CPU)
    with pytest.raises(TooLarge, match=r"1,001 Gaussians take .* on this cpu, enough for 1,000; lower --model\.max-"):
        memory.refuse_too_many(1001, 3, CPU)
    memory.refuse_too_many(1001, 2, CPU)


def test_a_system_that_says_nothing_refuses_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert memory._machine(tmp_path / "meminfo") is None
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    memory.refuse_too_many(1 << 40, 3, CPU)


def test_what_linux_and_containers_say_is_read(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  900 kB\nMemFree:  3 kB\nMemAvailable:  500 kB\n")
    assert memory._machine(tmp_path / "meminfo") == 500 * 1024
    assert memory._container(tmp_path) is None
    for name, text in {"max": "max\n", "current": "700\n", "stat": "anon 5\ninactive_file 100\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory._container(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory._container(tmp_path) == 400


def test_a_run_that_would_not_fit_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_capture, capsys
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100_000)
    config = splat_tasks.configured(model={"max_gaussians": 500}, run={"steps": 3})
    with pytest.raises(TooLarge, match="500 Gaussians"):
        splats_run.splats(ball.scene(n=4, size=(24, 18)), config=config, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "config.json").exists()
    capture = write_capture(tmp_path / "capture")
    assert cli.main(["train", "splats", str(capture), "--out", str(tmp_path / "run"), "--steps", "3"]) == 1
    assert "neural: 100,000 Gaussians take" in capsys.readouterr().err
