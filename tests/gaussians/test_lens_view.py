"""Culling behind bent lenses against the projection itself: what is drawn is never left out, and not much else kept."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural import lenses
from neural.cameras import CAMERA_MODELS
from neural.gaussians import order
from neural.gaussians.clusters import Clusters
from neural.gaussians.lens_view import LensBounds, in_lens_view
from neural.gaussians.model import Gaussians
from neural.gaussians.order import rotations
from neural.render.splats import View, project_to, splat

SIZE = (160, 128)
LENSES = {
    "barrel": ("opencv", [-0.25, 0.06, 0, 0, 0, 0, 0, 0]),
    "folding": ("opencv", [-0.1, 0, 0, 0, 0, 0, 0, 0]),
    "pincushion": ("opencv", [0.2, 0.05, 0, 0, 0.01, 0, 0, 0]),
    "off axis": ("opencv", [-0.1, 0.02, 0.02, -0.03, 0, 0, 0, 0]),
    "rational": ("opencv", [0.5, 0.1, 0.001, 0.002, 0.01, 0.8, 0.2, 0.02]),
    "pole": ("opencv", [0, 0, 0, 0, 0, -0.3, 0, 0]),
    "equidistant": ("fisheye", [0.0] * 8),
    "fisheye": ("fisheye", [0.05, -0.02, 0.004, 0, 0, 0, 0, 0]),
    "narrow fisheye": ("fisheye", [-0.3, 0.05, 0, 0, 0, 0, 0, 0]),
    "wide fisheye": ("fisheye", [-0.06, 0, 0, 0, 0, 0, 0, 0]),
}


def view_of(name: str, w2c: torch.Tensor, intrinsics: list[float], size: tuple[int, int] = SIZE) -> View:
    model, distortion = LENSES[name]
    lens = torch.tensor(distortion, dtype=torch.float64)
    assert model in ("opencv", "fisheye")
    fold = lenses.fold(lens, CAMERA_MODELS.index(model))
    k = torch.tensor(intrinsics, dtype=torch.float64)
    return View(w2c.double(), k, size, 0.05, model, lens, fold)  # type: ignore[arg-type]


def pose(rng: np.random.Generator, distance: float) -> torch.Tensor:
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, :3] = rotations(torch.from_numpy(rng.normal(size=(1, 4))))[0]
    w2c[:3, 3] = torch.from_numpy(rng.normal(size=3) * 0.3 * distance)
    w2c[2, 3] += distance
    return w2c


def scene(n: int, rng: np.random.Generator, size: float) -> Gaussians:
    """Needles, discs and balls around the origin in Morton order; `size`: of the deviations, as a logarithm."""
    made = Gaussians(
        torch.from_numpy(rng.normal(size=(n, 3)) * 2).float(),
        torch.from_numpy(rng.normal(size=(n, 4))).float(),
        torch.from_numpy(rng.normal(size=(n, 3)) * 1.2 + size).float(),
        torch.from_numpy(rng.normal(size=n) * 2 + 1).float(),
        torch.from_numpy(rng.normal(size=(n, 3))).float(),
        torch.zeros(n, 0, 3),
    )
    made.sort_morton()
    return made


def groups(made: Gaussians, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes of centres and reaches of runs of `size`."""
    means = made.means.detach()
    largest = order.SIGMAS * made.log_scales.detach().amax(1).exp()
    parts = [largest[i : i + size].max() for i in range(0, made.n, size)]
    return order.boxes(means, means, size), torch.stack(parts)


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(LENSES)),
    seed=st.integers(0, 100_000),
    log_size=st.sampled_from([-6.0, -4.0, -3.0, -1.0]),
    run=st.sampled_from([1, 4, 32, 128]),
    distance=st.sampled_from([0.0, 0.5, 2.0, 5.0, 30.0]),
    focal=st.sampled_from([0.15, 0.4, 0.9, 3.0]),
    shifted=st.sampled_from([0.0, 0.3, -0.7]),
)
def test_every_gaussian_that_is_drawn_is_in_a_group_that_is_kept(
    name: str, seed: int, log_size: float, run: int, distance: float, focal: float, shifted: float
) -> None:
    rng = np.random.default_rng(seed)
    made = scene(3000, rng, log_size)
    width, height = SIZE
    view = view_of(name, pose(rng, distance), [focal * width, 1.2 * focal * width, (0.5 + shifted) * width, height / 2])
    lens = view.bounds()
    assert lens is not None
    kept = in_lens_view(lens, *groups(made, run), view.w2c, near=view.near)
    rows = kept.repeat_interleave(run)[: made.n]
    drawn = project_to(made, view).opacities.detach() > 0
    assert not bool((drawn & ~rows).any())
    chosen = rows.nonzero()[:, 0]
    if 0 < len(chosen) < made.n:
        with torch.no_grad():
            whole, part = (splat(g, view, with_depth=True) for g in (made, made.taken(chosen)))
        for left, right in zip(whole[:3], part[:3], strict=True):
            assert torch.equal(left, right)


@pytest.mark.parametrize("name", sorted(LENSES))
def test_not_much_is_kept_for_nothing(name: str) -> None:
    """Small Gaussians amid which the camera stands, a tenth of them in view; groups are a good part of it wide."""
    rng = np.random.default_rng(1)
    made = scene(60_000, rng, -6.0)
    with torch.no_grad():
        made.log_scales.clamp_(max=-5.0)
    boxes, reaches = groups(made, 8)
    drawn = kept = 0.0
    for _ in range(3):
        view = view_of(name, pose(rng, 1.0), [1.2 * SIZE[0], 1.2 * SIZE[0], SIZE[0] / 2, SIZE[1] / 2])
        lens = view.bounds()
        assert lens is not None
        drawn += float((project_to(made, view).opacities.detach() > 0).float().mean()) / 3
        kept += float(in_lens_view(lens, boxes, reaches, view.w2c, near=view.near).float().mean()) / 3
    sure = lens.sure or LENSES[name][0] == "fisheye"
    assert 0.05 < drawn < 0.15
    assert kept < drawn + (0.2 if sure and name != "pole" else 0.35)  # no bound near 90 degrees or a pole


@pytest.mark.parametrize("name", sorted(LENSES))
def test_tables_bound_the_derivatives_between_their_angles(name: str) -> None:
    """Autograd at directions that no table has."""
    model, distortion = LENSES[name]
    kind, k = CAMERA_MODELS.index(model), torch.tensor(distortion, dtype=torch.float64)
    intrinsics = torch.tensor([100.0, 100, 50, 50])
    lens = LensBounds.of(model, k, lenses.fold(k, kind), intrinsics, (100, 100))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    for _ in range(60):
        angle, azimuth = rng.uniform(0, lens.end), rng.uniform(0, 2 * math.pi)
        ring = math.sin(angle)
        point = torch.tensor([ring * math.cos(azimuth), ring * math.sin(azimuth), math.cos(angle)], dtype=torch.float64)
        step = lens.end / (len(lens.slope) - 1)
        upper = math.ceil(angle / step)

        def place(p: torch.Tensor) -> torch.Tensor:
            return lenses.project(p[None], k, kind)[0]

        first = torch.autograd.functional.jacobian(place, point)
        assert float(torch.linalg.matrix_norm(first, 2)) <= float(lens.slope[upper])
        second = [torch.autograd.functional.hessian(lambda p, i=i: place(p)[i], point) for i in range(2)]
        norms = torch.stack([torch.linalg.matrix_norm(h, 2) for h in second])
        assert float(norms.norm()) <= float(lens.bend[upper]) * 1.01


@pytest.mark.parametrize("name", ["barrel", "fisheye"])
def test_clusters_in_training_keep_what_steps_may_have_moved_into_view(name: str) -> None:
    rng = np.random.default_rng(3)
    made = scene(20_000, rng, -6.0)
    clusters = Clusters(made)
    view = view_of(name, pose(rng, 12.0), [6.0 * SIZE[0], 6.0 * SIZE[0], SIZE[0] / 2, SIZE[1] / 2])
    rate = 2e-3
    for _ in range(10):
        with torch.no_grad():
            made.means += 3.2 * rate * torch.from_numpy(np.sign(rng.normal(size=(made.n, 3)))).float()
            made.log_scales += 3.2 * rate
        clusters.stepped(None)
        kept = clusters.in_view(view.w2c, view.intrinsics, view.size, view.near, rate, rate, lens=view.bounds())
        assert 0 < int(kept.sum()) < 0.7 * len(kept)
        drawn = project_to(made, view).opacities.detach() > 0
        rows = torch.zeros(made.n, dtype=torch.bool)
        rows[clusters.rows(kept)] = True
        assert not bool((drawn & ~rows).any())
