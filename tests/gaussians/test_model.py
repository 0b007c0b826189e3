"""The parameters: how they start, what they go through, and that nothing is lost on the way to a file and back."""

from pathlib import Path

import numpy as np
import pytest
import torch

import neural
from neural.gaussians import order
from neural.gaussians.model import Gaussians
from neural.morton import morton_order
from neural.optim import Adam, Group
from neural.scenes.files.gaussians.ply import plain_ply
from neural.scenes.files.gaussians.record import SH_C0

NAMES = ["means", "quats", "log_scales", "opacity_logits", "sh0", "shN"]


def _scene(n: int = 300, sh_degree: int = 2) -> Gaussians:
    torch.manual_seed(0)
    scene = Gaussians.random(n, torch.tensor([[-1.0, -2, 0], [1, 3, 2]]), sh_degree=sh_degree)
    with torch.no_grad():
        for param in scene.parameters():
            param.add_(0.1 * torch.randn_like(param))
    return scene


def test_the_names_are_public_and_of_the_state() -> None:
    assert neural.Gaussians is Gaussians
    assert list(_scene().state_dict()) == NAMES


@pytest.mark.parametrize("degree", range(4))
def test_from_points(degree: int) -> None:
    """On a lattice the three nearest neighbours are one spacing away."""
    axis = torch.arange(5.0) * 0.25
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3) + 100
    colors = torch.rand(125, 3)
    scene = Gaussians.from_points(points, colors, sh_degree=degree, opacity=0.3, scale=2.0)
    assert (scene.n, scene.sh_degree) == (125, degree)
    torch.testing.assert_close(scene.log_scales.exp(), torch.full((125, 3), 0.5), rtol=1e-4, atol=0)
    torch.testing.assert_close(scene.opacity_logits.sigmoid(), torch.full((125,), 0.3))
    torch.testing.assert_close(0.5 + SH_C0 * scene.sh0, colors)
    as_bytes = Gaussians.from_points(points, (colors * 255).round().to(torch.uint8), sh_degree=degree)
    torch.testing.assert_close(0.5 + SH_C0 * as_bytes.sh0, colors, atol=0.5 / 255 + 1e-6, rtol=0)
    assert not scene.shN.any()
    assert torch.equal(order.rotations(scene.quats), torch.eye(3).expand(125, 3, 3))
    assert scene.means.data_ptr() != points.data_ptr()


def test_points_at_one_place_get_a_size() -> None:
    points = torch.cat([torch.zeros(5, 3), torch.ones(1, 3)])
    assert Gaussians.from_points(points, points).log_scales.isfinite().all()
    assert Gaussians.from_points(points[:2], points[:2]).log_scales.isfinite().all()


def test_random_fills_the_box_and_repeats() -> None:
    box = torch.tensor([[-1.0, -2, 0], [1, 3, 2]])
    scene, again = Gaussians.random(4000, box, seed=3), Gaussians.random(4000, box, seed=3)
    for left, right in zip(scene.parameters(), again.parameters(), strict=True):
        assert torch.equal(left, right)
    assert (scene.means >= box[0]).all() and (scene.means <= box[1]).all()
    torch.testing.assert_close(scene.means.mean(dim=0), box.mean(dim=0), atol=0.1, rtol=0)
    torch.testing.assert_close(scene.log_scales.exp().pow(3).mean() * 4000, torch.tensor(20.0))
    assert not torch.equal(scene.means, Gaussians.random(4000, box, seed=4).means)


def test_what_makes_no_scene_is_refused() -> None:
    points = torch.rand(9, 3)
    with pytest.raises(ValueError, match=r"N at least 2, got \[1, 3\] and \[1, 3\]; use random"):
        Gaussians.from_points(points[:1], points[:1])
    with pytest.raises(ValueError, match="points must be finite"):
        Gaussians.from_points(points / 0, points)
    with pytest.raises(ValueError, match="sh_degree must be 0 to 3, got 4"):
        Gaussians.from_points(points, points, sh_degree=4)
    with pytest.raises(ValueError, match="opacity must be between 0 and 1"):
        Gaussians.from_points(points, points, opacity=1.0)
    with pytest.raises(ValueError, match="box with volume"):
        Gaussians.random(9, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"quats must be \[9, 4\], got \[9, 3\]"):
        Gaussians(points, points, points, points[:, 0], points, torch.zeros(9, 0, 3))


@pytest.mark.parametrize("degree", range(4))
def test_a_record_and_back_is_exact(tmp_path: Path, degree: int) -> None:
    scene = _scene(sh_degree=degree)
    scene.antialiased = True
    plain_ply.write(tmp_path / "a.ply", scene.to_record())
    back = Gaussians.from_record(plain_ply.read(tmp_path / "a.ply"))
    assert back.antialiased and back.sh_degree == degree
    for name in NAMES:
        assert torch.equal(getattr(back, name), getattr(scene, name)), name


def test_a_record_is_a_copy_and_refuses_what_is_not_finite() -> None:
    scene = _scene()
    record = scene.to_record()
    with torch.no_grad():
        scene.means[7, 1] = float("nan")
    assert np.isfinite(record.means).all()
    with pytest.raises(ValueError, match="means of row 7 is not finite"):
        scene.to_record()


def _loss(scene: Gaussians) -> torch.Tensor:
    """Each Gaussian apart, so that its order does not matter."""
    return sum((param.square() * (1 + param)).sum() for param in scene.parameters())  # type: ignore[return-value]


def _steps(scene: Gaussians, optimiser: Adam, n: int) -> None:
    for _ in range(n):
        _loss(scene).backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.parametrize("lazy", [False, True])
def test_sorting_in_the_midst_of_training_changes_only_the_order(lazy: bool) -> None:
    one, other = _scene(), _scene()
    optimisers = [Adam([Group(dict(s.named_parameters()), lr=1e-2, lazy=lazy, ema=0.9)]) for s in (one, other)]
    _steps(one, optimisers[0], 3)
    _steps(other, optimisers[1], 3)
    _loss(other).backward()  # gradients go along
    permutation = other.sort_morton(optimisers[1].state_dict().values())
    _loss(one).backward()
    assert not torch.equal(permutation, torch.arange(one.n))
    assert torch.equal(morton_order(other.means.detach()), torch.arange(one.n))
    for scene, optimiser in zip((one, other), optimisers, strict=True):
        optimiser.step()
        optimiser.zero_grad()
        _steps(scene, optimiser, 2)
    for name, param in one.named_parameters():
        assert torch.equal(param[permutation], getattr(other, name)), name
    for name, average in optimisers[0].averages().items():
        assert torch.equal(average[permutation], optimisers[1].averages()[name]), name


def test_cluster_boxes_follow_the_parameters() -> None:
    scene = _scene()
    scene.sort_morton()
    boxes = scene.cluster_boxes()
    assert boxes.shape == (3, 2, 3) and not boxes.requires_grad
    with torch.no_grad():
        scene.log_scales.add_(1.0)
    larger = scene.cluster_boxes()
    assert (larger[:, 0] < boxes[:, 0]).all() and (larger[:, 1] > boxes[:, 1]).all()
