"""MatrixCity and KITTI-360: cities from above and from a car."""

import json
import math

import numpy as np
import pytest
import torch

from neural.errors import SceneFormatError
from neural.scenes.load import load
from tests.scenes.formats import HEIGHT, POINTS, WIDTH, N, assert_projects, fuzz, poses, strange_fields, write_images

# --- MatrixCity -----------------------------------------------------------------------------------------------------

ANGLE = 0.8
NAMES = tuple(f"{i:04d}.png" for i in range(3, 3 + N))
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def matrixcity_block():
    frames = []
    for i, c2w in enumerate(poses()):
        matrix = c2w @ OPENGL
        matrix[:3, :3] /= 100
        frames.append({"frame_index": 3 + i, "rot_mat": matrix.tolist()})
    return {"camera_angle_x": ANGLE, "frames": frames}


def matrixcity_pixels():
    """NeRF's rays: ((u - w / 2) / f, -(v - h / 2) / f, -1) turned by the pose, f = w / 2 / tan(angle / 2)."""
    focal = WIDTH / 2 / math.tan(ANGLE / 2)
    result = []
    for c2w in poses():
        x, y, z = ((POINTS - c2w[:3, 3]) @ (c2w @ OPENGL)[:3, :3]).T
        result.append(np.stack([focal * x / -z + WIDTH / 2, -focal * y / -z + HEIGHT / 2], axis=1))
    return result


@pytest.mark.parametrize("folder", [".", "rgb", "input"])
def test_matrixcity_block_is_in_metres_with_rotations_that_are_not(tmp_path, folder):
    write_images(tmp_path / folder, NAMES)
    (tmp_path / "transforms.json").write_text(json.dumps(matrixcity_block()))
    scene = load(tmp_path)
    assert_projects(scene.cameras, matrixcity_pixels())
    assert scene.metres_per_unit == 1.0
    assert scene.warnings == ()


def matrixcity_split(root, held_out):
    for part, names in (("train", NAMES[:held_out]), ("test", NAMES[held_out:])):
        write_images(root / part / "block_1" / ("rgb" if part == "test" else "."), names)
        start = NAMES.index(names[0])
        frames = [
            {"file_path": f"../../{part}/block_1/{name}", "transform_matrix": (poses()[start + i] @ OPENGL).tolist()}
            for i, name in enumerate(names)
        ]
        (root / "pose" / "block_A").mkdir(parents=True, exist_ok=True)
        document = {"camera_angle_x": ANGLE, "w": float(WIDTH), "h": float(HEIGHT), "k4": 0, "frames": frames}
        (root / "pose" / "block_A" / f"transforms_{part}.json").write_text(json.dumps(document))
    return root / "pose" / "block_A"


def test_matrixcity_split_reaches_into_the_blocks(tmp_path):
    scene = load(matrixcity_split(tmp_path, 6))
    assert_projects(scene.cameras, matrixcity_pixels())
    assert scene.splits == {"train": (0, 1, 2, 3, 4, 5), "test": (6, 7, 8)}
    assert scene.metres_per_unit == 100.0
    assert scene.image_names[0] == "train/block_1/0003.png"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: f.update(rot_mat=[[1]]), r"frames\[2\]\.rot_mat"),
        (lambda f: f["rot_mat"][0].__setitem__(0, float("nan")), r"frames\[2\]\.rot_mat"),
        (lambda f: f.update(frame_index=-1), r"frames\[2\]\.frame_index"),
        (lambda f: f.update(frame_index=99), r"1 of 9 images are missing.*0099"),
    ],
)
def test_matrixcity_faults_are_named(tmp_path, spoil, reason):
    write_images(tmp_path / "rgb", NAMES)
    document = matrixcity_block()
    spoil(document["frames"][2])
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    with pytest.raises(SceneFormatError, match=reason):
        load(tmp_path)


def test_matrixcity_split_leads_nowhere_else(tmp_path):
    folder = matrixcity_split(tmp_path / "a" / "b", 6)
    document = json.loads((folder / "transforms_train.json").read_text())
    document["frames"][1]["file_path"] = "../../../../../etc/passwd"
    (folder / "transforms_train.json").write_text(json.dumps(document))
    with pytest.raises(SceneFormatError, match=r"frames\[1\]\.file_path.*outside"):
        load(folder)


def test_matrixcity_strange_fields(tmp_path):
    write_images(tmp_path, NAMES)
    (tmp_path / "transforms.json").write_text(json.dumps(matrixcity_block()))
    assert strange_fields(tmp_path, tmp_path / "transforms.json") > 20
    folder = matrixcity_split(tmp_path / "city", 6)
    assert strange_fields(folder, folder / "transforms_train.json") > 20


def test_matrixcity_damaged(tmp_path):
    write_images(tmp_path, NAMES)
    (tmp_path / "transforms.json").write_text(json.dumps(matrixcity_block()))
    assert fuzz(tmp_path, [tmp_path / "transforms.json"], rounds=80) > 40
    folder = matrixcity_split(tmp_path / "city", 6)
    assert fuzz(folder, [folder / "transforms_test.json"], rounds=80) > 40


# --- KITTI-360 ------------------------------------------------------------------------------------------------------

DRIVE = "2013_05_28_drive_0009_sync"
K = np.array([[45.0, 0, 19], [0, 45, 14], [0, 0, 1]])
FRAMES = (1, 4, 5, 6, 7, 9, 10, 100, 101)


def turned(axis, angle):
    a, b = [i for i in range(3) if i != axis]
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = math.cos(angle)
    matrix[a, b], matrix[b, a] = -math.sin(angle), math.sin(angle)
    return matrix


RECT = {"00": turned(0, 0.02), "01": turned(1, -0.03)}
MOUNT = {
    "00": np.c_[turned(2, 1.2) @ turned(0, -1.4), [0.8, 0.3, -0.4]],
    "01": np.c_[turned(2, 1.1) @ turned(0, -1.5), [0.9, 0.9, -0.4]],
}


def square(matrix):
    return np.vstack([matrix, [0, 0, 0, 1]])


def vehicle_poses():
    """So placed that camera 00, rectified, stands where the test's points are seen well."""
    rect = np.eye(4)
    rect[:3, :3] = RECT["00"]
    return [c2w @ rect @ np.linalg.inv(square(MOUNT["00"])) for c2w in poses()]


def row(values):
    return " ".join(f"{v:.15g}" for v in np.ravel(values))


@pytest.fixture
def kitti(tmp_path):
    (tmp_path / "calibration").mkdir()
    (tmp_path / "data_poses" / DRIVE).mkdir(parents=True)
    lines = ["calib_time: 28-May-2013 13:17:41", "corner_dist: 0.06"]
    for camera in ("00", "01"):
        write_images(
            tmp_path / "data_2d_raw" / DRIVE / f"image_{camera}" / "data_rect", tuple(f"{f:010d}.png" for f in FRAMES)
        )
        lines += [
            f"S_{camera}: 1400 1000",
            f"S_rect_{camera}: {WIDTH} {HEIGHT}",
            f"R_rect_{camera}: {row(RECT[camera])}",
            f"P_rect_{camera}: {row(np.c_[K, [0 if camera == '00' else -27, 0, 0]])}",
        ]
    (tmp_path / "calibration" / "perspective.txt").write_text("\n".join(lines))
    mounts = "\n".join(f"image_{camera}: {row(matrix)}" for camera, matrix in MOUNT.items())
    (tmp_path / "calibration" / "calib_cam_to_pose.txt").write_text(mounts + "\n")
    rows = [f"{frame} {row(pose[:3])}" for frame, pose in zip(FRAMES, vehicle_poses(), strict=True)]
    (tmp_path / "data_poses" / DRIVE / "poses.txt").write_text("\n".join(rows))
    return tmp_path


def kitti_pixels(camera):
    """`project.py`: cam2world = pose cam_to_pose inv(R_rect), then K; whole numbers are pixel centres."""
    result = []
    for pose in vehicle_poses():
        rect = np.eye(4)
        rect[:3, :3] = RECT[camera]
        world = pose @ square(MOUNT[camera]) @ np.linalg.inv(rect)
        local = np.linalg.inv(world[:3, :3]) @ (POINTS - world[:3, 3]).T
        u, v, depth = K @ local
        result.append(np.stack([u / depth, v / depth], axis=1) + 0.5)
    return result


def test_kitti_cameras(kitti):
    for path in (kitti, kitti / "data_2d_raw" / DRIVE, kitti / "data_poses" / DRIVE / "poses.txt"):
        scene = load(path)
        assert_projects(scene.cameras[list(range(N))], kitti_pixels("00"))
        assert scene.image_names[N] == "image_01/0000000001.png"
        assert scene.metres_per_unit == 1.0
    n_seen = 0
    for i, expected in enumerate(kitti_pixels("01")):
        got, depth = scene.cameras.project(torch.from_numpy(POINTS), N + i)
        seen = (depth > 0).numpy()  # the other camera looks elsewhere, so not all of them
        np.testing.assert_allclose(got.numpy()[seen], expected[seen], atol=1e-6)
        n_seen += seen.sum()
    assert n_seen > N * len(POINTS) / 2


def test_kitti_from_within(kitti, monkeypatch):
    monkeypatch.chdir(kitti / "data_poses" / DRIVE)
    assert len(load("poses.txt").cameras) == 2 * N
    assert len(load(".").cameras) == 2 * N


def test_kitti_two_drives_are_named(kitti):
    other = DRIVE.replace("0009", "0010")
    (kitti / "data_2d_raw" / other).mkdir()
    (kitti / "data_poses" / other).mkdir()
    (kitti / "data_poses" / other / "poses.txt").write_text("")
    with pytest.raises(SceneFormatError, match=r"drive_0009.*drive_0010.*by the path"):
        load(kitti)
    assert len(load(kitti / "data_2d_raw" / DRIVE).cameras) == 2 * N


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("calibration/perspective.txt", "P_rect_00", "P_00", r"perspective\.txt: P_rect_00 is not 12"),
        ("calibration/perspective.txt", "S_rect_01: 40", "S_rect_01: 0", r"S_rect_01 is 0"),
        ("calibration/perspective.txt", "S_rect_01: 40", "S_rect_01: 41", r"40 x 30.*41 x 30"),
        ("calibration/perspective.txt", "R_rect_01: ", "R_rect_01: 7 ", r"R_rect_01 is not 9"),
        ("calibration/calib_cam_to_pose.txt", "image_01: ", "image_01: x ", r"calib_cam_to_pose\.txt: image_01"),
        (f"data_poses/{DRIVE}/poses.txt", "4 ", "4 1 ", r"poses\.txt: row 2"),
        (f"data_poses/{DRIVE}/poses.txt", "4 ", "nan ", r"poses\.txt: row 2"),
        (f"data_poses/{DRIVE}/poses.txt", "\n4 ", "\n44 ", r"2 of 18 images are missing"),
    ],
)
def test_kitti_faults_are_named(kitti, file, old, new, reason):
    text = (kitti / file).read_text()
    assert old in text
    text = text.replace(old, new) if old[0] not in "4" else text.replace(f"\n{old}", f"\n{new}")
    (kitti / file).write_text(text)
    with pytest.raises(SceneFormatError, match=reason):
        load(kitti)


def test_kitti_damaged(kitti):
    names = ("calibration/perspective.txt", "calibration/calib_cam_to_pose.txt", f"data_poses/{DRIVE}/poses.txt")
    assert fuzz(kitti, [kitti / name for name in names], rounds=40) > 40
