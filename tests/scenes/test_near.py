"""The smallest depth that is drawn follows what photographs see closest."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neural.cameras import Cameras
from neural.gaussians.model import Gaussians
from neural.render.splats import render_camera
from neural.scenes.capture import Observations, Points
from neural.scenes.near import NEAR, Near, reach
from neural.scenes.scene import Scene

SIZE = 64


def scene_of(xyz: np.ndarray, observations: Observations | None = None) -> Scene:
    """Two cameras at z = 0 and z = -1 that look along +z."""
    c2w = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    c2w[1, 2, 3] = -1
    cameras = Cameras.pinhole(
        c2w, torch.tensor([[40.0, 40, 32, 32]] * 2, dtype=torch.float64), torch.tensor([[SIZE, SIZE]] * 2)
    )
    points = Points(xyz, np.zeros((len(xyz), 3), np.uint8), observations)
    box = torch.tensor([[-5.0, -5, -5], [5, 5, 15]], dtype=torch.float64)
    return Scene(
        name="wall", path=None, cameras=cameras, images=None, masks=None, image_names=("a", "b"),
        splits={"train": (0, 1), "test": ()}, points=points, aabb=box, world_to_scene=np.eye(4),
    )  # fmt: skip


def wall(depth: float, n: int = 400) -> np.ndarray:
    spread = np.random.default_rng(0).uniform(-0.5, 0.5, (n, 2)) * depth
    return np.column_stack([spread, np.full(n, depth)])


def test_it_is_half_the_depth_of_the_closest_points() -> None:
    scene = scene_of(wall(8.0))
    assert Near.of(scene).closest == pytest.approx(0.5 * 8.0)


def test_the_share_is_the_users() -> None:
    scene = scene_of(wall(8.0))
    assert Near.of(scene, 0.25).closest == pytest.approx(2.0)
    assert Near.of(scene, 0.0).closest == NEAR * reach(scene)
    with pytest.raises(ValueError, match="must be 0 to 1"):
        Near.of(scene, 1.5)


def test_points_behind_a_camera_and_beside_its_picture_do_not_count() -> None:
    behind = wall(8.0) * [1, 1, -0.02]  # 0.16 behind the first, in front of none
    beside = np.add(wall(1.0), [30.0, 0, 0])
    scene = scene_of(np.concatenate([wall(8.0), behind - [0, 0, 1], beside]))
    assert Near.of(scene).closest == pytest.approx(0.5 * 8.0)


def test_observations_decide_where_there_are_any() -> None:
    """Points of a wall behind the wall are in the picture, yet nobody saw them; the closer ones were."""
    xyz = np.concatenate([wall(2.0, 200), wall(8.0, 200)])
    numbers = np.arange(200, 400)
    seen = Observations(np.concatenate([numbers, numbers]), np.repeat([0, 1], 200), np.zeros((400, 2)))
    assert Near.of(scene_of(xyz)).closest == pytest.approx(0.5 * 2.0)
    assert Near.of(scene_of(xyz, seen)).closest == pytest.approx(0.5 * 8.0)


def test_a_few_wrong_points_do_not_matter_and_few_points_say_nothing() -> None:
    stray = np.array([[0, 0, 0.05]] * 3)
    assert Near.of(scene_of(np.concatenate([wall(8.0), stray]))).closest == pytest.approx(0.5 * 8.0)
    few = scene_of(wall(8.0, 20))
    assert Near.of(few).closest == NEAR * reach(few)
    assert Near.of(replace(few, points=None)).closest == NEAR * reach(few)


def test_gaussians_of_a_wall_at_the_back_do_not_veil_the_picture() -> None:
    scene = scene_of(wall(8.0))
    gaussians = Gaussians(
        torch.tensor([[0.0, 0.0, 0.3], [0.0, 0.0, 8.0]]), torch.tensor([[1.0, 0, 0, 0]] * 2),
        torch.tensor([[-1.2] * 3, [0.5] * 3]), torch.tensor([2.0, 4.0]),
        torch.tensor([[1.0, 1, 1], [-1.0, -1, -1]]), torch.zeros(2, 0, 3),
    )  # fmt: skip
    black = torch.zeros(3)
    veiled = render_camera(gaussians, scene.cameras, 0, background=black, near=NEAR * reach(scene)).rgb
    clear = render_camera(
        gaussians, scene.cameras, 0, background=black, near=Near.of(scene).at(scene.cameras.origins[0])
    ).rgb
    middle = SIZE * SIZE // 2 + SIZE // 2
    assert float(veiled.reshape(-1, 3)[middle].mean()) > 0.6
    assert float(clear.reshape(-1, 3)[middle].mean()) < 0.3


def test_the_clear_space_of_a_camera_shrinks_with_the_distance_to_it() -> None:
    scene = scene_of(wall(8.0))
    found = Near.of(scene)
    assert found.at(torch.zeros(3)) == pytest.approx(4.0)
    assert found.at(torch.tensor([0.0, 3.0, 0.0])) == pytest.approx(1.0)
    assert found.at(torch.tensor([0.0, 0.0, -2.5])) == pytest.approx(4.0 - 1.5)  # from the second camera
    assert found.at(torch.tensor([0.0, 0.0, 7.0])) == found.least == NEAR * reach(scene)


def test_no_point_at_all_says_nothing() -> None:
    scene = scene_of(np.empty((0, 3)))
    assert Near.of(scene).closest == NEAR * reach(scene)


def test_observations_of_points_behind_a_camera_are_wrong_ones() -> None:
    xyz = np.concatenate([wall(8.0, 300), wall(8.0, 100) * [1, 1, -1]])
    numbers = np.arange(400)
    seen = Observations(np.tile(numbers, 2), np.repeat([0, 1], 400), np.zeros((800, 2)))
    assert Near.of(scene_of(xyz, seen)).closest == pytest.approx(0.5 * 8.0)
