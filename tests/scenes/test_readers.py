"""Every format gives the same scene, and real captures agree with what they recorded."""

import json

import numpy as np
import pytest
import torch

from neural.cameras import Cameras
from neural.lenses import FISHEYE, OPENCV, PINHOLE
from neural.scenes.formats.colmap_records import LENSES
from neural.scenes.load import load


def assert_same_cameras(a: Cameras, b: Cameras) -> None:
    for field in ("c2w", "intrinsics", "sizes", "models", "distortion"):
        torch.testing.assert_close(getattr(a, field), getattr(b, field), atol=1e-9, rtol=0)


@pytest.mark.parametrize("form", ["nerfstudio", "colmap_binary", "colmap_text"])
def test_every_format_gives_the_cameras_that_were_written(tiny, form):
    scene = load(getattr(tiny, form)())
    np.testing.assert_allclose(scene.cameras.c2w.numpy(), tiny.c2w, atol=1e-9)
    assert scene.cameras.intrinsics[0].tolist() == [24.0, 25.0, 9.5, 6.25]
    assert scene.cameras.distortion[0].tolist() == [0.05, -0.01, 0.001, -0.002, 0, 0, 0, 0]
    assert scene.cameras.kinds == (OPENCV,)
    np.testing.assert_allclose(scene.points.xyz, tiny.xyz)
    np.testing.assert_array_equal(scene.points.rgb, tiny.rgb)
    assert [name.split("/")[-1] for name in scene.image_names] == list(tiny.names)
    assert scene.splits == {"train": (1, 2, 3, 4, 5, 6, 7), "test": (0, 8)}
    assert scene.images[3].shape == (12, 20, 3)
    assert scene.unbounded
    assert scene.warnings == ()


def test_colmap_observations_link_points_and_cameras(tiny):
    for scene in (load(tiny.colmap_binary()), load(tiny.colmap_text())):
        seen = scene.points.observations
        assert seen.points.tolist() == seen.cameras.tolist() == list(range(9))
        assert seen.pixels.tolist() == [[1.5, 2.5]] * 9


def test_blender_angle_suffix_and_splits(tiny):
    scene = load(tiny.blender())
    np.testing.assert_allclose(scene.cameras.c2w.numpy(), tiny.c2w, atol=1e-9)
    torch.testing.assert_close(scene.cameras.intrinsics[0], torch.tensor([24.0, 24.0, 10.0, 6.0], dtype=torch.float64))
    assert scene.splits == {"train": tuple(range(7)), "test": (7, 8)}
    assert scene.background == "white"
    assert not scene.unbounded
    assert scene.images.channels == 4


def test_instant_ngp_box_and_frame_intrinsics(tiny):
    tiny.images(tiny.folder / "images")
    content = tiny.document(aabb_scale=2)
    content["frames"][4] |= {"fl_x": 30.0, "k1": 0.2}
    scene = load(tiny.json("transforms.json", content))
    np.testing.assert_allclose(scene.aabb.numpy(), np.array([[-1], [1]]) * np.ones(3) / 0.33)
    assert scene.cameras.intrinsics[4, 0] == 30
    assert scene.cameras.intrinsics[3, 0] == 24
    assert scene.cameras.distortion[4, 0] == 0.2


def test_named_splits_and_applied_transform(tiny):
    names = [f"images/{name}" for name in tiny.names]
    applied = [[0, 1, 0, 0.5], [-1, 0, 0, 0], [0, 0, 1, 0]]
    scene = load(
        tiny.nerfstudio(
            train_filenames=names[2:], test_filenames=names[:2], applied_transform=applied, applied_scale=2.0
        )
    )
    assert scene.splits["train"] == tuple(range(2, 9))
    assert scene.splits["test"] == (0, 1)
    np.testing.assert_allclose(scene.world_to_scene[:3], 2 * np.array(applied))
    np.testing.assert_allclose(scene.cameras.c2w.numpy(), tiny.c2w, atol=1e-9)


def test_masks_beside_either_format(tiny):
    from PIL import Image

    tiny.colmap_binary()
    (tiny.folder / "masks").mkdir()
    mask = np.zeros((12, 20), dtype=np.uint8)
    mask[:, 5:] = 255
    Image.fromarray(mask).save(tiny.folder / "masks" / f"{tiny.names[2]}.png")
    scene = load(tiny.folder)
    np.testing.assert_array_equal(scene.masks[2], mask)
    assert (scene.masks[0] == 255).all()
    content = tiny.document()
    content["frames"][1]["mask_path"] = f"masks/{tiny.names[2]}.png"
    scene = load(tiny.json("transforms.json", content))
    np.testing.assert_array_equal(scene.masks[1], mask)


def test_a_reduced_colmap_folder_is_used_and_rescales_the_lens(tiny):
    from PIL import Image

    tiny.colmap_binary()
    (tiny.folder / "images_3").mkdir()
    for name in tiny.names:  # 20 / 3 was rounded up by whoever made the folder
        Image.new("RGB", (7, 4), (1, 2, 3)).save(tiny.folder / "images_3" / name)
    scene = load(tiny.folder, downscale=3)
    assert scene.images[0].shape == (4, 7, 3)
    torch.testing.assert_close(
        scene.cameras.intrinsics[0],
        torch.tensor([24 * 7 / 20, 25 / 3, 9.5 * 7 / 20, 6.25 / 3], dtype=torch.float64),
    )
    np.testing.assert_allclose(scene.points.observations.pixels[0], [1.5 * 7 / 20, 2.5 / 3])


@pytest.mark.parametrize("lens", [lens for lens in LENSES.values() if lens.model is not None], ids=lambda x: x.name)
def test_every_colmap_lens_that_we_have(tiny, lens):
    tiny.colmap_text()
    focal = [24.0] if lens.shared_focal else [24.0, 25.0]
    bends = [0.01 * (i + 1) for i in range(len(lens.places))]
    params = " ".join(map(str, [*focal, 9.5, 6.25, *bends]))
    (tiny.folder / "sparse/0/cameras.txt").write_text(f"3 {lens.name} 20 12 {params}\n")
    cameras = load(tiny.folder).cameras
    assert cameras.intrinsics[0].tolist() == [focal[0], focal[-1], 9.5, 6.25]
    assert cameras.distortion[0].tolist() == bends + [0.0] * (8 - len(bends))
    assert cameras.kinds == (lens.model if bends else PINHOLE,)


def test_nerfstudio_fisheye(tiny):
    tiny.images(tiny.folder / "images")
    scene = load(tiny.json("transforms.json", tiny.document(camera_model="OPENCV_FISHEYE", k3=0.3, k4=0.4)))
    assert scene.cameras.kinds == (FISHEYE,)
    assert scene.cameras.distortion[0].tolist() == [0.05, -0.01, 0.3, 0.4, 0, 0, 0, 0]


def test_missing_images_can_be_skipped(tiny):
    tiny.nerfstudio()
    (tiny.folder / "images" / tiny.names[4]).unlink()
    scene = load(tiny.folder, missing="skip")
    assert len(scene.cameras) == 8
    assert "1 of 9" in scene.warnings[0]


@pytest.mark.parametrize("name", ["alexander_colmap", "drone_caliterra"])
def test_real_points_reproject_onto_their_observations(neural_data, name):
    scene = load(neural_data / name)
    seen = scene.points.observations
    errors = []
    for camera in range(len(scene.cameras)):
        rows = seen.cameras == camera
        pixels, depth = scene.cameras.project(torch.from_numpy(scene.points.xyz[seen.points[rows]]), camera)
        assert (depth > 0).all()
        errors.append(np.linalg.norm(pixels.numpy() - seen.pixels[rows], axis=1))
    assert len(seen.points) > 40_000
    assert np.median(np.concatenate(errors)) < 0.6


def test_fox_axes_meet_near_the_head_and_its_box_holds_the_cameras_view(neural_data):
    from neural.arrangement import focus_point, up_direction

    scene = load(neural_data / "fox")
    focus, agreement = focus_point(scene.cameras)
    assert np.linalg.norm(focus) < 0.5
    assert agreement > 0.8
    assert up_direction(scene.cameras)[2] > 0.98
    content = json.loads((neural_data / "fox" / "transforms.json").read_text())
    stored = np.array(content["frames"][7]["transform_matrix"])
    np.testing.assert_allclose(scene.cameras.c2w[7, :3, 2].numpy(), -stored[:3, 2], atol=1e-6)
    assert 4 < scene.aabb.abs().max() < 7


def test_lego_box_and_splits(neural_data):
    scene = load(neural_data / "lego_400")
    np.testing.assert_allclose(scene.aabb.numpy(), 1.5 * np.array([[-1], [1]]) * np.ones(3), atol=0.05)
    assert (len(scene.splits["train"]), len(scene.splits["test"])) == (88, 12)
    assert not scene.unbounded


def test_lego_silhouette_carves_a_solid_that_fills_its_own_silhouettes(neural_data):
    """Alpha and poses agree: points inside every silhouette exist, and cover what a held-out view shows."""
    scene = load(neural_data / "lego_400", downscale=4)
    grid = torch.linspace(-1.2, 1.2, 49, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(grid, grid, grid, indexing="ij"), dim=-1).reshape(-1, 3)
    inside = torch.ones(len(points), dtype=torch.bool)
    for i in scene.splits["train"]:
        pixels, _ = scene.cameras.project(points, i)
        cols, rows = pixels.floor().long().clamp(0, 99).unbind(-1)
        inside &= torch.from_numpy(scene.images[i][..., 3].copy())[rows, cols] > 0
    assert 1000 < inside.sum() < len(points) / 3
    view = scene.splits["test"][0]
    covered = np.zeros((100, 100), dtype=bool)
    cols, rows = scene.cameras.project(points[inside], view)[0].floor().long().unbind(-1)
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            covered[(rows + dr).clamp(0, 99), (cols + dc).clamp(0, 99)] = True
    shown = scene.images[view][..., 3] > 250
    assert (covered & shown).sum() / shown.sum() > 0.9
