"""Fused depths against a ball that is known exactly, maps as other programs read them, and mesh files with colours."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural import maps
from neural.cameras import Cameras
from neural.poses import look_at
from neural.rays import image_rays
from neural.render.rendering import Rendering
from neural.scenes.files import mesh, ply
from neural.surfaces import fused, normals_of, z_depth
from neural.texture import textured

BALL, FAR = 0.8, np.array([500_000.0, -2_000.0, 40.0])  # the radius, and where its middle is


def _cameras(n: int = 10, size: int = 96) -> Cameras:
    turns = np.arange(n) * 2.4
    heights = np.linspace(-0.9, 0.9, n)
    eyes = 3 * np.stack([np.cos(turns) * np.sqrt(1 - heights**2), heights, np.sin(turns) * np.sqrt(1 - heights**2)], 1)
    poses = np.stack([look_at(FAR + eye, FAR, np.array([0.1, -1.0, 0.05])) for eye in eyes])
    lens = torch.tensor([[110.0, 110.0, size / 2, size / 2]], dtype=torch.float64).repeat(n, 1)
    return Cameras.pinhole(torch.from_numpy(poses), lens, torch.tensor([[size, size]] * n))


def _render(cameras: Cameras, index: int) -> Rendering:
    """A ball whose colour is its normal; half transparent, to be divided by alpha."""
    posed = cameras.relative_to(torch.from_numpy(FAR))
    rays = image_rays(posed, index)
    origins, directions = rays.origins.double(), rays.directions.double()
    b = (origins * directions).sum(1)
    inside = b**2 - (origins**2).sum(1) + BALL**2
    distance = -b - inside.clamp_min(0).sqrt()
    alpha = torch.where(inside > 0, 0.75, 0.0)
    normal = (origins + distance[:, None] * directions) / BALL
    rgb = torch.where(inside[:, None] > 0, (normal + 1) / 2, 0.0)
    return Rendering(rgb.float(), alpha.float(), (alpha * distance).float())


BOX = torch.from_numpy(np.stack([FAR - 1, FAR + 1]))


@pytest.mark.parametrize("points", [False, True])
def test_a_ball_from_its_depths(points: bool) -> None:
    pytest.importorskip("open3d", reason="surfaces need Open3D: pip install 'neural[mesh]'")
    found = fused(_render, _cameras(), BOX, resolution=64, points=points)
    away = found.vertices - FAR
    voxel = 2 / 64
    radii = np.linalg.norm(away, axis=1)
    assert np.quantile(np.abs(radii - BALL), 0.95) < voxel / 2
    outwards = (found.normals * away).sum(1) / radii
    assert np.median(outwards) > 0.98
    colors = (away / radii[:, None] + 1) / 2 * 255
    assert np.median(np.abs(found.rgb - colors)) < 6
    if points:
        assert not len(found.faces)
        return
    a, b, c = (away[found.faces[:, i]] for i in range(3))
    assert np.einsum("nc,nc->n", a, np.cross(b, c)).sum() / 6 == pytest.approx(4 / 3 * np.pi * BALL**3, rel=0.03)


def test_few_faces_a_box_and_nothing() -> None:
    pytest.importorskip("open3d", reason="surfaces need Open3D: pip install 'neural[mesh]'")
    few = fused(_render, _cameras(4, 64), BOX, resolution=32, faces=200)
    assert 150 <= len(few.faces) <= 200
    half = BOX.clone()
    half[1, 0] = FAR[0]
    cut = fused(_render, _cameras(4, 64), half, resolution=32)
    assert cut.vertices[:, 0].max() <= FAR[0] + 2 / 32
    with pytest.raises(ValueError, match="no surface in the box"):
        fused(_render, _cameras(2, 32), BOX + 50, resolution=16)


def test_depths_and_normals_of_pixels() -> None:
    cameras = _cameras(1)
    rgb, z = z_depth(_render, cameras, 0)
    assert rgb.shape == (96, 96, 3) and (z[0] == 0).all()
    assert z[48, 48] == pytest.approx(3 - BALL, abs=2e-3)
    normals = normals_of(z, cameras, 0)
    np.testing.assert_allclose(normals[48, 48], [0, 0, -1], atol=0.03)
    seen = (normals != 0).any(-1)
    assert seen.sum() > 500 and (normals[seen][:, 2] < 0.05).all()
    world = normals[seen] @ cameras.c2w[0, :3, :3].numpy().T
    colors = rgb[seen] / 255 * 2 - 1
    assert np.median((world * colors).sum(1)) > 0.99


def test_maps_are_read_as_they_say(tmp_path: Path) -> None:
    similarity = np.diag([2.0, 2.0, 2.0, 1.0])
    index = maps.write(tmp_path / "m", _render, _cameras(2, 48), ["one", "two"], to_file=similarity, crs="EPSG:32631")
    content = json.loads(index.read_text())
    assert content["crs"] == "EPSG:32631" and [frame["name"] for frame in content["frames"]] == ["one", "two"]
    frame = content["frames"][1]
    depth = np.load(index.parent / frame["depth"])
    assert depth.dtype == np.float32 and depth[24, 24] == pytest.approx(2 * (3 - BALL), abs=0.01)
    with Image.open(index.parent / frame["depth_png"]) as picture:
        steps = np.asarray(picture)
    assert steps.max() == 65535
    np.testing.assert_allclose(steps * frame["depth_step"], depth, atol=frame["depth_step"])
    assert (index.parent / frame["depth_exr"]).read_bytes()[:4] == bytes.fromhex("762f3101")
    c2w = np.array(frame["c2w"])
    place = c2w[:3, 3] + c2w[:3, 2] * depth[24, 24]
    assert np.linalg.norm(place - 2 * FAR) == pytest.approx(2 * BALL, abs=0.05)
    with Image.open(index.parent / frame["normal"]) as picture:
        assert np.asarray(picture)[24, 24, 2] < 10 and (np.asarray(picture)[0] == 0).all()


@pytest.fixture
def triangle() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0.5]]) + FAR + 0.125
    return corners, np.array([[0, 1, 2]]), np.array([[255, 0, 0], [0, 128, 0], [0, 0, 64]], np.uint8)


@pytest.mark.parametrize("ending", [".ply", ".obj"])
def test_meshes_keep_colours_and_digits(tmp_path: Path, ending: str, triangle: tuple) -> None:
    """Corners in metres of UTM, to a millimetre."""
    corners, faces, rgb = triangle
    got = mesh.read(mesh.write(tmp_path / f"a{ending}", corners, faces, rgb))
    np.testing.assert_allclose(got.vertices, corners, atol=1e-3)
    np.testing.assert_array_equal(got.rgb, rgb)
    np.testing.assert_array_equal(got.faces, faces)


def test_trimesh_opens_a_glb(tmp_path: Path, triangle: tuple) -> None:
    trimesh = pytest.importorskip("trimesh", reason="judged by trimesh where it is there")
    corners, faces, rgb = triangle
    found = trimesh.load(mesh.write(tmp_path / "a.glb", corners, faces, rgb), process=False)
    found = found.to_geometry() if hasattr(found, "to_geometry") else found
    np.testing.assert_allclose(found.vertices, corners, atol=1e-3)
    np.testing.assert_array_equal(found.faces, faces)
    data = (tmp_path / "a.glb").read_bytes()  # colours of vertices beside a material it leaves out
    linear = np.frombuffer(data[-24:], "<u2").reshape(3, 4)[:, :3] / 65535
    np.testing.assert_allclose(linear, [[1, 0, 0], [0, 0.216, 0], [0, 0, 0.051]], atol=1e-3)


def test_points_with_normals(tmp_path: Path, triangle: tuple) -> None:
    corners, _, rgb = triangle
    normals = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
    ply.write_points(tmp_path / "a.ply", corners, rgb, normals=normals)
    xyz, colors = ply.read_points(tmp_path / "a.ply")
    np.testing.assert_array_equal(xyz, corners)
    np.testing.assert_array_equal(colors, rgb)
    np.testing.assert_array_equal(ply.read(tmp_path / "a.ply", "vertex")["nz"], [1, 0, 0])


def test_a_texture_shows_what_the_cameras_saw_and_corners_what_none_saw() -> None:
    pytest.importorskip("open3d", reason="surfaces need Open3D: pip install 'neural[mesh]'")
    found = fused(_render, _cameras(), BOX, resolution=48)
    left, square = textured(_render, _cameras(), found, size=256)
    assert square.rgb.shape == (256, 256, 3) and square.uv.min() >= 0 and square.uv.max() <= 1
    middles = left.vertices[left.faces].mean(1) - FAR
    column, row = (square.uv.mean(1) * 256).astype(int).clip(0, 255).T
    colors = (middles / np.linalg.norm(middles, axis=1)[:, None] + 1) / 2 * 255
    assert np.median(np.abs(square.rgb[row, column] - colors)) < 4
    assert np.quantile(np.abs(square.rgb[row, column] - colors).max(1), 0.99) < 40  # black would be far off
    unseen = textured(_render, _cameras(1), found, size=256)[1]
    column, row = (unseen.uv.mean(1) * 256).astype(int).clip(0, 255).T
    assert np.median(np.abs(unseen.rgb[row, column] - colors)) < 12  # of the corners, behind the only camera


def test_a_textured_glb_is_what_other_programs_read(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) + 100
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    uv = np.array([[[0, 1], [1, 1], [1, 0]], [[0, 1], [1, 0], [0, 0.5]]], dtype=np.float32)
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32], texture[32:] = (250, 10, 10), (10, 10, 250)  # red above, blue below
    path = mesh.write(tmp_path / "a.glb", vertices, faces, uv=uv, texture=texture)
    read = trimesh.load(path, force="mesh")
    assert len(read.faces) == 2 and np.allclose(read.bounds, [[100, 100, 100], [101, 101, 100]])
    picture = np.asarray(read.visual.material.baseColorTexture.convert("RGB")).astype(int)
    assert np.abs(picture - texture).max() < 30
    corner = int(np.argmin(np.linalg.norm(read.vertices - [101, 101, 100], axis=1)))
    assert np.allclose(read.visual.uv[corner], [1, 1])  # trimesh has 0 at the bottom
