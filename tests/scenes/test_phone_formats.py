"""Scans of phones: Polycam and Record3D."""

import json

import numpy as np
import pytest

from neural.errors import SceneFormatError
from neural.poses import quat_from_rotation
from neural.scenes.load import load
from tests.scenes.formats import (
    CX,
    CY,
    FX,
    FY,
    HEIGHT,
    OPENGL,
    WIDTH,
    N,
    assert_projects,
    fuzz,
    opengl_pixels,
    poses,
    strange_fields,
    write_images,
)

# --- Polycam --------------------------------------------------------------------------------------------------------


def polycam_camera(i):
    matrix = poses()[i] @ OPENGL
    pose = {f"t_{row}{column}": matrix[row, column] for row in range(3) for column in range(4)}
    return {**pose, "fx": FX, "fy": FY, "cx": CX, "cy": CY, "width": WIDTH, "height": HEIGHT, "blur_score": 88.1}


@pytest.fixture
def polycam(tmp_path):
    write_images(tmp_path / "keyframes" / "images", tuple(f"{i}0.jpg" for i in range(N)))
    (tmp_path / "keyframes" / "cameras").mkdir()
    for i in range(N):
        (tmp_path / "keyframes" / "cameras" / f"{i}0.json").write_text(json.dumps(polycam_camera(i)))
    return tmp_path


def test_polycam_axes_and_metres(polycam):
    for path in (polycam, polycam / "keyframes"):
        scene = load(path)
        assert_projects(scene.cameras, opengl_pixels())
        assert scene.metres_per_unit == 1.0
        assert scene.image_names[2] == "20.jpg"


def test_polycam_corrected_cameras_are_preferred(polycam):
    (polycam / "keyframes" / "cameras").rename(polycam / "keyframes" / "corrected_cameras")
    assert_projects(load(polycam).cameras, opengl_pixels())  # of images/, for want of others
    write_images(polycam / "keyframes" / "corrected_images", tuple(f"{i}0.jpg" for i in range(N)))
    (polycam / "keyframes" / "cameras").mkdir()
    (polycam / "keyframes" / "cameras" / "00.json").write_text("{}")
    assert_projects(load(polycam).cameras, opengl_pixels())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"t_12": None}, r"20\.json: t_12 is missing"),
        ({"t_12": float("nan")}, r"20\.json: t_12 is nan"),
        ({"t_12": "x"}, r"20\.json: t_12 is 'x'"),
        ({"fx": 0}, r"20\.jpg.*focal lengths"),
        ({"width": 0}, r"20\.json: width and height are 0"),
        ({"width": 41}, r"40 x 30.*41 x 30"),
    ],
)
def test_polycam_faults_are_named(polycam, fields, reason):
    (polycam / "keyframes/cameras/20.json").write_text(json.dumps(polycam_camera(2) | fields))
    with pytest.raises(SceneFormatError, match=reason):
        load(polycam)


def test_polycam_missing_image(polycam):
    (polycam / "keyframes/images/30.jpg").unlink()
    with pytest.raises(SceneFormatError, match=r"1 of 9 images are missing.*30"):
        load(polycam)


def test_polycam_strange_fields(polycam):
    assert strange_fields(polycam, polycam / "keyframes/cameras/20.json") > 60


def test_polycam_damaged(polycam):
    assert fuzz(polycam, [polycam / "keyframes/cameras/20.json"], rounds=100) > 40


# --- Record3D -------------------------------------------------------------------------------------------------------


def record3d_document(**fields):
    listed = []
    for c2w in poses():
        w, x, y, z = quat_from_rotation((c2w @ OPENGL)[:3, :3])
        listed.append([x, y, z, w, *c2w[:3, 3]])
    K = [FX, 0, 0, 0, FY, 0, CX, CY, 1]  # by columns
    return {"w": WIDTH, "h": HEIGHT, "dw": 4, "dh": 3, "fps": 60, "K": K, "poses": np.array(listed).tolist(), **fields}


@pytest.fixture
def record3d(tmp_path):
    write_images(tmp_path / "rgbd", tuple(f"{i}.jpg" for i in range(N)))
    (tmp_path / "metadata").write_text(json.dumps(record3d_document()))
    return tmp_path


def test_record3d_quaternions_and_calibration_by_columns(record3d):
    assert_projects(load(record3d).cameras, opengl_pixels())
    (record3d / "metadata").rename(record3d / "metadata.json")
    (record3d / "rgbd").rename(record3d / "rgb")
    scene = load(record3d)
    assert_projects(scene.cameras, opengl_pixels())
    assert_projects(load(record3d / "metadata.json").cameras, opengl_pixels())
    assert scene.metres_per_unit == 1.0


def test_record3d_intrinsics_of_each_frame(record3d):
    changing = [[FX + i, FY + i, CX, CY - i] for i in range(N)]
    (record3d / "metadata").write_text(json.dumps(record3d_document(perFrameIntrinsicCoeffs=changing)))
    np.testing.assert_array_equal(load(record3d).cameras.intrinsics.numpy(), changing)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"poses": [[0, 0, 0, 1, 0, 0]]}, r"poses.*1 x 7"),
        ({"poses": 3}, r"poses is 3"),
        ({"poses": [*record3d_document()["poses"][:1], [0.0] * 7]}, r"poses\[1\].*quaternion"),
        ({"poses": [*record3d_document()["poses"], [0.0, 0, 0, 1, 0, 0, 0]]}, r"1 of 10 images are missing"),
        ({"K": [1, 2, 3]}, r"K is.*9 numbers"),
        ({"perFrameIntrinsicCoeffs": [[1, 2, 3, 4]]}, r"perFrameIntrinsicCoeffs.*9 x 4"),
        ({"w": float("inf")}, r"w is inf"),
        ({"h": 31}, r"40 x 30.*40 x 31"),
    ],
)
def test_record3d_faults_are_named(record3d, fields, reason):
    (record3d / "metadata").write_text(json.dumps(record3d_document(**fields)))
    with pytest.raises(SceneFormatError, match=reason):
        load(record3d)


def test_record3d_strange_fields(record3d):
    assert strange_fields(record3d, record3d / "metadata") > 30


def test_record3d_damaged(record3d):
    assert fuzz(record3d, [record3d / "metadata"], rounds=100) > 40
