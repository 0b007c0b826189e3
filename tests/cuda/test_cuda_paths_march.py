"""The CUDA paths of marching, sample positions, the occupancy grid and Philox against their references."""

import math

import pytest
import torch

from neural.cuda import occupancy, philox, ray_march
from neural.cuda.ray_march import Samples
from neural.cuda.ray_points import ray_points
from neural.cuda.reference import occupancy as occupancy_reference
from neural.cuda.reference import philox as philox_reference
from neural.cuda.reference import ray_march as march_reference
from neural.cuda.reference import ray_points as points_reference

BOX = {"centre": (0.1, 0.0, -0.05), "half_extent": 0.5, "resolution": 16, "step": 0.02}


def _bits(n_cascades: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    cells = torch.rand(n_cascades, 64, 64, generator=g) < 0.3
    cells &= torch.rand(n_cascades, 64, 1, generator=g) < 0.5  # whole blocks are empty
    return occupancy_reference.pack(cells.view(n_cascades, -1).float(), torch.tensor(0.5), 16)


@pytest.mark.parametrize(("cone_angle", "n_cascades"), [(0.0, 1), (0.0, 3), (0.05, 3)])
def test_march(cone_angle: float, n_cascades: int, cuda_device: torch.device) -> None:
    n = 150
    g = torch.Generator().manual_seed(1)
    origins = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=-1) * 0.9
    directions = torch.nn.functional.normalize(torch.rand(n, 3, generator=g) - 0.5 - origins, dim=-1)
    directions[3], origins[5] = 0.0, math.nan
    jitter, far = torch.rand(n, generator=g), torch.full((n,), math.inf)
    bits = _bits(n_cascades)
    settings = ray_march._settings(BOX["centre"], 0.5, 16, 0.02, math.inf, cone_angle, torch.device("cpu"))
    found, starts, ends = march_reference.lattice(
        origins, directions, torch.zeros(n), far, jitter, bits, settings, 16, cone_angle > 0
    )
    on_device = [x.to(cuda_device) for x in (origins, directions, torch.zeros(n), far, bits)]
    samples = ray_march.ray_march(*on_device, jitter=jitter.to(cuda_device), cone_angle=cone_angle, **BOX)
    assert len(samples) > 100
    if cone_angle == 0:  # bit for bit: products are rounded on their own
        assert torch.equal(samples.packed_info[:, 1].cpu(), found.sum(1))
        assert torch.equal(samples.t_starts.cpu(), starts[found])
        assert torch.equal(samples.t_ends.cpu(), ends[found])
        assert torch.equal(samples.ray_indices.cpu(), found.nonzero()[:, 0])
    else:  # exp and log differ in the last digit: a few points on faces may change sides
        assert abs(len(samples) - int(found.sum())) <= 2 + len(samples) // 200
        same = samples.packed_info[:, 1].cpu() == found.sum(1)
        rays = same[samples.ray_indices.cpu()]
        torch.testing.assert_close(samples.t_starts.cpu()[rays], starts[found & same[:, None]], atol=1e-5, rtol=1e-5)


def test_points(cuda_device: torch.device) -> None:
    counts = torch.tensor([0, 1, 31, 33, 0, 100])
    g = torch.Generator().manual_seed(2)
    starts = torch.rand(165, generator=g)
    indices = torch.arange(6).repeat_interleave(counts)
    packed_info = torch.stack((counts.cumsum(0) - counts, counts), 1)
    rays = [torch.randn(6, 3, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2)]
    upstream = [torch.randn(165, 3, generator=g, dtype=torch.float64) for _ in range(2)]
    expected = points_reference.forward(*rays, starts.double(), starts.double() + 0.5, indices)
    torch.autograd.backward(expected, upstream)
    samples = Samples(*(x.to(cuda_device) for x in (starts, starts + 0.5, indices, packed_info)), n_rays_kept=6)
    leaves = [x.detach().float().to(cuda_device).requires_grad_() for x in rays]
    got = ray_points(*leaves, samples)
    torch.autograd.backward(got, [x.float().to(cuda_device) for x in upstream])
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine.detach().double().cpu(), theirs.detach(), atol=1e-6, rtol=1e-6)
    for leaf, ray in zip(leaves, rays, strict=True):
        torch.testing.assert_close(leaf.grad.double().cpu(), ray.grad, atol=2e-5, rtol=1e-5)


def test_occupancy_follows_the_field(cuda_device: torch.device) -> None:
    g = torch.Generator().manual_seed(3)
    mine = torch.rand(2, 4096, generator=g)
    mine[0, ::3] = -1.0
    theirs, mine = mine.clone(), mine.to(cuda_device)
    every, draws = torch.rand(8192, generator=g), torch.randint(0, 8192, (3000,), generator=g)
    values = 2 * torch.rand(3000, generator=g)
    values[::50] = math.nan
    for cells, new in ((None, every), (draws, values)):
        occupancy.update(mine, None if cells is None else cells.to(cuda_device), new.to(cuda_device), 0.95)
        occupancy_reference.update(theirs, cells, new, 0.95)
        assert torch.equal(mine.cpu(), theirs)
    torch.testing.assert_close(occupancy.mean(mine).cpu(), occupancy_reference.mean(theirs), atol=0, rtol=1e-6)
    limit = torch.tensor(0.999)
    bits = occupancy.pack(mine, limit.to(cuda_device))
    assert torch.equal(bits.cpu(), occupancy_reference.pack(theirs, limit, 16))


def test_points_in_cells_and_philox(cuda_device: torch.device) -> None:
    cells = torch.randperm(2 * 4096, generator=torch.Generator().manual_seed(4))[:1000]
    box = {"resolution": 16, "centre": (0.5, -1.0, 2.0), "half_extent": 1.5}
    points = occupancy.cell_points(cells.to(cuda_device), seed=-9, step=7, **box)
    torch.testing.assert_close(points.cpu(), occupancy_reference.points(cells, -9, 7, **box), atol=1e-5, rtol=0)
    numbers = philox.uniform(500, 3, seed=2**63 + 5, stream=7, step=9, device=cuda_device)
    expected = torch.from_numpy(philox_reference.uniform(2**63 + 5, 7, 9, 500, 3))
    assert torch.equal(numbers.cpu(), expected)
