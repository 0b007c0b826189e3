"""Which way is up, whichever way the camera was held."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from neural.cameras import Cameras
from neural.poses import look_at
from neural.scenes.photographs import upright

UP = np.array([0.0, 0.0, 1.0])
# EXIF orientation -> what a camera that was turned about its axis stores: its x and y in the upright picture's axes
STORED = {1: ((1, 0), (0, 1)), 3: ((-1, 0), (0, -1)), 6: ((0, 1), (-1, 0)), 8: ((0, -1), (1, 0))}


def cameras(c2w: list[np.ndarray], orientations: list[int]) -> Cameras:
    poses = np.stack(c2w)
    for pose, orientation in zip(poses, orientations, strict=True):
        x, y = pose[:3, 0].copy(), pose[:3, 1].copy()
        for column, (a, b) in enumerate(STORED[orientation]):
            pose[:3, column] = a * x + b * y
    n = len(poses)
    lens = torch.tensor([[100.0, 100.0, 50.0, 50.0]], dtype=torch.float64).repeat(n, 1)
    return Cameras.pinhole(torch.from_numpy(poses), lens, torch.tensor([[100, 100]]).repeat(n, 1))


@pytest.mark.parametrize("orientations", [[1] * 12, [6] * 12, [1, 6, 8, 3] * 3])
def test_a_walk_around_something_is_level_however_the_camera_was_turned(orientations: list[int]) -> None:
    angles = np.linspace(0, 2, 12)
    around = [look_at(np.array([5 * np.cos(a), 5 * np.sin(a), 1.5]), np.zeros(3), UP) for a in angles]
    found = upright.candidates(cameras(around, orientations), orientations, np.zeros((0, 3)))
    assert found[0] @ UP > 0.999


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_pictures_are_turned_as_pillow_turns_them(orientation: int) -> None:
    """Each pixel says where it is stored; from one to the next of the upright picture are its right and its down."""
    y, x = np.mgrid[:4, :6]
    stored = Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8))
    stored.getexif()[274] = orientation
    places = np.asarray(ImageOps.exif_transpose(stored)).astype(int)[..., :2]
    one = Cameras.pinhole(
        torch.eye(4, dtype=torch.float64)[None], torch.full((1, 4), 100.0, dtype=torch.float64), torch.tensor([[6, 4]])
    )
    axes = upright.upright(one, [orientation]).c2w[0, :3, :3].numpy()
    assert axes[:2, 0].tolist() == (places[0, 1] - places[0, 0]).tolist()
    assert axes[:2, 1].tolist() == (places[1, 0] - places[0, 0]).tolist()
    assert axes[:, 2].tolist() == [0, 0, 1]


def flight(aside: float) -> list[np.ndarray]:
    """Lines there and back over a field, 50 up, looking down or as far aside of that."""
    poses = []
    for line in range(4):
        heading = np.array([0.0, 1.0 if line % 2 else -1.0, 0.0])
        for k in range(8):
            centre = np.array([10.0 * line, 10.0 * k, 50.0])
            poses.append(look_at(centre, centre - 50 * UP + np.array([aside, 0, 0]), heading))
    return poses


def field(n: int = 3000) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.column_stack([generator.uniform(-20, 60, (n, 2)), generator.normal(size=n) * 0.2])


@pytest.mark.parametrize("seed", range(6))
def test_a_flight_up_and_down_a_field_finds_the_ground(seed: int) -> None:
    """Cameras look 8 degrees off the vertical; the ground says how much, whichever way the reconstruction lies."""
    generator, ground = np.random.default_rng(seed), field()
    ground[:900, 2] += generator.uniform(0, 15, 900)  # houses
    ground[:5] *= 1e5  # and points at random
    turn = np.eye(4)
    turn[:3, :3] = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    turn[:3, :3] *= np.sign(np.linalg.det(turn[:3, :3]))
    poses = [turn @ pose for pose in flight(7.0)]
    found = upright.candidates(cameras(poses, [1] * 32), [1] * 32, ground @ turn[:3, :3].T)
    assert found[0] @ turn[:3, 2] > np.cos(np.radians(0.5))


def test_a_facade_below_a_flight_is_no_ground_though_it_has_most_points() -> None:
    facade = np.random.default_rng(1).uniform(0, 30, (2000, 3)) * [0, 2, 1] + [30, 0, 0]
    points = np.concatenate([field(1200), facade])
    found = upright.candidates(cameras(flight(0.0), [1] * 32), [1] * 32, points)
    assert found[0] @ UP > np.cos(np.radians(2))


@pytest.mark.parametrize("n", [0, 2, 3000])
def test_where_there_is_no_ground_up_is_where_cameras_do_not_look(n: int) -> None:
    """A forest, or hardly a point."""
    points = np.random.default_rng(2).uniform(-40, 40, (n, 3))
    found = upright.candidates(cameras(flight(0.0), [1] * 32), [1] * 32, points)
    np.testing.assert_allclose(found[0], UP, atol=1e-6)


def test_a_wall_photographed_from_a_line_is_no_ground() -> None:
    poses = [look_at(np.array([float(k), 0.0, 1.6]), np.array([float(k), 5.0, 1.6]), UP) for k in range(10)]
    wall = np.random.default_rng(1).uniform(0, 9, (500, 3)) * [1, 0, 0.3] + [0, 5, 0]
    assert upright.candidates(cameras(poses, [1] * 10), [1] * 10, wall)[0] @ UP > 0.999
