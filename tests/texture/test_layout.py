"""Any triangles lie in the square: all, turned the right way round, none on another, charts apart."""

import numpy as np
import pytest

from neural.texture import texels
from neural.texture.charts import STEEPEST, charts, face_normals, neighbours, pieces
from neural.texture.filling import filled
from neural.texture.layout import MARGIN, laid_out
from neural.texture.packing import packed, shapes
from neural.texture.texels import Texels, covered
from tests.texture.two_balls import AT, ragged


def _ball(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    around, down = np.meshgrid(np.arange(n) / n * 2 * np.pi, np.linspace(0.1, np.pi - 0.1, n // 2))
    x, y, z = np.cos(around) * np.sin(down), np.sin(around) * np.sin(down), np.cos(down)
    i, j = (part.reshape(-1) for part in np.meshgrid(np.arange(n), np.arange(n // 2 - 1)))
    a, b, c, d = j * n + i, j * n + (i + 1) % n, (j + 1) * n + i, (j + 1) * n + (i + 1) % n
    faces = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    return np.stack([x, y, z], -1).reshape(-1, 3) + AT, faces


def _soup() -> tuple[np.ndarray, np.ndarray]:
    """Triangles between any three of few corners: every edge is one of many."""
    chance = np.random.default_rng(0)
    return chance.normal(size=(60, 3)), np.array([chance.choice(60, 3, replace=False) for _ in range(300)])


def _helix() -> tuple[np.ndarray, np.ndarray]:
    """A ramp of three turns, which seen from above lies on itself."""
    turn = np.linspace(0, 6 * np.pi, 200)
    inner, outer = (np.stack([r * np.cos(turn), r * np.sin(turn), 0.1 * turn], 1) for r in (0.5, 1.0))
    a = np.arange(199)
    return np.concatenate([inner, outer]), np.concatenate(
        [np.stack([a, a + 200, a + 201], 1), np.stack([a, a + 201, a + 1], 1)]
    )


def _moebius() -> tuple[np.ndarray, np.ndarray]:
    turn = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    side = np.stack([np.cos(turn / 2) * np.cos(turn), np.cos(turn / 2) * np.sin(turn), np.sin(turn / 2)], 1) * 0.3
    ring = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
    a, b = np.arange(120), np.arange(1, 121)
    faces = np.concatenate([np.stack([a, b, a + 120], 1), np.stack([b, b + 120, a + 120], 1)])
    faces[119], faces[239] = [119, 120, 239], [120, 0, 239]  # the last joins the first, turned over
    return np.concatenate([ring - side, ring + side]), faces


def _crumpled(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Steeper than any one direction sees, so that directions turn from triangles that charts began with."""
    x, y = np.meshgrid(np.arange(n), np.arange(n))
    heights = 2 * np.random.default_rng(0).normal(size=(n, n))
    i, j = (part.reshape(-1) for part in np.meshgrid(np.arange(n - 1), np.arange(n - 1)))
    a, b, c, d = j * n + i, j * n + i + 1, (j + 1) * n + i, (j + 1) * n + i + 1
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    return np.stack([x, y, heights], -1).reshape(-1, 3), faces


SURFACES = {
    "ball": _ball(), "ragged ball": ragged(*_ball(), seed=3), "soup": _soup(), "helix": _helix(), "moebius": _moebius(),
    "crumpled": _crumpled(),
    "one": (np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]])),
    "needle": (np.array([[0.0, 0, 0], [100, 0, 0], [50, 1e-6, 0], [0, 1, 0]]), np.array([[0, 1, 2], [0, 1, 3]])),
}  # fmt: skip


@pytest.mark.parametrize("name", SURFACES)
def test_every_triangle_has_a_place_of_its_own(name: str) -> None:
    vertices, faces = SURFACES[name]
    side = 512
    layout = laid_out(vertices, faces, side)
    corners = layout.corners
    assert corners.shape == (len(faces), 3, 2)
    assert corners.min() >= MARGIN and corners.max() <= side - MARGIN
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    assert (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0] < 0).all()  # counterclockwise, y down
    drawn = covered(corners)
    inner = drawn.weights.min(1) > 0.05
    pixel = drawn.row[inner] * side + drawn.column[inner]
    many = np.bincount(pixel, minlength=side**2)
    assert (many > 1).sum() <= 0.002 * (many > 0).sum()
    texels = layout.texels
    assert len(np.unique(texels.row * side + texels.column)) == len(texels.face)
    off = np.abs(
        np.einsum("tk,tkc->tc", texels.weights, corners[texels.face]) - np.stack([texels.column, texels.row], 1) - 0.5
    ).max(1)
    small = (texels.weights == np.float32(1 / 3)).all(1)  # triangles that hold no pixel's centre
    assert off[~small].max() < 2e-2 and off.max() <= 0.5 and small.mean() < 0.01
    assert len(np.unique(texels.face)) > 0.99 * len(faces)
    if name != "needle":
        assert len(texels.face) > 0.3 * side**2


@pytest.mark.parametrize("name", ["ball", "ragged ball"])
def test_charts_keep_their_distance(name: str) -> None:
    vertices, faces = SURFACES[name]
    layout = laid_out(vertices, faces, 512)
    apart = pieces(np.zeros(len(faces), np.int64), _sharing(layout.corners))
    owner = np.full((512, 512), -1)
    owner[layout.texels.row, layout.texels.column] = apart[layout.texels.face]
    for down in range(2 * MARGIN + 1):
        for right in range(2 * MARGIN + 1):
            for way in (owner, owner[:, ::-1]):
                one, two = way[: 512 - down, : 512 - right], way[down:, right:]
                assert not ((one >= 0) & (two >= 0) & (one != two)).any()


def _sharing(corners: np.ndarray) -> np.ndarray:
    """Neighbours in the square: those that share both places of an edge."""
    _, index = np.unique(corners.round(3).reshape(-1, 2), axis=0, return_inverse=True)
    return neighbours(index.reshape(-1, 3))


def test_neighbours_share_an_edge_with_nobody_else_and_turn_the_same_way() -> None:
    same, against, third = [0, 1, 2], [1, 0, 3], [0, 1, 4]
    assert neighbours(np.array([same, against])).tolist() == [[1, -1, -1], [0, -1, -1]]
    assert (neighbours(np.array([same, third])) == -1).all()  # one of them is turned over
    assert (neighbours(np.array([same, against, third])) == -1).all()


@pytest.mark.parametrize("name", SURFACES)
def test_a_chart_looks_one_way_and_grows_triangle_by_triangle(name: str) -> None:
    vertices, faces = SURFACES[name]
    label, directions, order = charts(vertices, faces)
    normals = face_normals(vertices, faces)[0]
    assert (normals * directions[label]).sum(1).min() >= STEEPEST / 2
    assert sorted(order.tolist()) == list(range(len(faces)))


def test_a_ball_takes_few_charts_and_is_hardly_stretched() -> None:
    vertices, faces = SURFACES["ball"]
    label, directions, _ = charts(vertices, faces)
    assert len(directions) <= 12
    layout = laid_out(vertices, faces, 512)
    scales = np.linalg.norm(layout.corners[:, 1] - layout.corners[:, 0], axis=1) / np.linalg.norm(
        vertices[faces[:, 1]] - vertices[faces[:, 0]], axis=1
    )
    assert scales.max() / np.median(scales) < 1.6 and np.median(scales) / scales.min() < 7
    beside = neighbours(faces)
    assert len(np.unique(pieces(label, beside))) == len(directions)  # each in one part


def test_too_many_charts_for_the_square() -> None:
    vertices, faces = _soup()
    with pytest.raises(ValueError, match=r"\d+ charts have no place in 64 x 64 pixels"):
        laid_out(vertices, faces, 64)


def test_triangles_cover_the_pixels_whose_centres_they_hold() -> None:
    chance = np.random.default_rng(5)
    corners = chance.random((40, 3, 2)) * 30
    found = covered(corners)
    rows, columns = np.mgrid[:30, :30] + 0.5
    for face, (a, b, c) in enumerate(corners):

        def side(p: np.ndarray, q: np.ndarray) -> np.ndarray:
            return (q[0] - p[0]) * (rows - p[1]) - (q[1] - p[1]) * (columns - p[0])

        sides = np.stack([side(a, b), side(b, c), side(c, a)])
        expected = (sides > 0).all(0) | (sides < 0).all(0)
        got = np.zeros_like(expected)
        got[found.row[found.face == face], found.column[found.face == face]] = True
        assert (got != expected).sum() == 0
    at = np.einsum("tk,tkc->tc", found.weights, corners[found.face])
    np.testing.assert_allclose(at, np.stack([found.column, found.row], 1) + 0.5, atol=1e-3)


def test_what_is_done_at_once_is_bounded_and_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = np.random.default_rng(6).random((60, 3, 2)) * 30
    corners[::2] = np.sort(corners[::2], axis=1)  # either way round, many of them long and thin
    whole = covered(corners)
    sizes: list[int] = []
    among = texels._among

    def noted(part: np.ndarray, area: np.ndarray, top: np.ndarray, rows: np.ndarray) -> Texels:
        sizes.append(len(part))
        assert len(part) == 1 or rows.sum() + np.abs(area).sum() <= 500
        return among(part, area, top, rows)

    monkeypatch.setattr(texels, "_AT_ONCE", 500)
    monkeypatch.setattr(texels, "_among", noted)
    for one, two in zip(covered(corners), whole, strict=True):
        np.testing.assert_array_equal(one, two)
    assert sum(sizes) == 60 and len(sizes) < 40


def test_a_line_covers_nothing() -> None:
    line = np.array([[[1.0, 2.5], [3.5, 2.5], [6.0, 2.5]], [[2.5, 1.0], [2.5, 5.5], [2.5, 3.0]]])
    assert len(covered(line).face) == 0


def test_slivers_leave_no_pixel_out() -> None:
    """Boxes around these would hold a thousand times their pixels."""
    turn, radius = np.arange(20_000) / 20_000 * 2 * np.pi, 250.3
    rim = radius * (1 + np.stack([np.cos(turn), np.sin(turn)], 1))
    found = covered(np.stack([rim, np.roll(rim, -1, axis=0), np.full_like(rim, radius)], axis=1))
    rows, columns = np.mgrid[:501, :501] + 0.5
    away = np.hypot(rows - radius, columns - radius)
    got = np.zeros((501, 501), bool)
    got[found.row, found.column] = True
    assert got[away < radius - 1e-2].all() and not got[away > radius + 1e-2].any()
    assert len(found.face) < 1.01 * got.sum()


def test_shapes_are_let_down_onto_each_other() -> None:
    """An L and a block that fits into its corner take no more rows than the L."""
    cells = [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0), (0, 2, 0), (1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1)]
    chart, column, row = np.array(cells).T
    given = shapes(chart, column, row, np.array([[3, 3], [2, 2]]), 0)
    places, height = packed(given, 3)
    assert height == 3
    drawn = np.zeros((3, 3), int)
    np.add.at(drawn, (places[chart, 1] + row, places[chart, 0] + column), 1)
    assert drawn.max() == 1


def test_a_column_without_a_pixel_belongs_to_the_shape_from_top_to_bottom() -> None:
    """Something thin lies there."""
    (shape,) = shapes(np.zeros(2, np.int64), np.array([0, 2]), np.array([3, 1]), np.array([[3, 5]]), 0)
    assert shape.low.tolist() == [3, 0, 1] and shape.high.tolist() == [4, 5, 2]
    (wider,) = shapes(np.zeros(1, np.int64), np.array([0]), np.array([3]), np.array([[1, 5]]), 2)
    assert wider.low.tolist() == [3] * 5 and wider.high.tolist() == [8] * 5


@pytest.mark.parametrize("degrees", [0, 30, 90])
def test_charts_stand_upright(degrees: int) -> None:
    """As the tallest are laid first, beside one another."""
    turn = np.radians(degrees)
    x, y = np.array([np.cos(turn), np.sin(turn), 0]), np.array([-np.sin(turn), np.cos(turn), 0])
    vertices = np.stack([0 * x, 4 * x, 4 * x + y, y])
    corners = laid_out(vertices, np.array([[0, 1, 2], [0, 2, 3]]), 128).corners.reshape(-1, 2)
    assert np.ptp(corners[:, 1]) == pytest.approx(4 * np.ptp(corners[:, 0]), rel=0.2)  # turned by 16ths


def test_a_ring_takes_the_mean_of_what_it_touches() -> None:
    rgb, known = np.full((7, 7, 3), 99, np.uint8), np.zeros((7, 7), bool)
    rgb[3, 3], rgb[3, 4], known[3, 3:5] = 10, 13, True
    got = filled(rgb, known, 1)[..., 0]
    assert (got[2, 3], got[4, 3], got[2, 4], got[4, 4]) == (12, 12, 12, 12)  # 11.5
    assert (got[3, 2], got[3, 5]) == (10, 13)


def test_far_from_everything_patches_count_alike_and_what_is_unknown_does_not() -> None:
    """Four pixels of 100 and one of 0: the blocks that they lie in weigh the same."""
    rgb, known = np.full((4, 4, 3), 200, np.uint8), np.zeros((4, 4), bool)
    rgb[:2, :2], known[:2, :2] = 100, True
    rgb[0, 3], known[0, 3] = 0, True
    got = filled(rgb, known, 0)[..., 0]
    assert got.tolist() == [[100, 100, 0, 0], [100, 100, 0, 0], [50] * 4, [50] * 4]


def test_gaps_take_the_colours_around_them() -> None:
    rgb, known = np.zeros((33, 20, 3), np.uint8), np.zeros((33, 20), bool)
    rgb[:, :8], known[:, :8] = (200, 100, 50), True
    rgb[30:, 12:], known[30:, 12:] = (10, 20, 30), True
    got = filled(rgb, known, 2)
    np.testing.assert_array_equal(got[known], rgb[known])
    np.testing.assert_array_equal(got[:28, 8:10], np.broadcast_to([200, 100, 50], (28, 2, 3)))
    assert got.min() >= 10 and (got[15, 19].astype(int) - [200, 100, 50]).max() <= 0
