"""Cameras around the city, and depth, class and alpha maps that agree with each other."""

import numpy as np
import pytest

from neural.scenes.synthetic import City, classes, render, rigs


def _rigs(city: City) -> dict[str, rigs.Rig]:
    size = {"width": 96, "height": 72}
    return {
        "orbit": rigs.orbit(city, 5, **size),
        "drone": rigs.drone_grid(city, 60.0, 60.0, **size),
        "nadir": rigs.nadir(city, 60.0, 60.0, **size),
        "street": rigs.street(city, 50.0, **size),
    }


def test_poses_are_rigid_and_right_handed(city: City) -> None:
    for name, rig in _rigs(city).items():
        rotation = rig.c2w[:, :3, :3]
        assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-12), name
        assert np.allclose(np.linalg.det(rotation), 1.0), name
        assert (rotation[:, 2, 1] <= 1e-12).all(), f"{name}: the image's y axis must point down"


def test_nadir_looks_down_with_north_on_top(city: City) -> None:
    rotation = rigs.nadir(city, 60.0, 60.0).c2w[0, :3, :3]
    assert np.allclose(rotation, [[1, 0, 0], [0, -1, 0], [0, 0, -1]], atol=1e-12)


def test_every_rig_sees_the_city(city: City) -> None:
    for name, rig in _rigs(city).items():
        found = np.isfinite(render.maps(city, rig, 0).depth)
        assert found.mean() > 0.2, name


def test_street_cameras_stand_in_the_open(city: City, inside) -> None:
    for eye in rigs.street(city, 25.0).c2w[:, :3, 3]:
        hit = [row for row in range(len(city.solids)) if inside(city.solids, row, eye[None])[0] > 0.0]
        assert not hit, eye


def test_depth_is_along_the_axis_and_distance_along_the_ray(city: City) -> None:
    rig = rigs.nadir(city, 60.0, 60.0, width=64, height=48)
    found = render.maps(city, rig, 0)
    y, x = np.meshgrid(np.arange(48) + 0.5, np.arange(64) + 0.5, indexing="ij")
    stretch = np.sqrt(1 + ((x - rig.cx) / rig.fx) ** 2 + ((y - rig.cy) / rig.fy) ** 2)
    assert np.allclose(found.distance, found.depth * stretch, rtol=1e-6)
    road = found.class_id == classes.ROAD
    assert road.any()
    assert np.allclose(found.depth[road], 60.0, atol=0.2)  # bridges lie a kerb higher


def test_depth_of_one_view_reprojects_into_another(city: City) -> None:
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


def test_alpha_is_the_share_of_a_pixel_that_is_solid(city: City) -> None:
    rig = rigs.orbit(city, 3, elevations=(20.0,), width=64, height=48)
    picture = render.image(city, rig, 0, samples=2)
    assert set(np.unique(picture[..., 3])) <= {0, 64, 128, 191, 255}
    assert {0, 255} <= set(np.unique(picture[..., 3]))
    single = render.image(city, rig, 0, samples=1)
    assert np.array_equal(single[..., 3] == 255, np.isfinite(render.maps(city, rig, 0).depth))


def test_rigs_with_different_cameras_do_not_add(city: City) -> None:
    with pytest.raises(ValueError, match="do not add"):
        _ = rigs.nadir(city, 60.0, 60.0) + rigs.street(city, 60.0)
