"""Laws of cameras and lenses: projection and its inverse, resizing, gradients to poses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural import lenses
from neural.cameras import CAMERA_MODELS, Cameras
from neural.lenses import FISHEYE, OPENCV, PINHOLE
from neural.poses import look_at, nearest_rigid, quat_from_rotation, rotation_from_quat, slerp

# Coefficients as real calibrations have them: action cameras, phones, wide lenses, a rational one.
LENSES = {
    "pinhole": (PINHOLE, [0.0] * 8),
    "phone": (OPENCV, [0.058, -0.081, -0.001, 0.0002, 0.0, 0.0, 0.0, 0.0]),
    "barrel": (OPENCV, [-0.3, 0.1, 0.002, -0.001, -0.02, 0.0, 0.0, 0.0]),
    "rational": (OPENCV, [0.5, 0.1, 0.0005, -0.0004, 0.01, 0.8, 0.2, 0.02]),
    "fisheye": (FISHEYE, [-0.02, 0.004, -0.001, 0.0001, 0.0, 0.0, 0.0, 0.0]),
    "fisheye without bends": (FISHEYE, [0.0] * 8),
}


def cameras(*names: str) -> Cameras:
    """One camera per lens, at different places, all looking at the origin."""
    origins = np.array([[3.0 + i, -2.0, 1.0 + 0.5 * i] for i in range(len(names))])
    n = len(names)
    return Cameras(
        torch.from_numpy(np.stack([look_at(o, np.zeros(3), np.array([0.0, 0.0, 1.0])) for o in origins])),
        torch.tensor([[500.0, 510.0, 319.0, 242.0]], dtype=torch.float64).repeat(n, 1),
        torch.tensor([[640, 480]]).repeat(n, 1),
        torch.tensor([LENSES[name][0] for name in names]),
        torch.tensor([LENSES[name][1] for name in names], dtype=torch.float64),
    )


def random_pixels(n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 2, generator=generator, dtype=torch.float64) * torch.tensor([640.0, 480.0])


@pytest.mark.parametrize("name", LENSES)
def test_project_inverts_unproject(name):
    one = cameras(name)
    pixels = random_pixels(2000)
    depth = torch.linspace(0.5, 9, 2000, dtype=torch.float64)
    back, back_depth = one.project(one.unproject(pixels, depth, 0), 0)
    torch.testing.assert_close(back, pixels, atol=1e-8, rtol=0)
    torch.testing.assert_close(back_depth, depth)


@given(
    st.lists(st.floats(-0.4, 0.4), min_size=8, max_size=8),
    st.floats(0.0, 0.85),
    st.floats(0, 2 * math.pi),
)
@settings(max_examples=100, deadline=None)
def test_every_radial_lens_inverts_within_its_fold(coefficients, share, angle):
    k = torch.tensor(coefficients, dtype=torch.float64)
    k[2:4] = 0
    radius = share * min(lenses.fold(k, OPENCV), 2.0)
    plane = radius * torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    points = torch.cat([plane, torch.ones(1, 1, dtype=torch.float64)], dim=1)
    bent = lenses.project(points, k, OPENCV)
    back = lenses.unproject(bent, k[None], OPENCV)
    torch.testing.assert_close(lenses.project(back, k, OPENCV), bent, atol=1e-9, rtol=1e-9)


@given(st.lists(st.floats(-0.1, 0.1), min_size=4, max_size=4), st.floats(0, 0.9), st.floats(0, 2 * math.pi))
@settings(max_examples=100, deadline=None)
def test_every_fisheye_inverts_within_its_fold_and_beyond_a_right_angle(coefficients, share, angle):
    k = torch.tensor([*coefficients, 0, 0, 0, 0], dtype=torch.float64)
    theta = share * lenses.fold(k, FISHEYE)
    point = torch.tensor(
        [[math.sin(theta) * math.cos(angle), math.sin(theta) * math.sin(angle), math.cos(theta)]],
        dtype=torch.float64,
    )
    back = lenses.unproject(lenses.project(point, k, FISHEYE), k[None], FISHEYE)
    torch.testing.assert_close(back, point, atol=1e-7, rtol=0)


def test_distortion_follows_the_opencv_formula_written_out():
    k1, k2, p1, p2, k3, k4, k5, k6 = k = [0.1, -0.05, 0.003, -0.002, 0.01, 0.05, -0.01, 0.002]
    x, y = 0.3, -0.4
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    expected = [
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    ]
    point = torch.tensor([[2 * x, 2 * y, 2.0]], dtype=torch.float64)
    got = lenses.project(point, torch.tensor(k, dtype=torch.float64), OPENCV)
    torch.testing.assert_close(got, torch.tensor([expected], dtype=torch.float64))


def test_points_that_a_lens_cannot_see_are_nan():
    behind = torch.tensor([[0.1, 0.1, -1.0]], dtype=torch.float64)
    assert lenses.project(behind, torch.zeros(8, dtype=torch.float64), PINHOLE).isnan().all()
    folded = torch.tensor([[3.0, 0.0, 1.0]], dtype=torch.float64)  # x (1 - 0.3 x^2) turns at x = 1.05
    k = torch.tensor([-0.3, 0, 0, 0, 0, 0, 0, 0], dtype=torch.float64)
    assert lenses.fold(k, OPENCV) == pytest.approx(math.sqrt(1 / 0.9))
    assert lenses.project(folded, k, OPENCV).isnan().all()


def test_pixels_outside_the_image_of_a_lens_give_finite_directions():
    k = torch.tensor([[-0.3, 0, 0, 0, 0, 0, 0, 0]], dtype=torch.float64)
    far = torch.tensor([[5.0, -5.0]], dtype=torch.float64)
    assert lenses.unproject(far, k, OPENCV).isfinite().all()
    assert lenses.unproject(far, k, FISHEYE).isfinite().all()


def test_mixed_lenses_give_what_each_gives_alone():
    mixed = cameras(*LENSES)
    assert mixed.kinds == (PINHOLE, OPENCV, FISHEYE)
    pixels = random_pixels(60)
    indices = torch.arange(60) % len(mixed)
    together = mixed.directions(indices, pixels)
    for i in range(len(mixed)):
        rows = indices == i
        alone = mixed[i].directions(torch.zeros(int(rows.sum()), dtype=torch.int64), pixels[rows])
        torch.testing.assert_close(together[rows], alone)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(60, dtype=torch.float64))


@pytest.mark.parametrize("name", LENSES)
def test_float32_directions_stay_within_a_hundredth_of_a_pixel(name):
    exact = cameras(name)
    pixels = random_pixels(500)
    indices = torch.zeros(500, dtype=torch.int64)
    fast = exact.to("cpu", torch.float32).directions(indices, pixels.float())
    assert (fast.double() - exact.directions(indices, pixels)).norm(dim=-1).max() < 0.01 / 500


@given(st.sampled_from(sorted(LENSES)), st.sampled_from([0.5, 0.25, 1 / 3, 2.0]))
@settings(max_examples=20, deadline=None)
def test_scaled_cameras_keep_directions(name, factor):
    one = cameras(name)
    pixels = random_pixels(50)
    indices = torch.zeros(50, dtype=torch.int64)
    small = one.scaled(factor)
    torch.testing.assert_close(
        small.directions(indices, pixels * factor), one.directions(indices, pixels), atol=1e-9, rtol=0
    )


def test_cameras_far_from_the_origin_keep_their_places_relative_to_a_point():
    c2w = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    places = [[450_000.125, 5_200_000.25, 100.5], [450_001.0, 5_200_003.0, 99.0]]
    c2w[:, :3, 3] = torch.tensor(places, dtype=torch.float64)
    lens, sizes = torch.tensor([[9.0, 9, 4, 4]] * 2, dtype=torch.float64), torch.tensor([[8, 8]] * 2)
    cameras = Cameras.pinhole(c2w, lens, sizes)
    near = cameras.relative_to(torch.tensor([450_000.0, 5_200_000.0, 100.0], dtype=torch.float64))
    expected = [[0.125, 0.25, 0.5], [1.0, 3.0, -1.0]]
    assert near.to("cpu", torch.float32).origins.tolist() == expected
    assert torch.equal(near.c2w[:, :3, :3], c2w[:, :3, :3])
    assert cameras.origins[0, 0] == 450_000.125  # the given ones stay


def test_scaled_cuts_off_fractions_and_resized_stretches():
    one = cameras("pinhole")
    assert one.scaled(1 / 7).sizes.tolist() == [[91, 68]]
    half = one.resized(torch.tensor([[320, 241]]))
    torch.testing.assert_close(
        half.intrinsics, torch.tensor([[250, 510 * 241 / 480, 159.5, 242 * 241 / 480]], dtype=torch.float64)
    )
    with pytest.raises(ValueError, match="larger factor"):
        one.scaled(1e-4)


def test_directions_are_differentiable_in_the_pose():
    one = cameras("phone", "fisheye")
    pixels = random_pixels(6)
    indices = torch.arange(6) % 2
    c2w = one.c2w.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda pose: one.posed(pose).directions(indices, pixels), c2w)


def test_K_and_w2c_project_like_project():
    one = cameras("pinhole")
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    local = points @ one.w2c[0, :3, :3].T + one.w2c[0, :3, 3]
    homogeneous = local @ one.K[0].T
    pixels, depth = one.project(points, 0)
    torch.testing.assert_close(homogeneous[:, :2] / homogeneous[:, 2:], pixels)
    torch.testing.assert_close(local[:, 2], depth)


def test_indexing_and_wrong_shapes():
    four = cameras("pinhole", "phone", "barrel", "fisheye")
    assert len(four[1]) == 1
    assert len(four[1:3]) == 2
    assert four[torch.tensor([3, 0])].models.tolist() == [FISHEYE, PINHOLE]
    assert [CAMERA_MODELS[k] for k in four.kinds] == ["pinhole", "opencv", "fisheye"]
    with pytest.raises(IndexError):
        four[4]
    with pytest.raises(ValueError, match=r"Cameras.sizes must be \[4, 2\]"):
        Cameras(four.c2w, four.intrinsics, four.sizes[:3], four.models, four.distortion)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_quaternions_and_rotations_invert_each_other(quat):
    rotation = rotation_from_quat(np.array(quat))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotation_from_quat(quat_from_rotation(rotation)), rotation, atol=1e-7)


def test_slerp_turns_at_constant_speed():
    start, end = np.array([1.0, 0, 0, 0]), np.array([math.cos(0.6), 0, math.sin(0.6), 0])
    np.testing.assert_allclose(slerp(start, end, 0.25), [math.cos(0.15), 0, math.sin(0.15), 0], atol=1e-12)
    np.testing.assert_allclose(slerp(start, -end, 0.5), slerp(start, end, 0.5))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: m.__setitem__((0, 0), np.nan), "NaN"),
        (lambda m: m.__setitem__((slice(3), 0), 0), "singular"),
        (lambda m: m.__setitem__((slice(3), 0), -m[:3, 0]), "left-handed"),
        (lambda m: m.__setitem__((slice(3), 0), 2 * m[:3, 0]), "sheared"),
        (lambda m: m.__setitem__((3, 0), 1), "transposed"),
        (lambda m: m.__setitem__((0, 3), 1e300), "wrong unit"),
    ],
)
def test_impossible_poses_are_refused_with_the_reason(spoil, reason):
    pose = look_at(np.ones(3), np.zeros(3), np.array([0, 0, 1.0]))
    spoil(pose)
    with pytest.raises(ValueError, match=reason):
        nearest_rigid(pose)


def test_rounded_and_scaled_poses_become_rigid():
    pose = look_at(np.ones(3), np.zeros(3), np.array([0, 0, 1.0]))
    scaled = pose.copy()
    scaled[:3, :3] = np.round(100 * pose[:3, :3], 2)
    rigid, scale = nearest_rigid(scaled)
    np.testing.assert_allclose(rigid, pose, atol=1e-3)
    assert scale == pytest.approx(100, rel=1e-3)
