"""The volume renderer against closed forms: a homogeneous ball, seen by rays and by a camera."""

import math

import pytest
import torch
from torch import Tensor, nn

from neural.cameras import Cameras
from neural.rays import Rays
from neural.render.occupancy import OccupancyConfig, OccupancyGrid
from neural.render.volume import Marching, Traced, render_image, render_rays, trace

RADIUS = 0.75
STEP = 2 / 2048
BACKGROUND = torch.tensor([0.2, 0.5, 0.9])


class Ball(nn.Module):
    """A ball of constant density about `centre`, smooth over `edge`; its colour is the direction's, or constant.

    Looks like a `RadianceField` to the renderer.
    """

    def __init__(self, density: float, *, edge: float = 0.0, rgb: tuple[float, float, float] | None = (0.9, 0.3, 0.1)):
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(density))
        self.edge, self.rgb = edge, rgb

    def density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        inside = RADIUS - positions.norm(dim=-1)
        share = torch.sigmoid(inside / self.edge) if self.edge else (inside > 0).float()
        geo = (self.strength * share)[:, None]
        return self.density_of(geo), geo

    def density_of(self, geo: Tensor) -> Tensor:
        return geo[:, 0]

    def color(self, directions: Tensor, geo: Tensor, images: Tensor | None = None) -> Tensor:
        if self.rgb is None:
            return 0.5 + 0.5 * directions
        tint = torch.tensor(self.rgb).expand(len(geo), 3)
        return tint if images is None else tint / (1 + images[:, None])


def grid(field: Ball | None = None, *, step: float = STEP) -> OccupancyGrid:
    """Occupancy of [-1, 1]^3; all of it occupied without a field."""
    made = OccupancyGrid(
        centre=(0, 0, 0), half_extent=1.0, min_step=step, seed=0, resolution=16, config=OccupancyConfig(update_every=1)
    )
    if field is not None:
        made.update(0, lambda positions: field.density(positions)[0])
    return made


def rays(offsets: list[float]) -> Rays:
    """Along +z from z = -2, through x = offset."""
    origins = torch.tensor([[x, 0.0, -2.0] for x in offsets])
    return Rays(origins, torch.tensor([[0.0, 0.0, 1.0]]).repeat(len(offsets), 1))


def chord(offset: float) -> float:
    return 2 * math.sqrt(max(0.0, RADIUS**2 - offset**2))


def look(field: Ball, offsets: list[float], **options: object) -> Traced:
    occupancy = options.pop("occupancy", None) or grid()
    marching = options.pop("marching", Marching(early_stop=0.0))
    return trace(field, rays(offsets), occupancy, marching, background=BACKGROUND, **options)


@pytest.mark.parametrize("density", [0.1, 1.0, 8.0])
def test_a_homogeneous_ball_has_the_transmittance_of_its_chord(density: float) -> None:
    """T = exp(-density * chord); error at most one step of density at either side of the ball."""
    offsets = [0.0, 0.3, 0.6, 0.74, 0.9]
    seen = look(Ball(density), offsets).rendering
    through = torch.tensor([math.exp(-density * chord(x)) for x in offsets])
    torch.testing.assert_close(1 - seen.alpha, through, atol=2 * density * STEP, rtol=0)
    rgb = (1 - through)[:, None] * torch.tensor([0.9, 0.3, 0.1]) + through[:, None] * BACKGROUND
    torch.testing.assert_close(seen.rgb, rgb, atol=2 * density * STEP, rtol=0)


@pytest.mark.parametrize("density", [0.1, 1.0, 8.0])
def test_depth_is_the_expected_distance(density: float) -> None:
    r"""Entry a, chord l: \int_0^l density exp(-density s) (a + s) ds, in closed form."""
    offsets = [0.0, 0.5]
    seen = look(Ball(density), offsets).rendering
    for offset, depth in zip(offsets, seen.depth.detach(), strict=True):
        length = chord(offset)
        entry, through = 2 - length / 2, math.exp(-density * length)
        expected = entry * (1 - through) + (1 - through) / density - length * through
        assert float(depth) == pytest.approx(expected, abs=6 * density * STEP)


def test_halving_the_step_halves_the_error() -> None:
    """First order, for the edge of the ball falls anywhere within a step; averaged over jitters."""

    def error(step: float) -> float:
        total = 0.0
        for draw in range(8):
            jitter = torch.full((1,), (draw + 0.5) / 8)
            seen = look(Ball(2.0), [0.1], occupancy=grid(step=step), jitter=jitter).rendering
            total += abs(1 - seen.alpha[0].item() - math.exp(-2.0 * chord(0.1)))
        return total

    assert error(1 / 64) < 0.7 * error(1 / 32) < 0.5 * error(1 / 16)


def test_directions_colour_what_they_should() -> None:
    seen = look(Ball(50.0, rgb=None), [0.0]).rendering
    torch.testing.assert_close(seen.rgb[0], torch.tensor([0.5, 0.5, 1.0]), atol=1e-4, rtol=0)


def test_rays_that_miss_show_the_background_of_their_own() -> None:
    backgrounds = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    seen = trace(Ball(5.0), rays([0.8, -0.9, 5.0]), grid(), Marching(), background=backgrounds).rendering
    torch.testing.assert_close(seen.rgb, backgrounds)
    assert not seen.alpha.any() and not seen.depth.any()


def test_empty_cells_and_the_early_stop_change_nothing_that_shows() -> None:
    field = Ball(40.0)
    offsets = [0.0, 0.4, 0.7]
    full = look(field, offsets)
    skipping = look(field, offsets, occupancy=grid(field), marching=Marching(early_stop=1e-3))
    torch.testing.assert_close(skipping.rendering.rgb, full.rendering.rgb, atol=2e-3, rtol=0)
    assert skipping.n_marched < 0.9 * full.n_marched
    assert skipping.n_shaded < 0.5 * skipping.n_marched


def test_nothing_is_sampled_nearer_than_near() -> None:
    seen = look(Ball(1.0), [0.0], marching=Marching(near=2.0, early_stop=0.0)).rendering  # from the ball's centre on
    assert 1 - seen.alpha[0].item() == pytest.approx(math.exp(-RADIUS), abs=0.01)


def test_rays_beyond_the_budget_are_left_out() -> None:
    seen = look(Ball(1.0), [0.0] * 10, max_samples=5000)
    one = look(Ball(1.0), [0.0])
    assert seen.n_rays == 5000 // one.n_marched
    assert seen.n_marched <= 5000
    torch.testing.assert_close(seen.rendering.rgb[: seen.n_rays], one.rendering.rgb.expand(seen.n_rays, 3))
    torch.testing.assert_close(seen.rendering.rgb[seen.n_rays :], BACKGROUND.expand(10 - seen.n_rays, 3))


def test_images_have_their_own_appearance() -> None:
    seen = look(Ball(50.0), [0.0, 0.0], image_indices=torch.tensor([0, 2])).rendering
    torch.testing.assert_close(seen.rgb[1] * 3, seen.rgb[0], atol=1e-4, rtol=0)


def test_a_density_that_is_nan_is_told() -> None:
    field = Ball(1.0)
    assert look(field, [0.0]).healthy
    with torch.no_grad():
        field.strength.fill_(float("nan"))
    assert not look(field, [0.0]).healthy


def test_the_distortion_is_that_of_the_weights() -> None:
    spread = look(Ball(1.0), [0.0, 0.9], with_distortion=True).distortion.detach()
    assert float(spread.detach()[0]) > 0.01
    assert float(spread[1]) == 0
    assert look(Ball(500.0), [0.0], with_distortion=True).distortion[0] < 0.1 * spread[0]
    assert look(Ball(1.0), [0.0]).distortion is None


def test_gradients_of_the_field_are_those_of_the_closed_form() -> None:
    """d alpha / d density = chord * T."""
    field = Ball(1.5)
    look(field, [0.2]).rendering.alpha.sum().backward()
    expected = chord(0.2) * math.exp(-1.5 * chord(0.2))
    assert float(field.strength.grad) == pytest.approx(expected, rel=0.01)


def test_gradients_reach_the_rays() -> None:
    """Against central differences, on a ball with a soft edge (a hard one has no gradient to find)."""
    field = Ball(3.0, edge=0.05, rgb=None)
    base = torch.tensor([[0.45, 0.1, -2.0]])
    towards = torch.nn.functional.normalize(torch.tensor([[0.02, -0.05, 1.0]]), dim=-1)

    def value(origin: Tensor, direction: Tensor) -> Tensor:
        seen = trace(field, Rays(origin, direction), grid(), Marching(early_stop=0.0), background=BACKGROUND)
        return (seen.rendering.rgb * torch.tensor([1.0, -0.5, 2.0])).sum()

    origin, direction = base.clone().requires_grad_(), towards.clone().requires_grad_()
    value(origin, direction).backward()
    h = 4e-3
    for place, grad in ((base, origin.grad), (towards, direction.grad)):
        for axis in range(2):  # across the ray: along it, samples stay where they are and the limits do not move
            shift = torch.zeros(1, 3)
            shift[0, axis] = h
            moved = [(base + s, towards) if place is base else (base, towards + s) for s in (shift, -shift)]
            up, down = (value(*pair).detach() for pair in moved)
            assert float(grad[0, axis]) == pytest.approx(float(up - down) / (2 * h), rel=0.03, abs=2e-3)


def test_an_image_in_chunks_is_the_image_in_one_piece() -> None:
    c2w = torch.eye(4, dtype=torch.float64)
    c2w[2, 3] = -2.5
    camera = Cameras.pinhole(
        c2w[None], torch.tensor([[20.0, 20.0, 8.5, 6.5]], dtype=torch.float64), torch.tensor([[17, 13]])
    ).to("cpu", torch.float32)
    field, occupancy = Ball(4.0), grid(step=1 / 128)
    whole = render_image(field, camera, 0, occupancy, Marching(), background=BACKGROUND)
    parts = render_image(field, camera, 0, occupancy, Marching(), background=BACKGROUND, rays_per_chunk=37)
    for name in ("rgb", "alpha", "depth"):
        assert torch.equal(getattr(whole, name), getattr(parts, name)), name
    middle = 17 * 6 + 8
    assert float(whole.alpha[middle]) == pytest.approx(1 - math.exp(-4 * 2 * RADIUS), abs=0.01)
    torch.testing.assert_close(whole.rgb[0], BACKGROUND)


@pytest.mark.parametrize("density", [0.5, 4.0, 300.0])
def test_rendering_in_waves_shows_what_training_sees(density: float) -> None:
    field, occupancy = Ball(density), grid(step=1 / 128)
    trained = look(field, [0.0, 0.3, 0.7, 0.9], occupancy=occupancy).rendering
    shown = render_rays(field, rays([0.0, 0.3, 0.7, 0.9]), occupancy, Marching(early_stop=0.0), background=BACKGROUND)
    for name in ("rgb", "alpha", "depth"):
        torch.testing.assert_close(getattr(shown, name), getattr(trained, name).detach(), atol=2e-6, rtol=2e-5)


def test_the_early_stop_of_rendering_loses_no_more_light_than_it_says() -> None:
    field, occupancy = Ball(12.0), grid(step=1 / 128)
    full, stopped = (
        render_rays(field, rays([0.0, 0.3, 0.7]), occupancy, Marching(early_stop=stop), background=BACKGROUND)
        for stop in (0.0, 1e-2)
    )
    assert not torch.equal(stopped.alpha, full.alpha)
    torch.testing.assert_close(stopped.alpha, full.alpha, atol=1e-2, rtol=0)
