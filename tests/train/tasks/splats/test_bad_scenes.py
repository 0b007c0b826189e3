"""Scenes from which nothing can be learnt, and scenes at the edge of that: one line that says why, or a clean run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural import cli
from neural.errors import SceneFormatError
from neural.scenes.capture import Points
from neural.scenes.files import ply
from neural.scenes.images import ImageStack
from neural.scenes.load import load
from neural.scenes.scene import Scene
from neural.train.tasks.splats import run as splats_run
from neural.train.tasks.splats.build import refuse_unseen
from tests import ball, splat_tasks

HALF_TURN = torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64))


def trained(scene: Scene, out: Path, **parts: dict[str, Any]) -> splats_run.SplatRun:
    parts["model"] = {"max_gaussians": 200, "sh_degree": 1} | parts.get("model", {})
    parts["densify"] = {"start": 2, "every": 2} | parts.get("densify", {})
    parts["run"] = {"steps": 4} | parts.get("run", {})
    return splats_run.splats(scene, config=splat_tasks.configured(**parts), out=out, progress=False)


def refused(scene: Scene, out: Path, message: str, **parts: dict[str, Any]) -> None:
    """Before a run begins, so that the folder serves the mended scene."""
    with pytest.raises(SceneFormatError, match=message):
        trained(scene, out, **parts)
    assert not (out / "config.json").exists()


def turned_away(scene: Scene) -> Scene:
    c2w = scene.cameras.c2w.clone()
    c2w[:, :3, :3] = c2w[:, :3, :3] @ HALF_TURN
    return replace(scene, cameras=scene.cameras.posed(c2w))


def masked(scene: Scene, white: tuple[int, ...]) -> Scene:
    """All black but those."""
    height, width = scene.images[0].shape[:2] if scene.images else (0, 0)
    masks = [np.full((height, width), 255 * (i in white), np.uint8) for i in range(len(scene.cameras))]
    return replace(scene, masks=ImageStack.from_arrays(masks))


def test_cameras_that_see_nothing_are_refused(tmp_path: Path) -> None:
    scene = turned_away(ball.scene(n=4, size=(24, 18), points=150))
    message = r"ball: none of the 3 training cameras sees any of the 150 Gaussians.*axes of the poses"
    refused(scene, tmp_path, message)
    refused(scene, tmp_path, "none of the 3 training cameras sees any of the 100", model={"init": "random"})


def test_one_camera_that_sees_something_is_enough(tmp_path: Path) -> None:
    scene, away = ball.scene(n=4, size=(24, 18), points=150), turned_away(ball.scene(n=4, size=(24, 18)))
    c2w = torch.cat([away.cameras.c2w[:3], scene.cameras.c2w[3:]])
    assert trained(replace(scene, cameras=scene.cameras.posed(c2w)), tmp_path).gaussians.n == 200


@pytest.mark.parametrize("strategy", ["budget", "mcmc", "adaptive"])
def test_steps_that_see_nothing_change_nothing_to_the_worse(strategy: str) -> None:
    """As when refined poses turn away: no NaN, and the background is what shows."""
    scene = turned_away(ball.scene(n=4, size=(24, 18), points=150))
    config = splat_tasks.configured(
        model={"max_gaussians": 300}, densify={"strategy": strategy, "start": 2, "every": 5},
        optim={"refine_poses": True, "exposure": True},
    )  # fmt: skip
    task = splat_tasks.task(scene, config)
    for step in range(25):
        assert task.step(step, 25).extra["visible"] == 0
    assert all(bool(value.isfinite().all()) for value in task.tensors().values())
    shown = task.render(scene.cameras, 0, "white")
    assert bool((shown == 1).all())
    with pytest.raises(SceneFormatError, match="none of the 3 training cameras"):
        refuse_unseen(task.gaussians, scene, task.origin, task.near)


def test_photographs_that_are_masked_out_or_transparent_are_refused(tmp_path: Path) -> None:
    scene = ball.scene(n=4, size=(24, 18))  # number 0 is held out
    assert scene.images is not None
    refused(masked(scene, ()), tmp_path, "ball: the masks leave no pixel of the train images; white pixels")
    refused(masked(scene, (0,)), tmp_path, "ball: the masks leave no pixel of the train images")
    refused(masked(scene, (1, 2, 3)), tmp_path, "ball: the masks leave no pixel of the test images")
    empty = [np.concatenate([image[..., :3], 0 * image[..., 3:]], -1) for image in scene.images]
    message = "ball: the train images are fully transparent; there is nothing to learn"
    refused(replace(scene, images=ImageStack.from_arrays(empty)), tmp_path, message)
    empty[2] = scene.images[2]
    trained(replace(scene, images=ImageStack.from_arrays(empty)), tmp_path)


def test_a_photograph_that_is_masked_out_does_not_raise_the_score(tmp_path: Path) -> None:
    scene = replace(ball.scene(n=8, size=(24, 18)), splits={"train": tuple(range(2, 8)), "test": (0, 1)})
    run = trained(masked(scene, (1, 2, 3)), tmp_path)
    scores = run.evaluate(progress=False)
    assert [image.name for image in scores.images] == ["001"]
    assert np.isfinite(scores.psnr) and "(1 image, white, test, masked, 1 masked out)" in str(scores)
    assert scores.as_dict()["n_left_out"] == 1
    assert "masked out" in (tmp_path / "report.html").read_text()
    run.scene = replace(run.scene, splits={**run.scene.splits, "far": (4,)})
    with pytest.raises(ValueError, match="the masks of the split 'far' let no pixel count"):
        run.evaluate(split="far", progress=False)


def test_depths_that_a_capture_has_not_are_refused_before_a_run_begins(tmp_path: Path) -> None:
    scene = ball.scene(n=4, size=(24, 18), points=150)
    refused(scene, tmp_path, "ball: --optim.depth needs points with observations", optim={"depth": 0.1})


def test_points_in_one_place_are_none(tmp_path: Path) -> None:
    scene = replace(ball.scene(n=4, size=(24, 18)), points=Points(np.ones((200, 3)), np.zeros((200, 3), np.uint8)))
    assert trained(scene, tmp_path / "auto").config.model.init == "random"
    refused(
        scene, tmp_path / "points", "ball: no points to start from; use --model.init random", model={"init": "points"}
    )


@pytest.mark.parametrize(
    ("xyz", "warning"),
    [
        (np.zeros((0, 3)), None),
        (np.full((1, 3), 0.1), None),
        (np.full((300, 3), 0.1), "All 300 points are in one place and were dropped."),
        (np.full((300, 3), np.nan), "300 of 300 points are not finite and were dropped."),
    ],
    ids=["none", "one", "one place", "NaN"],
)
def test_a_cloud_that_says_nothing_does_not_shape_the_scene(
    tmp_path: Path, write_capture, xyz: np.ndarray, warning: str | None
) -> None:
    """Of an open scene, whose box follows the points: it must not shrink to one of them."""
    capture = write_capture(tmp_path / "ball", n=5, size=(24, 18), world=True)
    plain = load(capture)
    text = (capture / "transforms.json").read_text()
    (capture / "transforms.json").write_text(text.replace('"w":', '"ply_file_path": "points.ply", "w":', 1))
    ply.write_points(capture / "points.ply", xyz, np.zeros((len(xyz), 3), np.uint8))
    scene = load(capture)
    assert torch.equal(scene.aabb, plain.aabb)
    assert scene.warnings == ((warning,) if warning else ())
    assert trained(scene, tmp_path / "run").config.model.init == "random"


def test_one_photograph_is_told_how_to_be_trained_on(tmp_path: Path, write_capture, smallest, capsys) -> None:
    capture = write_capture(tmp_path / "ball", n=1, size=(24, 18))
    path = capture / "transforms.json"
    path.write_text(path.read_text().replace('"train_filenames"', '"_"').replace('"test_filenames"', '"_t"'))
    command = ["train", "splats", str(capture), "--out", str(tmp_path / "run"), "--steps", "2", *smallest["splats"]]
    assert cli.main(command) == 3
    assert (
        "the train split is empty, all images are held out; name train images, or hold out none: --split-every 0"
        in (capsys.readouterr().err)
    )
    assert cli.main([*command, "--split-every", "0"]) == 0
    assert cli.main(["render", str(tmp_path / "run"), "--frames", "2", "--out", str(tmp_path / "pngs")]) == 0


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    n=st.integers(1, 4),
    strategy=st.sampled_from(["budget", "mcmc", "adaptive", "none"]),
    lens=st.sampled_from(sorted(ball.LENSES)),
    points=st.sampled_from([None, 0, 1, 2, 150]),
    world=st.booleans(),
    masks=st.booleans(),
    options=st.sampled_from(
        [{}, {"lazy": True}, {"views": 3}, {"exposure": True, "refine_poses": True}, {"masks": "empty"}, {"coarse": 8}]
    ),
    most=st.sampled_from([2, 3, 70, 3000]),
)
def test_any_small_scene_trains(
    size: tuple[int, int], n: int, strategy: str, lens: str, points: int | None, world: bool, masks: bool,
    options: dict[str, Any], most: int,
) -> None:  # fmt: skip
    """Steps, without the scores and the film: finite, within the number of Gaussians, and pictures in range."""
    scene = ball.scene(n=n, size=size, world=world, lens=lens, points=points, masks=masks)
    config = splat_tasks.configured(
        model={"max_gaussians": most, "sh_degree": 1}, densify={"strategy": strategy, "start": 1, "every": 2},
        optim=options,
    )  # fmt: skip
    task = splat_tasks.task(scene, config)
    for step in range(6):
        result = task.step(step, 6)
        assert np.isfinite(result.loss) and result.extra["gaussians"] <= most
    assert all(bool(value.isfinite().all()) for value in task.tensors().values())
    shown = task.render(scene.cameras, 0, "white")
    assert shown.shape == (size[1], size[0], 3) and bool(shown.isfinite().all())
