"""One city for all tests here, rays through it, and what its solids are by definition."""

from collections.abc import Callable

import numpy as np
import pytest

from neural.scenes.synthetic import City, CityConfig
from neural.scenes.synthetic.primitives import ELLIPSOID, FRUSTUM, ROOF, Primitives

MIXED = CityConfig(seed=124, blocks=(2, 3), pitch=(46.0, 60.0))  # park, terraces, canal, towers


@pytest.fixture(scope="session")
def city() -> City:
    """Two by three blocks of different uses; not changed by any test."""
    return City(MIXED)


@pytest.fixture(scope="session")
def random_rays() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Rays through a city: see `_random_rays`."""
    return _random_rays


@pytest.fixture(scope="session")
def inside() -> Callable[[Primitives, int, np.ndarray], np.ndarray]:
    """How far inside a solid points lie: see `_inside`."""
    return _inside


def _random_rays(city: City, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """From random places above and among the roofs to random places near the ground."""
    rng = np.random.default_rng(seed)
    low, high = city.aabb
    origins = rng.uniform(low - 20.0, high + 20.0, (count, 3))
    origins[:, 2] = rng.uniform(1.0, high[2] + 40.0, count)
    targets = rng.uniform(low, high, (count, 3))
    return origins, targets - origins


def _inside(solids: Primitives, row: int, points: np.ndarray) -> np.ndarray:
    """How far inside solid `row` points lie, from the definitions: >= 0 inside."""
    turn = -solids.yaw[row]
    rotate = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    p = (points - solids.centre[row]) @ rotate.T
    h, profile, kind = solids.half[row], solids.profile[row], solids.kind[row]
    if kind == ELLIPSOID:
        return 1.0 - np.linalg.norm(p / h, axis=1)
    if kind == FRUSTUM:
        share = (p[:, 2] + h[2]) / (2 * h[2])
        radius = 1.0 + (profile[0] - 1.0) * share
        return np.minimum(radius - np.hypot(p[:, 0] / h[0], p[:, 1] / h[1]), h[2] - np.abs(p[:, 2]))
    room = (h - np.abs(p)).min(1)
    if kind == ROOF:
        a, limit_x, b, limit_y = profile
        room = np.minimum(room, limit_x - p[:, 2] - a * np.abs(p[:, 0]))
        room = np.minimum(room, limit_y - p[:, 2] - b * np.abs(p[:, 1]))
    return room
