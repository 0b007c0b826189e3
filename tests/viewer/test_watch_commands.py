"""`neural view` and `neural train --view` as processes: they show pictures, and end when told to."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("viser", reason="needs viser, which make installs")

from neural import checkpoint, runs
from neural.scenes.files import mesh as meshes
from neural.scenes.files.gaussians import formats
from tests.shapes import icosphere
from tests.viewer.raw_client import RawClient
from tests.viewer.shown import ball_subject

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen, int]]:
    """`neural ...` as a process, and the port of its viewer."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "neural", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        text = ""
        for line in process.stdout:
            text += line
            if found := re.search(r"viewer: http://127\.0\.0\.1:(\d+)/", line):
                yield process, int(found[1])
                return
        raise AssertionError(text)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_ctrl_c_ends_a_viewer_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "ball.ply"
    formats.write(path, ball_subject()._gaussians.to_record())
    with command("view", str(path), "--port", "0") as (process, port):
        with RawClient(port) as client:
            client.look((0.0, -3.0, 0.0))
            assert client.pictures(1)[0].std() > 5
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in said


@pytest.mark.slow
def test_ctrl_c_saves_a_watched_training(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("data/city", "--out", str(out), "--steps", "100000", "--downscale", "8", "--device", "cpu")
    with command("train", "splats", *arguments, "--view", "--view-port", "0") as (process, port):
        with RawClient(port) as client:
            client.look((0.0, -3.0, 0.0))
            client.pictures(1)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in said
    assert checkpoint.latest_step(out)
    assert runs.read_config(out)["task"] == "splats"


@pytest.mark.slow
def test_a_surface_is_watched_and_viewed_from_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("open3d", reason="distances to a mesh need Open3D: pip install 'neural[mesh]'")
    body, out = icosphere(3), tmp_path / "run"
    mesh = meshes.write(tmp_path / "ball.ply", body.vertices, body.faces)
    small = ("--model.log2-hashmap-size", "12", "--sampling.shard-size", "2048", "--sampling.shards", "3")
    arguments = ("train", "sdf", str(mesh), "--out", str(out), "--steps", "100000", "--device", "cpu", *small)
    with command(*arguments, "--view", "--view-port", "0", "--view.size", "64") as (process, port):
        with RawClient(port) as client:
            client.look((0.0, 0.0, -3.0), wxyz=(1.0, 0.0, 0.0, 0.0))
            assert client.pictures(1)[0].std() > 5
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in said
    assert runs.read_config(out)["view"]["size"] == 64
    with command("view", str(out), "--port", "0") as (process, port), RawClient(port) as client:
        client.look((0.0, 0.0, -3.0), wxyz=(1.0, 0.0, 0.0, 0.0))
        assert client.pictures(1)[0].std() > 5
