"""Laws of rays and of their box intersection."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.cameras import Cameras
from neural.rays import Rays, generate, image_rays, intersect_aabb

BOX = torch.tensor([[-1.0, -2.0, -3.0], [1.0, 2.0, 3.0]], dtype=torch.float64)
_coordinate = st.one_of(st.sampled_from([-1.0, 0.0, 1.0, 2.0]), st.floats(-6, 6, width=32))


def _one(origin, direction) -> Rays:
    direction = torch.tensor([direction], dtype=torch.float32)
    return Rays(torch.tensor([origin], dtype=torch.float32), direction / direction.norm())


@given(st.tuples(*[_coordinate] * 3), st.tuples(*[_coordinate] * 3))
@settings(max_examples=200, deadline=None)
def test_inside_exactly_between_t_min_and_t_max(origin, direction):
    if sum(abs(d) for d in direction) < 1e-3:
        return
    rays = _one(origin, direction)
    t_min, t_max = intersect_aabb(rays, BOX)
    assert not (t_min.isnan() | t_max.isnan()).any()
    assert t_min >= 0
    slack = 1e-3
    for t in torch.linspace(0, 20, 200):
        point = rays.at(t[None])[0].double()
        if ((point > BOX[0] + slack) & (point < BOX[1] - slack)).all():
            assert t_min <= t + slack
            assert t_max >= t - slack
        elif ((point < BOX[0] - slack) | (point > BOX[1] + slack)).any():
            assert not (t_min < t < t_max)


def test_known_hits_and_misses():
    t_min, t_max = intersect_aabb(_one((-5, 0, 0), (1, 0, 0)), BOX)
    assert (t_min.item(), t_max.item()) == (4, 6)
    t_min, t_max = intersect_aabb(_one((0, 0, 0), (0, 0, -1)), BOX)
    assert (t_min.item(), t_max.item()) == (0, 3)
    for origin, direction in (((-5, 0, 0), (-1, 0, 0)), ((-5, 2.5, 0), (1, 0, 0)), ((5, 5, 5), (1, 1, 0))):
        t_min, t_max = intersect_aabb(_one(origin, direction), BOX)
        assert t_max < t_min


def test_a_ray_that_slides_along_a_face_touches_the_box():
    t_min, t_max = intersect_aabb(_one((-5, 2, 0), (1, 0, 0)), BOX)
    assert (t_min.item(), t_max.item()) == (4, 6)


def _camera() -> Cameras:
    c2w = torch.eye(4, dtype=torch.float64)[None]
    return Cameras.pinhole(c2w, torch.tensor([[10.0, 10.0, 2.0, 1.5]], dtype=torch.float64), torch.tensor([[4, 3]]))


def test_image_rays_are_row_major_through_pixel_centres():
    rays = image_rays(_camera(), 0)
    assert len(rays) == 12
    assert rays.directions.dtype == torch.float32
    expected = torch.tensor([0.5 - 2, 1.5 - 1.5, 10.0])  # second row, first column
    torch.testing.assert_close(rays.directions[4], expected / expected.norm())


def test_rays_start_at_the_camera_and_carry_gradients_to_its_pose():
    camera = _camera()
    c2w = camera.c2w.clone()
    c2w[0, :3, 3] = torch.tensor([1.0, 2.0, 3.0])
    c2w.requires_grad_()
    rays = generate(camera.posed(c2w), torch.tensor([0, 0]), torch.tensor([[0.5, 0.5], [2.0, 1.5]]))
    torch.testing.assert_close(rays.origins, torch.tensor([[1.0, 2.0, 3.0]] * 2))
    torch.testing.assert_close(rays.directions[1], torch.tensor([0.0, 0.0, 1.0]))
    (rays.origins.sum() + rays.directions.sum()).backward()
    assert c2w.grad is not None
    torch.testing.assert_close(c2w.grad[0, :3, 3], torch.full((3,), 2.0, dtype=torch.float64))
    assert c2w.grad[0, :3, :3].abs().sum() > 0
