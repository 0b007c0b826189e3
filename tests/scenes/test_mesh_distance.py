"""Exact distances and signs: against formulas, against sums of solid angles, on closed, open and faulty meshes."""

import numpy as np
import pytest

from neural.errors import SceneFormatError
from neural.scenes.mesh_distance import DIRECTIONS, MeshDistance, inside_of_grid, refuse_hollow
from neural.scenes.solid import Solid, build
from tests.shapes import box, icosphere, inverted, joined, mesh_of, without

pytest.importorskip("open3d", reason="distances to a mesh need Open3D: pip install 'neural[mesh]'")


def points(n: int = 2000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3), dtype=np.float32)


def by_solid_angles(solid: Solid, at: np.ndarray) -> np.ndarray:
    """Winding number as the sum over all faces (Van Oosterom and Strackee 1983)."""
    v = solid.corners()[None] - at[:, None, None].astype(np.float64)
    v /= np.linalg.norm(v, axis=-1, keepdims=True)
    a, b, c = v[:, :, 0], v[:, :, 1], v[:, :, 2]
    triple = np.einsum("nfk,nfk->nf", a, np.cross(b, c))
    return np.arctan2(triple, 1 + (a * b).sum(-1) + (b * c).sum(-1) + (c * a).sum(-1)).sum(1) / (2 * np.pi)


def test_a_sphere_has_the_distance_of_a_sphere() -> None:
    distance = MeshDistance(build(icosphere(5), "sphere"))
    at = points()
    true = np.linalg.norm(at - 0.5, axis=1) - 0.45
    np.testing.assert_allclose(distance.signed(at), true, atol=2e-4)  # its faces lie a little within
    np.testing.assert_array_equal(distance.signed(at) < 0, distance.inside(at))


def test_a_box_has_the_distance_of_a_box() -> None:
    distance = MeshDistance(build(box((0, 0, 0), (2, 1, 1)), "box"))
    at = points()
    q = np.abs(at - 0.5) - np.array([0.45, 0.225, 0.225])
    true = np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0)
    np.testing.assert_allclose(distance.signed(at), true, atol=1e-6)


@pytest.mark.parametrize("gone", [[], [3], [0, 1, 2, 40, 41, 300]])
@pytest.mark.parametrize("direction", range(3))
def test_the_winding_number_is_the_sum_of_the_solid_angles(gone: list[int], direction: int) -> None:
    solid = build(without(icosphere(2), gone), "sphere")
    distance = MeshDistance(solid, "winding")
    at = points(500)
    np.testing.assert_allclose(
        distance.winding_number(at, DIRECTIONS[direction]), by_solid_angles(solid, at), atol=1e-9
    )
    np.testing.assert_array_equal(distance.inside(at), by_solid_angles(solid, at) > 0.5)


def test_half_a_sphere_is_filled_up_to_where_half_of_the_view_is_surface() -> None:
    sphere = icosphere(3)
    upper = sphere.faces[(sphere.vertices[sphere.faces][:, :, 1] >= -1e-9).all(1)]
    solid = build(mesh_of(sphere.vertices, upper), "dome")
    distance = MeshDistance(solid)
    assert distance.sign == "winding"
    at = points(600)
    np.testing.assert_array_equal(distance.inside(at), by_solid_angles(solid, at) > 0.5)
    assert 0.05 < distance.inside(at).mean() < 0.5


def test_parity_and_winding_agree_on_closed_meshes_and_overlaps_tell_them_apart() -> None:
    ring = joined(box((0, 0, 0), (3, 3, 1)), inverted(box((1, 1, -0.5), (2, 2, 1.5))))
    two = joined(box((0, 0, 0), (2, 1, 1)), box((1, 0.1, 0.1), (3, 0.9, 0.9)))
    at = points()
    solid = build(icosphere(2), "sphere")
    np.testing.assert_array_equal(MeshDistance(solid, "parity").inside(at), MeshDistance(solid, "winding").inside(at))
    overlap = build(two, "two")
    parity, winding = MeshDistance(overlap, "parity"), MeshDistance(overlap, "winding")
    unit = overlap.from_unit(at)
    within = np.abs(unit - [1.5, 0.5, 0.5]) < [0.5, 0.4, 0.4]
    np.testing.assert_array_equal(winding.inside(at) & ~parity.inside(at), within.all(1))
    assert MeshDistance(build(ring, "ring")).sign == "parity"


def test_a_cavity_is_outside() -> None:
    solid = build(joined(box((0, 0, 0), (3, 3, 3)), inverted(box((1, 1, 1), (2, 2, 2)))), "hollow")
    middle = np.full((1, 3), 0.5, np.float32)
    for sign in ("parity", "winding"):
        distance = MeshDistance(solid, sign)
        assert distance.signed(middle) == pytest.approx(0.5 / 3 * 0.9) and not distance.inside(middle)[0]


def test_any_company_and_any_order_gives_the_same_bits() -> None:
    distance = MeshDistance(build(without(icosphere(3), [0, 9]), "sphere"))
    at = points(3000)
    whole = distance.signed(at)
    order = np.random.default_rng(1).permutation(len(at))
    np.testing.assert_array_equal(distance.signed(at[order]), whole[order])
    np.testing.assert_array_equal(distance.signed(at[7:11]), whole[7:11])


def test_rays_meet_the_sphere() -> None:
    distance = MeshDistance(build(icosphere(5), "sphere"))
    origins = np.array([[0.5, 0.5, -1.0], [0.5, 0.5, -1.0]], np.float32)
    hits = distance.cast(origins, np.array([[0, 0, 1], [0, 1, 0]], np.float32))
    assert hits.t[0] == pytest.approx(1.05, abs=1e-3) and np.isinf(hits.t[1])
    np.testing.assert_allclose(hits.normals, [[0, 0, -1], [0, 0, 0]], atol=0.05)


@pytest.mark.parametrize("gone", [[], [0, 1, 2, 3]])
def test_the_grid_has_the_sign_of_every_point(gone: list[int]) -> None:
    distance = MeshDistance(build(without(icosphere(2), gone), "sphere"))
    n = 32
    axis = (np.arange(n) + 0.5) / n
    each = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    np.testing.assert_array_equal(inside_of_grid(distance, n).reshape(-1), distance.inside(each))
    with pytest.raises(ValueError, match="a multiple of 8, got 20"):
        inside_of_grid(distance, 20)


def test_a_sheet_encloses_nothing() -> None:
    sheet = build(mesh_of([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]]), "sheet")
    with pytest.raises(SceneFormatError, match=r"sheet: encloses nothing \(sign by winding\)"):
        refuse_hollow(MeshDistance(sheet), points())
    refuse_hollow(MeshDistance(build(icosphere(1), "sphere")), points())


def test_a_sign_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="sign must be auto, parity or winding, got 'rays'"):
        MeshDistance(build(box(), "box"), "rays")


def test_the_bunny_with_its_holes(neural_data) -> None:
    from neural.scenes.files import mesh as meshes

    path = neural_data / "meshes" / "stanford-bunny.obj"
    solid = build(meshes.read(path), path)
    distance = MeshDistance(solid)
    at = points(12, seed=3)
    assert distance.sign == "winding"
    np.testing.assert_allclose(distance.winding_number(at), by_solid_angles(solid, at), atol=1e-9)
