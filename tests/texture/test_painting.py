"""Which cameras colour a point, and how much each: walls and plates of known place, pictures of one colour each."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from neural.cameras import Cameras
from neural.rays import image_rays
from neural.render.rendering import Rendering
from neural.surfaces import Render
from neural.texture.painting import Points, painted

pytest.importorskip("open3d", reason="asks Open3D what is seen: pip install 'neural[mesh]'")

SIDE, FOCAL = 320, 160.0  # of pictures: 90 degrees wide
WALL = 2.0  # depth of the wall in front of cameras at the origin
RED, BLUE, OWN = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)


def looking_ahead(*eyes: Sequence[float], cx: Sequence[float] = ()) -> Cameras:
    """Along +z with y down."""
    poses = torch.eye(4, dtype=torch.float64).repeat(len(eyes), 1, 1)
    poses[:, :3, 3] = torch.tensor(eyes, dtype=torch.float64)
    lens = torch.tensor([[FOCAL, FOCAL, SIDE / 2, SIDE / 2]], dtype=torch.float64).repeat(len(eyes), 1)
    for row, value in zip(lens, cx, strict=False):
        row[2] = value
    return Cameras.pinhole(poses, lens, torch.tensor([[SIDE, SIDE]] * len(eyes)))


def sheet(z: float, x: tuple[float, float], y: tuple[float, float], *, away: bool = False) -> np.ndarray:
    """Corners [2, 3, 3] of two triangles that face cameras before them; or away from them."""
    a, b, c, d = ((x[i], y[j], z) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1)))
    faces = np.array([[a, d, b], [c, b, d]])
    return faces[:, ::-1] if away else faces


def on(places: np.ndarray, normal: Sequence[float] = (0, 0, -1)) -> Points:
    """Points of the first triangle."""
    n = len(places)
    return Points(
        places.astype(np.float32), np.tile(np.array(normal, np.float32), (n, 1)), np.zeros(n, np.int64),
        np.tile(np.array(OWN, np.float32), (n, 1)),
    )  # fmt: skip


def shown(colors: Sequence[Sequence[float]], z: Sequence[float]) -> Render:
    """Pictures of one colour, all at one depth along the view."""

    def render(cameras: Cameras, index: int) -> Rendering:
        along = image_rays(cameras, index).directions.float() @ cameras.c2w[index, :3, 2].float()
        rgb = torch.tensor(colors[index]).float().expand(len(along), 3)
        return Rendering(rgb, torch.ones(len(along)), z[index] / along)

    return render


def colored(render: Render, cameras: Cameras, triangles: np.ndarray, points: Points) -> np.ndarray:
    """0 to 1."""
    faces = np.arange(3 * len(triangles)).reshape(-1, 3)
    return painted(render, cameras, triangles.reshape(-1, 3).astype(np.float64), faces, points) / 255


def wall(at: np.ndarray) -> np.ndarray:
    """Places on the wall that are seen at some pixels."""
    return np.concatenate([(at - SIDE / 2) / FOCAL * WALL, np.full((len(at), 1), WALL)], axis=1)


BACK = sheet(WALL, (-5, 5), (-5, 5))


def test_a_plate_keeps_its_camera_off_what_is_behind_it_to_the_pixel() -> None:
    """Even where the picture has the wall's depth, as one of something that the picture looks through: at the rim of a
    wide picture, where rays are longer than depths, too."""
    depth, x, y = 1.7, (-1.5, -0.5), (-1.4, 0.3)
    steps = np.linspace(-5, 5, 21)  # of mean edges, some of which what is seen may lie behind what is met first
    fine = [sheet(WALL, (a, a + 0.5), (b, b + 0.5)) for a in steps[:-1] for b in steps[:-1]]
    left, right = (np.array(x) / depth * FOCAL + SIDE / 2).tolist()
    top, bottom = (np.array(y) / depth * FOCAL + SIDE / 2).tolist()
    at = np.random.default_rng(0).uniform(2, SIDE - 2, (40_000, 2))
    got = colored(
        shown([RED], [WALL]), looking_ahead((0, 0, 0)), np.concatenate([*fine, sheet(depth, x, y)]), on(wall(at))
    )
    (column, row), red = at.T, got[:, 0] > 0.5
    before = (column > left) & (column < right) & (row > top) & (row < bottom)
    beside = (column < left - 1) | (column > right + 1) | (row < top - 1) | (row > bottom + 1)
    assert before.sum() > 4000 and not red[before].any()
    assert beside.sum() > 10_000 and red[beside].all()
    np.testing.assert_array_equal(got[before], np.tile(OWN, (before.sum(), 1)))


def test_what_is_behind_a_camera_is_not_in_its_picture() -> None:
    places = np.array([[0.2, 0.1, -WALL]])
    behind = sheet(-WALL, (-5, 5), (-5, 5), away=True)  # turned towards the eye
    got = colored(shown([RED], [WALL]), looking_ahead((0, 0, 0)), behind, on(places, (0, 0, 1)))
    np.testing.assert_array_equal(got, [OWN])


def test_a_sheet_is_painted_from_the_side_that_it_faces_whatever_its_smooth_normals_say() -> None:
    """As at the edge of something thin, whose normals are the mean of both sides."""
    got = colored(shown([RED], [WALL]), looking_ahead((0, 0, 0)), sheet(WALL, (-5, 5), (-5, 5), away=True),
                  on(wall(np.array([[100.0, 100.0]]))))  # fmt: skip
    np.testing.assert_array_equal(got, [OWN])


def test_a_point_beside_the_picture_takes_nothing_from_it() -> None:
    at = np.array([[-0.5, 100], [100, -1.5], [SIDE + 0.5, 100], [100, SIDE + 1.5], [0.2, 100], [4.0, 100]])
    got = colored(shown([RED], [WALL]), looking_ahead((0, 0, 0)), BACK, on(wall(at)))
    np.testing.assert_array_equal(got, [OWN] * 5 + [RED])


def test_a_steep_wall_does_not_hide_itself() -> None:
    """Seen 80 degrees off its normal, where depths of neighbouring pixels differ much; and not at 86 degrees."""
    for degrees, color in ((80, RED), (86, OWN)):
        turn = np.radians(degrees)
        along, normal = np.array([np.cos(turn), 0, np.sin(turn)]), np.array([np.sin(turn), 0, -np.cos(turn)])
        a, b = (np.array([0, 0, WALL]) + way * along for way in (-1.5, 1.5))
        up, down = np.array([0, -1.5, 0]), np.array([0, 1.5, 0])
        steep = np.array([[a + up, a + down, b + up], [b + down, b + up, a + down]])
        step = np.linspace(-0.02, 0.02, 9)[:, None]
        places = np.array([0, 0.1, WALL]) + step * along
        got = colored(shown([RED], [WALL]), looking_ahead((0, 0, 0)), steep, on(places, normal))
        np.testing.assert_array_equal(got, [color] * 9)


def test_a_steep_wall_of_small_triangles_does_not_hide_itself() -> None:
    """From one pixel to the next it lies farther by more than an edge."""
    turn = np.radians(80)
    along, down, small = np.array([np.cos(turn), 0, np.sin(turn)]), np.array([0.0, 1, 0]), 0.04
    steps = np.arange(-0.6, 0.6, small)
    corners = np.array([[0, 0, WALL] + x * along + y * down for x in steps for y in steps[10:20]])
    a, b, c, d = corners, corners + small * down, corners + small * along, corners + small * (along + down)
    steep = np.concatenate([np.stack([a, b, c], 1), np.stack([d, c, b], 1)])
    places = np.array([0, 0.01, WALL]) + np.linspace(-0.01, 0.01, 99)[:, None] * along
    normal = [np.sin(turn), 0, -np.cos(turn)]
    got = colored(shown([RED], [WALL]), looking_ahead((0, 0, 0)), steep, on(places, normal))
    assert got[:, 0].min() > 0.8


def striped(off: float = 0.0) -> Render:
    """As red as a pixel is far to the right, as blue as it is far down; just behind the wall, the right half `off`."""

    def render(cameras: Cameras, index: int) -> Rendering:
        along = image_rays(cameras, index).directions.float() @ cameras.c2w[index, :3, 2].float()
        row, column = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
        rgb = torch.stack([column, 0 * row, row], -1).reshape(-1, 3) / SIDE
        return Rendering(rgb, torch.ones(len(along)), (1.001 * WALL + off * (column.reshape(-1) > SIDE / 2)) / along)

    return render


def test_a_point_has_the_colour_of_where_it_is_in_a_picture() -> None:
    at = np.random.default_rng(1).uniform(20, SIDE - 20, (5000, 2))
    got = colored(striped(), looking_ahead((0, 0, 0)), BACK, on(wall(at)))[:, ::2]
    np.testing.assert_allclose((got * SIDE - at).mean(axis=0), 0, atol=0.1)  # pixels


def test_beside_an_edge_of_what_a_picture_shows_nothing_is_taken_from_it() -> None:
    """All four pixels around a point have its depth, or there would be a halo of what is before or behind it."""
    x = SIDE / 2 + np.array([-0.7, -0.3, 0.3, 0.7])
    fine = sheet(WALL, (-0.1, 0.1), (-0.1, 0.1))
    got = colored(striped(off=5.0), looking_ahead((0, 0, 0)), fine, on(wall(np.stack([x, x], 1))))
    own = (got == OWN).all(axis=1)
    assert own.tolist() == [False, True, True, True]


def mixed(got: np.ndarray) -> np.ndarray:
    """The weight of the red picture over that of the blue one."""
    assert got[:, 1].max() < 0.01
    return got[:, 0] / got[:, 2]


def test_the_nearer_of_two_cameras_counts_by_the_square_of_the_pixels_that_see_a_patch() -> None:
    """Four times as many from half as far."""
    cameras = looking_ahead((0, 0, 0), (0, 0, -0.5 * WALL))
    got = colored(shown([RED, BLUE], [WALL, 1.5 * WALL]), cameras, BACK, on(np.array([[0.0, 0, WALL]])))
    np.testing.assert_allclose(mixed(got), [1.5**4], rtol=0.03)


def test_a_camera_counts_less_where_it_looks_along_the_surface() -> None:
    """From 45 degrees aside, as far along the view."""
    cameras = looking_ahead((0, 0, 0), (WALL * 0.75, 0, 0))
    got = colored(shown([RED, BLUE], [WALL, WALL]), cameras, BACK, on(np.array([[0.0, 0, WALL]])))
    np.testing.assert_allclose(mixed(got), [1 / 0.8**2], rtol=0.03)


def test_towards_the_rim_of_its_picture_a_camera_fades() -> None:
    """By how much of a 25th of the shorter side it is away from it."""
    at = np.array([[SIDE / 2, SIDE / 2]])
    cameras = looking_ahead((0, 0, 0), (0, 0, 0), cx=(SIDE / 2, 0.01 * SIDE))
    got = colored(shown([RED, BLUE], [WALL, WALL]), cameras, BACK, on(wall(at)))
    np.testing.assert_allclose(mixed(got), [4], rtol=0.03)


def test_a_picture_that_shows_another_depth_counts_less_and_far_off_nothing() -> None:
    """By exp(-1) at two mean edges of the surface, and not at all from three times that on."""
    edge, slack = 0.01 * 10, 2 * WALL / FOCAL + 0.05 * 0.1
    fine = np.concatenate([
        sheet(WALL, (x, x + edge), (y, y + edge)) for x in (-edge, 0) for y in (-edge, 0)
    ])  # fmt: skip
    mean = (edge + edge) / 2
    place = on(np.array([[-edge + 0.02, -edge + 0.02, WALL]]))
    for off, weight in ((0.0, 1.0), (2 * mean, np.exp(-1)), (4 * mean, np.exp(-4))):
        render = shown([BLUE, RED], [WALL - slack - off, WALL])
        got = colored(render, looking_ahead((0, 0, 0), (0, 0, 0)), fine, place)
        np.testing.assert_allclose(1 / mixed(got), [weight], rtol=0.1, atol=0.005)
    got = colored(shown([RED], [WALL - slack - 6.1 * mean]), looking_ahead((0, 0, 0)), fine, place)
    np.testing.assert_array_equal(got, [OWN])
