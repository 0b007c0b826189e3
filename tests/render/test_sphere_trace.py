"""Sphere tracing against formulas: balls, slopes that are no distance, rays from inside and past the cube."""

import pytest
import torch

from neural.rays import Rays
from neural.render.sphere_trace import Tracing, normals, sphere_trace

CENTRE = torch.tensor([0.5, 0.5, 0.5])


def ball(radius: float = 0.3, slope: float = 1.0):
    return lambda x: slope * ((x - CENTRE).norm(dim=1) - radius)


def bundle(n: int = 500, away: float = 2.0) -> Rays:
    """Rays from a sphere around the cube towards points in it."""
    generator = torch.Generator().manual_seed(0)
    origins = CENTRE + away * torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
    aims = torch.rand(n, 3, generator=generator)
    return Rays(origins, torch.nn.functional.normalize(aims - origins, dim=1))


def exact(rays: Rays, radius: float = 0.3) -> torch.Tensor:
    """Where rays enter the ball; inf where they miss it."""
    to = rays.origins.double() - CENTRE
    b = (to * rays.directions).sum(1)
    inside = b * b - to.square().sum(1) + radius**2
    t = -b - inside.clamp(min=0).sqrt()
    return torch.where(inside > 0, t, torch.inf)


@pytest.mark.parametrize("slope", [0.5, 1.0, 1.5])
def test_a_ball_is_met_where_it_is_also_by_slopes_that_are_not_one(slope: float) -> None:
    rays = bundle()
    tracing = Tracing(max_steps=256, relaxation=0.6)
    t, true = sphere_trace(ball(slope=slope), rays, tracing).t, exact(rays)
    square_on = exact(rays, 0.29).isfinite()  # rays that graze it may come within the tolerance and go on
    torch.testing.assert_close(t[square_on].double(), true[square_on], atol=2e-3, rtol=0)
    assert torch.isinf(t[exact(rays, 0.301).isinf()]).all()


@pytest.mark.parametrize("slope", [2.5, 4.0])
def test_a_field_far_steeper_than_a_distance_is_met_where_it_is(slope: float) -> None:
    """Whole steps would go back and forth through its surface for ever, as in a field that has been trained little."""
    rays = bundle()
    near = lambda x: slope * ((x - CENTRE).norm(dim=1) - 0.3).clamp(-0.02, 0.02)  # noqa: E731
    traced, true = sphere_trace(near, rays), exact(rays)
    square_on = exact(rays, 0.28).isfinite()
    torch.testing.assert_close(traced.t[square_on].double(), true[square_on], atol=2e-3, rtol=0)
    assert traced.n_looked_up < 40 * len(rays)


def test_rays_past_the_cube_and_empty_cubes_are_missed_at_no_cost() -> None:
    past = Rays(torch.tensor([[2.0, 2.0, -1.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
    traced = sphere_trace(ball(), past)
    assert torch.isinf(traced.t).all() and traced.n_looked_up == 0
    empty = sphere_trace(lambda x: torch.full((len(x),), 0.05), bundle(50))
    assert torch.isinf(empty.t).all()


def test_a_ray_that_starts_inside_is_met_there() -> None:
    rays = Rays(CENTRE[None].clone(), torch.tensor([[1.0, 0.0, 0.0]]))
    assert sphere_trace(ball(), rays).t.tolist() == [0.0]


def test_ended_rays_are_not_looked_up_again() -> None:
    rays = bundle()
    counts: list[int] = []

    def counted(x: torch.Tensor) -> torch.Tensor:
        counts.append(len(x))
        return ball()(x)

    traced = sphere_trace(counted, rays)
    assert counts == sorted(counts, reverse=True) and counts[-1] < len(rays) // 10
    assert traced.n_looked_up == sum(counts) < 30 * len(rays)


def test_a_ray_is_the_same_in_any_company() -> None:
    rays = bundle()
    together = sphere_trace(ball(), rays).t
    alone = torch.cat([sphere_trace(ball(), rays[i : i + 1]).t for i in range(20)])
    torch.testing.assert_close(together[:20], alone, rtol=0, atol=0)


def test_normals_point_away_from_the_middle_of_a_ball() -> None:
    outwards = torch.nn.functional.normalize(torch.randn(100, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    torch.testing.assert_close(normals(ball(), CENTRE + 0.3 * outwards), outwards, atol=5e-3, rtol=0)
