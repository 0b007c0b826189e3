"""Rendering what no one should: any parameters, any picture size, any lens, cameras anywhere; clean or refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.cameras import CAMERA_MODELS, Cameras
from neural.gaussians.model import Gaussians
from neural.poses import look_at
from neural.render.splats import View, render_camera, splat

LENSES = {
    "pinhole": [[0.0] * 8],
    "opencv": [[-0.3, 0.1, 0.01, -0.01, 0, 0, 0, 0], [0.4, -0.3, 0, 0, 0.1, 0.2, 0, 0], [-2.0, 0, 0, 0, 0, 0, 0, 0]],
    "fisheye": [[0.0] * 8, [0.1, -0.05, 0.01, 0, 0, 0, 0, 0], [-0.3, 0, 0, 0, 0, 0, 0, 0]],
}
# Mostly plain values, now and then one at the rim of what single precision holds.
EXTREMES = [0.0, 1e-30, -1e-30, 1e-6, 1e6, -1e6, 1e18, -1e18, 3e38, -3e38]


def cameras(model: str, lens: list[float], size: tuple[int, int], eye: np.ndarray, focal: float) -> Cameras:
    width, height = size
    c2w = look_at(eye, np.zeros(3), np.array([0.1, 0.2, 1.0]))
    return Cameras(
        torch.from_numpy(c2w)[None],
        torch.tensor([[focal * width, focal * width, width / 2, height / 2]], dtype=torch.float64),
        torch.tensor([size]),
        torch.tensor([CAMERA_MODELS.index(model)]),
        torch.tensor([lens], dtype=torch.float64),
    )


def gaussians(n: int, seed: int, wild: float) -> Gaussians:
    """`n` around the origin; a share `wild` of all values is extreme."""
    rng = np.random.default_rng(seed)

    def values(*shape: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
        plain = rng.normal(size=(n, *shape)) * scale + shift
        strange = rng.choice(EXTREMES, size=(n, *shape))
        return torch.from_numpy(np.where(rng.random((n, *shape)) < wild, strange, plain).astype(np.float32))

    return Gaussians(
        values(3), values(4), values(3, scale=0.7, shift=-2), values(shift=1), values(3), values(8, 3, scale=0.2),
        antialiased=bool(rng.integers(2)),
    )  # fmt: skip


@settings(max_examples=120)
@given(
    n=st.integers(0, 40),
    seed=st.integers(0, 10_000),
    wild=st.sampled_from([0.0, 0.02, 0.3]),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    model=st.sampled_from(sorted(LENSES)),
    which=st.integers(0, 2),
    distance=st.sampled_from([0.05, 1.0, 4.0, 1e4]),
    focal=st.sampled_from([1e-2, 0.5, 1.0, 30.0]),
)
def test_any_gaussians_before_any_camera(
    n: int, seed: int, wild: float, size: tuple[int, int], model: str, which: int, distance: float, focal: float
) -> None:
    """The picture is finite and between background and full; gradients are finite; what is not seen has none."""
    scene = gaussians(n, seed, wild)
    with torch.no_grad():
        scene.sh0.clamp_(-1e6, 1e6)  # colours have no bound: a picture of 3e38 is what was asked for
        scene.shN.clamp_(-1e6, 1e6)
    eye = np.random.default_rng(seed).normal(size=3)
    posed = cameras(model, LENSES[model][which % len(LENSES[model])], size, distance * eye / np.linalg.norm(eye), focal)
    view = View.of(posed, 0, 0.01)
    shown = splat(scene, view, background=torch.tensor([0.2, 0.4, 0.6]), with_depth=True)
    assert shown.depth is not None
    assert shown.rgb.shape == (size[1], size[0], 3)
    for part in (shown.rgb, shown.alpha, shown.depth):
        assert bool(part.isfinite().all())
    assert float(shown.alpha.detach().min()) >= 0 and float(shown.alpha.detach().max()) <= 1
    blank = shown.alpha.detach() == 0
    assert bool((shown.rgb.detach()[blank] == torch.tensor([0.2, 0.4, 0.6])).all())
    if shown.rgb.requires_grad:
        (shown.rgb.clamp(0, 1).mean() + shown.alpha.mean()).backward()
        unseen = shown.projected.opacities.detach() == 0
        for name, parameter in scene.named_parameters():
            assert parameter.grad is not None
            assert bool(parameter.grad.isfinite().all()), name
            assert not bool(parameter.grad[unseen].any()), name


@pytest.mark.parametrize("model", sorted(LENSES))
@pytest.mark.parametrize("size", [(1, 1), (17, 3), (3, 17), (1, 64), (33, 15)], ids=str)
def test_pictures_of_any_size_are_parts_of_larger_ones(model: str, size: tuple[int, int]) -> None:
    """A camera with fewer rows and columns shows the same pixels: nothing depends on whole tiles."""
    scene = gaussians(60, 3, 0.0)
    eye = np.array([2.5, 1.0, 0.5])
    whole = cameras(model, LENSES[model][0], (64, 64), eye, 0.9)
    part = Cameras(whole.c2w, whole.intrinsics, torch.tensor([size]), whole.models, whole.distortion)
    background = torch.tensor([1.0, 0.5, 0.0])
    left, right = (render_camera(scene, c, 0, background=background, near=0.01) for c in (whole, part))
    width, height = size
    corner = left.rgb.reshape(64, 64, 3)[:height, :width]
    slack = 0.05 if model == "pinhole" else 1e-5  # a pinhole's slopes are held near the border of its own picture
    torch.testing.assert_close(right.rgb.reshape(height, width, 3), corner, atol=slack, rtol=0)


@pytest.mark.parametrize("model", sorted(LENSES))
def test_behind_and_beyond_there_is_only_background(model: str) -> None:
    scene = gaussians(100, 5, 0.0)
    background = torch.tensor([0.25, 0.5, 0.75])
    with torch.no_grad():
        scene.log_scales -= 2
    for shift in ((0, 0, -50.0), (1e9, 0, -1e9), (math.nan, 0, 0), (0, math.inf, 0)):
        posed = cameras(model, LENSES[model][0], (19, 7), np.array([0, 0, -3.0]), 1.0)
        moved = Gaussians(scene.means.detach() @ torch.zeros(3, 3) + torch.tensor(shift), *list(scene.parameters())[1:])
        shown = render_camera(moved, posed, 0, background=background, near=0.01)
        assert not bool(shown.alpha.any())
        assert bool((shown.rgb == background).all())
        assert not bool(shown.depth.any())
