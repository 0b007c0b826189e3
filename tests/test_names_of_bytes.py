"""Names of files are bytes: those that are no UTF-8 are read, written, shown and said like any others."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from neural import atomic, checkpoint, cli
from neural.scenes.files.gaussians import formats
from tests.scenes import formats as captures
from tests.splat_files import made

NAME = os.fsdecode(b"caf\xe9")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of such a name, where the file system takes one."""
    try:
        (tmp_path / NAME).mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    return tmp_path / NAME


def test_gaussians_and_photographs_are_drawn(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    formats.write(folder / f"{NAME}.ply", made(50, 0))
    photographs = folder / "photographs"
    captures.write_images(photographs)
    shutil.move(photographs / captures.NAMES[0], photographs / f"{NAME}.png")
    for source in (folder / f"{NAME}.ply", photographs):
        page = folder / f"{NAME} {source.stem}.html"
        assert cli.main(["info", str(source), "--draw", str(page)]) == 0
        assert "caf?" in page.read_text("utf-8")
    assert "drawn in" in capfd.readouterr().out


def test_they_are_said_where_the_terminal_is_strict(folder: Path) -> None:
    formats.write(folder / "a.ply", made(50, 0))
    done = subprocess.run(
        [sys.executable, "-m", "neural", "info", str(folder / "a.ply")],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rb"caf\udce9" in done.stdout


def test_a_configuration_names_the_very_file(folder: Path) -> None:
    atomic.write_json(folder / "a.json", {"scene": str(folder), "place": "Zürich"})
    assert json.loads((folder / "a.json").read_text("utf-8")) == {"scene": str(folder), "place": "Zürich"}


def test_a_checkpoint_comes_back(folder: Path) -> None:
    tensors = {"model/a": torch.arange(6.0).reshape(2, 3), "model/none": torch.zeros(0)}
    checkpoint.save(folder, 3, tensors, {"scene": str(folder)})
    loaded = checkpoint.load_latest(folder)
    assert loaded.meta == {"scene": str(folder)}
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in tensors.items())
