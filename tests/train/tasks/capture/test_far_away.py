"""A capture in UTM metres trains, scores and renders as the same capture about the origin does."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import neural
from neural import checkpoint, cli, log
from neural.train.tasks.capture.run import TrainedCapture

UTM = np.array([4.5e5, 5.2e6, 100.0])  # metres; float32 has steps of 1/32 and 1/2 there
GRID = 2.0**-20  # places that are multiples of it are exact in float64, here and there


class Pair(NamedTuple):
    near: TrainedCapture
    far: TrainedCapture
    exact: bool  # the two boxes differ by the move alone; a box chosen from the cameras only does so nearly


def moved(capture: Path, by: np.ndarray) -> Path:
    """The capture, its places rounded to the grid and moved."""
    file = capture / "transforms.json"
    document = json.loads(file.read_text())
    for frame in document["frames"]:
        pose = np.array(frame["transform_matrix"])
        pose[:3, 3] = np.round(pose[:3, 3] / GRID) * GRID + by
        frame["transform_matrix"] = pose.tolist()
    if "aabb" in document:
        document["aabb"] = (np.array(document["aabb"]) + by).tolist()
    file.write_text(json.dumps(document))
    return capture


@pytest.fixture(scope="module", params=["box", "world", "splats, box", "splats, world"])
def pair(request: pytest.FixtureRequest, tmp_path_factory, write_capture, smallest: dict[str, list[str]]) -> Pair:
    folder, world = tmp_path_factory.mktemp("far"), "world" in request.param
    task = "splats" if "splats" in request.param else "radiance"
    for name, by in (("near", np.zeros(3)), ("far", UTM)):
        capture = moved(write_capture(folder / name / "capture", world=world), by)
        command = ["train", task, str(capture), "--out", str(folder / name / "run"), "--optim.refine-poses"]
        assert cli.main([*command, "--steps", "40", "--eval-every", "10", *smallest[task]]) == 0
    near, far = (neural.load_run(folder / name / "run", device="cpu") for name in ("near", "far"))
    return Pair(near, far, exact=not world)


def test_they_are_learnt_alike(pair: Pair) -> None:
    near, far = ([(x["loss"], x.get("test_psnr", 0.0)) for x in log.read(run.folder)] for run in pair[:2])
    assert len(near) == 40 and near[9][1] > 0
    if not pair.exact:
        np.testing.assert_allclose(far, near, rtol=0.01)
        return
    assert far == near
    one, other = (checkpoint.load_latest(run.folder).tensors for run in pair[:2])
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (pair.near.folder / "eval.json").read_text() == (pair.far.folder / "eval.json").read_text()


def test_a_stored_run_renders_them_alike(pair: Pair) -> None:
    near, far = (run.render_camera(run.scene.cameras, 4) for run in pair[:2])
    for part in ("rgb", "alpha", "depth"):
        difference = (getattr(near, part) - getattr(far, part)).abs().max()
        assert difference <= (0 if pair.exact else 0.02), part
    assert far.rgb.std() > 0.02  # a picture, not a background


@pytest.mark.parametrize("path", ["orbit", "train"])
def test_films_of_them_are_alike(pair: Pair, path: str) -> None:
    near, far = (np.stack(list(run._frames(run._along(path, 3, 1), progress=False))) for run in pair[:2])
    assert near.shape == far.shape
    assert np.abs(near.astype(int) - far).max() <= (2 if pair.exact else 5)


def test_a_run_far_away_goes_on(pair: Pair, smallest: dict[str, list[str]]) -> None:
    """Stopped after 40 steps, both go on to 48, and alike."""
    for run in pair[:2]:
        command = ["train", run.task, str(run.scene.path), "--out", str(run.folder), "--optim.refine-poses"]
        assert cli.main([*command, "--steps", "48", "--eval-every", "10", *smallest[run.task]]) == 0
    near, far = ([x["loss"] for x in log.read(run.folder)] for run in pair[:2])
    assert len(far) == 48
    np.testing.assert_allclose(far, near, rtol=0 if pair.exact else 0.01)
