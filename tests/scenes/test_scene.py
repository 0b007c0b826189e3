"""Frames, subsets and splits of a scene; boxes; point files."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neural.arrangement import up_direction
from neural.errors import SceneFormatError
from neural.scenes import splits
from neural.scenes.boxes import scene_box
from neural.scenes.capture import Points
from neural.scenes.files import ply
from neural.scenes.load import load


def test_normalising_is_explicit_and_invertible(tiny):
    scene = load(tiny.colmap_binary())
    np.testing.assert_array_equal(scene.world_to_scene, np.eye(4))
    unit = scene.normalised(upright=True)
    assert unit.aabb.abs().max() < 2
    back = unit.transformed(np.linalg.inv(unit.world_to_scene))
    torch.testing.assert_close(back.cameras.c2w, scene.cameras.c2w, atol=1e-12, rtol=0)
    np.testing.assert_allclose(back.points.xyz, scene.points.xyz, atol=1e-12)
    np.testing.assert_allclose(back.world_to_scene, np.eye(4), atol=1e-12)


def test_normalising_centres_the_box_and_keeps_pixels(tiny):
    scene = load(tiny.colmap_binary())
    unit = scene.normalised(radius=2.0)
    torch.testing.assert_close(unit.aabb.mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert unit.aabb.max().item() == pytest.approx(2.0)
    before = scene.cameras.project(torch.from_numpy(scene.points.xyz), 3)[0]
    after = unit.cameras.project(torch.from_numpy(unit.points.xyz), 3)[0]
    torch.testing.assert_close(after, before, atol=1e-9, rtol=0, equal_nan=True)
    with pytest.raises(ValueError, match="uniform positive scale"):
        scene.transformed(np.diag([1.0, 2.0, 1.0, 1.0]))


def test_up_is_what_the_files_say_else_as_the_cameras_are_held(tiny):
    scene = load(tiny.colmap_binary())
    np.testing.assert_array_equal(scene.up, up_direction(scene.cameras))
    said = replace(scene, axes="RFU")
    np.testing.assert_allclose(said.up, [0, 0, 1])
    turn = np.eye(4)
    turn[:3, :3] = 2.5 * np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(said.transformed(turn).up, [1, 0, 0], atol=1e-12)
    high = said.normalised(upright=True)
    np.testing.assert_allclose(high.up, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(high.world_to_scene[:3, :3] / high.world_to_scene[2, 2], np.eye(3), atol=1e-12)


def test_extent_is_a_tenth_more_than_the_radius_of_the_training_cameras(tiny):
    scene = load(tiny.colmap_binary())
    train = tiny.c2w[list(scene.splits["train"]), :3, 3]
    assert scene.extent == pytest.approx(1.1 * np.linalg.norm(train - train.mean(axis=0), axis=1).max())


def test_subsets_carry_images_splits_and_observations(tiny):
    scene = load(tiny.colmap_binary())
    test = scene.subset("test")
    assert test.image_names == (tiny.names[0], tiny.names[8])
    assert test.splits == {"train": (), "test": (0, 1)}
    np.testing.assert_array_equal(test.images[1], scene.images[8])
    assert test.points.observations.points.tolist() == [0, 8]
    assert test.points.observations.cameras.tolist() == [0, 1]


def test_downscaling_before_and_after_loading_agree(tiny):
    late, early = load(tiny.colmap_binary()).downscaled(3), load(tiny.folder, downscale=3)
    torch.testing.assert_close(late.cameras.intrinsics, early.cameras.intrinsics)
    assert late.cameras.sizes.tolist() == early.cameras.sizes.tolist() == [[6, 4]] * 9
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(late.images, early.images, strict=True)) <= 1
    np.testing.assert_allclose(late.points.observations.pixels, early.points.observations.pixels)
    with pytest.raises(SceneFormatError, match="smaller factor"):
        load(tiny.folder, downscale=13)


def test_every_eighth_name_is_held_out_whatever_the_order():
    names = [f"{i:02d}" for i in reversed(range(20))]
    chosen = splits.every_nth(names)
    assert sorted(names[i] for i in chosen["test"]) == ["00", "08", "16"]
    assert sorted((*chosen["train"], *chosen["test"])) == list(range(20))
    assert splits.every_nth(names, 0)["test"] == ()


def test_boxes_follow_the_focus_the_points_or_the_cameras(tiny):
    cameras = load(tiny.colmap_binary()).cameras
    cube = scene_box(cameras, None, whole_object=False)
    np.testing.assert_allclose(cube.mean(axis=0), 0, atol=0.05)
    assert 4 < cube[1, 0] < 4.7
    tight = Points(0.5 * np.random.default_rng(0).uniform(-1, 1, (500, 3)), np.zeros((500, 3), np.uint8))
    assert scene_box(cameras, tight, whole_object=False)[1, 0] < 0.6
    c2w = cameras.c2w.clone()
    # All look straight down on flat ground.
    c2w[:, :3, :3] = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    xyz = np.random.default_rng(0).uniform(-1, 1, (500, 3)) * [9, 5, 0.1]
    ground = Points(xyz, np.zeros((500, 3), np.uint8))
    swept = scene_box(cameras.posed(c2w), ground, whole_object=False)
    np.testing.assert_allclose(swept[1] - swept[0], [19.8, 11.8, 2], atol=0.3)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_point_files_in_all_three_forms(tmp_path, form):
    rows = np.array([(1.5, -2, 3, 255, 0, 7), (4, 5, 6.25, 1, 2, 3)], dtype="f4,f4,f4,u1,u1,u1")
    header = f"ply\nformat {form} 1.0\ncomment x\nelement vertex 2\n"
    header += "".join(f"property float {a}\n" for a in "xyz")
    header += "".join(f"property uchar {c}\n" for c in ("red", "green", "blue")) + "end_header\n"
    if form == "ascii":
        body = "\n".join(" ".join(map(str, row)) for row in rows.tolist()).encode()
    else:
        body = rows.astype(rows.dtype.newbyteorder(">" if "big" in form else "<")).tobytes()
    (tmp_path / "p.ply").write_bytes(header.encode() + body)
    xyz, rgb = ply.read_points(tmp_path / "p.ply")
    assert xyz.tolist() == [[1.5, -2, 3], [4, 5, 6.25]]
    assert rgb.tolist() == [[255, 0, 7], [1, 2, 3]]
