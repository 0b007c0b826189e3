"""Surfaces of distance fields along rays: sphere tracing, many rays at once, and normals by differences."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neural.rays import Rays, intersect_aabb

Distance = Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N"]]
TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Tracing:
    """How rays are followed.

    Attributes:
        max_steps: A ray that has found nothing after so many steps misses.
        tolerance: A ray ends where the distance is below this.
        longest: No step is longer, however far the surface seems: a field is only nearly a distance far from it.
        relaxation: Share of the distance that a step goes; below 1 for a field whose slope may exceed 1.
    """

    max_steps: int = 128
    tolerance: float = 2e-4
    longest: float = 0.1
    relaxation: float = 0.9


@dataclass(frozen=True)
class Traced:
    """Where rays meet the surface.

    Attributes:
        t: Distance along the ray; inf where it misses.
        n_looked_up: Points at which the field was asked.
    """

    t: Float[Tensor, "R"]
    n_looked_up: int


Span = tuple[Float[Tensor, "R"], Float[Tensor, "R"]]
"""Distances along rays from and to which they are followed; a ray with less behind than before is not."""


@torch.no_grad()
def sphere_trace(distance: Distance, rays: Rays, tracing: Tracing | None = None, *, span: Span | None = None) -> Traced:
    """Follows rays through the unit cube until they meet the surface; rays that have ended cost nothing more.

    A step that went through the surface, where the field promised more room than there was, is taken back by the
    (negative) distance found there, and the ray goes on in half the steps each time: steep fields are met too. A ray
    that starts inside the body meets the surface where it starts.

    Args:
        distance: Signed distance at points of the unit cube, negative inside.
        rays: Unit directions; in the unit cube's frame and unit.
        tracing: How.
        span: Within the unit cube; what of the rays lies in it without.

    Source: Hart 1996, "Sphere Tracing", section 2.
    """
    how = tracing or Tracing()
    t_min, t_max = within_unit_cube(rays) if span is None else span
    found = torch.full_like(t_min, torch.inf)
    active = torch.nonzero(t_max > t_min)[:, 0]
    t, end = t_min[active], t_max[active]
    origins, directions = rays.origins[active], rays.directions[active]
    share, inside = torch.full_like(t, how.relaxation), torch.zeros_like(active, dtype=torch.bool)
    looked_up = 0
    for _ in range(how.max_steps):
        if len(active) == 0:
            break
        d = distance((origins + t[:, None] * directions).clamp(0, 1))
        looked_up += len(active)
        hit = d.abs() < how.tolerance
        found[active[hit]] = t[hit]
        share, inside = torch.where((d < 0) != inside, share / 2, share), d < 0
        t = t + share * d.clamp(-how.longest, how.longest)
        going = torch.nonzero(~hit & (t < end) & (t >= t_min[active]))[:, 0]
        begun_inside = torch.nonzero(~hit & (t < t_min[active]))[:, 0]
        found[active[begun_inside]] = t_min[active[begun_inside]]
        if len(going) < len(active):
            active, t, end, share, inside = active[going], t[going], end[going], share[going], inside[going]
            origins, directions = origins[going], directions[going]
    return Traced(found, looked_up)


def within_unit_cube(rays: Rays) -> Span:
    """What of rays lies in the unit cube."""
    return intersect_aabb(rays, torch.tensor([[0.0] * 3, [1.0] * 3], device=rays.origins.device))


@torch.no_grad()
def normals(distance: Distance, points: Float[Tensor, "N 3"], width: float = 1 / 1024) -> Float[Tensor, "N 3"]:
    """Unit normals of a distance field, outwards, by differences over a tetrahedron.

    Against the gradient at the point itself, which belongs to one cell of the finest grid, these look at a
    neighbourhood as large as the detail that a picture shows.

    Args:
        distance: As in `sphere_trace`.
        points: Near the surface.
        width: Half the side of the cube that the tetrahedron stands in; about the field's finest cell.
    """
    total = torch.zeros_like(points)
    for corner in TETRAHEDRON:
        offset = torch.tensor(corner, device=points.device)
        total += offset * distance((points + width * offset).clamp(0, 1))[:, None]
    return torch.nn.functional.normalize(total, dim=1)
