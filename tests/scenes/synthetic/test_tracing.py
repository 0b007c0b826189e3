"""Rays against the city's solids: an independent marcher, coarse and fine grids, every kind from all sides."""

from collections.abc import Callable

import numpy as np
import pytest

from neural.scenes.synthetic import City
from neural.scenes.synthetic.materials import STONE
from neural.scenes.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM, ROOF, Builder, Primitives
from neural.scenes.synthetic.trace import Tracer

Inside = Callable[[Primitives, int, np.ndarray], np.ndarray]


def _march_one(inside: Inside, solids: Primitives, row: int, origin: np.ndarray, direction: np.ndarray) -> float:
    """First entry of a ray into one solid by dense sampling and bisection; inf if none is found."""
    centre, reach = solids.centre[row], np.linalg.norm(solids.half[row])
    length = np.linalg.norm(direction)
    middle = (centre - origin) @ direction / length**2
    if np.linalg.norm(origin + middle * direction - centre) > reach:
        return np.inf
    t = np.linspace(max(middle - reach / length, 0.0), middle + reach / length, 4001)
    within = inside(solids, row, origin + t[:, None] * direction) >= 0.0
    if not within.any() or within[0] or t[-1] <= 0.0:
        return np.inf
    first = int(np.argmax(within))
    low, high = t[first - 1], t[first]
    for _ in range(60):
        half = (low + high) / 2
        if inside(solids, row, (origin + half * direction)[None])[0] >= 0.0:
            high = half
        else:
            low = half
    return high


def test_nearest_hit_agrees_with_marching_through_every_solid(city: City, random_rays, inside: Inside) -> None:
    origins, directions = random_rays(city, 60, seed=1)
    t, rows = city.tracer.nearest(origins, directions)
    assert (rows >= 0).sum() > 30
    for ray, (origin, direction) in enumerate(zip(origins, directions, strict=True)):
        found = np.array([_march_one(inside, city.solids, k, origin, direction) for k in range(len(city.solids))])
        nearest = found.min()
        # marching may step over a sliver that the exact test hits, so it bounds the hit from behind ...
        assert t[ray] <= nearest + 1e-9
        if rows[ray] < 0:
            continue
        # ... and the hit itself is on the surface of its solid, with nothing of it just before
        at = origin + t[ray] * direction
        assert abs(inside(city.solids, rows[ray], at[None])[0]) < 1e-6
        assert t[ray] == pytest.approx(nearest, abs=2e-3) or found[rows[ray]] == np.inf


def test_grid_agrees_with_a_grid_of_one_cell(city: City, random_rays) -> None:
    origins, directions = random_rays(city, 3000, seed=2)
    t, _ = city.tracer.nearest(origins, directions)
    everything, _ = Tracer(city.solids, cell=1e4).nearest(origins, directions)
    assert np.array_equal(t, everything)
    fine, _ = Tracer(city.solids, cell=1.7).nearest(origins, directions)
    assert np.array_equal(t, fine)


def test_axis_aligned_rays_do_not_lose_their_way(city: City) -> None:
    x0, x1, y0, y1 = city.ground
    origins = np.array([[x0 - 5, (y0 + y1) / 2, 2.0], [(x0 + x1) / 2, y1 + 5, 2.0], [x0 + 20, y0 + 20, 90.0]])
    directions = np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]])
    t, _ = city.tracer.nearest(origins, directions)
    everything, _ = Tracer(city.solids, cell=1e4).nearest(origins, directions)
    assert np.array_equal(t, everything)
    assert np.isfinite(t[2])


def test_shadow_rays_agree_with_nearest_hits(city: City, random_rays) -> None:
    origins, directions = random_rays(city, 3000, seed=3)
    blocked = city.tracer.occluded(origins, directions)
    assert np.array_equal(blocked, city.tracer.nearest(origins, directions)[1] >= 0)
    assert 0.1 < blocked.mean() < 1.0


@pytest.mark.parametrize("kind", [BOX, ROOF, ELLIPSOID, FRUSTUM])
def test_each_kind_of_solid_from_all_sides(kind: int, inside: Inside) -> None:
    builder = Builder((0, 0), np.random.default_rng(0))
    profile = {ROOF: (1.1, 1.7, 0.9, 1.0), FRUSTUM: (0.2,)}.get(kind, ())
    builder.add(kind, (1.0, -2.0, 3.0), (2.0, 1.2, 1.0), STONE, (0.5, 0.5, 0.5), yaw=0.7, profile=profile)
    solids = builder.primitives()
    tracer = Tracer(solids)
    rng = np.random.default_rng(4)
    origins = rng.normal(size=(400, 3))
    origins = solids.centre[0] + 6.0 * origins / np.linalg.norm(origins, axis=1, keepdims=True)
    directions = solids.centre[0] + rng.uniform(-1.5, 1.5, (400, 3)) - origins
    origins[:5], directions[:5] = solids.centre[0] + [0.1, 0.05, 4.0], [0.0, 0.0, -1.0]
    t, rows = tracer.nearest(origins, directions)
    expected = np.array([_march_one(inside, solids, 0, o, d) for o, d in zip(origins, directions, strict=True)])
    both = np.isfinite(t) & np.isfinite(expected)
    assert both.sum() > 100
    assert np.allclose(t[both], expected[both], atol=1e-9)
    assert (np.isfinite(t) != np.isfinite(expected)).mean() < 0.01  # slivers at the silhouette
    hit = rows >= 0
    normals, _, _ = tracer.normals(origins[hit], directions[hit], t[hit], rows[hit])
    points = origins[hit] + t[hit, None] * directions[hit]
    assert (inside(solids, 0, points + 1e-4 * normals) < 0.0).all()
    assert (inside(solids, 0, points - 1e-4 * normals) > 0.0).mean() > 0.99


def test_a_ray_that_starts_inside_a_solid_leaves_it_unseen() -> None:
    builder = Builder((0, 0), np.random.default_rng(0))
    builder.add(BOX, (0, 0, 0), (1, 1, 1), STONE, (0.5, 0.5, 0.5))
    t, rows = Tracer(builder.primitives()).nearest(np.zeros((1, 3)), np.array([[1.0, 0.3, 0.2]]))
    assert rows[0] == -1
    assert np.isinf(t[0])
