"""Decimation: what must hold for any scene, and pictures nearer to the scene's than those of plain pruning."""

from pathlib import Path

import numpy as np
import pytest
import torch

from neural.cameras import Cameras
from neural.gaussians.decimate import decimated
from neural.gaussians.model import Gaussians
from neural.metrics import psnr
from neural.poses import look_at
from neural.render.splats import render_camera
from neural.scenes.files.gaussians.ply import plain_ply
from tests.splat_files import ARRAYS, made


def _scene(n: int, degree: int = 1, seed: int = 0) -> Gaussians:
    """A ball of small discs with smooth colours."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
    scene = Gaussians.from_points(means, (means + 1) / 2, sh_degree=degree, opacity=0.7, normals=means)
    scene.shN.data[:] = 0.1 * means[:, None, :1]
    return scene


def _pictures(scene: Gaussians, middle: np.ndarray, radius: float) -> list[torch.Tensor]:
    eyes = [(1, 0.2, 0), (-0.5, 0.4, 0.9), (0.1, -0.9, -0.6)]
    poses = [look_at(middle + radius * np.array(eye), middle, np.array([0, -1.0, 0.01])) for eye in eyes]
    lens = torch.tensor([[120.0, 120, 64, 48]], dtype=torch.float64).repeat(3, 1)
    cameras = Cameras.pinhole(torch.from_numpy(np.stack(poses)), lens, torch.tensor([[128, 96]] * 3))
    black = torch.zeros(3)
    shown = [render_camera(scene, cameras, i, background=black, near=0.01) for i in range(3)]
    return [picture.rgb.reshape(96, 128, 3) for picture in shown]


def _likeness(scene: Gaussians, other: Gaussians, radius: float = 3.0) -> float:
    middle = scene.means.detach().median(0).values.double().numpy()
    pairs = zip(_pictures(scene, middle, radius), _pictures(other, middle, radius), strict=True)
    return float(np.mean([float(psnr(a, b)) for a, b in pairs]))


@pytest.mark.parametrize("n", [1, 2, 57, 299, 300, 1000])
def test_as_many_as_asked_for(n: int) -> None:
    few = decimated(_scene(300), n)
    assert few.n == min(n, 300)
    assert all(bool(param.isfinite().all()) for param in few.parameters())


def test_what_does_not_merge_stays_as_it_is() -> None:
    """To the bit, in its order; the same every time; the scene itself is not changed."""
    record = made(200, 3, antialiased=True)
    before = {name: getattr(record, name).copy() for name in ARRAYS}
    few = decimated(record, 190)
    assert len(few) == 190 and few.antialiased and few.sh_degree == 3
    same = (few.means[:, None] == record.means).all(2)
    assert same.any(1).sum() >= 180
    rows = same.argmax(1)[same.any(1)]
    assert (np.diff(rows) > 0).all()
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(few, name)[same.any(1)], getattr(record, name)[rows])
        np.testing.assert_array_equal(getattr(record, name), before[name])
    np.testing.assert_array_equal(decimated(record, 190).means, few.means)


def test_two_become_their_moments() -> None:
    """Two round Gaussians of weights 3 and 1 along x: mean, variance and colour as of a mixture."""
    means = torch.tensor([[0.0, 0, 0], [4.0, 0, 0]])
    logits = torch.logit(torch.tensor([0.3, 0.1]))
    colors = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    scene = Gaussians(
        means, torch.tensor([[1.0, 0, 0, 0]] * 2), torch.zeros(2, 3), logits, colors, torch.zeros(2, 0, 3)
    )
    one = decimated(scene, 1)
    torch.testing.assert_close(one.means[0].detach(), torch.tensor([1.0, 0, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(one.sh0[0].detach(), torch.tensor([0.75, 0.25, 0]), atol=1e-5, rtol=0)
    variances = (2 * one.log_scales[0].detach()).exp().sort().values
    torch.testing.assert_close(variances, torch.tensor([1.0, 1.0, 1 + 16 * 3 / 16]), atol=1e-4, rtol=0)
    # the light of both less what one takes of the other's, over an area of sqrt((1 + 2 x 4) / 3) for one of 1
    both = 0.3 * 0.1 / 2 * np.exp(-0.5 * 16 / 2)
    assert float(one.opacity_logits.detach().sigmoid()) == pytest.approx((0.4 - both) / np.sqrt(3), rel=2e-3)


def test_equal_ones_are_one() -> None:
    """A scene with every Gaussian there twice, half as opaque, is as good as the scene of half as many."""
    scene = _scene(400, degree=0)
    twice = scene.taken(torch.arange(800) % 400)
    alpha = scene.opacity_logits.detach().sigmoid()
    twice.opacity_logits.data[:] = torch.logit(1 - (1 - alpha).sqrt()).repeat(2)
    assert _likeness(twice, decimated(twice, 400)) > 30


@pytest.mark.parametrize("share", [2, 8])
def test_nearer_than_pruning(share: int) -> None:
    scene = _scene(6000)
    n = scene.n // share
    found = _likeness(scene, decimated(scene, n))
    generator = torch.Generator().manual_seed(0)
    pruned = scene.taken(torch.randperm(scene.n, generator=generator)[:n])
    assert found > _likeness(scene, pruned) + 5
    pruned.log_scales.data += 0.5 * np.log(share)  # as large as fills the gaps
    assert found > _likeness(scene, pruned) + 1


def test_a_trained_scene(neural_data: Path) -> None:
    """A quarter of it, against random pruning that fills the gaps and the largest and most opaque ones."""
    scene = Gaussians.from_record(plain_ply.read(neural_data / "splats" / "playbot_lod3.ply"))
    n, radius = scene.n // 4, 2.5 * float(scene.means.detach().std())
    found = _likeness(scene, decimated(scene, n), radius)
    chosen = scene.taken(torch.randperm(scene.n, generator=torch.Generator().manual_seed(0))[:n])
    chosen.log_scales.data += 0.5 * np.log(4)
    assert found > _likeness(scene, chosen, radius) + 0.5
    sizes = scene.log_scales.detach().sort(1).values[:, 1:].sum(1).exp() * scene.opacity_logits.detach().sigmoid()
    assert found > _likeness(scene, scene.taken(sizes.topk(n).indices), radius) + 1


def test_none_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least one Gaussian"):
        decimated(made(5), 0)
