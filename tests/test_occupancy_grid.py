"""The occupancy grid's schedule: what it looks at, what it remembers, what a resume needs."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from neural.cuda.reference.occupancy import coordinates
from neural.render.occupancy import OccupancyConfig, OccupancyGrid

BALL = 0.3


def _ball(points: Tensor) -> Tensor:
    """Density of a ball of radius 0.3 about (0.5, 0, 0)."""
    return 100.0 * ((points - torch.tensor([0.5, 0.0, 0.0])).norm(dim=-1, keepdim=True) < BALL)


def _grid(**changes) -> OccupancyGrid:
    settings = {"centre": (0.5, 0.0, 0.0), "half_extent": 0.5, "min_step": 0.01, "seed": 3, "resolution": 32}
    return OccupancyGrid(**{**settings, **changes})


@dataclass(frozen=True)
class Pinholes:
    c2w: Tensor
    intrinsics: Tensor
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.c2w)

    def project(self, points: Tensor, index: int) -> tuple[Tensor, Tensor]:
        local = (points - self.c2w[index, :3, 3]) @ self.c2w[index, :3, :3]
        fx, fy, cx, cy = self.intrinsics[index]
        return torch.stack((fx * local[:, 0] / local[:, 2] + cx, fy * local[:, 1] / local[:, 2] + cy), -1), local[:, 2]


def test_everything_is_sampled_until_the_field_was_looked_at() -> None:
    grid = _grid()
    origins, directions = torch.tensor([[0.5, 0.0, -2.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    reach = torch.zeros(1), torch.full((1,), math.inf)
    assert len(grid.march(origins, directions, *reach)) == 100
    assert not grid.update(1, _ball)
    assert grid.update(0, _ball)
    samples = grid.march(origins, directions, *reach)
    assert 55 <= len(samples) < 70  # 2 BALL / min_step, give or take a cell
    assert float(samples.t_starts[0]) == pytest.approx(2.0 - BALL, abs=1.5 / 32)


def test_the_bits_follow_the_field() -> None:
    grid = _grid()
    for step in range(0, 200, 16):
        grid.update(step, _ball)
    share = 4 / 3 * math.pi * BALL**3
    assert share * 0.95 < grid.occupied_share() < share * 1.35  # cells that the surface cuts count as well
    # The field becomes empty: 0.95^m < 1e-2 takes 90 updates of decay, then nothing is left.
    for step in range(208, 208 + 16 * 200, 16):
        grid.update(step, lambda points: torch.zeros(len(points)))
    before = float(grid.thickness.max())
    assert before < 1e-4


def test_after_the_warm_up_a_quarter_and_the_occupied_are_looked_at() -> None:
    grid = _grid(config=OccupancyConfig(warm_up=16))
    seen: list[Tensor] = []

    def field(points: Tensor) -> Tensor:
        seen.append(points)
        return _ball(points)

    n = 32**3
    grid.update(0, field)
    assert sum(map(len, seen)) == n
    occupied = int((grid.thickness > grid.threshold).sum())
    seen.clear()
    grid.update(16, field)
    assert sum(map(len, seen)) == n // 4 + min(occupied, n // 4)
    inside = _ball(torch.cat(seen))[n // 4 :, 0] > 0
    assert float(inside.float().mean()) > 0.7
    # One of each run of four: every block of 2^3 cells is visited twice.
    cell = ((torch.cat(seen)[: n // 4] - torch.tensor([0.0, -0.5, -0.5])) * 16).long()
    _, visits = torch.unique(cell, dim=0, return_counts=True)
    assert len(visits) == n // 8 and bool((visits == 2).all())


def test_a_field_that_is_the_same_everywhere_stays_sampled() -> None:
    grid = _grid()
    grid.update(0, lambda points: torch.full((len(points), 1), 0.1))
    assert grid.occupied_share() == 1.0


def test_resume_needs_the_state_and_the_step_only() -> None:
    config = OccupancyConfig(warm_up=32, chunk=5000)
    whole = _grid(n_cascades=2, config=config)
    for step in range(128):
        whole.update(step, _ball)
    first, second = _grid(n_cascades=2, config=config), _grid(n_cascades=2, config=config)
    for step in range(71):
        first.update(step, _ball)
    torch.manual_seed(99)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    for step in range(71, 128):
        second.update(step, _ball)
    for name, value in whole.state_dict().items():
        assert name.startswith("occupancy/")
        assert torch.equal(value, second.state_dict()[name])


def test_state_of_another_grid_is_refused() -> None:
    grid = _grid()
    with pytest.raises(ValueError, match=r"thickness must be \[1, 32768\].*resume with the resolution"):
        grid.load_state_dict(_grid(n_cascades=2).state_dict())
    with pytest.raises(ValueError, match="the checkpoint has no occupancy/thickness"):
        grid.load_state_dict({})


def test_cells_that_no_camera_sees_are_given_up_for_good() -> None:
    # One camera at the left end of the box looks along +x with a 53 degree field of view.
    c2w = torch.eye(4, dtype=torch.float64)[None].clone()
    c2w[0, :3, :3] = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    c2w[0, :3, 3] = torch.tensor([-0.5, 0.0, 0.0])
    cameras = Pinholes(c2w, torch.tensor([[100.0, 100.0, 50.0, 50.0]]).double(), torch.tensor([[100, 100]]))
    grid = _grid(n_cascades=2, resolution=64)
    share = grid.mark_unseen(cameras)
    assert share == float((grid.thickness < 0).float().mean())
    _, cell = coordinates(torch.arange(64**3), 64)
    corner = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    given_up = 0.0
    for k in range(2):
        points = ((cell[:, None] + corner).double() / 64 - 0.5) * 2.0**k + torch.tensor([0.5, 0.0, 0.0])
        pixels, depth = cameras.project(points.view(-1, 3), 0)
        visible = ((pixels >= 0) & (pixels <= 100)).all(-1) & (depth > 0)
        visible = visible.view(-1, 8).any(1)
        assert bool((grid.thickness[k][visible] >= 0).all())  # never a cell that is seen
        given_up += float((grid.thickness[k] < 0).sum() / max(int((~visible).sum()), 1)) / 2
    assert given_up > 0.5
    unseen = grid.thickness < 0
    grid.update(0, lambda points: torch.full((len(points),), 1e3))
    assert torch.equal(grid.thickness < 0, unseen)
    behind = grid.march(
        torch.tensor([[-0.2, 0.9, -2.0]]), torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1), torch.full((1,), 4.0)
    )
    assert len(behind) == 0  # a ray through the box, beside what the camera sees


def test_wrong_settings_and_fields_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="resolution must be a power of two from 16 to 1024, got 100"):
        _grid(resolution=100)
    with pytest.raises(ValueError, match="half_extent and min_step must be positive"):
        _grid(half_extent=0.0)
    with pytest.raises(ValueError, match=r"density must give \[32768\] values"):
        _grid().update(0, lambda points: points)
