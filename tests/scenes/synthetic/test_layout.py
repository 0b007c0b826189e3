"""The layout beside the city: maps that agree with its objects, files that round-trip or are refused."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from neural.errors import SceneFormatError
from neural.scenes.synthetic import City, classes
from neural.scenes.synthetic.layout import Layout


def test_maps_agree_with_objects(city: City) -> None:
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


def test_footprints_run_on_under_trees(city: City) -> None:
    maps = Layout.of(city, 0.5).maps
    roofs = np.isin(maps.class_id, (classes.ROOF, classes.FACADE))
    assert np.array_equal(maps.footprint_id[roofs], maps.instance_id[roofs])
    assert (maps.footprint_id > 0).sum() >= roofs.sum()
    assert np.allclose(maps.building_height[roofs], maps.height[roofs], atol=1e-5)
    buildings = {i.id for i in city.instances if i.class_id == classes.FACADE}
    assert set(np.unique(maps.footprint_id)) - {0} == buildings


def test_every_class_of_the_ground_is_there(city: City) -> None:
    present = set(np.unique(Layout.of(city, 0.5).maps.class_id))
    assert present == set(range(1, len(classes.CLASS_NAMES)))


def test_round_trip(city: City, tmp_path: Path) -> None:
    layout = Layout.of(city, 2.0)
    layout.save(tmp_path)
    again = Layout.load(tmp_path)
    assert again.instances == layout.instances
    for field in fields(layout.maps):
        assert np.array_equal(getattr(again.maps, field.name), getattr(layout.maps, field.name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout.json", "layout.npz"]


def test_broken_files_are_refused(city: City, tmp_path: Path) -> None:
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
def test_maps_that_disagree_are_refused(city: City, tmp_path: Path, change: dict, message: str) -> None:
    Layout.of(city, 4.0).save(tmp_path)
    with np.load(tmp_path / "layout.npz") as stored:
        arrays = {**stored, **change}
    np.savez_compressed(tmp_path / "layout.npz", **arrays)
    with pytest.raises(SceneFormatError, match=message):
        Layout.load(tmp_path)


def test_truncated_maps_are_refused(city: City, tmp_path: Path) -> None:
    Layout.of(city, 4.0).save(tmp_path)
    whole = (tmp_path / "layout.npz").read_bytes()
    rng = np.random.default_rng(0)
    for cut in rng.integers(0, len(whole), 20):
        (tmp_path / "layout.npz").write_bytes(whole[:cut])
        with pytest.raises(SceneFormatError, match=r"layout\.npz"):
            Layout.load(tmp_path)


@pytest.mark.parametrize("change", [{"class_id": 99}, {"half": [1.0, 1.0]}, {"yaw": float("nan")}, {"colour": "red"}])
def test_broken_objects_are_refused(city: City, tmp_path: Path, change: dict) -> None:
    Layout.of(city, 4.0).save(tmp_path)
    text = json.loads((tmp_path / "layout.json").read_text())
    text["instances"][3].update(change)
    (tmp_path / "layout.json").write_text(json.dumps(text))
    with pytest.raises(SceneFormatError, match=r"layout\.json"):
        Layout.load(tmp_path)
