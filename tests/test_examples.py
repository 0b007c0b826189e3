"""The examples run as they are printed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.scenes.photographs import corner

ROOT = Path(__file__).resolve().parents[1]
ARGUMENTS = {  # of an example -> what makes it short
    "encoding.py": ["--downscale", "16"],
    "image.py": [],
    "photographs.py": [],
    "radiance.py": ["--downscale", "16"],
    "sdf.py": [],
    "splats.py": ["--downscale", "16"],
    "volume.py": ["--downscale", "16"],
}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SLOW = ("photographs.py",)  # finds cameras, which tests/scenes/photographs does once for all of its tests


def marked(path: Path) -> Any:
    return pytest.param(path, marks=pytest.mark.slow) if path.name in SLOW else path


def test_all_of_them_are_known_here() -> None:
    assert [path.name for path in EXAMPLES] == sorted(ARGUMENTS)


@pytest.mark.parametrize("path", [marked(path) for path in EXAMPLES], ids=lambda path: path.stem)
def test_an_example_runs_and_fits_on_a_page(path: Path, tmp_path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40
    arguments = ["--steps", "3", *ARGUMENTS[path.name]]
    if path.name == "photographs.py":
        pytest.importorskip("pycolmap")
        arguments = [str(photographs(tmp_path / "corner")), "--minutes", "0.01"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, str(path), *arguments, "--out", str(tmp_path / "run")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "PSNR" in done.stdout or "IoU" in done.stdout
    assert (tmp_path / "run" / "report.html").exists()


def photographs(folder: Path) -> Path:
    """A few that overlap."""
    for index, shot in enumerate(corner.shots(8)):
        corner.save(shot, folder / f"{index}.jpg")
    return folder
