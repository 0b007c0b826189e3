"""Pose corrections: proper rotations, smooth at zero, and able to undo what is wrong with the poses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural import checkpoint
from neural.cameras import Cameras
from neural.scenes.load import load
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.capture.pose_refinement import PoseRefinement, rotation
from neural.train.tasks.radiance import run as radiance_run
from neural.train.tasks.radiance.config import ModelConfig, OptimConfig, RadianceConfig, SamplingConfig

vectors = st.lists(st.floats(-4, 4), min_size=3, max_size=3).map(lambda v: torch.tensor([v], dtype=torch.float64))


def cross(v: torch.Tensor) -> torch.Tensor:
    x, y, z = v[0].tolist()
    return torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)


@settings(deadline=None)
@given(vectors)
def test_a_rotation_is_the_exponential_of_its_vector(v: torch.Tensor) -> None:
    torch.testing.assert_close(rotation(v)[0], torch.linalg.matrix_exp(cross(v)), atol=1e-9, rtol=0)


@settings(deadline=None)
@given(vectors)
def test_a_rotation_is_proper_and_undone_by_its_opposite(v: torch.Tensor) -> None:
    turned = rotation(v)[0]
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(turned @ turned.T, eye, atol=1e-12, rtol=0)
    assert float(torch.linalg.det(turned)) == pytest.approx(1)
    torch.testing.assert_close(turned @ rotation(-v)[0], eye, atol=1e-12, rtol=0)
    torch.testing.assert_close(turned @ v[0], v[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-5, 1e-4, 1.0001e-4, 1e-2, 1.0])
def test_gradients_are_right_at_and_around_zero(scale: float) -> None:
    v = (scale * torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(rotation, (v,), eps=1e-7, atol=1e-6)


def test_it_starts_as_nothing_and_moves_in_the_cameras_own_axes() -> None:
    c2w = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    c2w[1, :3, :3] = rotation(torch.tensor([[0.0, 0.0, torch.pi / 2]], dtype=torch.float64))[0]
    cameras = Cameras.pinhole(
        c2w, torch.tensor([[9.0, 9.0, 4, 4]] * 2, dtype=torch.float64), torch.tensor([[8, 8]] * 2)
    )
    refine = PoseRefinement(2)
    assert torch.equal(refine(cameras).c2w, cameras.c2w)
    with torch.no_grad():
        refine.tangent[1, 3] = 0.5  # along the second camera's x axis, which is the world's y axis
    torch.testing.assert_close(refine(cameras).c2w[1, :3, 3], torch.tensor([0, 0.5, 0], dtype=torch.float64))
    refine(cameras).c2w.sum().backward()
    assert refine.tangent.grad.shape == (2, 6)


def test_wrong_turns_are_found_and_undone(tmp_path: Path, write_capture) -> None:
    """Poses with turns of about 3 degrees; what is compared is invariant to a common turn of the whole scene."""
    wrong = write_capture(tmp_path / "wrong", turned=0.05)
    right = load(write_capture(tmp_path / "right")).subset("train").cameras.c2w[:, :3, :3]
    config = RadianceConfig(
        model=ModelConfig(
            n_levels=4, log2_hashmap_size=12, base_resolution=8, finest_resolution=32, density_width=16, color_width=16
        ),
        sampling=SamplingConfig(
            target_samples=1 << 13, max_rays=2048, steps_per_box=64, occupancy_resolution=16, near=0.0
        ),
        optim=OptimConfig(warmup_steps=10, lr=1e-2, refine_poses=True, pose_lr=3e-3),
        run=RunConfig(steps=400, device="cpu"),
    )
    run = radiance_run.train(wrong, config, out=tmp_path / "run", progress=False)
    given_poses = run.scene.subset("train").cameras
    refine = PoseRefinement(len(given_poses))
    with torch.no_grad():
        refine.tangent.copy_(checkpoint.load_latest(run.folder).tensors["model/poses"])
        found = refine(replace(given_poses)).c2w[:, :3, :3]
    before, after = spread(given_poses.c2w[:, :3, :3], right), spread(found, right)
    assert before > 2.0
    assert after < 0.6 * before


def spread(poses: torch.Tensor, right: torch.Tensor) -> float:
    """Root mean square angle, degrees, between the turns from camera to camera and what they should be."""
    errors = []
    for i in range(len(poses)):
        for j in range(i):
            relative = (poses[i].T @ poses[j]) @ (right[i].T @ right[j]).T
            errors.append(torch.acos(((relative.trace() - 1) / 2).clamp(-1, 1)))
    return float(torch.rad2deg(torch.stack(errors).square().mean().sqrt()))
