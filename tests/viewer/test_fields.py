"""Fields without photographs in the live viewer: a surface, a volume and a picture are where and what they are."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from neural.cameras import Cameras
from neural.poses import look_at
from neural.viewer.live.client import Wish
from neural.viewer.live.pictures.modes import MODES, Seen
from neural.viewer.live.pictures.painter import FAR_AWAY, Painter
from neural.viewer.live.subjects.choose import subject_of_run
from neural.viewer.live.subjects.medium import QUICK_SHADOWS, MediumSubject
from neural.viewer.live.subjects.subject import Cut, Layers, Subject, rows
from tests.viewer import fields
from tests.viewer.fields import CENTRE, RADIUS
from tests.viewer.shown import order

RUNS = {"sdf": fields.ball_run, "volume": fields.cloud_run, "image": fields.picture_run}
SIZE = (48, 36)


@pytest.fixture(scope="module", params=RUNS)
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "sdf":
        pytest.importorskip("open3d", reason="the mesh needs Open3D: pip install 'neural[mesh]'")
    return subject_of_run(RUNS[request.param]())


def start(subject: Subject, size: tuple[int, int] = SIZE) -> Cameras:
    """The camera of a browser that comes."""
    made = order(Wish(), size=size, eye=subject.start, up=subject.frame.up)
    return made.viewpoint.camera(subject.frame, size)


def shown(subject: Subject, camera: Cameras | None = None, cut: Cut | None = None, **options: Any) -> Layers:
    layers = subject.layers(start(subject) if camera is None else camera, cut or Cut(), **options)
    assert layers is not None
    return layers


def test_all_of_it_is_in_view_when_a_browser_comes(subject: Subject) -> None:
    alpha = shown(subject).alpha
    assert alpha.shape == (36, 48)
    assert alpha[18, 24] > 0.9
    edge = torch.cat([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    assert edge.max() < 0.01
    assert (alpha > 0.5).float().mean() > 0.15


def test_ways_of_looking_are_those_that_make_sense(subject: Subject) -> None:
    assert set(subject.modes) <= MODES.keys()
    assert subject.scene is None
    wanted = {
        "ball": ("colour", "depth", "normal", "mesh", "error"),
        "block": ("colour", "depth", "alpha", "grid", "error"),
        "picture": ("colour", "picture", "error"),
    }
    assert subject.modes == wanted[subject.name]
    assert subject.flat is (subject.name == "picture")
    assert subject.facts()


@pytest.mark.parametrize("bands", [2, 7, 36])
def test_bands_make_up_the_picture(subject: Subject, bands: int) -> None:
    for layer, together in zip(shown(subject), shown(subject, bands=bands), strict=True):
        if layer is not None:
            torch.testing.assert_close(together, layer, atol=1e-3 * max(1.0, float(layer.max())), rtol=1e-4)


def test_bands_are_asked_between_whether_they_are_wanted(subject: Subject) -> None:
    for draw in (subject.layers, subject.truth.seen_by if subject.truth is not None else None):
        asked: list[int] = []
        assert draw is not None
        made = draw(start(subject), Cut(), bands=5, stale=lambda asked=asked: bool(asked.append(1)) or len(asked) == 2)
        assert made is None or made == (None, None)
        assert len(asked) == 2


def test_what_was_learnt_exactly_is_without_error(subject: Subject) -> None:
    """Ball, grid and picture are the fields here; a mesh of triangles is a little flatter than its ball."""
    picture = Painter().paint(subject, order(Wish("error"), size=SIZE, eye=subject.start, up=subject.frame.up))
    assert picture is not None
    assert picture.psnr is not None
    assert picture.psnr > (28 if subject.name == "ball" else 60)
    truth = Painter().paint(subject, order(Wish(subject.modes[-2]), size=SIZE, eye=subject.start, up=subject.frame.up))
    field = Painter().paint(subject, order(Wish(), size=SIZE, eye=subject.start, up=subject.frame.up))
    assert truth is not None and field is not None
    assert np.abs(truth.rgb.astype(float) - field.rgb).mean() < 3
    assert field.rgb.std() > 10


def test_a_picture_is_given_up_while_the_truth_is_drawn(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = order(Wish("error"), size=SIZE, eye=subject.start, up=subject.frame.up)
    assert subject.truth is not None
    seen_by = subject.truth.seen_by

    def moving(*arguments: Any, **options: Any) -> Any:
        wanted.client.version += 1
        return seen_by(*arguments, **options)

    monkeypatch.setattr(subject.truth, "seen_by", moving)
    assert Painter().paint(subject, wanted) is None


def test_a_later_state_takes_over_the_frame_and_the_truth(subject: Subject) -> None:
    run = subject._run  # type: ignore[attr-defined]
    later = subject_of_run(run, subject)
    assert later.truth is subject.truth
    assert later.frame.unit == subject.frame.unit
    assert torch.equal(shown(later).rgb, shown(subject).rgb)


def test_depths_of_the_browser_are_those_of_the_field(subject: Subject) -> None:
    """What the browser draws is hidden by them: in its units, along the axis."""
    made = order(Wish(), size=(160, 90), eye=subject.start, up=subject.frame.up)
    picture = Painter().paint(subject, made)
    assert picture is not None and picture.depth is not None
    away = float(np.linalg.norm(subject.start))
    nearest = {"ball": away - RADIUS / subject.frame.unit, "picture": away}.get(subject.name)
    if nearest is not None:
        assert picture.depth[45, 80] == pytest.approx(nearest, rel=0.01)
    assert 0 < picture.depth[45, 80] < away + 0.01
    assert picture.depth[0, 0] == FAR_AWAY
    if subject.flat:  # a plane across the axis has one depth, also where the way to it is longer
        there = picture.depth[picture.depth < FAR_AWAY]
        np.testing.assert_allclose(there, away, rtol=1e-4)
        assert len(there) > 5000


# --- a surface


@pytest.fixture(scope="module")
def ball() -> Subject:
    pytest.importorskip("open3d", reason="the mesh needs Open3D: pip install 'neural[mesh]'")
    return subject_of_run(fields.ball_run())


def before(distance: float = 3 * RADIUS, size: tuple[int, int] = (41, 41)) -> Cameras:
    """Looks at the middle of the ball along +z, from so far off."""
    c2w = look_at(CENTRE - [0, 0, distance], CENTRE, np.array([0.0, -1.0, 0.0]))
    lens = torch.tensor([[size[0], size[0], size[0] / 2, size[1] / 2]], dtype=torch.float64)
    return Cameras.pinhole(torch.from_numpy(c2w)[None], lens, torch.tensor([size]))


def test_a_ball_has_the_distances_and_normals_of_a_ball(ball: Subject) -> None:
    layers = shown(ball, before())
    assert layers.normals is not None
    assert float(layers.depth[20, 20]) == pytest.approx(2 * RADIUS, rel=1e-3)
    torch.testing.assert_close(layers.normals[20, 20], torch.tensor([0.0, 0.0, -1.0]), atol=0.02, rtol=0)
    painted = MODES["normal"].paint(Seen(layers, before()))
    torch.testing.assert_close(painted[20, 20], torch.tensor([0.5, 0.5, 0.0]), atol=0.01, rtol=0)
    assert painted[0, 0].max() == 0
    beside = layers.normals[20, 26]
    assert beside[0] > 0.25 and abs(beside[1]) < 0.05, "x grows to the right"
    assert (layers.normals[0, 0] == 0).all() and layers.alpha[0, 0] == 0


@pytest.mark.parametrize("what", ["field", "mesh"])
def test_a_body_that_is_cut_is_solid_and_shows_a_flat_face(ball: Subject, what: str) -> None:
    draw: Any = ball.layers if what == "field" else ball._mesh_layers  # type: ignore[attr-defined]
    whole = draw(before(), Cut(), bands=1, stale=lambda: False)
    low, high = CENTRE - 2 * RADIUS, CENTRE + 2 * RADIUS

    def cut(**changes: Any) -> Layers:
        return draw(before(), Cut(**changes), bands=1, stale=lambda: False)

    front = cut(box=((*low[:2], CENTRE[2]), tuple(high)))  # the half that is farther off
    assert float(front.depth[20, 20]) == pytest.approx(3 * RADIUS, rel=1e-3)
    torch.testing.assert_close(front.normals[20, 20], torch.tensor([0.0, 0.0, -1.0]), atol=1e-3, rtol=0)
    right = cut(box=((CENTRE[0], *low[1:]), tuple(high)))
    assert right.alpha[:, :20].max() == 0
    assert torch.equal(right.alpha[:, 22:], whole.alpha[:, 22:])
    near = cut(near=2.5 * RADIUS)
    assert float(near.depth[20, 20]) == pytest.approx(2.5 * RADIUS, rel=1e-3)
    assert near.alpha[20, 20] == 1
    assert cut(near=4.1 * RADIUS).alpha.max() == 0
    assert cut(far=1.9 * RADIUS).alpha.max() == 0
    assert torch.equal(cut(far=5 * RADIUS).alpha, whole.alpha)
    assert cut(box=(tuple(high + 1), tuple(high + 2))).alpha.max() == 0


def test_an_eye_within_a_body_sees_it(ball: Subject) -> None:
    camera = before()
    camera.c2w[0, :3, 3] = torch.from_numpy(CENTRE)
    layers = shown(ball, camera)
    assert layers.alpha.min() == 1
    assert layers.depth.max() == 0


# --- a volume


@pytest.fixture(scope="module")
def block() -> Subject:
    return subject_of_run(fields.cloud_run())


def test_a_crop_box_and_clip_planes_leave_only_what_is_inside(block: Subject) -> None:
    camera = start(block, (64, 48))
    whole = shown(block, camera)
    low, high = block.box
    middle = (low + high) / 2
    half = shown(block, camera, Cut(box=((*low[:2] - 1, middle[2]), tuple(high + 1))))
    assert 0.2 < float(half.alpha.sum() / whole.alpha.sum()) < 0.85
    assert half.alpha[:20].sum() > 0.8 * whole.alpha[:20].sum(), "the upper half is above"
    assert shown(block, camera, Cut(box=((5.0,) * 3, (6.0,) * 3))).alpha.max() == 0
    away = float(np.linalg.norm(block.start)) * block.frame.unit
    assert shown(block, camera, Cut(far=0.3 * away)).alpha.max() < 0.01
    assert shown(block, camera, Cut(near=3 * away)).alpha.max() < 0.01
    seen = shown(block, camera, Cut(near=away))
    assert (seen.depth[seen.alpha > 0.5] / seen.alpha[seen.alpha > 0.5]).min() > 0.97 * away


def test_shadows_are_coarse_while_it_is_trained(block: Subject) -> None:
    assert isinstance(block, MediumSubject)
    quick = subject_of_run(block._run, block, quick=True)
    assert isinstance(quick, MediumSubject)
    assert quick.truth is not block.truth, "which has finer shadows"
    assert quick._field.shadow.shape[0] == QUICK_SHADOWS < block._field.shadow.shape[0] == 96
    assert subject_of_run(block._run, quick, quick=True).truth is quick.truth


def test_the_truth_of_a_volume_is_its_grid(block: Subject) -> None:
    """Also where the field has learnt nothing."""
    run = fields.cloud_run()
    run.field = fields.Exact(lambda x: torch.zeros(len(x), 4))
    empty = subject_of_run(run)
    assert shown(empty).alpha.max() == 0
    assert empty.truth is not None
    grid, covered = empty.truth.seen_by(start(empty), Cut())
    assert grid is not None and covered is not None and bool(covered.all())
    torch.testing.assert_close(grid, shown(block).rgb, atol=1e-3, rtol=0)


# --- a picture


@pytest.fixture(scope="module")
def flat() -> Subject:
    return subject_of_run(fields.picture_run())


def square_on(size: tuple[int, int], pixels: float = 1.0, at: tuple[float, float] = (0, 0)) -> Cameras:
    """Each pixel shows so many of the picture's, from a place in it on."""
    away = 100.0
    c2w = np.eye(4)
    c2w[:3, 3] = at[0] + pixels * size[0] / 2, at[1] + pixels * size[1] / 2, -away
    lens = torch.tensor([[away / pixels, away / pixels, size[0] / 2, size[1] / 2]], dtype=torch.float64)
    return Cameras.pinhole(torch.from_numpy(c2w)[None], lens, torch.tensor([size]))


def test_a_picture_is_shown_pixel_by_pixel(flat: Subject) -> None:
    stripes = torch.from_numpy(fields.stripes()) / 255
    layers = shown(flat, square_on(fields.SIDES))
    torch.testing.assert_close(layers.rgb, stripes, atol=1e-4, rtol=0)
    assert (layers.alpha == 1).all()
    part = shown(flat, square_on((20, 10), at=(30, 40))).rgb
    torch.testing.assert_close(part, stripes[40:50, 30:50], atol=1e-4, rtol=0)
    near = shown(flat, square_on((40, 20), 0.25, at=(80, 50))).rgb
    torch.testing.assert_close(near, stripes[50:55, 80:90].repeat_interleave(4, 0).repeat_interleave(4, 1))


def test_far_off_pixels_are_means_and_what_is_beside_is_wall(flat: Subject) -> None:
    stripes = torch.from_numpy(fields.stripes()).float() / 255
    half = shown(flat, square_on((45, 30), 2.0)).rgb
    expected = stripes.reshape(30, 2, 45, 2, 3).mean((1, 3))
    torch.testing.assert_close(half, expected, atol=1e-4, rtol=0)
    beside = shown(flat, square_on((20, 10), at=(-10, -5)))
    assert (beside.alpha[:5] == 0).all() and (beside.alpha[:, :10] == 0).all() and (beside.alpha[5:, 10:] == 1).all()
    assert beside.rgb[0].unique().numel() == 1
    behind = square_on((20, 10))
    behind.c2w[0, 2, 3] = 50.0  # looks away from it
    assert shown(flat, behind).alpha.max() == 0
    level = square_on((21, 11))
    level.c2w[0, 1, 3], level.c2w[0, 2, 3] = 5.0, 0.0  # in its plane
    assert shown(flat, level).alpha.max() == 0


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grey_and_transparent_pictures_are_shown(channels: int) -> None:
    pixels = np.full((6, 8, channels), 200, np.uint8)
    pixels[..., -1] = 255 if channels > 1 else 200
    subject = subject_of_run(fields.picture_run(pixels))
    rgb = shown(subject, square_on((8, 6))).rgb
    torch.testing.assert_close(rgb, torch.full((6, 8, 3), 200 / 255))


def test_rows_are_those_of_the_whole(flat: Subject) -> None:
    camera = square_on(fields.SIDES)
    part = shown(flat, rows(camera, 7, 19)).rgb
    torch.testing.assert_close(part, shown(flat, camera).rgb[7:19], atol=1e-4, rtol=0)
    assert math.isfinite(float(part.sum()))
