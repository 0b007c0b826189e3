"""Whole sets of real photographs; `python -m tests.bench reconstruct` measures them with their trainings."""

import json
from pathlib import Path

import numpy as np
import pytest

from neural.reconstruction import Say, find_cameras
from neural.scenes.load import load
from neural.scenes.photographs.settings import CameraSettings
from tests.scenes.photographs.corner import similarity

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _needs_pycolmap() -> None:
    pytest.importorskip("pycolmap")


def found(source: Path, out: Path) -> dict:
    return find_cameras(source, out, CameraSettings(), Say(False))


def test_castle_from_photographs_alone(neural_data: Path, tmp_path: Path) -> None:
    said = found(neural_data / "castle_P30" / "images", tmp_path / "run")
    assert said["registered"] == said["photographs"] == len(said["frames"]) == 30
    assert said["scale"] == "arbitrary"
    truth = json.loads((neural_data / "castle_P30" / "gt_cameras.json").read_text("utf-8"))["frames"]
    centres = {Path(frame["file"]).name: np.array(frame["centre"]) for frame in truth}
    scene = load(tmp_path / "run")
    target = np.array([centres[Path(name).name] for name in scene.image_names])
    ours = scene.cameras.origins.numpy()
    scale, rotation, shift = similarity(ours, target)
    assert np.median(np.linalg.norm(scale * ours @ rotation.T + shift - target, axis=1)) < 0.25
    lens = [np.array(frame["K"])[0, 0] for frame in truth]
    assert scene.cameras.intrinsics[0, 0] == pytest.approx(np.mean(lens), rel=0.02)


def test_fox_from_photographs_alone(neural_data: Path, tmp_path: Path) -> None:
    assert found(neural_data / "fox" / "images", tmp_path / "run")["registered"] >= 48
    ours, theirs = load(tmp_path / "run"), load(neural_data / "fox")
    names = [Path(name).name for name in theirs.image_names]
    order = [names.index(Path(name).name) for name in ours.image_names]
    a, b = ours.cameras.origins.numpy(), theirs.cameras.origins.numpy()[order]
    scale, rotation, shift = similarity(a, b)
    assert np.median(np.linalg.norm(scale * a @ rotation.T + shift - b, axis=1)) < 0.05
    assert (rotation @ [0, 0, 1.0])[2] > np.cos(np.radians(15))  # up was taken from the cameras alone


def test_drone_in_metres_by_gps_that_errs(neural_data: Path, tmp_path: Path) -> None:
    said = found(neural_data / "drone_caliterra" / "images", tmp_path / "run")
    assert said["registered"] >= 74 and said["scale"] == "metric" and said["utm"] == "EPSG:32614"
    ours, theirs = load(tmp_path / "run"), load(neural_data / "drone_caliterra")
    names = [Path(name).name for name in theirs.image_names]
    order = [names.index(Path(name).name) for name in ours.image_names]
    scale, rotation, _ = similarity(ours.cameras.origins.numpy(), theirs.cameras.origins.numpy()[order])
    assert scale == pytest.approx(1.0, rel=0.05)
    assert rotation[2, 2] > np.cos(np.radians(3))
