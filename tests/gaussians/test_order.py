"""Laws of the order: a curve that keeps neighbours together, boxes that hold, culling that never loses a point."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neural.gaussians import order
from neural.gaussians.neighbours import nearest_distances
from neural.morton import morton_codes, morton_order


def _gaussians(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """means, quats, log_scales."""
    generator = torch.Generator().manual_seed(seed)
    means, quats, scales = (torch.randn(n, k, generator=generator) for k in (3, 4, 3))
    return means, quats, scales - 3


def test_codes_interleave_the_bits() -> None:
    """A cube of 8^3 cells: the code of every cell, bit by bit."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(8)] * 3, indexing="ij"), dim=-1).reshape(-1, 3)
    codes = morton_codes(torch.cat([grid.double(), torch.full((1, 3), 8.0)]))[:-1] >> 3 * 18
    expected = sum(((grid[:, axis] >> bit) & 1) << (3 * bit + axis) for axis in range(3) for bit in range(3))
    assert torch.equal(codes, expected)


def test_order_is_a_stable_permutation() -> None:
    points = torch.rand(1000, 3).round(decimals=1)  # many at one place
    found = morton_order(points)
    assert torch.equal(found.sort().values, torch.arange(1000))
    codes = morton_codes(points)[found]
    steps = codes.diff()
    assert (steps >= 0).all()
    assert (found.diff()[steps == 0] > 0).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_points_and_equal_points(n: int) -> None:
    assert torch.equal(morton_order(torch.full((n, 3), 7.0)), torch.arange(n))


def test_clusters_of_sorted_points_are_small() -> None:
    points = torch.rand(100 * order.CLUSTER, 3, generator=torch.Generator().manual_seed(0))

    def volume(points: Tensor) -> Tensor:
        corners = order.boxes(points, points)
        return (corners[:, 1] - corners[:, 0]).prod(dim=1).mean()

    assert volume(points[morton_order(points)]) < 0.1 * volume(points)


def test_rotations_are_rotations() -> None:
    matrices = order.rotations(torch.randn(50, 4, dtype=torch.float64) * 1e-3)
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(50, dtype=torch.float64))
    quarter = order.rotations(torch.tensor([[1.0, 0.0, 0.0, 1.0]]))  # about z: x goes to y
    torch.testing.assert_close(quarter[0, :, 0], torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("n", [1, 127, 128, 129, 1000])
def test_boxes_hold_the_ellipsoids_and_touch_them(n: int) -> None:
    means, quats, log_scales = _gaussians(n)
    half = order.half_extents(quats, log_scales, sigmas=3.0)
    boxes = order.boxes(means - half, means + half)
    assert boxes.shape == (-(-n // order.CLUSTER), 2, 3)
    directions = torch.nn.functional.normalize(torch.randn(4000, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    axes = order.rotations(quats) * log_scales.exp()[:, None, :]
    offsets = 3.0 * torch.einsum("nij,dj->ndi", axes, directions)
    reach = offsets.amax(dim=1)  # of the sampled surface
    assert (reach <= half * (1 + 1e-5)).all()
    assert (reach >= half * 0.97).all()
    corners = boxes.repeat_interleave(order.CLUSTER, dim=0)[:n]
    assert (means - half >= corners[:, 0]).all()
    assert (means + half <= corners[:, 1]).all()


def test_pages_are_made_of_clusters() -> None:
    low = torch.rand(3 * order.PAGE + 5, 3)
    clusters = order.boxes(low, low + 0.1)
    pages = order.boxes(clusters[:, 0], clusters[:, 1], order.PAGE // order.CLUSTER)
    assert torch.equal(pages, order.boxes(low, low + 0.1, order.PAGE))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), far=st.sampled_from([float("inf"), 4.0]))
def test_no_visible_point_is_lost(seed: int, far: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(640, 3, generator=generator) * 3
    means = means[morton_order(means)]
    boxes = order.boxes(means, means, 32)
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, :3] = order.rotations(torch.randn(1, 4, generator=generator, dtype=torch.float64))[0]
    w2c[:3, 3] = torch.randn(3, generator=generator, dtype=torch.float64)
    intrinsics = torch.tensor([90.0, 80.0, 40.0, 35.0])
    x, y, z = ((means.double() @ w2c[:3, :3].T) + w2c[:3, 3]).unbind(dim=1)
    u, v = 90 * x / z + 40, 80 * y / z + 35
    seen = (z > 0.01) & (z < far) & (u >= 0) & (u <= 100) & (v >= 0) & (v <= 60)
    kept = order.in_view(boxes, w2c, intrinsics, (100, 60), far=far)
    assert not (seen.view(-1, 32).any(dim=1) & ~kept).any()


def test_what_lies_outside_each_plane_is_culled() -> None:
    """Unit boxes beside, above, below, behind and beyond the view of a 90-degree camera at the origin."""
    centres = torch.tensor(
        [[0.0, 0, 5], [9, 0, 5], [-9, 0, 5], [0, 9, 5], [0, -9, 5], [0, 0, -5], [0, 0, 50], [5.4, 0, 5]]
    )
    boxes = torch.stack([centres - 0.5, centres + 0.5], dim=1)
    intrinsics = torch.tensor([50.0, 50.0, 50.0, 50.0])
    kept = order.in_view(boxes, torch.eye(4), intrinsics, (100, 100), far=20.0)
    assert kept.tolist() == [True, False, False, False, False, False, False, True]


def test_permute_moves_rows_and_leaves_the_rest() -> None:
    rows, other, scalar = torch.arange(6.0).view(3, 2), torch.arange(4), torch.tensor(5)
    order.permute([rows, other, scalar], torch.tensor([2, 0, 1]))
    assert rows.tolist() == [[4, 5], [0, 1], [2, 3]]
    assert other.tolist() == [0, 1, 2, 3] and scalar == 5


@pytest.mark.parametrize("kind", ["uniform", "line", "clumps", "equal", "far"])
@pytest.mark.parametrize("n", [2, 5, 63, 64, 65, 700])
def test_neighbours_are_those_of_brute_force(kind: str, n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    points = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    if kind == "line":
        points[:, 1:] = 0.25
    elif kind == "clumps":
        points = points * 1e-3 + torch.randint(3, (n, 3), generator=generator) * 10
    elif kind == "equal":
        points[: n // 2] = points[0].clone()
    elif kind == "far":
        points = points * 1e25 + 1e26
    k = min(3, n - 1)
    squares = (points[:, None] - points[None]).square().sum(dim=-1)
    expected = squares.fill_diagonal_(float("inf")).topk(k, largest=False).values.sqrt()
    scale = float((points - points.mean(dim=0)).abs().max())
    torch.testing.assert_close(nearest_distances(points, k).double(), expected, atol=1e-6 * scale, rtol=1e-5)


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="3 neighbours need at least 4 points, got 3"):
        nearest_distances(torch.rand(3, 3), 3)
