"""A texture shows from places where no camera was more than the colours of corners do; on ragged surfaces too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neural import texture
from neural.render.rendering import Rendering
from neural.scenes.files import mesh
from neural.surfaces import Surface, fused
from neural.texture import textured
from neural.texture.painting import Points, painted
from tests.texture.two_balls import AT, BOX, cameras, colors, looking, ragged, render, seen_by

pytest.importorskip("open3d", reason="surfaces need Open3D: pip install 'neural[mesh]'")
pytest.importorskip("trimesh", reason="judged by trimesh where it is there")


@pytest.fixture(scope="module")
def found() -> Surface:
    return fused(render, cameras(), BOX, resolution=48)


def _psnr(path: Path) -> float:
    """Over cameras that the texture has not seen, where the surface is what they see (and no hole or its inside)."""
    others, errors = cameras(4, start=1.0), []
    for index in range(len(others)):
        rgb, distance = seen_by(others, index, path)
        truth = render(others, index)
        alpha, depth = truth.alpha.numpy() > 0, truth.depth.numpy()
        both = alpha & (np.abs(distance - depth) < 0.05)
        assert both.sum() > 0.85 * alpha.sum()
        errors.append(np.mean((rgb[both] / 255 - truth.rgb.numpy()[both]) ** 2))
    return -10 * np.log10(np.mean(errors))


@pytest.mark.parametrize("rough", [False, True])
def test_from_elsewhere_it_shows_more_than_corners_do(tmp_path: Path, found: Surface, rough: bool) -> None:
    surface = found
    if rough:
        vertices, faces = ragged(found.vertices, found.faces, seed=1)
        more = len(vertices) - len(found.vertices)
        surface = Surface(
            vertices, faces, np.pad(found.rgb, ((0, more), (0, 0))), np.pad(found.normals, ((0, more), (0, 0)))
        )
    left, square = textured(render, cameras(), surface, size=512)
    assert len(left.faces) == len(surface.faces)
    mesh.write(tmp_path / "corners.ply", surface.vertices, surface.faces, surface.rgb)
    mesh.write(tmp_path / "texture.glb", left.vertices, left.faces, uv=square.uv, texture=square.rgb)
    corners, texture = _psnr(tmp_path / "corners.ply"), _psnr(tmp_path / "texture.glb")
    assert texture > corners + 7 and texture > 27, (corners, texture)


@pytest.mark.parametrize("lacking", [False, True])
def test_what_stands_before_it_is_not_painted_on_it(found: Surface, lacking: bool) -> None:
    """The red ball hides a patch from the camera that faces it; the surface may lack that ball, which pictures show."""
    if lacking:
        large = np.linalg.norm(found.vertices[found.faces].mean(1) - AT, axis=1) < 0.9
        found = found._replace(faces=found.faces[large])
    aside = np.array([np.cos(0.8), np.sin(0.8), 0])
    left, square = textured(render, looking(np.array([[1.0, 0, 0], aside])), found, size=512)
    middles = left.vertices[left.faces].mean(1) - AT
    behind = (np.linalg.norm(middles, axis=1) < 0.9) & (middles[:, 0] > 0.78)
    assert behind.sum() > 20
    column, row = (square.uv.mean(1)[behind] * 512).astype(int).clip(0, 511).T
    off = np.abs(square.rgb[row, column] / 255 - colors(middles[behind])).max(1)
    assert np.quantile(off, 0.95) < 0.2, off


def test_without_a_camera_that_sees_it_the_corners_show(found: Surface) -> None:
    def nothing(given: object, index: int) -> Rendering:
        pixels = int(cameras(1).sizes.prod())
        return Rendering(torch.zeros(pixels, 3), torch.zeros(pixels), torch.zeros(pixels))

    left, square = textured(nothing, cameras(1), found, size=256)
    column, row = (square.uv.mean(1) * 256).astype(int).clip(0, 255).T
    expected = found.rgb[left.faces].mean(1)
    assert np.quantile(np.abs(square.rgb[row, column] - expected).max(1), 0.9) < 30


def test_a_lens_that_bends_is_taken_as_a_pinhole(found: Surface) -> None:
    """Whatever gives pictures is asked for pinhole ones, so that a point lies in them where it is looked for."""
    straight = cameras(4)
    bent = replace(straight, models=torch.ones(4, dtype=torch.int64), distortion=straight.distortion - 0.2)
    one, two = (textured(render, given, found, size=128)[1].rgb for given in (straight, bent))
    np.testing.assert_array_equal(one, two)


def test_triangles_that_are_lines_are_left_out_and_normals_have_length_1(
    found: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few and large triangles the normals between corners are short."""
    asked: list[Points] = []
    monkeypatch.setattr(texture, "painted", lambda *given, **_: (asked.append(given[4]), painted(*given))[1])
    corners = AT + 0.8 * np.array(
        [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1], [0.5, 0.5, 0]]
    )
    faces = np.array(
        [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5], [0, 6, 1]]
    )
    normals = (corners - AT) / np.linalg.norm(corners - AT, axis=1, keepdims=True)
    rough = Surface(corners, faces, np.zeros((7, 3), np.uint8), normals)
    left, square = textured(render, cameras(2), rough, size=128)
    np.testing.assert_array_equal(left.faces, faces[:-1])
    assert square.uv.shape == (8, 3, 2)
    np.testing.assert_allclose(np.linalg.norm(asked[0].normals, axis=1), 1, atol=1e-5)


def test_the_same_twice(found: Surface) -> None:
    one, two = (textured(render, cameras(4), found, size=128)[1] for _ in range(2))
    np.testing.assert_array_equal(one.uv, two.uv)
    np.testing.assert_array_equal(one.rgb, two.rgb)
