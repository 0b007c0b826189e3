"""Mega-NeRF's folders: axes, the way back to metres, both parts, and files that torch would choke on."""

import pickle

import numpy as np
import pytest
import torch

from neural.errors import SceneFormatError
from neural.scenes.load import load
from tests.scenes.formats import HEIGHT, POINTS, WIDTH, N, assert_projects, fuzz, poses, write_images

FX, FY, CX, CY = 45.0, 46.0, 19.0, 16.0
ORIGIN, SCALE = np.array([-120.0, 30.0, 4.5]), 250.0
PART = ["val" if i % 4 == 0 else "train" for i in range(N)]


def metadata(i):
    right, down, forward, centre = poses()[i][:3].T
    return {
        "W": WIDTH,
        "H": HEIGHT,
        "intrinsics": torch.tensor([FX, FY, CX, CY]),
        "c2w": torch.from_numpy(np.stack([right, -down, -forward, centre], axis=1)).float(),
        "distortion": torch.zeros(4),
    }


@pytest.fixture
def meganerf(tmp_path):
    torch.save(
        {"origin_drb": torch.from_numpy(ORIGIN).float(), "pose_scale_factor": SCALE}, tmp_path / "coordinates.pt"
    )
    for i in range(N):
        write_images(tmp_path / PART[i] / "rgbs", (f"{i:06d}.jpg",))
        (tmp_path / PART[i] / "metadata").mkdir(exist_ok=True)
        torch.save(metadata(i), tmp_path / PART[i] / "metadata" / f"{i:06d}.pt")
    return tmp_path


def pixels_of(i):
    """The authors' rays: pixel (column, row) is seen along ((u - cx) / fx, -(v - cy) / fy, -1), rotated by c2w."""
    c2w = metadata(i)["c2w"].double().numpy()
    x, y, z = ((POINTS - c2w[:, 3]) @ c2w[:, :3]).T
    return np.stack([FX * x / -z + CX, -FY * y / -z + CY], axis=1)


def test_meganerf_axes_parts_and_metres(meganerf):
    scene = load(meganerf)
    order = [i for i in range(N) if PART[i] == "train"] + [i for i in range(N) if PART[i] == "val"]
    assert_projects(scene.cameras, [pixels_of(i) for i in order], tolerance=2e-4)  # the files are float32
    assert [scene.image_names[i] for i in scene.splits["test"]] == [f"val/{i:06d}.jpg" for i in (0, 4, 8)]
    assert len(scene.splits["train"]) == 6
    assert scene.metres_per_unit == SCALE
    world = np.linalg.inv(scene.world_to_scene) @ [*poses()[1][:3, 3], 1.0]
    np.testing.assert_allclose(world[:3], poses()[1][:3, 3] * SCALE + ORIGIN, atol=1e-6)


def _save(file, **changes):
    content = torch.load(file, weights_only=True) | changes
    torch.save({k: v for k, v in content.items() if v is not None}, file)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"c2w": None}, r"000001\.pt: c2w is missing"),
        ({"c2w": torch.eye(3)}, r"c2w.*\[3, 4\]"),
        ({"c2w": torch.full((3, 4), torch.nan)}, r"000001\.pt.*c2w.*finite"),
        ({"intrinsics": torch.ones(3)}, r"intrinsics.*\[4\]"),
        ({"intrinsics": torch.zeros(4)}, r"000001.*focal lengths"),
        ({"W": -3}, r"W H are -3"),
        ({"W": 41}, r"000001.*40 x 30.*41 x 30"),
        ({"H": "tall"}, r"H is missing or not"),
    ],
)
def test_meganerf_faults_are_named(meganerf, changes, reason):
    _save(meganerf / "train/metadata/000001.pt", **changes)
    with pytest.raises(SceneFormatError, match=reason):
        load(meganerf)


@pytest.mark.parametrize("changes", [{"pose_scale_factor": 0.0}, {"origin_drb": None}, {"origin_drb": torch.zeros(2)}])
def test_meganerf_coordinates_are_checked(meganerf, changes):
    _save(meganerf / "coordinates.pt", **changes)
    with pytest.raises(SceneFormatError, match=rf"coordinates\.pt.*{next(iter(changes))}"):
        load(meganerf)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("save", [torch.save, lambda content, file: file.write_bytes(pickle.dumps(content))])
def test_meganerf_code_in_a_file_is_never_run(meganerf, save):
    save({"c2w": Trap()}, meganerf / "train/metadata/000001.pt")
    with pytest.raises(SceneFormatError, match=r"000001\.pt.*plain tensors"):
        load(meganerf)


def test_meganerf_missing_images(meganerf):
    (meganerf / "train/rgbs/000001.jpg").unlink()
    with pytest.raises(SceneFormatError, match=r"1 of 9 images are missing.*000001"):
        load(meganerf)
    assert len(load(meganerf, missing="skip").cameras) == 8


def test_meganerf_damaged(meganerf):
    assert fuzz(meganerf, [meganerf / "train/metadata/000001.pt", meganerf / "coordinates.pt"], rounds=40) > 40
