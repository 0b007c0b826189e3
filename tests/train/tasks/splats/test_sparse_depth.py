"""Depths of the capture's points: right ones cost nothing, wrong ones pull the rendering."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neural.cameras import Cameras
from neural.errors import SceneFormatError
from neural.gaussians.model import Gaussians
from neural.lenses import CAMERA_MODELS
from neural.render.splats import View, splat
from neural.scenes.capture import Observations, Points
from neural.scenes.images import ImageStack
from neural.scenes.scene import Scene
from neural.train.tasks.splats.build import SKY_DISTANCE, build_gaussians
from neural.train.tasks.splats.config import SplatModelConfig, SplatsConfig, resolve
from neural.train.tasks.splats.sparse_depth import SparseDepth


def _scene() -> Scene:
    """Two cameras that look along z, four points of which each has seen some."""
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[1, 0, 3] = 0.5
    cameras = Cameras.pinhole(
        poses, torch.tensor([[20.0, 20, 10, 8]], dtype=torch.float64).repeat(2, 1), torch.tensor([[20, 16]] * 2)
    )
    xyz = np.array([[0, 0, 2.0], [0.2, 0.1, 4], [-0.3, 0.2, 3], [0, 0, -1]])
    seen = [(p, c) for c in (0, 1) for p in range(4)]
    pixels = np.array([cameras.project(torch.from_numpy(xyz[[p]]), c)[0][0].numpy() for p, c in seen])
    pixels[~np.isfinite(pixels)] = 5.0  # the point behind the cameras
    points, indices = (np.array(column, dtype=np.int64) for column in zip(*seen, strict=True))
    images = ImageStack.from_arrays([np.zeros((16, 20, 3), np.uint8)] * 2)
    return Scene(
        "two", None, cameras, images, None, ("a", "b"), {"train": (0, 1), "test": ()},
        Points(xyz, np.zeros((4, 3), np.uint8), Observations(points, indices, pixels)),
        torch.tensor([[-1.0, -1, 0], [1, 1, 4]], dtype=torch.float64), np.eye(4),
    )  # fmt: skip


def test_right_depths_cost_nothing_and_wrong_ones_pull() -> None:
    scene = _scene()
    guide = SparseDepth(scene)
    depth = torch.full((16, 20), 9.0)
    assert scene.points is not None
    for p in range(3):
        pixel, z = scene.cameras.project(torch.from_numpy(scene.points.xyz[[p]]), 0)
        depth[int(pixel[0, 1]), int(pixel[0, 0])] = float(z)
    alpha = torch.full((16, 20), 0.8)
    right = guide.loss(0, depth * alpha, alpha, 2.0)
    assert right is not None and float(right) < 1e-6
    leaf = (1.1 * depth * alpha).requires_grad_()
    wrong = guide.loss(0, leaf, alpha, 2.0)
    assert wrong is not None
    expected = 2.0 * np.mean([(1 - 1 / 1.1) / z for z in (2.0, 4.0, 3.0)])
    assert float(wrong.detach()) == pytest.approx(expected, rel=1e-4)
    wrong.backward()
    assert leaf.grad is not None and int((leaf.grad != 0).sum()) == 3 and bool((leaf.grad >= 0).all())


@pytest.mark.parametrize("lens", CAMERA_MODELS)
def test_depths_are_those_of_what_is_drawn_through_every_lens(lens: str) -> None:
    """An opaque small Gaussian at each point: its drawn depth is the one that is asked for."""
    scene = _scene()
    assert scene.points is not None
    cameras = replace(scene.cameras, models=torch.full((2,), CAMERA_MODELS.index(lens)))
    xyz = np.array([[0, 0, 2.0], [1.4, 0.7, 4], [-1.2, 0.9, 3]])
    pixels = np.concatenate([cameras.project(torch.from_numpy(xyz[[p]]), 0)[0].numpy() for p in range(3)])
    seen = Observations(np.arange(3), np.zeros(3, np.int64), pixels)
    points = Points(xyz, np.zeros((3, 3), np.uint8), seen)
    gaussians = Gaussians.from_points(torch.from_numpy(xyz).float(), torch.zeros(3, 3), opacity=0.95)
    gaussians.log_scales.data.fill_(-2.5)
    shown = splat(gaussians, View.of(cameras, 0, 0.01), with_depth=True)
    assert shown.depth is not None
    guide = SparseDepth(replace(scene, cameras=cameras, points=points)).loss(0, shown.depth, shown.alpha, 1.0)
    assert guide is not None and float(guide.detach()) < 1e-3


def test_where_nothing_is_drawn_nothing_is_asked() -> None:
    assert SparseDepth(_scene()).loss(0, torch.ones(16, 20), torch.full((16, 20), 0.4), 1.0) is None


def test_a_capture_that_does_not_say_who_saw_what_is_refused() -> None:
    scene = _scene()
    assert scene.points is not None
    with pytest.raises(SceneFormatError, match="observations"):
        SparseDepth(replace(scene, points=replace(scene.points, observations=None)))


def test_a_sky_lies_around_everything() -> None:
    scene, origin = _scene(), torch.zeros(3, dtype=torch.float64)
    config = resolve(SplatsConfig(model=SplatModelConfig(init="random", init_gaussians=50, sky=200)), "cpu")
    gaussians = build_gaussians(config, scene, origin)
    assert gaussians.n == 250
    far = (gaussians.means - scene.cameras.origins.mean(0).float()).norm(dim=1) > SKY_DISTANCE
    assert int(far.sum()) == 200
    directions = torch.nn.functional.normalize(gaussians.means[far], dim=1)
    assert directions.mean(0).norm() < 0.05
    nearest = torch.cdist(directions, directions).fill_diagonal_(9).amin(1)
    assert nearest.max() < 2 * nearest.min()
