"""Meshes as bodies: what is mended, what is said of it, and the place in the unit cube."""

import numpy as np
import pytest

from neural.errors import SceneFormatError
from neural.scenes.files import mesh as meshes
from neural.scenes.solid import FILL, build
from tests.shapes import box, icosphere, inverted, joined, mesh_of, soup, without


def volume(solid) -> float:
    a, b, c = (solid.vertices[solid.faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def test_a_sound_mesh_stays_as_it_is() -> None:
    sphere = icosphere(2)
    solid = build(sphere, "sphere")
    np.testing.assert_array_equal(solid.vertices, sphere.vertices)
    np.testing.assert_array_equal(solid.faces, sphere.faces)
    assert solid.repairs == () and solid.closed and not len(solid.open_edges)


def test_the_longest_side_fills_its_share_of_the_cube_and_the_way_back_is_exact() -> None:
    far = box((1e6, -5.0, 2.0), (1e6 + 4, -3.0, 2.5))
    solid = build(far, "far")
    unit = solid.to_unit(solid.vertices)
    np.testing.assert_allclose(np.ptp(unit, axis=0), np.array([4, 2, 0.5]) / 4 * FILL)
    np.testing.assert_allclose((unit.min(0) + unit.max(0)) / 2, 0.5)
    np.testing.assert_allclose(solid.from_unit(unit), solid.vertices, atol=1e-9)


def test_duplicate_corners_are_merged() -> None:
    solid = build(soup(icosphere(2)), "soup")
    assert len(solid.vertices) == 162 and solid.closed
    assert solid.repairs == (f"{3 * 320 - 162} duplicate corners merged",)


def test_minus_zero_is_zero() -> None:
    triangles = soup(box((-1.0, -1.0, 0.0), (1.0, 1.0, 1.0)))
    flipped = triangles.vertices.copy()
    flipped[::5][flipped[::5] == 0] = -0.0
    assert build(mesh_of(flipped, triangles.faces), "box").closed


def test_duplicate_faces_and_faces_without_an_area_go() -> None:
    cube = box()
    again = np.roll(cube.faces[3], 1)
    line = [0, 1, 1]
    solid = build(mesh_of(cube.vertices, np.vstack([cube.faces, again, line])), "cube")
    assert len(solid.faces) == 12 and solid.closed and volume(solid) == pytest.approx(1)
    assert solid.repairs == ("1 duplicate face removed", "1 face without an area removed")


def test_a_wall_between_two_bodies_goes() -> None:
    solid = build(joined(box((0, 0, 0), (1, 1, 1)), box((1, 0, 0), (2, 1, 1))), "two")
    assert solid.closed and len(solid.faces) == 20 and volume(solid) == pytest.approx(2)
    assert solid.repairs == ("4 duplicate corners merged", "2 pairs of faces back to back removed")


def test_a_sliver_that_closes_a_seam_leaves_the_mesh_closed() -> None:
    """A corner in the middle of an edge on one side only: the sliver between has no area, and is needed."""
    cube = box()
    edge = cube.faces[0][:2]
    middle = len(cube.vertices)
    vertices = np.vstack([cube.vertices, cube.vertices[edge].mean(0)])
    a, b, c = cube.faces[0]
    faces = np.vstack([cube.faces[1:], [a, middle, c], [middle, b, c], [a, b, middle]])
    solid = build(mesh_of(vertices, faces), "cube")
    assert solid.closed and not len(solid.open_edges)
    assert solid.repairs == ("1 face without an area removed",)


@pytest.mark.parametrize("gone", [[], [0, 7]])
def test_what_is_inside_out_is_turned(gone: list[int]) -> None:
    solid = build(inverted(without(icosphere(2), gone)), "sphere")
    assert solid.repairs == ("faces pointed inwards and were turned",)
    np.testing.assert_array_equal(np.sort(solid.faces), np.sort(without(icosphere(2), gone).faces))
    assert volume(solid) > 0


def test_a_cavity_keeps_its_orientation() -> None:
    solid = build(joined(box((0, 0, 0), (3, 3, 3)), inverted(box((1, 1, 1), (2, 2, 2)))), "hollow")
    assert solid.repairs == () and volume(solid) == pytest.approx(27 - 1)


def test_open_edges_are_those_of_the_hole_as_its_faces_have_them() -> None:
    sphere = icosphere(1)
    solid = build(without(sphere, [5]), "sphere")
    a, b, c = sphere.faces[5]
    neighbours = {(b, a), (c, b), (a, c)}  # of the faces on the other side
    assert {tuple(edge) for edge in solid.open_edges.tolist()} == neighbours and not solid.closed


def test_no_area_is_refused() -> None:
    with pytest.raises(SceneFormatError, match=r"flat: has no face with an area"):
        build(mesh_of([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]]), "flat")


@pytest.mark.parametrize(("name", "open_edges"), [("armadillo", 0), ("stanford-bunny", 223), ("fandisk", 0)])
def test_real_meshes(neural_data, name: str, open_edges: int) -> None:
    path = neural_data / "meshes" / f"{name}.obj"
    solid = build(meshes.read(path), path)
    assert solid.name == name and len(solid.open_edges) == open_edges and solid.closed == (open_edges == 0)
    assert volume(solid) > 0
