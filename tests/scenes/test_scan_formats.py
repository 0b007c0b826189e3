"""Scans: SDFStudio, ScanNet and ScanNet++."""

import json

import numpy as np
import pytest

from neural.errors import SceneFormatError
from neural.lenses import FISHEYE
from neural.scenes.load import load
from tests.scenes.formats import (
    CX,
    CY,
    FX,
    FY,
    HEIGHT,
    NAMES,
    OPENGL,
    WIDTH,
    N,
    assert_projects,
    camera_points,
    fuzz,
    pixels,
    poses,
    strange_fields,
    write_images,
    write_masks,
)

# --- SDFStudio ------------------------------------------------------------------------------------------------------

GT = np.array([[0.0, -2, 0, 5], [2, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])


def sdfstudio_document(**fields):
    matrix = np.eye(4)
    matrix[:3, :3] = [[FX, -7e-5, CX], [0, FY, CY], [0, 0, 1]]
    frames = [
        {"rgb_path": name, "camtoworld": c2w.tolist(), "intrinsics": matrix.tolist(), "foreground_mask": f"m_{name}"}
        for name, c2w in zip(NAMES, poses(), strict=True)
    ]
    box = {"aabb": [[-1, -1.5, -1], [1, 1, 2]], "near": 0.5, "far": 4.5, "radius": 1.0, "collider_type": "box"}
    document = {"camera_model": "OPENCV", "height": HEIGHT, "width": WIDTH, "worldtogt": GT.tolist()}
    return {**document, "scene_box": box, "frames": frames, **fields}


@pytest.fixture
def sdfstudio(tmp_path):
    write_images(tmp_path)
    write_masks(tmp_path, tuple(f"m_{name}" for name in NAMES))
    (tmp_path / "meta_data.json").write_text(json.dumps(sdfstudio_document()))
    return tmp_path


def test_sdfstudio_cameras_box_masks_and_world(sdfstudio):
    scene = load(sdfstudio)
    assert_projects(scene.cameras, pixels())
    np.testing.assert_array_equal(scene.aabb.numpy(), [[-1, -1.5, -1], [1, 1, 2]])
    np.testing.assert_allclose(np.linalg.inv(scene.world_to_scene), GT, atol=1e-12)
    assert (scene.masks[4][:, 4:] == 255).all() and (scene.masks[4][:, :4] == 0).all()
    assert not scene.unbounded
    assert load(sdfstudio / "meta_data.json").image_names == NAMES


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda d: d["frames"][2].pop("camtoworld"), r"frames\[2\]\.camtoworld is missing"),
        (lambda d: d["frames"][2].update(camtoworld=[[1]]), r"frames\[2\]\.camtoworld.*4 x 4"),
        (lambda d: d["frames"][2]["camtoworld"][0].__setitem__(0, float("nan")), r"frames\[2\]\.camtoworld.*NaN"),
        (lambda d: d["frames"][2]["intrinsics"][0].__setitem__(1, 9.0), r"frames\[2\]\.intrinsics.*skew"),
        (lambda d: d["frames"][2].update(rgb_path="gone.png"), r"1 of 9 images are missing"),
        (lambda d: d["frames"][2].update(rgb_path="../../../etc/passwd"), r"frames\[2\]\.rgb_path.*outside"),
        (lambda d: d["frames"][2].update(foreground_mask="gone.png"), r"frames\[2\]\.foreground_mask.*missing"),
        (lambda d: d.update(camera_model="FISHEYE"), r"camera_model is 'FISHEYE'"),
        (lambda d: d.update(width=41), r"40 x 30.*41 x 30"),
        (lambda d: d.update(worldtogt=np.zeros((4, 4)).tolist()), r"worldtogt cannot be inverted"),
        (lambda d: d["scene_box"].update(aabb=[[1, 1, 1], [0, 0, 0]]), r"scene_box\.aabb"),
        (lambda d: d.update(frames={}), r"frames is \{\}, expected a list"),
        (lambda d: d.update(frames=[]), r"no view"),
    ],
)
def test_sdfstudio_faults_are_named(sdfstudio, spoil, reason):
    document = sdfstudio_document()
    spoil(document)
    (sdfstudio / "meta_data.json").write_text(json.dumps(document))
    with pytest.raises(SceneFormatError, match=reason):
        load(sdfstudio)


def test_sdfstudio_strange_fields(sdfstudio):
    assert strange_fields(sdfstudio, sdfstudio / "meta_data.json") > 60


def test_sdfstudio_damaged(sdfstudio):
    assert fuzz(sdfstudio, [sdfstudio / "meta_data.json"], rounds=100) > 40


# --- ScanNet --------------------------------------------------------------------------------------------------------


@pytest.fixture
def scannet(tmp_path):
    numbers = [0, 5, 9, 10, 20, 100, 101, 102, 1000]  # by value, not by spelling
    write_images(tmp_path / "color", tuple(f"{n}.jpg" for n in numbers))
    (tmp_path / "pose").mkdir()
    (tmp_path / "intrinsic").mkdir()
    for number, c2w in zip(numbers, poses(), strict=True):
        np.savetxt(tmp_path / "pose" / f"{number}.txt", c2w, fmt="%.9f")
    matrix = np.eye(4)
    matrix[:3, :3] = [[FX, 0, CX], [0, FY, CY], [0, 0, 1]]
    np.savetxt(tmp_path / "intrinsic" / "intrinsic_color.txt", matrix)
    return tmp_path


def test_scannet_cameras_in_the_order_of_their_numbers(scannet):
    scene = load(scannet)
    assert_projects(scene.cameras, pixels(), tolerance=1e-5)
    assert scene.image_names[3:6] == ("10.jpg", "20.jpg", "100.jpg")
    assert scene.metres_per_unit == 1.0


def test_scannet_from_within(scannet, monkeypatch):
    monkeypatch.chdir(scannet / "intrinsic")
    assert len(load("intrinsic_color.txt").cameras) == N


def test_scannet_leaves_out_frames_that_lost_track(scannet):
    (scannet / "pose" / "5.txt").write_text("-inf -inf -inf -inf\n" * 4)
    scene = load(scannet)
    assert len(scene.cameras) == N - 1
    assert "1 of 9 frames have no pose" in scene.warnings[0]


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("pose/5.txt", "1 0 0 nan\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", r"5\.jpg.*NaN"),
        ("pose/5.txt", "1 0 0\n", r"5\.txt.*4 x 4"),
        ("pose/7.txt", "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", r"1 of 10 images are missing.*7"),
        ("intrinsic/intrinsic_color.txt", "45 0 19\n", r"intrinsic_color\.txt.*4 x 4 or 3 x 3"),
        ("color/5.jpg", "", r"5\.jpg"),
    ],
)
def test_scannet_faults_are_named(scannet, file, text, reason):
    (scannet / file).write_text(text)
    with pytest.raises(SceneFormatError, match=reason):
        load(scannet)


def test_scannet_damaged(scannet):
    assert fuzz(scannet, [scannet / "pose/20.txt", scannet / "intrinsic/intrinsic_color.txt"], rounds=40) > 30


# --- ScanNet++ ------------------------------------------------------------------------------------------------------

BENDS = (0.05, -0.01, 0.004, -0.002)


def scannetpp_document():
    frames = [
        {"file_path": name, "mask_path": name, "transform_matrix": (c2w @ OPENGL).tolist(), "is_bad": False}
        for name, c2w in zip(NAMES, poses(), strict=True)
    ]
    lens = dict(zip(("k1", "k2", "k3", "k4"), BENDS, strict=True))
    lens |= {"fl_x": FX, "fl_y": FY, "cx": CX, "cy": CY, "w": WIDTH, "h": HEIGHT, "camera_model": "OPENCV_FISHEYE"}
    return {**lens, "has_mask": True, "frames": frames[:6], "test_frames": frames[6:]}


@pytest.fixture
def scannetpp(tmp_path):
    write_images(tmp_path / "dslr" / "resized_images")
    write_masks(tmp_path / "dslr" / "resized_anon_masks")
    (tmp_path / "dslr" / "nerfstudio").mkdir()
    (tmp_path / "dslr" / "nerfstudio" / "transforms.json").write_text(json.dumps(scannetpp_document()))
    return tmp_path


def test_scannetpp_fisheye_masks_and_held_out_frames(scannetpp):
    expected = []
    for c2w in poses():
        x, y, z = camera_points(c2w).T
        a, b = x / z, y / z
        r = np.hypot(a, b)
        theta = np.arctan(r)
        bent = theta * (1 + sum(k * theta ** (2 * i + 2) for i, k in enumerate(BENDS)))
        expected.append(np.stack([FX * bent / r * a + CX, FY * bent / r * b + CY], axis=1))
    for path in (scannetpp, scannetpp / "dslr/nerfstudio", scannetpp / "dslr/nerfstudio/transforms.json"):
        scene = load(path)
        assert_projects(scene.cameras, expected)
        assert scene.splits == {"train": (0, 1, 2, 3, 4, 5), "test": (6, 7, 8)}
        assert scene.cameras.kinds == (FISHEYE,)
        assert (scene.masks[5][:, 5:] == 255).all() and (scene.masks[5][:, :5] == 0).all()
        assert scene.image_names[0] == f"resized_images/{NAMES[0]}"
        assert scene.metres_per_unit == 1.0


def test_scans_from_within(scannetpp, monkeypatch):
    monkeypatch.chdir(scannetpp / "dslr" / "nerfstudio")
    assert load("transforms.json").splits["test"] == (6, 7, 8)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda d: d.update(test_frames=3), r"test frames are not a list"),
        (lambda d: d["test_frames"][0].pop("file_path"), r"test frames.*name an image"),
        (lambda d: d["frames"][1].update(file_path="gone.png"), r"1 of 9 images are missing.*gone"),
        (lambda d: d["frames"][1].update(mask_path="gone.png"), r"frames\[1\]\.mask_path.*missing"),
        (lambda d: d["frames"][1].update(file_path="../../../x.png"), r"frames\[1\]\.file_path.*outside"),
    ],
)
def test_scannetpp_faults_are_named(scannetpp, spoil, reason):
    document = scannetpp_document()
    spoil(document)
    (scannetpp / "dslr/nerfstudio/transforms.json").write_text(json.dumps(document))
    with pytest.raises(SceneFormatError, match=reason):
        load(scannetpp)


def test_scannetpp_strange_fields(scannetpp):
    assert strange_fields(scannetpp, scannetpp / "dslr/nerfstudio/transforms.json") > 60


def test_scannetpp_damaged(scannetpp):
    assert fuzz(scannetpp, [scannetpp / "dslr/nerfstudio/transforms.json"], rounds=100) > 40
