"""The synthetic city against an independent brute-force ray caster, analytic scenes and its own layout."""

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural.errors import SceneFormatError
from neural.scenes.synthetic import City, CityConfig, Daylight, capture, classes, render, rigs
from neural.scenes.synthetic.__main__ import main
from neural.scenes.synthetic.layout import Layout
from neural.scenes.synthetic.materials import STONE
from neural.scenes.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM, ROOF, Builder, Primitives
from neural.scenes.synthetic.streets import BLOCK_USES, Streets
from neural.scenes.synthetic.trace import Tracer

ROOT = Path(__file__).resolve().parents[2]
MIXED = CityConfig(seed=124, blocks=(2, 3), pitch=(46.0, 60.0))  # park, terraces, canal, towers


@pytest.fixture(scope="module")
def city() -> City:
    return City(MIXED)


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


def _march_one(solids: Primitives, row: int, origin: np.ndarray, direction: np.ndarray) -> float:
    """First entry of a ray into one solid by dense sampling and bisection; inf if none is found."""
    centre, reach = solids.centre[row], np.linalg.norm(solids.half[row])
    length = np.linalg.norm(direction)
    middle = (centre - origin) @ direction / length**2
    if np.linalg.norm(origin + middle * direction - centre) > reach:
        return np.inf
    t = np.linspace(max(middle - reach / length, 0.0), middle + reach / length, 4001)
    inside = _inside(solids, row, origin + t[:, None] * direction) >= 0.0
    if not inside.any() or inside[0] or t[-1] <= 0.0:
        return np.inf
    first = int(np.argmax(inside))
    low, high = t[first - 1], t[first]
    for _ in range(60):
        half = (low + high) / 2
        if _inside(solids, row, (origin + half * direction)[None])[0] >= 0.0:
            high = half
        else:
            low = half
    return high


class TestTracing:
    def test_nearest_hit_agrees_with_marching_through_every_solid(self, city: City) -> None:
        origins, directions = _random_rays(city, 60, seed=1)
        t, rows = city.tracer.nearest(origins, directions)
        assert (rows >= 0).sum() > 30
        for ray, (origin, direction) in enumerate(zip(origins, directions, strict=True)):
            found = np.array([_march_one(city.solids, k, origin, direction) for k in range(len(city.solids))])
            nearest = found.min()
            # marching may step over a sliver that the exact test hits, so it bounds the hit from behind ...
            assert t[ray] <= nearest + 1e-9
            if rows[ray] < 0:
                continue
            # ... and the hit itself is on the surface of its solid, with nothing of it just before
            at = origin + t[ray] * direction
            assert abs(_inside(city.solids, rows[ray], at[None])[0]) < 1e-6
            assert t[ray] == pytest.approx(nearest, abs=2e-3) or found[rows[ray]] == np.inf

    def test_grid_agrees_with_a_grid_of_one_cell(self, city: City) -> None:
        origins, directions = _random_rays(city, 3000, seed=2)
        t, _ = city.tracer.nearest(origins, directions)
        everything, _ = Tracer(city.solids, cell=1e4).nearest(origins, directions)
        assert np.array_equal(t, everything)
        fine, _ = Tracer(city.solids, cell=1.7).nearest(origins, directions)
        assert np.array_equal(t, fine)

    def test_axis_aligned_rays_do_not_lose_their_way(self, city: City) -> None:
        x0, x1, y0, y1 = city.ground
        origins = np.array([[x0 - 5, (y0 + y1) / 2, 2.0], [(x0 + x1) / 2, y1 + 5, 2.0], [x0 + 20, y0 + 20, 90.0]])
        directions = np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]])
        t, _ = city.tracer.nearest(origins, directions)
        everything, _ = Tracer(city.solids, cell=1e4).nearest(origins, directions)
        assert np.array_equal(t, everything)
        assert np.isfinite(t[2])

    def test_shadow_rays_agree_with_nearest_hits(self, city: City) -> None:
        origins, directions = _random_rays(city, 3000, seed=3)
        blocked = city.tracer.occluded(origins, directions)
        assert np.array_equal(blocked, city.tracer.nearest(origins, directions)[1] >= 0)
        assert 0.1 < blocked.mean() < 1.0

    @pytest.mark.parametrize("kind", [BOX, ROOF, ELLIPSOID, FRUSTUM])
    def test_each_kind_of_solid_from_all_sides(self, kind: int) -> None:
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
        expected = np.array([_march_one(solids, 0, o, d) for o, d in zip(origins, directions, strict=True)])
        both = np.isfinite(t) & np.isfinite(expected)
        assert both.sum() > 100
        assert np.allclose(t[both], expected[both], atol=1e-9)
        assert (np.isfinite(t) != np.isfinite(expected)).mean() < 0.01  # slivers at the silhouette
        hit = rows >= 0
        normals, _, _ = tracer.normals(origins[hit], directions[hit], t[hit], rows[hit])
        points = origins[hit] + t[hit, None] * directions[hit]
        assert (_inside(solids, 0, points + 1e-4 * normals) < 0.0).all()
        assert (_inside(solids, 0, points - 1e-4 * normals) > 0.0).mean() > 0.99

    def test_a_ray_that_starts_inside_a_solid_leaves_it_unseen(self) -> None:
        builder = Builder((0, 0), np.random.default_rng(0))
        builder.add(BOX, (0, 0, 0), (1, 1, 1), STONE, (0.5, 0.5, 0.5))
        t, rows = Tracer(builder.primitives()).nearest(np.zeros((1, 3)), np.array([[1.0, 0.3, 0.2]]))
        assert rows[0] == -1
        assert np.isinf(t[0])


class TestCity:
    def test_equal_configs_make_bit_equal_cities(self, city: City) -> None:
        again = City(MIXED)
        for field in fields(Primitives):
            assert np.array_equal(getattr(city.solids, field.name), getattr(again.solids, field.name)), field.name
        assert again.instances == city.instances
        origins, directions = _random_rays(city, 2000, seed=5)
        for field in fields(city.cast(origins, directions)):
            first, second = (getattr(c.cast(origins, directions), field.name) for c in (city, again))
            assert first.tobytes() == second.tobytes(), field.name

    def test_another_seed_makes_another_city(self, city: City) -> None:
        other = City(replace(MIXED, seed=125))
        assert len(other.solids) != len(city.solids) or not np.array_equal(other.solids.half, city.solids.half)

    @pytest.mark.parametrize("origin", [(0, 0), (-2, -1)])
    def test_a_larger_extent_contains_the_same_blocks(self, origin: tuple[int, int]) -> None:
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

    def test_instance_ids_are_unique(self, city: City) -> None:
        ids = [instance.id for instance in city.instances]
        assert len(set(ids)) == len(ids)
        assert set(np.unique(city.solids.instance)) - {0} == set(ids)

    @pytest.mark.parametrize("use", BLOCK_USES)
    def test_every_use_fills_its_block_and_stays_inside(self, use: str) -> None:
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

    def test_streets_are_one_plan(self) -> None:
        streets = Streets(CityConfig(seed=3))
        lines = [streets.line(0, k) for k in range(-6, 7)]
        assert np.all(np.diff(lines) >= 46.0)
        assert Streets(CityConfig(seed=3)).line(0, 5) == streets.line(0, 5)

    def test_nothing_floats(self, city: City) -> None:
        """Every object's box reaches down to the ground it stands on."""
        for instance in city.instances:
            assert instance.centre[2] - instance.half[2] < 0.9, instance

    def test_normals_are_unit_and_face_the_ray(self, city: City) -> None:
        origins, directions = _random_rays(city, 5000, seed=6)
        hits = city.cast(origins, directions, colour=False)
        solid = np.isfinite(hits.t)
        assert np.allclose(np.linalg.norm(hits.normal[solid], axis=1), 1.0, atol=1e-6)
        assert ((hits.normal * directions).sum(1)[solid] < 0.0).all()
        assert (hits.normal[~solid] == 0.0).all()

    def test_sky_where_nothing_is_hit(self, city: City) -> None:
        hits = city.cast(np.array([[0.0, 0.0, 200.0]]), np.array([[0.0, 0.0, 1.0]]))
        assert np.isinf(hits.t[0])
        assert hits.class_id[0] == classes.SKY
        assert hits.instance_id[0] == 0
        assert hits.rgb[0, 2] > hits.rgb[0, 0]

    def test_colours_do_not_depend_on_the_batch(self, city: City) -> None:
        origins, directions = _random_rays(city, 300, seed=7)
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
    def test_bad_rays_are_refused(self, city: City, origins: np.ndarray, directions: np.ndarray, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            city.cast(origins, directions)

    @pytest.mark.parametrize(
        "change", [{"blocks": (0, 1)}, {"pitch": (5.0, 9.0)}, {"tallest": 1.0}, {"use": "harbour"}]
    )
    def test_bad_configs_are_refused(self, change: dict) -> None:
        with pytest.raises(ValueError, match=r"CityConfig\."):
            CityConfig(**change)


class TestLight:
    def test_shadow_of_a_box_lies_where_geometry_says(self, city: City) -> None:
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

    def test_the_sun_must_be_up(self) -> None:
        with pytest.raises(ValueError, match="elevation"):
            Daylight(elevation=0.0)


class TestRigsAndMaps:
    def _rigs(self, city: City) -> dict[str, rigs.Rig]:
        size = {"width": 96, "height": 72}
        return {
            "orbit": rigs.orbit(city, 5, **size),
            "drone": rigs.drone_grid(city, 60.0, 60.0, **size),
            "nadir": rigs.nadir(city, 60.0, 60.0, **size),
            "street": rigs.street(city, 50.0, **size),
        }

    def test_poses_are_rigid_and_right_handed(self, city: City) -> None:
        for name, rig in self._rigs(city).items():
            rotation = rig.c2w[:, :3, :3]
            assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-12), name
            assert np.allclose(np.linalg.det(rotation), 1.0), name
            assert (rotation[:, 2, 1] <= 1e-12).all(), f"{name}: the image's y axis must point down"

    def test_nadir_looks_down_with_north_on_top(self, city: City) -> None:
        rotation = rigs.nadir(city, 60.0, 60.0).c2w[0, :3, :3]
        assert np.allclose(rotation, [[1, 0, 0], [0, -1, 0], [0, 0, -1]], atol=1e-12)

    def test_every_rig_sees_the_city(self, city: City) -> None:
        for name, rig in self._rigs(city).items():
            found = np.isfinite(render.maps(city, rig, 0).depth)
            assert found.mean() > 0.2, name

    def test_street_cameras_stand_in_the_open(self, city: City) -> None:
        for eye in rigs.street(city, 25.0).c2w[:, :3, 3]:
            inside = [row for row in range(len(city.solids)) if _inside(city.solids, row, eye[None])[0] > 0.0]
            assert not inside, eye

    def test_depth_is_along_the_axis_and_distance_along_the_ray(self, city: City) -> None:
        rig = rigs.nadir(city, 60.0, 60.0, width=64, height=48)
        found = render.maps(city, rig, 0)
        y, x = np.meshgrid(np.arange(48) + 0.5, np.arange(64) + 0.5, indexing="ij")
        stretch = np.sqrt(1 + ((x - rig.cx) / rig.fx) ** 2 + ((y - rig.cy) / rig.fy) ** 2)
        assert np.allclose(found.distance, found.depth * stretch, rtol=1e-6)
        road = found.class_id == classes.ROAD
        assert road.any()
        assert np.allclose(found.depth[road], 60.0, atol=0.2)  # bridges lie a kerb higher

    def test_depth_of_one_view_reprojects_into_another(self, city: City) -> None:
        rig = rigs.orbit(city, 12, elevations=(50.0,), width=120, height=90)
        first = render.maps(city, rig, 0)
        rows, columns = np.nonzero(np.isfinite(first.depth))
        origins, directions = rig.rays(0, np.stack([columns + 0.5, rows + 0.5], 1))
        points = origins + first.depth[rows, columns, None] * directions
        local = (points - rig.c2w[1, :3, 3]) @ rig.c2w[1, :3, :3]
        u = rig.fx * local[:, 0] / local[:, 2] + rig.cx
        v = rig.fy * local[:, 1] / local[:, 2] + rig.cy
        inside = (u > 0) & (u < rig.width) & (v > 0) & (v < rig.height)
        # the second camera's own ray to each point ends there, or earlier on something that hides it
        hits = city.cast(*rig.rays(1, np.stack([u, v], 1)[inside]), colour=False)
        z = local[inside, 2]
        visible = np.abs(hits.t - z) < 1e-5 * z
        assert ((hits.t < z) | visible).all()
        assert visible.mean() > 0.6
        ids = first.instance_id[rows, columns][inside]
        assert (hits.instance_id[visible] == ids[visible]).mean() > 0.9995  # but for meeting edges

    def test_alpha_is_the_share_of_a_pixel_that_is_solid(self, city: City) -> None:
        rig = rigs.orbit(city, 3, elevations=(20.0,), width=64, height=48)
        picture = render.image(city, rig, 0, samples=2)
        assert set(np.unique(picture[..., 3])) <= {0, 64, 128, 191, 255}
        assert {0, 255} <= set(np.unique(picture[..., 3]))
        single = render.image(city, rig, 0, samples=1)
        assert np.array_equal(single[..., 3] == 255, np.isfinite(render.maps(city, rig, 0).depth))

    def test_rigs_with_different_cameras_do_not_add(self, city: City) -> None:
        with pytest.raises(ValueError, match="do not add"):
            _ = rigs.nadir(city, 60.0, 60.0) + rigs.street(city, 60.0)


class TestLayout:
    def test_maps_agree_with_objects(self, city: City) -> None:
        layout = Layout.of(city, 1.0)
        maps, by_id = layout.maps, {instance.id: instance for instance in layout.instances}
        rows, columns = np.nonzero(maps.instance_id)
        x = maps.origin[0] + (columns + 0.5) * maps.resolution
        y = maps.origin[1] + (rows + 0.5) * maps.resolution
        z = maps.height[rows, columns]
        for k in range(0, len(rows), 7):
            instance = by_id[int(maps.instance_id[rows[k], columns[k]])]
            dx, dy = x[k] - instance.centre[0], y[k] - instance.centre[1]
            cos, sin = np.cos(instance.yaw), np.sin(instance.yaw)
            local = np.array([cos * dx + sin * dy, cos * dy - sin * dx, z[k] - instance.centre[2]])
            assert (np.abs(local) <= np.array(instance.half) + 1e-5).all(), instance
            seen = int(maps.class_id[rows[k], columns[k]])
            allowed = {classes.FACADE, classes.ROOF} if instance.class_id == classes.FACADE else {instance.class_id}
            assert seen in allowed, instance

    def test_footprints_run_on_under_trees(self, city: City) -> None:
        maps = Layout.of(city, 0.5).maps
        roofs = np.isin(maps.class_id, (classes.ROOF, classes.FACADE))
        assert np.array_equal(maps.footprint_id[roofs], maps.instance_id[roofs])
        assert (maps.footprint_id > 0).sum() >= roofs.sum()
        assert np.allclose(maps.building_height[roofs], maps.height[roofs], atol=1e-5)
        buildings = {i.id for i in city.instances if i.class_id == classes.FACADE}
        assert set(np.unique(maps.footprint_id)) - {0} == buildings

    def test_every_class_of_the_ground_is_there(self, city: City) -> None:
        present = set(np.unique(Layout.of(city, 0.5).maps.class_id))
        assert present == set(range(1, len(classes.CLASS_NAMES)))

    def test_round_trip(self, city: City, tmp_path: Path) -> None:
        layout = Layout.of(city, 2.0)
        layout.save(tmp_path)
        again = Layout.load(tmp_path)
        assert again.instances == layout.instances
        for field in fields(layout.maps):
            assert np.array_equal(getattr(again.maps, field.name), getattr(layout.maps, field.name))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["layout.json", "layout.npz"]

    def test_broken_files_are_refused(self, city: City, tmp_path: Path) -> None:
        with pytest.raises(SceneFormatError, match=r"layout\.json"):
            Layout.load(tmp_path)
        Layout.of(city, 4.0).save(tmp_path)
        (tmp_path / "layout.npz").write_bytes(b"no zip")
        with pytest.raises(SceneFormatError, match=r"layout\.npz"):
            Layout.load(tmp_path)
        (tmp_path / "layout.json").write_text('{"format": 99}')
        with pytest.raises(SceneFormatError, match="format 1 expected, got 99"):
            Layout.load(tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"height": np.zeros((2, 2), np.float32)}, "one shape"),
            ({"class_id": np.zeros((9, 9), np.float64)}, "class_id: 2-d uint8 expected"),
            ({"origin": np.zeros(3)}, "origin"),
        ],
    )
    def test_maps_that_disagree_are_refused(self, city: City, tmp_path: Path, change: dict, message: str) -> None:
        Layout.of(city, 4.0).save(tmp_path)
        with np.load(tmp_path / "layout.npz") as stored:
            arrays = {**stored, **change}
        np.savez_compressed(tmp_path / "layout.npz", **arrays)
        with pytest.raises(SceneFormatError, match=message):
            Layout.load(tmp_path)

    def test_truncated_maps_are_refused(self, city: City, tmp_path: Path) -> None:
        Layout.of(city, 4.0).save(tmp_path)
        whole = (tmp_path / "layout.npz").read_bytes()
        rng = np.random.default_rng(0)
        for cut in rng.integers(0, len(whole), 20):
            (tmp_path / "layout.npz").write_bytes(whole[:cut])
            with pytest.raises(SceneFormatError, match=r"layout\.npz"):
                Layout.load(tmp_path)

    @pytest.mark.parametrize(
        "change", [{"class_id": 99}, {"half": [1.0, 1.0]}, {"yaw": float("nan")}, {"colour": "red"}]
    )
    def test_broken_objects_are_refused(self, city: City, tmp_path: Path, change: dict) -> None:
        Layout.of(city, 4.0).save(tmp_path)
        text = json.loads((tmp_path / "layout.json").read_text())
        text["instances"][3].update(change)
        (tmp_path / "layout.json").write_text(json.dumps(text))
        with pytest.raises(SceneFormatError, match=r"layout\.json"):
            Layout.load(tmp_path)


class TestCapture:
    def test_a_capture_is_complete_and_its_poses_are_exact(self, tmp_path: Path) -> None:
        folder = tmp_path / "small"
        arguments = ["--out", str(folder), "--seed", "5", "--blocks", "1", "1", "--orbit", "4"]
        arguments += ["--drone", "0", "--size", "24", "16", "--samples", "1", "--maps", "--layout", "2.0"]
        arguments += ["--test-every", "2"]
        assert main(arguments) == 0
        text = json.loads((folder / "transforms.json").read_text())
        recipe = capture.Recipe.from_json(text["synthetic"])
        built = City(recipe.city, recipe.light)
        rig, names = recipe.rig(built)
        assert len(text["frames"]) == len(names) == 4
        assert sorted(text["train_filenames"] + text["test_filenames"]) == [f["file_path"] for f in text["frames"]]
        assert len(text["test_filenames"]) == 2
        for index, frame in enumerate(text["frames"]):
            c2w = np.array(frame["transform_matrix"]) @ np.diag([1.0, -1.0, -1.0, 1.0])
            assert np.array_equal(c2w, rig.c2w[index])
            picture = np.asarray(Image.open(folder / frame["file_path"]))
            assert np.array_equal(picture, render.image(built, rig, index, samples=1))
            with np.load(folder / frame["maps_file_path"], allow_pickle=False) as stored:
                assert np.array_equal(stored["depth"], render.maps(built, rig, index).depth)
        assert Layout.load(folder).instances == tuple(built.instances)
        assert not folder.with_name("small.tmp").exists()
        assert np.array_equal(np.array(text["aabb"]), built.aabb)

    def test_an_existing_folder_is_not_touched(self, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        (tmp_path / "keep").write_text("mine")
        assert main(["--out", str(tmp_path)]) == 2
        assert "exists" in capsys.readouterr().err
        assert (tmp_path / "keep").read_text() == "mine"

    def test_writing_needs_no_torch(self) -> None:
        code = "import sys, neural.scenes.synthetic.__main__; sys.exit('torch' in sys.modules)"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0

    def test_a_recipe_without_cameras_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no cameras"):
            capture.Recipe(orbit=0, drone=0.0)


class TestDemoScene:
    def test_it_is_what_the_command_makes(self) -> None:
        folder = ROOT / "data" / "city"
        text = json.loads((folder / "transforms.json").read_text())
        recipe = capture.Recipe.from_json(text["synthetic"])
        assert recipe == capture.Recipe()
        built = City(recipe.city, recipe.light)
        rig, names = recipe.rig(built)
        assert [frame["file_path"] for frame in text["frames"]] == [f"images/{name}.png" for name in names]
        stored_c2w = np.array([frame["transform_matrix"] for frame in text["frames"]])
        assert np.allclose(capture.to_opengl(rig.c2w), stored_c2w, atol=1e-9)
        index = 2
        stored = np.asarray(Image.open(folder / text["frames"][index]["file_path"])).astype(int)
        again = render.image(built, rig, index, samples=recipe.samples).astype(int)
        # other vector units round sines and powers differently: a grey level here and there
        assert (np.abs(stored - again) > 1).mean() < 1e-3

    def test_it_is_small_and_complete(self) -> None:
        folder = ROOT / "data" / "city"
        text = json.loads((folder / "transforms.json").read_text())
        assert len(text["train_filenames"]) >= 50
        assert len(text["test_filenames"]) == 8
        on_disk = sorted(path.relative_to(folder).as_posix() for path in folder.glob("images/*"))
        assert on_disk == sorted(text["train_filenames"] + text["test_filenames"])
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 6_000_000
