"""Marching cubes in slabs: closed, oriented, the same for any slab, and where the surface is."""

import numpy as np
import pytest
import torch

from neural.meshing import march
from neural.scenes.files import mesh as meshes
from neural.scenes.solid import build
from tests.shapes import icosphere, mesh_of

pytest.importorskip("skimage", reason="marching cubes need scikit-image: pip install 'neural[mesh]'")


def ball(x: torch.Tensor) -> torch.Tensor:
    return (x - torch.tensor([0.5, 0.45, 0.55])).norm(dim=1) - 0.3


@pytest.mark.parametrize("layers", [2, 3, 7, 100])
def test_a_ball_is_closed_and_looks_outwards_whatever_the_slabs(layers: int) -> None:
    resolution = 24
    vertices, faces = march(ball, resolution, slab_values=layers * (resolution + 1) ** 2)
    solid = build(mesh_of(vertices, faces), "ball")
    assert solid.closed and not len(solid.open_edges) and solid.repairs == ()
    np.testing.assert_allclose(np.linalg.norm(vertices - [0.5, 0.45, 0.55], axis=1), 0.3, atol=2e-3)
    whole = march(ball, resolution)
    assert len(vertices) == len(whole[0]) and len(faces) == len(whole[1])
    np.testing.assert_allclose(np.sort(vertices, axis=0), np.sort(whole[0], axis=0), atol=1e-6)


def test_a_plane_through_the_corners_of_the_grid_is_one_sheet() -> None:
    """Values that are exactly 0, whole layers of them, at the edge of a slab too."""
    vertices, faces = march(lambda x: x[:, 0] - 0.5, 8, slab_values=3 * 81)
    np.testing.assert_allclose(vertices[:, 0], 0.5, atol=1e-6)
    assert meshes.areas(vertices, faces).sum() == pytest.approx(1)


def test_no_surface_is_an_empty_mesh() -> None:
    vertices, faces = march(lambda x: torch.ones(len(x)), 8)
    assert len(vertices) == 0 and len(faces) == 0
    with pytest.raises(ValueError, match="resolution must be 2 or more, got 1"):
        march(ball, 1)


@pytest.mark.parametrize("suffix", [".ply", ".obj"])
def test_what_is_written_is_read_again(tmp_path, suffix: str) -> None:
    sphere = icosphere(2, radius=3.0, centre=(1, 2, 3))
    read = meshes.read(meshes.write(tmp_path / "in" / f"a{suffix}", sphere.vertices, sphere.faces))
    np.testing.assert_allclose(read.vertices, sphere.vertices, atol=1e-6)
    np.testing.assert_array_equal(read.faces, sphere.faces)
    with pytest.raises(ValueError, match=r"written as \.ply, \.obj or \.glb"):
        meshes.write(tmp_path / "a.stl", sphere.vertices, sphere.faces)
