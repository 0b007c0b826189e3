"""LLFF, NSVF, NeRF++ and NeuS: captures whose cameras are matrices in files of numbers."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from neural.errors import SceneFormatError
from neural.scenes.load import load
from tests.scenes import real_captures
from tests.scenes.formats import (
    HEIGHT,
    NAMES,
    POINTS,
    WIDTH,
    N,
    assert_projects,
    camera_points,
    fuzz,
    poses,
    write_images,
    write_masks,
)

FOCAL = 45.0


# --- LLFF -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def llff(tmp_path):
    write_images(tmp_path / "images")
    np.save(tmp_path / "poses_bounds.npy", llff_rows())
    return tmp_path


def llff_rows():
    rows = []
    for c2w in poses():
        right, down, forward, centre = c2w[:3].T
        matrix = np.stack([down, right, -forward, centre, [HEIGHT, WIDTH, FOCAL]], axis=1)
        rows.append([*matrix.reshape(-1), 1.5, 9.0])
    return np.array(rows)


def llff_pixels():
    """The authors' own projection: a point p is at t + x right + y up + z back, seen at f x / -z from the middle."""
    pixels = []
    for row in llff_rows():
        matrix = row[:15].reshape(3, 5)
        down, right, back, centre = matrix[:, :4].T
        x, y, z = ((POINTS - centre) @ np.stack([right, -down, back], axis=1)).T
        pixels.append(np.stack([FOCAL * x / -z + WIDTH / 2, -FOCAL * y / -z + HEIGHT / 2], axis=1))
    return pixels


def test_llff_axes_and_focal_length(llff):
    scene = load(llff)
    assert_projects(scene.cameras, llff_pixels())
    assert scene.splits["test"] == (0, 8)
    assert scene.image_names == NAMES
    assert scene.cameras.sizes[0].tolist() == [WIDTH, HEIGHT]
    assert load(llff / "poses_bounds.npy").image_names == NAMES


def test_llff_takes_a_reduced_folder(llff):
    write_images(llff / "images_4", size=(10, 8))  # 30 / 4 was rounded up
    cameras = load(llff, downscale=4).cameras
    assert_projects(cameras, [p * [10 / WIDTH, 8 / HEIGHT] for p in llff_pixels()])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: r[:8], r"8 poses for 9 images"),
        (lambda r: r[:, :15], r"array of \[9, 15\].*17"),
        (lambda r: np.where(np.arange(17) == 3, np.nan, r), r"view_00.*not finite"),
        (lambda r: np.where(np.arange(17) == 14, -1.0, r), r"focal lengths"),
        (lambda r: np.where(np.arange(17) == 9, 0.0, r), r"view_00.*no size"),
        (lambda r: np.where(np.arange(17) == 9, 41.0, r), r"40 x 30.*calibrates.*41 x 30"),
        (lambda r: r.astype(str), r"holds '<U"),
    ],
)
def test_llff_faults_are_named(llff, spoil, reason):
    np.save(llff / "poses_bounds.npy", spoil(llff_rows()))
    with pytest.raises(SceneFormatError, match=reason):
        load(llff)


def test_an_array_that_claims_more_than_it_holds_is_refused_before_allocation(llff):
    file = llff / "poses_bounds.npy"
    whole = file.read_bytes()
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999, 17), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + whole[128:])
    with pytest.raises(SceneFormatError, match=r"claims \[9999999999999, 17\].*cut off"):
        load(llff)


def test_pickled_objects_are_never_loaded(llff):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    np.save(llff / "poses_bounds.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(SceneFormatError, match=r"holds .\|O"):
        load(llff)


def test_llff_damaged(llff):
    assert fuzz(llff, [llff / "poses_bounds.npy"]) > 20


# --- NSVF -----------------------------------------------------------------------------------------------------------

K = np.array([[FOCAL, 0, 19.0], [0, 47.0, 16.0], [0, 0, 1]])
NSVF_NAMES = tuple(f"{i // 4}_{i:04d}.png" for i in range(N))  # four 0_, four 1_, one 2_


@pytest.fixture
def nsvf(tmp_path):
    write_images(tmp_path / "rgb", NSVF_NAMES)
    (tmp_path / "pose").mkdir()
    for name, c2w in zip(NSVF_NAMES, poses(), strict=True):
        np.savetxt(tmp_path / "pose" / name.replace("png", "txt"), c2w)
    matrix = np.eye(4)
    matrix[:3, :3] = K
    np.savetxt(tmp_path / "intrinsics.txt", matrix)
    (tmp_path / "bbox.txt").write_text("-1 -2 -3 1 2 3 0.4\n")
    return tmp_path


def pinhole_pixels(matrix=K):
    local = [camera_points(c2w) @ matrix.T for c2w in poses()]
    return [p[:, :2] / p[:, 2:] for p in local]


def test_nsvf_poses_splits_and_box(nsvf):
    scene = load(nsvf)
    assert_projects(scene.cameras, pinhole_pixels())
    assert scene.splits == {"train": (0, 1, 2, 3), "val": (4, 5, 6, 7), "test": (8,)}
    np.testing.assert_allclose(scene.aabb.numpy(), [[-1, -2, -3], [1, 2, 3]])
    assert not scene.unbounded


def test_nsvf_other_forms_of_intrinsics(nsvf):
    np.savetxt(nsvf / "intrinsics.txt", K)
    assert_projects(load(nsvf).cameras, pinhole_pixels())
    (nsvf / "intrinsics.txt").write_text(f"{FOCAL} 19 16 0.\n0. 0. 0.\n1.\n30 40\n")
    assert_projects(load(nsvf).cameras, pinhole_pixels(np.array([[FOCAL, 0, 19], [0, FOCAL, 16], [0, 0, 1]])))


def test_nsvf_without_prefixes_holds_out_every_eighth(nsvf):
    for folder, suffix in (("rgb", "png"), ("pose", "txt")):
        for i, name in enumerate(NSVF_NAMES):
            stem = nsvf / folder / name.removesuffix(".png")
            stem.with_suffix(f".{suffix}").rename(nsvf / folder / f"{i:04d}.{suffix}")
    assert load(nsvf).splits["test"] == (0, 8)


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("pose/0_0001.txt", "1 0 0 0\n0 1 0 0\n", r"0_0001\.txt.*lines of \[4, 4\].*4 x 4"),
        ("pose/0_0001.txt", "1 0 0 nan\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", r"0_0001\.txt.*NaN"),
        ("pose/0_0001.txt", "1 0 0 x\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", r"0_0001\.txt: line 1.*damaged"),
        ("pose/0_0001.txt", "1 0 0 0\n0 1 0 0\n0 0 -1 0\n0 0 0 1\n", r"0_0001.*left-handed"),
        ("intrinsics.txt", "1 2\n", r"intrinsics\.txt.*4 x 4"),
        ("intrinsics.txt", "45 9 20\n0 45 15\n0 0 1\n", r"skew"),
        ("intrinsics.txt", "45 0 20\n0 45 15\n0 0 0\n", r"intrinsics\.txt"),
        ("bbox.txt", "1 1 1 0 0 0\n", r"bbox\.txt"),
        ("pose/0_0099.txt", "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", r"1 of 10 images are missing.*0_0099"),
        ("rgb/0_0001.png", "no image", r"0_0001\.png.*not an image"),
    ],
)
def test_nsvf_faults_are_named(nsvf, file, text, reason):
    (nsvf / file).write_text(text)
    with pytest.raises(SceneFormatError, match=reason):
        load(nsvf)


def test_nsvf_missing_image_can_be_skipped(nsvf):
    (nsvf / "rgb" / NSVF_NAMES[2]).unlink()
    scene = load(nsvf, missing="skip")
    assert len(scene.cameras) == 8
    assert "1 of 9" in scene.warnings[0]


def test_images_that_were_reduced_are_noticed(nsvf, neus):
    write_images(nsvf / "rgb", NSVF_NAMES, (WIDTH // 4, HEIGHT // 4))
    write_images(neus / "image", size=(WIDTH // 4, HEIGHT // 4))
    for file in ("intrinsics.txt", "cameras_sphere.npz"):
        with pytest.raises(SceneFormatError, match=rf"{file}.*principal point .* outside .* 10 x 7"):
            load(nsvf / file)  # both are in one folder


def test_nsvf_damaged(nsvf):
    assert fuzz(nsvf, [nsvf / "intrinsics.txt", nsvf / "pose/1_0005.txt", nsvf / "bbox.txt"], rounds=40) > 40


# --- NeRF++ ---------------------------------------------------------------------------------------------------------

NERFPP_SPLITS = ("train",) * 5 + ("validation",) * 2 + ("test",) * 2
NERFPP_NAMES = tuple(f"{i % 5:06d}.png" for i in range(N))  # each split counts anew


@pytest.fixture
def nerfpp(tmp_path):
    for i, (split, name, c2w) in enumerate(zip(NERFPP_SPLITS, NERFPP_NAMES, poses(), strict=True)):
        folder = tmp_path / split
        write_images(folder / "rgb", (name,))
        matrix = np.eye(4)
        matrix[:3, :3] = K
        for kind, values in (("intrinsics", matrix), ("pose", c2w)):
            (folder / kind).mkdir(exist_ok=True)
            np.savetxt(folder / kind / name.replace("png", "txt"), values.reshape(1, 16) if i % 2 else values)
    (tmp_path / "camera_path" / "pose").mkdir(parents=True)
    np.savetxt(tmp_path / "camera_path" / "pose" / "000000.txt", poses()[0])
    return tmp_path


def test_nerfpp_poses_and_splits(nerfpp):
    for path in (nerfpp, nerfpp / "train" / "intrinsics" / "000000.txt"):
        scene = load(path)
        assert_projects(scene.cameras, pinhole_pixels())
        assert scene.splits == {"train": (0, 1, 2, 3, 4), "val": (5, 6), "test": (7, 8)}
        assert scene.image_names[5] == "validation/rgb/000000.png"


def test_nerfpp_is_refused_or_read_whatever_is_damaged(nerfpp):
    assert fuzz(nerfpp, [nerfpp / "train/pose/000001.txt", nerfpp / "test/intrinsics/000002.txt"], rounds=40) > 20


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("train/pose/000001.txt", "1 0 0 0\n0 1 0 0\n", "expected 4 x 4 or 1 x 16"),
        ("test/intrinsics/000002.txt", "9000 0 0 0 0 9000 0 0 0 0 1 0 0 0 0 1", "principal point"),
        ("test/intrinsics/000002.txt", None, "000002.txt"),
        ("train/rgb/000003.png", None, "are missing"),
    ],
)
def test_nerfpp_says_what_is_wrong(nerfpp, file, text, why):
    (nerfpp / file).unlink() if text is None else (nerfpp / file).write_text(text)
    with pytest.raises(SceneFormatError, match=why):
        load(nerfpp)


# --- NeuS -----------------------------------------------------------------------------------------------------------

SCALE = np.array([[2.0, 0, 0, 0.3], [0, 2, 0, -0.2], [0, 0, 2, 0.1], [0, 0, 0, 1]])


def neus_arrays(sign=1.0):
    arrays = {}
    for i, c2w in enumerate(poses()):
        world = np.eye(4)
        world[:3] = sign * (1 + i) * K @ np.linalg.inv(c2w)[:3]  # of any scale
        arrays |= {f"world_mat_{i}": world, f"scale_mat_{i}": SCALE, f"world_mat_inv_{i}": np.linalg.inv(world)}
    return arrays


@pytest.fixture
def neus(tmp_path):
    write_images(tmp_path / "image")
    write_masks(tmp_path / "mask")
    np.savez(tmp_path / "cameras_sphere.npz", **neus_arrays())
    return tmp_path


def neus_pixels():
    """The format's formula: (u w, v w, w) = world_mat (x y z 1), with whole u at pixel centres."""
    pixels = []
    for i in range(N):
        homogeneous = np.c_[POINTS, np.ones(len(POINTS))] @ neus_arrays()[f"world_mat_{i}"].T
        pixels.append(homogeneous[:, :2] / homogeneous[:, 2:3] + 0.5)
    return pixels


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_neus_projection_matrices_masks_and_sphere(neus, sign):
    np.savez_compressed(neus / "cameras_sphere.npz", **neus_arrays(sign))
    scene = load(neus)
    assert_projects(scene.cameras, neus_pixels())
    np.testing.assert_allclose(scene.cameras.c2w.numpy(), poses(), atol=1e-9)
    np.testing.assert_allclose(scene.aabb.numpy(), [[-1.7, -2.2, -1.9], [2.3, 1.8, 2.1]])
    assert (scene.masks[3][:, :3] == 0).all() and (scene.masks[3][:, 3:] == 255).all()
    assert not scene.unbounded


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"world_mat_3": np.full((4, 4), np.nan)}, r"world_mat_3.*finite"),
        ({"world_mat_3": np.eye(3)}, r"world_mat_3.*4 x 4"),
        ({"world_mat_3": np.zeros((4, 4))}, r"world_mat_3.*singular"),
        ({"world_mat_9": np.eye(4), "scale_mat_9": SCALE}, r"10 cameras for 9 images"),
        ({"scale_mat_3": 2 * SCALE}, r"scale_mat differ"),
        ({"world_mat_3": None}, r"8 cameras for 9"),
        ({"scale_mat_3": None}, r"no scale_mat_3"),
    ],
)
def test_neus_faults_are_named(neus, change, reason):
    arrays = {name: array for name, array in (neus_arrays() | change).items() if array is not None}
    np.savez(neus / "cameras_sphere.npz", **arrays)
    with pytest.raises(SceneFormatError, match=reason):
        load(neus)


def test_neus_scale_that_is_no_sphere(neus):
    arrays = {name: np.diag([1.0, 2, 3, 1]) if "scale" in name else array for name, array in neus_arrays().items()}
    np.savez(neus / "cameras_sphere.npz", **arrays)
    with pytest.raises(SceneFormatError, match="sphere to a sphere"):
        load(neus)


def test_an_archive_that_unpacks_to_far_more_is_refused(neus):
    member = io.BytesIO()
    np.save(member, np.zeros(1 << 22))
    with zipfile.ZipFile(neus / "cameras_sphere.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("world_mat_0.npy", member.getvalue())
    with pytest.raises(SceneFormatError, match=r"world_mat_0.*more than"):
        load(neus)


def test_neus_damaged(neus):
    assert fuzz(neus, [neus / "cameras_sphere.npz"], rounds=80) > 40


def test_dtu_archive_for_larger_images_is_refused(neural_data):
    with pytest.raises(SceneFormatError, match=r"principal point .* outside 000000\.jpg, which is 800 x 600"):
        load(neural_data / "dtu_scan24" / "cameras_sphere_fullres.npz")


def test_dtu_archive_gives_the_cameras_that_were_recorded_beside_it(neural_data, tmp_path):
    """The archive is for 1600 x 1200; halving an image takes pixel centre u to (u + 1/2) / 2 - 1/2."""
    import json

    import torch

    folder = neural_data / "dtu_scan24"
    recorded = json.loads((folder / "cameras.json").read_text())
    scene = load(real_captures.dtu(neural_data, tmp_path))
    centres = np.array([np.linalg.inv(np.array(f["w2c"]))[:3, 3] for f in recorded["frames"]])
    np.testing.assert_allclose(scene.cameras.origins.numpy(), centres, atol=0.05)  # millimetres
    middle = scene.aabb.numpy().mean(axis=0)
    for i, frame in enumerate(recorded["frames"]):
        pixel, _ = scene.cameras.project(torch.from_numpy(middle)[None], i)
        u, v, w = np.array(frame["K"]) @ (np.array(frame["w2c"]) @ [*middle, 1.0])[:3]
        # Recorded by halving K alone, which is half of half a pixel from the format's own count.
        np.testing.assert_allclose(pixel[0].numpy(), [u / w + 0.25, v / w + 0.25], atol=0.02)
        mask = np.asarray(Image.open(folder / "masks" / f"{i:06d}.png").convert("L"))
        assert scene.masks[i].sum() == 255 * (mask > 127).sum()


# --- together -------------------------------------------------------------------------------------------------------


def test_two_captures_in_one_folder_are_named_with_the_remedy(nsvf):
    write_images(nsvf / "images")
    np.save(nsvf / "poses_bounds.npy", llff_rows())
    with pytest.raises(SceneFormatError, match=r"poses_bounds\.npy \(LLFF\), intrinsics\.txt.*by the path"):
        load(nsvf)
    assert load(nsvf / "poses_bounds.npy").image_names == NAMES
    assert load(nsvf / "intrinsics.txt").image_names == NSVF_NAMES


def test_what_tools_derive_from_each_other_is_read_with_a_warning(tiny):
    """mip-NeRF 360 has both COLMAP and LLFF; nerfstudio puts a transforms.json on top."""
    folder = tiny.colmap_text()
    np.save(folder / "poses_bounds.npy", llff_rows())
    scene = load(folder)
    assert len(scene.points) == 11
    assert scene.warnings == (
        "Read sparse/0/images.txt; there is also poses_bounds.npy (LLFF): to read that, load the path of its file.",
    )
    tiny.json("transforms.json", tiny.document())
    scene = load(folder)
    assert scene.points is None
    assert "sparse/0/images.txt (COLMAP), poses_bounds.npy (LLFF)" in scene.warnings[0]
    assert len(load(folder / "sparse/0/images.txt").points) == len(load(folder / "sparse/0").points) == 11
