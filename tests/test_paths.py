"""Camera paths: what they look at, where they stay, how they survive a file."""

import numpy as np
import pytest
import torch

from neural import paths
from neural.arrangement import focus_point, up_direction
from neural.cameras import Cameras
from neural.errors import SceneFormatError
from neural.poses import look_at

UP = np.array([0.0, 0.6, 0.8])
CENTRE = np.array([10.0, -3.0, 2.0])


def ring(low: float, high: float, n: int = 30) -> Cameras:
    """Cameras on an arc of azimuth about CENTRE, upright for UP, with some spread in height."""
    east, north = np.array([1.0, 0, 0]), np.cross(UP, [1.0, 0, 0])
    turns = np.linspace(low, high, n, endpoint=False)
    heights = 1 + 0.4 * np.sin(5 * turns)
    around = np.cos(turns)[:, None] * east + np.sin(turns)[:, None] * north
    origins = CENTRE + 3 * around + heights[:, None] * UP
    c2w = torch.from_numpy(np.stack([look_at(o, CENTRE, UP) for o in origins]))
    lens = torch.tensor([[50.0, 50.0, 32.0, 24.0]], dtype=torch.float64).repeat(n, 1)
    return Cameras.pinhole(c2w, lens, torch.tensor([[64, 48]]).repeat(n, 1))


def test_focus_and_up_are_found():
    focus, agreement = focus_point(ring(0, 2 * np.pi))
    np.testing.assert_allclose(focus, CENTRE, atol=1e-9)
    assert agreement == 1
    np.testing.assert_allclose(up_direction(ring(0, 2 * np.pi)), UP, atol=1e-6)


def test_parallel_cameras_have_no_focus():
    cameras = ring(0, 2 * np.pi)
    c2w = cameras.c2w.clone()
    c2w[:, :3, :3] = torch.eye(3, dtype=torch.float64)
    assert focus_point(cameras.posed(c2w))[1] == 0


def test_an_orbit_circles_what_a_ring_of_cameras_looks_at():
    path = paths.orbit(ring(0, 2 * np.pi), 24)
    offsets = path.origins.numpy() - CENTRE
    forward = path.c2w[:, :3, 2].numpy()
    np.testing.assert_allclose(forward, -offsets / np.linalg.norm(offsets, axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(offsets - (offsets @ UP)[:, None] * UP, axis=1), 3, rtol=0.05)
    assert (-path.c2w[:, :3, 1].numpy() @ UP > 0.8).all()


def test_an_orbit_stays_where_a_one_sided_capture_has_views():
    cameras = ring(0.3, 1.5)
    seen = cameras.origins.numpy() - CENTRE
    for offset in paths.orbit(cameras, 24).origins.numpy() - CENTRE:
        cosine = seen @ offset / np.linalg.norm(seen, axis=1) / np.linalg.norm(offset)
        assert np.degrees(np.arccos(min(cosine.max(), 1))) < 12


def test_a_flight_passes_its_viewpoints_in_small_steps():
    cameras = ring(0, 5.0, n=8)
    path = paths.along_cameras(cameras, 200, order="given")
    torch.testing.assert_close(path.c2w[0], cameras.c2w[0], atol=1e-9, rtol=0)
    torch.testing.assert_close(path.c2w[-1], cameras.c2w[-1], atol=1e-9, rtol=0)
    gaps = np.linalg.norm(path.origins.numpy()[:, None] - cameras.origins.numpy()[None], axis=2).min(axis=0)
    assert gaps.max() < 0.06
    steps = np.linalg.norm(np.diff(path.origins.numpy(), axis=0), axis=1)
    assert steps.max() < 2 * steps.mean()
    shuffled = cameras[torch.tensor([0, 5, 2, 7, 1, 3, 6, 4])]
    torch.testing.assert_close(paths.along_cameras(shuffled, 50).c2w, paths.along_cameras(cameras, 50).c2w)


def test_cameras_that_were_stored_on_their_sides_see_the_same_upright():
    cameras = ring(0, 2 * np.pi, n=4)
    turns, c2w = torch.tensor([0, 1, 2, 3]), cameras.c2w.clone()
    for pose, n in zip(c2w, turns.tolist(), strict=True):
        pose[:3, :2] = pose[:3, :2] @ torch.tensor([[0.0, -1], [1, 0]], dtype=torch.float64).matrix_power(n)
    lens = torch.tensor([[50.0, 60.0, 30.0, 25.0]], dtype=torch.float64).repeat(4, 1)
    stored = Cameras.pinhole(c2w, lens, cameras.sizes)
    turned = paths.upright(stored, UP)
    torch.testing.assert_close(turned.c2w, cameras.c2w)
    assert turned.sizes.tolist() == [[64, 48], [48, 64]] * 2
    point = torch.from_numpy(CENTRE + 0.3)[None]
    for index in range(4):
        x, y = (stored.project(point, index)[0][0]).int().tolist()
        width, height = stored.sizes[index].tolist()
        picture = np.arange(width * height).reshape(height, width)
        column, row = turned.project(point, index)[0][0].int().tolist()
        assert np.rot90(picture, -int(turns[index]))[row, column] == picture[y, x]


@pytest.mark.parametrize("n_frames", [0, -1, 10**9])
def test_a_number_of_frames_that_cannot_be_meant_is_refused(n_frames):
    cameras = ring(0, 2 * np.pi)
    for path in (paths.orbit, paths.along_cameras):
        with pytest.raises(ValueError, match=f"1 to 1000000 frames, got {n_frames}"):
            path(cameras, n_frames)


def test_a_path_file_gives_back_the_path(tmp_path):
    path = paths.orbit(ring(0, 2 * np.pi), 5)
    paths.save(tmp_path / "orbit.json", path)
    again = paths.load(tmp_path / "orbit.json")
    torch.testing.assert_close(again.c2w, path.c2w)
    torch.testing.assert_close(again.intrinsics, path.intrinsics)
    assert again.sizes.tolist() == path.sizes.tolist()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"fx": 50.0', '"fx": 0', r"frames\[0\].*positive"),
        ('"width": 64', '"width": 1e9', r"frames\[0\].*65536"),
        ('"c2w": [[', '"c2w": [[NaN,', r"frames\[0\]"),
        ('"neural-path"', '"other"', "neural-path"),
        ('"frames"', '"pictures"', "frames"),
        ("{", "", "not a JSON"),
    ],
)
def test_broken_path_files_are_refused(tmp_path, old, new, reason):
    paths.save(str(tmp_path / "p.json"), paths.orbit(ring(0, 2 * np.pi), 2))
    text = (tmp_path / "p.json").read_text()
    assert old in text
    (tmp_path / "p.json").write_text(text.replace(old, new, 1))
    with pytest.raises(SceneFormatError, match=reason):
        paths.load(tmp_path / "p.json")
    with pytest.raises(SceneFormatError, match="no such file"):
        paths.load(tmp_path / "nowhere.json")
