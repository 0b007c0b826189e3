"""What memory is left, with and without a container's limit, and a run that would not fit."""

from pathlib import Path

import psutil
import pytest
import torch

from neural import cli, memory
from neural.errors import TooLarge

CITY = Path(__file__).parents[1] / "data" / "city"
CPU = torch.device("cpu")


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    machine = memory.available(CPU)
    assert 0 < machine <= psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000\n")
    assert memory.available(CPU) > 3000
    (tmp_path / "memory.max").write_text("10000\n")
    assert memory.available(CPU) == 7000
    (tmp_path / "memory.stat").write_text("anon 500\nactive_file 400\ninactive_file 1100\n")  # photographs just read
    assert memory.available(CPU) == 8100
    (tmp_path / "memory.stat").unlink()
    (tmp_path / "memory.max").write_text("2000\n")
    assert memory.available(CPU) == 0


def test_what_fits_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 10_500_000_000)
    memory.require(CPU, 10_000_000, 1000, "things", "choose at most --n")
    with pytest.raises(TooLarge, match=r"11,000,000 things need 11\.0 GB in training, and 10\.5 GB .* --n 10500000$"):
        memory.require(CPU, 11_000_000, 1000, "things", "choose at most --n")


def test_a_run_that_would_not_fit_never_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 500_000)
    command = ["train", "splats", str(CITY), "--out", str(tmp_path / "run"), "--steps", "2", "--downscale", "8"]
    assert cli.main([*command, "--model.max-gaussians", "2000"]) != 0
    said = capsys.readouterr().err
    assert "2,000 Gaussians need" in said and "--model.max-gaussians 346" in said and "Traceback" not in said
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_minutes_take_the_room_of_a_rehearsal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 500_000)
    command = ["train", "splats", str(CITY), "--out", str(tmp_path / "run"), "--minutes", "0.01", "--downscale", "8"]
    assert cli.main([*command, "--model.max-gaussians", "300"]) != 0
    assert "--model.max-gaussians 209" in capsys.readouterr().err
