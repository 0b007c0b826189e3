"""What is looked at: cropped, clipped, in bands, in cluster colours, out of a file; and beside photographs."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from neural.cameras import Cameras
from neural.errors import BadOption, SceneFormatError
from neural.fields.radiance import RadianceField
from neural.poses import look_at
from neural.render.occupancy import OccupancyGrid
from neural.scenes.files.gaussians import formats
from neural.scenes.images import ImageStack
from neural.scenes.near import Near
from neural.train.tasks.radiance.run import RadianceRun
from neural.viewer.live.axes import AXES, axis
from neural.viewer.live.frame import ViewerFrame
from neural.viewer.live.pictures.modes import MODES, Seen
from neural.viewer.live.pictures.photographs import Photographs
from neural.viewer.live.subjects.choose import subject_of_file, subject_of_run
from neural.viewer.live.subjects.radiance import RadianceSubject
from neural.viewer.live.subjects.splats import SplatSubject
from neural.viewer.live.subjects.subject import Cut, Layers, Subject
from tests import ball
from tests.viewer.shown import ball_subject

EYE = np.array([0.0, -3.0, 0.0])
UP = np.array([0.0, 0.0, 1.0])
INFINITY = math.inf


def facing(size: tuple[int, int] = (120, 90), eye: np.ndarray = EYE) -> Cameras:
    """A camera that looks at the origin."""
    c2w = torch.from_numpy(look_at(eye, np.zeros(3), UP))[None]
    lens = torch.tensor([[size[0], size[0], size[0] / 2, size[1] / 2]], dtype=torch.float64)
    return Cameras.pinhole(c2w, lens, torch.tensor([size]))


@pytest.fixture(scope="module")
def field_run() -> RadianceRun:
    return fog()


def fog(shift: tuple[float, float, float] = (0.0, 0.0, 0.0), near: float = 0.0) -> RadianceRun:
    """A field of dense fog in the cube [-1, 1]^3, or somewhere else; nothing is trained."""
    from neural.encodings.dense_grid import DenseGrid
    from neural.render.rendering import Marching

    torch.manual_seed(0)
    scene = ball.scene()
    box = scene.aabb + torch.tensor(shift)
    field = RadianceField(DenseGrid(3, n_levels=2, base_resolution=4), aabb=box, density_bias=4.0)
    occupancy = OccupancyGrid(
        centre=(0, 0, 0), half_extent=field.half_side, min_step=0.02, seed=0, resolution=32, n_cascades=1
    )
    config = SimpleNamespace(
        run=SimpleNamespace(background="black"), sampling=SimpleNamespace(path="auto"),
    )  # fmt: skip
    return RadianceRun(Path(), scene, config, field, occupancy, Marching(near=near))  # type: ignore[arg-type]


@pytest.fixture(params=["splats", "field"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "splats":
        return ball_subject()
    run = request.getfixturevalue("field_run")
    return RadianceSubject(run, ViewerFrame.of_cameras(run.scene.cameras, run.scene.aabb.numpy()), None)


def shown(subject: Subject, cut: Cut | None = None, **options: Any) -> Layers:
    layers = subject.layers(facing(), cut or Cut(), **options)
    assert layers is not None
    return layers


@pytest.mark.parametrize("bands", [2, 3, 11, 90])
def test_bands_make_up_the_picture(subject: Subject, bands: int) -> None:
    whole = shown(subject)
    assert whole.alpha.max() > 0.5
    for layer, together in zip(whole, shown(subject, bands=bands), strict=True):
        # Tiles begin elsewhere, so that which of two Gaussians at one depth is first may change.
        torch.testing.assert_close(together, layer, atol=1 / 255, rtol=1e-3)


def test_bands_are_asked_between_whether_they_are_wanted(subject: Subject) -> None:
    asked = []
    assert subject.layers(facing(), Cut(), bands=5, stale=lambda: bool(asked.append(1)) or len(asked) == 2) is None
    assert len(asked) == 2


def test_a_crop_box_leaves_only_what_is_inside(subject: Subject) -> None:
    """The right half of the scene is cut off, so the right half of the picture is empty; the left is as it was."""
    whole = shown(subject)
    left = shown(subject, Cut(box=((-9.0, -9.0, -9.0), (0.0, 9.0, 9.0))))
    assert whole.alpha[45, 75] > 0.5
    assert left.alpha[:, 72:].max() < 0.1
    torch.testing.assert_close(left.rgb[:, :40], whole.rgb[:, :40], atol=0.05, rtol=0)
    nothing = shown(subject, Cut(box=((5.0, 5.0, 5.0), (6.0, 6.0, 6.0))))
    assert nothing.alpha.max() == 0


def test_clip_planes_cut_the_near_and_the_far(subject: Subject) -> None:
    depth = shown(subject)
    front = float(depth.depth[45, 60] / depth.alpha[45, 60])
    behind = shown(subject, Cut(near=3.0))
    assert float(behind.depth[45, 60] / behind.alpha[45, 60]) > 2.99 > front
    assert shown(subject, Cut(far=1.5)).alpha.max() < 0.05
    assert shown(subject, Cut(near=10.0)).alpha.max() < 0.05
    kept = shown(subject, Cut(far=3.0))
    assert kept.alpha[45, 60] > 0.5


def test_each_crop_box_is_its_own(subject: Subject) -> None:
    """One after the other, and together with a clip plane."""
    left, right = ((-9.0, -9.0, -9.0), (0.0, 9.0, 9.0)), ((0.0, -9.0, -9.0), (9.0, 9.0, 9.0))
    for _ in range(2):
        assert shown(subject, Cut(box=left)).alpha[:, 72:].max() < 0.1 < shown(subject, Cut(box=left)).alpha[45, 45]
        assert shown(subject, Cut(box=right)).alpha[:, :48].max() < 0.1 < shown(subject, Cut(box=right)).alpha[45, 75]
    both = shown(subject, Cut(box=left, far=3.0)).alpha
    assert both[:, 72:].max() < 0.1 < both[45, 45]


def about(subject: SplatSubject, origin: tuple[float, float, float], near: float = 0.01) -> SplatSubject:
    """The same Gaussians with coordinates from another point on."""
    gaussians, shift = subject._gaussians.taken(torch.arange(subject._gaussians.n)), torch.tensor(origin).double()
    gaussians.means.data -= shift.float()
    return SplatSubject(
        gaussians, shift, name="moved", frame=subject.frame, scene=subject.scene, box=subject.box, background=1.0,
        near=Near.everywhere(near),
    )  # fmt: skip


@pytest.mark.parametrize("cut", [Cut(), Cut(box=((-9.0, -9.0, -9.0), (0.0, 0.1, 9.0))), Cut(far=2.7), Cut(near=3.0)])
def test_the_point_that_coordinates_are_relative_to_does_not_show(cut: Cut) -> None:
    plain = ball_subject()
    moved = about(plain, (0.5, -0.25, 1.0))
    torch.testing.assert_close(shown(moved, cut).rgb, shown(plain, cut).rgb, atol=0.02, rtol=0)


def test_a_field_lies_and_is_cut_where_its_box_is(field_run: RadianceRun) -> None:
    shift = (20.0, -3.0, 0.5)
    there, here = (
        RadianceSubject(run, ViewerFrame.of_cameras(run.scene.cameras, run.scene.aabb.numpy()), None)
        for run in (fog(shift), fog())
    )
    camera, moved = facing(), facing()
    moved.c2w[0, :3, 3] += torch.tensor(shift)
    box = np.array([[-0.5, -9, -9], [0.2, 9, 0.3]])
    cut, other = (Cut(box=tuple(map(tuple, (box + by).tolist()))) for by in (0.0, np.array(shift)))  # type: ignore[arg-type]
    one, two = here.layers(camera, cut), there.layers(moved, other)
    assert one is not None and two is not None and 0.1 < float(one.alpha.mean()) < 0.9
    torch.testing.assert_close(two.alpha, one.alpha, atol=0.02, rtol=0)


def test_the_near_plane_of_a_field_is_not_nearer_than_its_trainings() -> None:
    run = fog(near=3.0)
    frame = ViewerFrame.of_cameras(run.scene.cameras, run.scene.aabb.numpy())
    subject, from_close_on = (RadianceSubject(one, frame, None) for one in (run, fog()))
    assert not torch.equal(shown(subject).depth, shown(from_close_on).depth)
    assert torch.equal(shown(subject, Cut(near=0.5)).depth, shown(subject).depth)
    assert not torch.equal(shown(subject, Cut(near=3.3)).depth, shown(subject).depth)


def test_a_near_plane_is_the_farther_of_those_that_are_asked_for() -> None:
    subject = ball_subject()
    far = shown(about(subject, (0, 0, 0), near=3.0))
    assert not torch.equal(far.rgb, shown(subject).rgb)
    for near, asked in ((3.0, 0.5), (0.01, 3.0), (2.0, 3.0)):
        assert torch.equal(shown(about(subject, (0, 0, 0), near), Cut(near=asked)).rgb, far.rgb)


def test_a_cut_that_hides_nothing_changes_nothing() -> None:
    """Gaussians that were trained with their blur drawn narrower stay so."""
    subject = ball_subject()
    subject._gaussians.log_scales.data -= 3
    plain = shown(subject).rgb
    subject._gaussians.antialiased = True
    assert not torch.allclose(shown(subject).rgb, plain, atol=0.05)
    assert torch.equal(shown(subject, Cut(far=1e6)).rgb, shown(subject).rgb)


def test_cutting_leaves_the_gaussians_as_they_are() -> None:
    subject = ball_subject()
    before = {name: p.clone() for name, p in subject._gaussians.named_parameters()}
    subject.layers(facing(), Cut(((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), 1.0, 2.0), clusters=True)
    for name, parameter in subject._gaussians.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_clusters_have_few_colours_and_neighbours_differ() -> None:
    subject = ball_subject()
    colored = shown(subject, clusters=True)
    plain = shown(subject)
    torch.testing.assert_close(colored.alpha, plain.alpha)
    assert (colored.rgb - plain.rgb).abs().mean() > 0.02


def test_a_file_is_shown_where_it_is(tmp_path: Path) -> None:
    """Far from the origin, where float32 knows no centimetres."""
    subject = ball_subject()
    record = subject._gaussians.to_record()
    path = tmp_path / "ball.ply"
    formats.write(path, replace(record, means=record.means * 1.0))
    opened = subject_of_file(path, axis("z"), background=1.0, device=torch.device("cpu"))
    assert opened.scene is None
    assert opened.modes == ("colour", "depth", "normal", "alpha", "clusters")
    there = shown(opened)
    torch.testing.assert_close(there.rgb, shown(subject).rgb, atol=0.02, rtol=0)
    assert np.linalg.norm(opened.frame.centre) < 0.1
    assert 0.5 < opened.frame.unit < 1.0
    formats.write(path, record, axes="RFU")  # which the file says: its numbers are shown, z up
    turned = subject_of_file(path, None, background=1.0, device=torch.device("cpu"))
    assert turned.frame.up.tolist() == [0, 0, 1]
    middle = np.quantile(record.means, [0.01, 0.99], axis=0) @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    np.testing.assert_allclose(np.sort(turned.box, axis=0), np.sort(middle, axis=0), atol=1e-3)
    path.write_bytes(b"ply\nnot")
    with pytest.raises(SceneFormatError):
        subject_of_file(path, axis("z"), background=1.0, device=torch.device("cpu"))


def test_a_run_of_another_kind_is_refused() -> None:
    with pytest.raises(BadOption, match="'picture'"):
        subject_of_run(SimpleNamespace(kind="picture"))


def test_axes_have_names() -> None:
    assert {tuple(axis(name)) for name in AXES} == {tuple(s * row) for s in (1, -1) for row in np.eye(3)}


def flat(distance: float = 2.0, alpha: float = 1.0) -> Seen:
    """A wall before the camera."""
    camera = facing()
    towards = torch.from_numpy(look_at(EYE, np.zeros(3), UP)[:3, 2]).float()
    from neural.viewer.live.pictures.modes import directions

    along = distance / (directions(camera) @ towards)
    opacity = torch.full((90, 120), alpha)
    return Seen(Layers(torch.full((90, 120, 3), 0.4), opacity, along * opacity), camera)


def test_the_normal_of_a_wall_faces_the_camera() -> None:
    picture = MODES["normal"].paint(flat(alpha=0.8))[5:-5, 5:-5]
    torch.testing.assert_close(picture, torch.tensor([0.5, 0.0, 0.5]).expand_as(picture), atol=2e-3, rtol=0)


def test_depth_is_light_near_and_dark_far_and_black_where_nothing_is() -> None:
    seen = flat()
    depth = seen.layers.depth.clone()
    depth[:, 60:] *= 3
    alpha = torch.ones_like(depth)
    alpha[:10] = 0.0
    picture = MODES["depth"].paint(replace(seen, layers=Layers(seen.layers.rgb, alpha, depth * alpha)))
    assert picture[50, 20].sum() > picture[50, 100].sum() > 0
    assert picture[:10].max() == 0
    assert MODES["depth"].paint(flat(alpha=0.0)).max() == 0
    assert MODES["alpha"].paint(flat(alpha=0.25)).unique().tolist() == [0.25]


@pytest.mark.parametrize("lens", list(ball.LENSES))
def test_a_photograph_is_seen_as_the_camera_would_have_taken_it(lens: str) -> None:
    """Whatever its lens: a pinhole camera at its place, turned a little, sees the ball in the same colours."""
    scene = ball.scene(size=(192, 144), lens=lens, world=True)
    photographs = Photographs(scene, 1.0, "white")
    eye = scene.cameras.origins[2].numpy()
    camera = facing((96, 72), eye)
    camera.c2w[0, :3, :3] = torch.from_numpy(look_at(eye, np.array([0.1, 0.1, 0.1]), UP)[:3, :3])
    assert photographs.at(camera) == 2
    colors, covered = photographs.seen_by(camera, Cut())
    assert colors is not None
    assert covered is not None
    pixels = torch.stack(torch.meshgrid(torch.arange(96) + 0.5, torch.arange(72) + 0.5, indexing="xy"), -1)
    rays = camera.directions(torch.zeros(96 * 72, dtype=torch.int64), pixels.reshape(-1, 2).double())
    expected = ball.shade(eye, rays.numpy().reshape(72, 96, 3), world=True) / 255
    assert covered.float().mean() > 0.3
    error = (colors - torch.from_numpy(expected).float()).abs()[covered]
    assert error.mean() < 0.02
    camera.c2w[0, 0, 3] += 0.1
    assert photographs.at(camera) is None
    assert photographs.seen_by(camera, Cut()) == (None, None)
    assert photographs.small(3, 40).shape == (30, 40, 3)


def test_of_photographs_from_one_place_the_one_that_looks_the_same_way_is_meant() -> None:
    scene = ball.scene()
    away = scene.cameras.c2w[5].clone()
    scene.cameras.c2w[5] = scene.cameras.c2w[2]
    scene.cameras.c2w[5, :3, :3] = away[:3, :3]
    photographs = Photographs(scene, 1.0, "white")
    for index in (2, 5):
        camera = facing(eye=scene.cameras.origins[2].numpy())
        camera.c2w[0] = scene.cameras.c2w[index]
        assert photographs.at(camera) == index
    camera.c2w[0, 0, 3] += 0.1
    assert photographs.at(camera) is None
    assert Photographs(scene, 100.0, "white").at(camera) == 5, "a tenth is little in a scene of hundreds"
    camera.c2w[0] = scene.cameras.c2w[2]
    camera.c2w[0, :3, 0] *= -1
    camera.c2w[0, :3, 2] *= -1
    scene.cameras.c2w[5, 0, 3] += 10
    covered = Photographs(scene, 1.0, "white").seen_by(camera, Cut())[1]
    assert covered is not None and not bool(covered.any()), "it shows nothing of what is behind"


def test_no_pixel_of_a_photograph_is_left_out_in_a_small_picture() -> None:
    """Noise has a mean."""
    scene = ball.scene(n=4, size=(384, 288))
    noise = np.random.default_rng(0).integers(0, 2, (288, 384, 1)) * np.full(3, 255)
    scene = replace(scene, images=ImageStack.from_arrays([noise.astype(np.uint8)] * 4))
    camera = scene.cameras[1]
    small = Cameras.pinhole(camera.c2w, camera.intrinsics / 8, camera.sizes // 8)
    colors, covered = Photographs(scene, 1.0, "white").seen_by(small, Cut())
    assert colors is not None and covered is not None
    assert float(colors[covered].std()) < 0.15 and float(colors[covered].mean()) == pytest.approx(0.5, abs=0.02)
