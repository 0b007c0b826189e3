"""The city as it is built: seeded, extensible, on the ground; what a ray sees of it; its shadows."""

from dataclasses import fields, replace

import numpy as np
import pytest

from neural.scenes.synthetic import City, CityConfig, Daylight, classes
from neural.scenes.synthetic.materials import STONE
from neural.scenes.synthetic.primitives import Builder, Primitives
from neural.scenes.synthetic.streets import BLOCK_USES, Streets
from neural.scenes.synthetic.trace import Tracer


def test_equal_configs_make_bit_equal_cities(city: City, random_rays) -> None:
    again = City(city.config)
    for field in fields(Primitives):
        assert np.array_equal(getattr(city.solids, field.name), getattr(again.solids, field.name)), field.name
    assert again.instances == city.instances
    origins, directions = random_rays(city, 2000, seed=5)
    for field in fields(city.cast(origins, directions)):
        first, second = (getattr(c.cast(origins, directions), field.name) for c in (city, again))
        assert first.tobytes() == second.tobytes(), field.name


def test_another_seed_makes_another_city(city: City) -> None:
    other = City(replace(city.config, seed=125))
    assert len(other.solids) != len(city.solids) or not np.array_equal(other.solids.half, city.solids.half)


@pytest.mark.parametrize("origin", [(0, 0), (-2, -1)])
def test_a_larger_extent_contains_the_same_blocks(origin: tuple[int, int]) -> None:
    small = City(CityConfig(seed=11, blocks=(1, 1), origin=(0, 0)))
    large = City(CityConfig(seed=11, blocks=(3, 2), origin=origin))
    index = [block.index for block in large.blocks].index((0, 0))
    assert large.blocks[index] == small.blocks[0]
    assert [i for i in large.instances if i.block == (0, 0)] == small.instances
    x0, x1, y0, y1 = small.blocks[0].edges
    x, y, _ = large.solids.centre.T
    same = large.solids[(x > x0) & (x < x1) & (y > y0) & (y < y1)]
    for field in fields(Primitives):
        assert np.array_equal(getattr(same, field.name), getattr(small.solids, field.name)), field.name


def test_instance_ids_are_unique(city: City) -> None:
    ids = [instance.id for instance in city.instances]
    assert len(set(ids)) == len(ids)
    assert set(np.unique(city.solids.instance)) - {0} == set(ids)


@pytest.mark.parametrize("use", BLOCK_USES)
def test_every_use_fills_its_block_and_stays_inside(use: str) -> None:
    for seed in range(3):
        built = City(CityConfig(seed=seed, blocks=(1, 1), use=use))
        assert {block.use for block in built.blocks} == {use}
        x0, x1, y0, y1 = built.ground
        low, high = built.aabb
        assert low[0] >= x0 - 0.1
        assert high[0] <= x1 + 0.1
        assert low[1] >= y0 - 0.1
        assert high[1] <= y1 + 0.1
        assert high[2] <= built.config.tallest + 14.0  # plant and mast stand on the roof
        assert len(built.instances) >= 5


def test_streets_are_one_plan() -> None:
    streets = Streets(CityConfig(seed=3))
    lines = [streets.line(0, k) for k in range(-6, 7)]
    assert np.all(np.diff(lines) >= 46.0)
    assert Streets(CityConfig(seed=3)).line(0, 5) == streets.line(0, 5)


def test_nothing_floats(city: City) -> None:
    """Every object's box reaches down to the ground it stands on."""
    for instance in city.instances:
        assert instance.centre[2] - instance.half[2] < 0.9, instance


def test_normals_are_unit_and_face_the_ray(city: City, random_rays) -> None:
    origins, directions = random_rays(city, 5000, seed=6)
    hits = city.cast(origins, directions, colour=False)
    solid = np.isfinite(hits.t)
    assert np.allclose(np.linalg.norm(hits.normal[solid], axis=1), 1.0, atol=1e-6)
    assert ((hits.normal * directions).sum(1)[solid] < 0.0).all()
    assert (hits.normal[~solid] == 0.0).all()


def test_sky_where_nothing_is_hit(city: City) -> None:
    hits = city.cast(np.array([[0.0, 0.0, 200.0]]), np.array([[0.0, 0.0, 1.0]]))
    assert np.isinf(hits.t[0])
    assert hits.class_id[0] == classes.SKY
    assert hits.instance_id[0] == 0
    assert hits.rgb[0, 2] > hits.rgb[0, 0]


def test_colours_do_not_depend_on_the_batch(city: City, random_rays) -> None:
    origins, directions = random_rays(city, 300, seed=7)
    whole = city.cast(origins, directions).rgb
    parts = [city.cast(origins[k : k + 7], directions[k : k + 7]).rgb for k in range(0, 300, 7)]
    assert np.allclose(whole, np.concatenate(parts), atol=1e-6)


@pytest.mark.parametrize(
    ("origins", "directions", "message"),
    [
        (np.zeros((3, 2)), np.ones((3, 3)), r"origins must be \[R, 3\]"),
        (np.zeros((3, 3)), np.ones((2, 3)), "3 origins but 2 directions"),
        (np.full((1, 3), np.nan), np.ones((1, 3)), "NaN"),
    ],
)
def test_bad_rays_are_refused(city: City, origins: np.ndarray, directions: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        city.cast(origins, directions)


@pytest.mark.parametrize("change", [{"blocks": (0, 1)}, {"pitch": (5.0, 9.0)}, {"tallest": 1.0}, {"use": "harbour"}])
def test_bad_configs_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match=r"CityConfig\."):
        CityConfig(**change)


def test_shadow_of_a_box_lies_where_geometry_says(city: City) -> None:
    """A 2 x 2 x 5 m box on a floor; the sun, 45 degrees high in the west, throws 5 m of shadow east."""
    builder = Builder((0, 0), np.random.default_rng(0))
    builder.box((-40, -40, -1), (40, 40, 0), STONE, (0.5, 0.5, 0.5))
    builder.box((-1, -1, -0.5), (1, 1, 5), STONE, (0.5, 0.5, 0.5))
    scene = City(CityConfig(blocks=(1, 1)), Daylight(azimuth=180.0, elevation=45.0))
    scene.solids = builder.primitives()
    scene.tracer = Tracer(scene.solids)
    x, y = (a.ravel() for a in np.meshgrid(np.arange(-8, 12, 0.37), np.arange(-4, 4, 0.37)))
    outside = (np.abs(x) > 1.0) | (np.abs(y) > 1.0)
    points = np.stack([x, y, np.zeros_like(x)], 1)[outside]
    lit = scene.lit(points, np.broadcast_to([0.0, 0.0, 1.0], points.shape))
    dark = (points[:, 0] > 1.0) & (points[:, 0] < 6.0) & (np.abs(points[:, 1]) < 1.0)
    assert dark.sum() > 20
    assert np.array_equal(lit, ~dark)
    origins = points + np.array([0.0, 0.0, 20.0])
    rgb = scene.cast(origins, np.broadcast_to([0.0, 0.0, -1.0], origins.shape)).rgb
    clear = points[:, 0] < -3.0
    seen = np.abs(points[:, :2]).max(1) > 1.0
    assert rgb[dark & seen].mean() < 0.5 * rgb[clear].mean()
    walls = np.array([[-1.0, 0.0, 2.0], [1.0, 0.0, 2.0]])
    facing = np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert scene.lit(walls, facing).tolist() == [True, False]


def test_the_sun_must_be_up() -> None:
    with pytest.raises(ValueError, match="elevation"):
        Daylight(elevation=0.0)
