"""Pictures of media: transmittance, shadows and light against what they are by definition."""

import math

import numpy as np
import pytest
import torch

from neural.rays import image_rays
from neural.render.cloud import Lighting, Lit, occupancy_of, occupied_at, phase, render_picture
from neural.render.sunlight import sun_thickness
from neural.scenes.synthetic.cloud import CloudRecipe, cloud
from neural.scenes.volumes.survey import FAINT, survey
from neural.scenes.volumes.views import around, ring
from neural.scenes.volumes.voxels import Voxels, from_arrays

SUNS = [(0.0, 0.0, 1.0), (0.6, 0.0, 0.8), (-0.8, 0.6, 0.0), (0.48, -0.6, 0.64), (-0.57735, -0.57735, -0.57735)]


@pytest.mark.parametrize("sun", SUNS)
def test_sunlight_through_an_even_medium_is_thick_as_its_way_is_long(sun: tuple[float, float, float]) -> None:
    n = 24
    found = sun_thickness(np.full((n, n, n), 2.0, np.float32), sun)
    centres = (np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1) + 0.5) / n
    ways = [np.where(s > 0, (1 - centres[..., a]) / s, centres[..., a] / -s) for a, s in enumerate(sun) if s]
    way = np.minimum.reduce(ways)
    assert np.abs(found - 2 * way).max() < 2.0 * 3 / n  # faces are blurred by a cell or two
    inner = slice(4, -4)
    assert np.abs(found - 2 * way)[inner, inner, inner].mean() < 0.02


@pytest.mark.parametrize("sun", SUNS)
def test_sunlight_through_an_uneven_medium(sun: tuple[float, float, float]) -> None:
    """Against steps along each line through the voxels."""
    n = 20
    axes = np.arange(n) / n
    x, y, z = np.meshgrid(axes, axes, axes, indexing="ij")
    density = (np.sin(7 * x) * np.cos(5 * y) * np.sin(6 * z + 1) + 1).astype(np.float32)
    density[[0, -1]] = density[:, [0, -1]] = density[:, :, [0, -1]] = 0  # faces are no part of the question
    medium = from_arrays(density)
    cells = torch.randint(3, n - 3, (60, 3), generator=torch.Generator().manual_seed(0))
    steps = (torch.arange(2000) + 0.5) / 1000
    along = (cells[:, None] + 0.5) / n + steps[:, None] * torch.tensor(sun)
    inside = ((along > 0) & (along < 1)).all(-1)
    wanted = (medium.densities(along.reshape(-1, 3)).reshape(60, -1) * inside).sum(1) / 1000
    found = sun_thickness(density, sun)[tuple(cells.numpy().T)]
    np.testing.assert_allclose(found, wanted, atol=0.03, rtol=0.03)


def even(sigma: float, height: int = 16) -> Voxels:
    sizes = (16, 16, height)
    return from_arrays(np.full(sizes, sigma, np.float32), np.full((*sizes, 3), 0.5, np.float32))


def test_a_ray_through_an_even_medium_keeps_what_beer_and_lambert_say() -> None:
    voxels = even(3.0, height=7)  # ends within a cell of the occupancy grid
    occupancy = occupancy_of(survey(voxels, 16).peaks, FAINT, steps=400)
    lit = Lit(voxels.sample, occupancy, Lighting(), box=voxels.box, shadow_resolution=16)
    cameras = around(voxels.box, 1, 9, elevations=(0.0, 0.0)).to("cpu", torch.float32)
    found = render_picture(lit, cameras, 0, occupancy)
    assert float(found.alpha[40]) == pytest.approx(1 - math.exp(-3.0), abs=5e-3)  # the middle one: length 1
    assert float(found.alpha[4]) == 0.0  # above it
    sky = lit.lighting.sky(image_rays(cameras, 0).directions[4:5])
    torch.testing.assert_close(found.rgb[4:5], lit.lighting.develop(sky))


def test_a_shadow_is_darker_and_light_scales() -> None:
    voxels = even(20.0)
    occupancy = occupancy_of(survey(voxels, 16).peaks, FAINT, steps=64)
    lighting = Lighting(azimuth=0.0, elevation=0.0, anisotropy=0.0)
    lit = Lit(voxels.sample, occupancy, lighting, box=voxels.box, shadow_resolution=32)
    points = torch.tensor([[0.97, 0.5, 0.5], [0.5, 0.5, 0.5], [0.03, 0.5, 0.5]])
    density, geo = lit.density(points)
    assert density.tolist() == [20.0] * 3
    towards = torch.tensor([[-1.0, 0.0, 0.0]]).expand(3, 3)
    colors = lit.color(towards, geo)
    assert bool((colors[0] > 1.5 * colors[1]).all())
    assert bool((colors[1] > colors[2]).all())
    torch.testing.assert_close(geo[:, 4], torch.tensor([0.6, 10.0, 19.4]), atol=0.5, rtol=0)
    half = geo.clone()
    half[:, 1:4] /= 2
    torch.testing.assert_close(lit.color(towards, half), colors / 2)


@pytest.mark.parametrize("g", [0.0, 0.35, -0.5, 0.9])
def test_the_phase_function_scatters_all_light_once(g: float) -> None:
    cosine = torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    assert float(phase(cosine, g).mean()) == pytest.approx(1.0, abs=1e-3)


def test_the_tone_curve_rises_from_black_to_white() -> None:
    light = torch.linspace(0, 50, 1000)[:, None].expand(-1, 3)
    shown = Lighting().develop(light)
    assert float(shown[0].max()) == 0.0
    assert float(shown.max()) <= 1.0
    assert bool((shown.diff(dim=0) >= 0).all())


def test_occupied_cells_are_those_above_the_threshold() -> None:
    voxels = from_arrays(cloud(CloudRecipe(resolution=32)))
    peaks = survey(voxels, 32).peaks
    occupancy = occupancy_of(peaks, FAINT, steps=32)
    points = torch.rand(5000, 3, generator=torch.Generator().manual_seed(2))
    cells = (points * 32).long()
    wanted = torch.from_numpy(peaks)[cells[:, 0], cells[:, 1], cells[:, 2]] > FAINT
    assert torch.equal(occupied_at(occupancy, points), wanted)
    assert 0 < float(wanted.float().mean()) < 0.5


def test_skipping_empty_space_changes_nothing() -> None:
    voxels = from_arrays(cloud(CloudRecipe(resolution=32)))
    seen = survey(voxels, 32)
    cameras = around(seen.box, 1, 24).to("cpu", torch.float32)
    pictures = []
    for peaks in (seen.peaks, np.ones_like(seen.peaks)):
        occupancy = occupancy_of(peaks, FAINT, steps=64)
        lit = Lit(voxels.sample, occupancy, Lighting(), box=voxels.box, shadow_resolution=32)
        pictures.append(render_picture(lit, cameras, 0, occupancy).rgb)
    torch.testing.assert_close(*pictures, atol=2e-3, rtol=0)


def test_views_hold_the_box_and_no_more() -> None:
    box = torch.tensor([[0.1, 0.0, 0.05], [0.9, 1.0, 0.4]], dtype=torch.float64)
    corners = torch.cartesian_prod(*box.t())
    for cameras in (around(box, 7, 100), ring(box, 5, 100)):
        reach = []
        for index in range(len(cameras)):
            pixels, depth = cameras.project(corners, index)
            assert bool((depth > 0).all())
            reach.append(float((pixels - 50).abs().max()))
        assert max(reach) == pytest.approx(49.0)
