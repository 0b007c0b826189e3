"""The script behind the pictures of README and documentation."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.docs.pages import ROOT


@pytest.mark.slow
def test_pictures_are_made_from_nothing(tmp_path: Path) -> None:
    pytest.importorskip("open3d")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, ".github/pictures.py", "--quick", "--out", str(tmp_path / "out"), "--runs"]
    done = subprocess.run(
        [*command, str(tmp_path / "runs")], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("city.png", "orbit.webp", "applications.png"):
        with Image.open(tmp_path / "out" / name) as image:
            image.load()
            assert min(image.size) > 16
