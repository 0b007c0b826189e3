"""The examples run as they are printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ARGUMENTS = {  # of an example -> what makes it short
    "encoding.py": ["--downscale", "16"],
    "image.py": [],
    "radiance.py": ["--downscale", "16"],
    "sdf.py": [],
    "splats.py": ["--downscale", "16"],
    "volume.py": ["--downscale", "16"],
}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_all_of_them_are_known_here() -> None:
    assert [path.name for path in EXAMPLES] == sorted(ARGUMENTS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_fits_on_a_page(path: Path, tmp_path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, str(path), "--steps", "3", *ARGUMENTS[path.name], "--out", str(tmp_path / "run")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "PSNR" in done.stdout or "IoU" in done.stdout
    assert (tmp_path / "run" / "report.html").exists()
