"""Ray marching against the test of every lattice point, its laws, and hostile rays."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neural.cuda import philox, ray_march
from neural.cuda.ray_march import JITTER_STREAM, Samples
from neural.cuda.ray_points import ray_points
from neural.cuda.reference import ray_march as reference
from neural.cuda.reference import ray_points as points_reference
from tests.threads import same_bits

CENTRE = (0.1, 0.0, -0.05)
BOX = {"centre": CENTRE, "half_extent": 0.5, "resolution": 16, "step": 0.011}


def _bits(cells: Tensor) -> Tensor:
    """Packs booleans [K, n]."""
    weights = 2 ** torch.arange(8)
    return (cells.view(len(cells), -1, 8) * weights).sum(-1).to(torch.uint8)


def _grid(n_cascades: int, share: float, seed: int, resolution: int = 16) -> Tensor:
    """Random cells; one half of the 4^3 blocks are emptied and a few filled, so that strides of every size occur."""
    g = torch.Generator().manual_seed(seed)
    cells = torch.rand(n_cascades, resolution**3 // 64, 64, generator=g) < share
    block = torch.rand(n_cascades, resolution**3 // 64, 1, generator=g)
    cells = (cells & (block < 0.5)) | (block > 1 - 0.3 * share)
    return _bits(cells.view(n_cascades, -1))


def _rays(n: int, seed: int, distance: float = 1.5) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    origins = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=-1) * distance
    directions = torch.nn.functional.normalize(torch.rand(n, 3, generator=g) - 0.5 - origins, dim=-1)
    directions[: n // 8] = torch.eye(3)[torch.arange(n // 8) % 3]  # along axes, with zeros
    return origins, directions


def _everywhere(n: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(n), torch.full((n,), math.inf)


def _dense(
    origins: Tensor, directions: Tensor, t_min: Tensor, t_max: Tensor, bits: Tensor, jitter: Tensor | None, **box: float
) -> tuple[Tensor, Tensor, Tensor]:
    box = {**BOX, "max_step": math.inf, "cone_angle": 0.0, **box}
    buffer = ray_march._settings(
        CENTRE, box["half_extent"], box["resolution"], box["step"], box["max_step"], box["cone_angle"], origins.device
    )
    rays = (origins, directions, t_min, t_max, jitter, bits, buffer, box["resolution"])
    return reference.lattice(*rays, box["cone_angle"] > 0)


def _assert_well_packed(samples: Samples, n: int) -> None:
    start, count = samples.packed_info.unbind(1)
    assert torch.equal(start, count.cumsum(0) - count)
    assert int(count.sum()) == len(samples)
    assert torch.equal(samples.ray_indices, torch.arange(n).repeat_interleave(count))
    same = samples.ray_indices[1:] == samples.ray_indices[:-1]
    gap = samples.t_starts[1:] - samples.t_ends[:-1]
    assert bool((samples.t_ends > samples.t_starts).all())
    assert bool((gap[same] > -1e-5).all())


@pytest.mark.parametrize("distance", [0.2, 1.5, 40.0])
@pytest.mark.parametrize(("n_cascades", "share"), [(1, 0.1), (1, 0.9), (3, 0.05), (5, 0.3)])
def test_uniform_steps_equal_the_test_of_every_point(distance: float, n_cascades: int, share: float, isa: str) -> None:
    n = 150
    (origins, directions), (t_min, t_max) = _rays(n, 1, distance), _everywhere(n)
    bits, jitter = _grid(n_cascades, share, 2), torch.rand(n, generator=torch.Generator().manual_seed(3))
    found, starts, ends = _dense(origins, directions, t_min, t_max, bits, jitter)
    samples = ray_march.ray_march(origins, directions, t_min, t_max, bits, jitter=jitter, **BOX)
    assert int(found.sum()) > 100  # the comparison is of something
    assert torch.equal(samples.packed_info[:, 1], found.sum(1))
    assert torch.equal(samples.t_starts, starts[found])
    assert torch.equal(samples.t_ends, ends[found])
    _assert_well_packed(samples, n)


def test_points_on_faces_and_edges_fall_on_the_same_side(isa: str) -> None:
    # Rays along diagonals and rational directions from voxel corners: middles meet faces, edges and corners again and
    # again, where the last digit decides the voxel.
    n = 600
    g = torch.Generator().manual_seed(30)
    whole = torch.randint(-4, 5, (n, 3), generator=g).float()
    whole[whole.abs().sum(1) == 0] = 1.0
    length = whole.norm(dim=-1)
    corner = torch.randint(0, 17, (n, 3), generator=g).float() / 16 - 0.5 + torch.tensor(CENTRE)
    directions = whole / length[:, None]
    origins = corner - 2.0 * directions
    (t_min, t_max), bits = _everywhere(n), _grid(2, 0.5, 31)
    for step in (1 / 16, 2**0.5 / 16, 3**0.5 / 64, 0.011):
        found, starts, _ = _dense(origins, directions, t_min, t_max, bits, None, step=step)
        samples = ray_march.ray_march(origins, directions, t_min, t_max, bits, **{**BOX, "step": step})
        assert int(found.sum()) > 1000
        assert torch.equal(samples.packed_info[:, 1], found.sum(1))
        assert torch.equal(samples.t_starts, starts[found])


@pytest.mark.parametrize("distance", [3.0, 40.0])
@pytest.mark.parametrize("tilt", [1e-7, 1e-6, 1e-5])
def test_rays_that_graze_faces_claim_nothing_beyond_them(tilt: float, distance: float, isa: str) -> None:
    # Along faces, all but parallel to them: where the ray leaves a voxel is off by far more than a step, and only the
    # bound of the rounding errors keeps a claim from points that lie in the next voxel.
    n, step = 600, 0.011
    g = torch.Generator().manual_seed(7)
    corner = torch.randint(0, 17, (n, 3), generator=g).float() / 16 - 0.5 + torch.tensor(CENTRE)
    along = torch.eye(3)[torch.arange(n) % 3] + tilt * torch.randn(n, 3, generator=g)
    directions = torch.nn.functional.normalize(along, dim=-1)
    origins = corner - distance * directions
    t_min, t_max, bits = torch.full((n,), distance - 2), torch.full((n,), distance + 2), _grid(2, 0.5, 31)
    found, starts, _ = _dense(origins, directions, t_min, t_max, bits, None, step=step)
    samples = ray_march.ray_march(origins, directions, t_min, t_max, bits, **{**BOX, "step": step})
    assert int(found.sum()) > 10_000
    assert torch.equal(samples.packed_info[:, 1], found.sum(1))
    assert torch.equal(samples.t_starts, starts[found])


@pytest.mark.parametrize(("cone_angle", "max_step"), [(1 / 256, math.inf), (0.05, 0.1), (0.3, 0.4)])
@pytest.mark.parametrize("n_cascades", [1, 2, 4])
def test_growing_steps_equal_the_test_of_every_point(
    cone_angle: float, max_step: float, n_cascades: int, isa: str
) -> None:
    n = 200
    (origins, directions), (t_min, t_max) = _rays(n, 4, 0.6), _everywhere(n)
    bits, jitter = _grid(n_cascades, 0.3, 5), torch.rand(n, generator=torch.Generator().manual_seed(6))
    cone = {"cone_angle": cone_angle, "max_step": max_step}
    found, starts, _ = _dense(origins, directions, t_min, t_max, bits, jitter, **cone)
    samples = ray_march.ray_march(origins, directions, t_min, t_max, bits, jitter=jitter, **BOX, **cone)
    # exp and log differ in the last digit, so that a point on a voxel's face may fall on the other side
    ambiguous = _near_a_change(origins, directions, t_min, t_max, bits, jitter, **cone)
    kept = found & ~ambiguous
    mine = _as_mask(samples, starts)
    assert int(kept.sum()) > 100
    assert torch.equal(mine & ~ambiguous, kept)
    assert float(ambiguous.float().mean()) < 0.01
    _assert_well_packed(samples, n)


def _as_mask(samples: Samples, starts: Tensor) -> Tensor:
    """Which lattice points [R, X] the samples are."""
    mask = torch.zeros_like(starts, dtype=torch.bool)
    rows = starts[samples.ray_indices].contiguous()
    column = torch.searchsorted(rows, samples.t_starts[:, None] * (1 - 1e-5))[:, 0].clamp(max=starts.shape[1] - 1)
    assert torch.allclose(rows.gather(1, column[:, None])[:, 0], samples.t_starts, rtol=1e-5, atol=1e-6)
    mask[samples.ray_indices, column] = True
    return mask


def _near_a_change(*rays: Tensor, **cone: float) -> Tensor:
    """Lattice points whose answer changes when the ray is shifted by 1e-5 along an axis."""
    origins, *rest = rays
    here = _dense(origins, *rest, **cone)[0]
    changed = torch.zeros_like(here)
    for axis in range(3):
        for shift in (-1e-5, 1e-5):
            moved = _dense(origins + shift * torch.eye(3)[axis], *rest, **cone)[0]
            n = min(here.shape[1], moved.shape[1])
            changed[:, :n] |= here[:, :n] != moved[:, :n]
    return changed


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6), start=st.floats(0, 2), length=st.floats(0, 2), cone=st.sampled_from([0.0, 1 / 256, 0.1])
)
def test_samples_are_the_same_wherever_the_march_starts(seed: int, start: float, length: float, cone: float) -> None:
    n = 40
    origins, directions = _rays(n, seed)
    bits, (zero, infinity) = _grid(2, 0.3, seed), _everywhere(n)
    near, far = torch.full((n,), start), torch.full((n,), start + length)
    whole = ray_march.ray_march(origins, directions, zero, infinity, bits, cone_angle=cone, **BOX)
    part = ray_march.ray_march(origins, directions, near, far, bits, cone_angle=cone, **BOX)
    middle = (whole.t_starts + whole.t_ends) * 0.5
    inside = (middle >= near[0]) & (middle < far[0])
    assert torch.equal(part.t_starts, whole.t_starts[inside])
    assert torch.equal(part.ray_indices, whole.ray_indices[inside])


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), cone=st.sampled_from([0.0, 0.02]))
def test_samples_lie_in_occupied_voxels(seed: int, cone: float) -> None:
    n = 40
    (origins, directions), (t_min, t_max) = _rays(n, seed), _everywhere(n)
    bits = _grid(3, 0.2, seed)
    samples = ray_march.ray_march(origins, directions, t_min, t_max, bits, cone_angle=cone, **BOX)
    positions, _ = ray_points(origins, directions, samples)
    unit = positions - torch.tensor(CENTRE)
    near = torch.stack([unit + 2e-6 * s for s in (-1.0, 0.0, 1.0)])  # a face may be on either side
    step = (samples.t_ends - samples.t_starts) * 16
    steps = [step * s for s in (0.95, 1.0, 1.05)]  # so may the choice of the cascade
    hit = torch.stack([reference.occupied(p, s, bits, 16) for p in near for s in steps]).any(0)
    assert bool(hit.all())
    _assert_well_packed(samples, n)


def test_an_empty_grid_gives_nothing_and_a_full_one_every_lattice_point() -> None:
    (origins, directions), (t_min, t_max) = _rays(50, 7), _everywhere(50)
    for n_cascades in (1, 3):
        empty = torch.zeros(n_cascades, 512, dtype=torch.uint8)
        assert len(ray_march.ray_march(origins, directions, t_min, t_max, empty, **BOX)) == 0
        near, far = torch.full((50,), 1.2), torch.full((50,), 1.7)
        inside = ray_march.ray_march(
            torch.tensor([CENTRE]).expand(50, 3), directions, near - 1.2, far - 1.3, ~empty, **BOX
        )
        lattice = (torch.arange(200, dtype=torch.float32) * 0.011 + (torch.arange(200) + 1.0) * 0.011) * 0.5
        assert bool((inside.packed_info[:, 1] == int((lattice < far[0] - 1.3).sum())).all())


def test_jitter_shifts_within_one_step_and_comes_from_philox() -> None:
    n = 30
    (origins, directions), (t_min, t_max) = _rays(n, 8), _everywhere(n)
    bits = torch.full((1, 512), 255, dtype=torch.uint8)
    u = philox.uniform(n, seed=11, stream=JITTER_STREAM, step=5)[:, 0]
    drawn = ray_march.ray_march(origins, directions, t_min, t_max, bits, jitter=(11, 5), **BOX)
    given_ = ray_march.ray_march(origins, directions, t_min, t_max, bits, jitter=u, **BOX)
    assert torch.equal(drawn.t_starts, given_.t_starts)
    phase = (drawn.t_starts / 0.011 - u[drawn.ray_indices]).double()
    assert float((phase - phase.round()).abs().max()) < 1e-3


@pytest.mark.parametrize("cone_angle", [0.0, 1 / 256])
def test_samples_do_not_depend_on_threads_or_instruction_set(cone_angle: float) -> None:
    from neural.cuda import native

    n = 1000
    (origins, directions), (t_min, t_max) = _rays(n, 9), _everywhere(n)
    bits, results = _grid(2, 0.2, 10), []

    def run():
        found = ray_march.ray_march(
            origins, directions, t_min, t_max, bits, jitter=(1, 2), cone_angle=cone_angle, **BOX
        )
        return found.t_starts, found.t_ends, found.packed_info

    isa = native.active_isa()
    try:
        for name in native.available_isas():
            native.set_isa(name)
            results.append(same_bits(run))
    finally:
        native.set_isa(isa)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_rays_that_do_not_fit_are_cut_whole_from_the_end() -> None:
    n = 60
    (origins, directions), (t_min, t_max) = _rays(n, 12), _everywhere(n)
    bits = _grid(1, 0.3, 13)
    whole = ray_march.ray_march(origins, directions, t_min, t_max, bits, **BOX)
    budget = len(whole) // 2
    cut = ray_march.ray_march(origins, directions, t_min, t_max, bits, max_samples=budget, **BOX)
    kept = cut.n_rays_kept
    assert whole.n_rays_kept == n
    assert len(cut) == int(whole.packed_info[:kept, 1].sum()) <= budget < int(whole.packed_info[: kept + 1, 1].sum())
    assert torch.equal(cut.t_starts, whole.t_starts[: len(cut)])
    assert torch.equal(cut.packed_info[:kept], whole.packed_info[:kept])
    assert bool((cut.packed_info[kept:, 1] == 0).all())
    _assert_well_packed(cut, n)


@pytest.mark.parametrize("cone_angle", [0.0, 0.01])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38, 1e-30, 0.0])
def test_hostile_rays_end_and_leave_their_neighbours_alone(value: float, cone_angle: float, isa: str) -> None:
    n = 24
    (origins, directions), (t_min, t_max) = _rays(n, 14), _everywhere(n)
    bits = _grid(2, 0.3, 15)
    alone = ray_march.ray_march(origins, directions, t_min, t_max, bits, cone_angle=cone_angle, **BOX)
    origins[3], directions[7], t_min[11], t_max[15] = value, value, value, value
    samples = ray_march.ray_march(origins, directions, t_min, t_max, bits, cone_angle=cone_angle, **BOX)
    assert int(samples.packed_info[7, 1]) == 0
    if not abs(value) < 1:
        assert int(samples.packed_info[3, 1]) == 0
    others = [r for r in range(n) if r not in (3, 7, 11, 15)]
    assert torch.equal(samples.packed_info[others, 1], alone.packed_info[others, 1])
    _assert_well_packed(samples, n)


def test_strides_are_taken_as_they_are() -> None:
    (origins, directions), (t_min, t_max) = _rays(33, 16), _everywhere(33)
    bits = _grid(1, 0.3, 17)
    expected = ray_march.ray_march(origins, directions, t_min, t_max, bits, **BOX)
    shifted = torch.cat((torch.zeros(3, dtype=torch.uint8), bits.view(-1)))[3:].view(1, -1)
    other = ray_march.ray_march(
        origins.T.contiguous().T, directions.T.contiguous().T, torch.zeros(66)[::2], t_max, shifted, **BOX
    )
    assert torch.equal(other.t_starts, expected.t_starts) and len(other) > 0


def test_wrong_arguments_say_what_to_do() -> None:
    (origins, directions), (t_min, t_max) = _rays(8, 18), _everywhere(8)
    bits = _grid(1, 0.3, 19)
    march = ray_march.ray_march
    with pytest.raises(TypeError, match=r"origins must be float32, got float64; call \.to\(torch\.float32\)"):
        march(origins.double(), directions, t_min, t_max, bits, **BOX)
    with pytest.raises(ValueError, match=r"directions must be \[8, 3\], got \[3, 8\]; transpose"):
        march(origins, directions.T, t_min, t_max, bits, **BOX)
    with pytest.raises(ValueError, match=r"t_max must be \[8\], got \[7\]"):
        march(origins, directions, t_min, t_max[1:], bits, **BOX)
    with pytest.raises(ValueError, match=r"bitfield must be \[K, 4096\], got \[1, 512\]"):
        march(origins, directions, t_min, t_max, bits, **{**BOX, "resolution": 32})
    with pytest.raises(ValueError, match="resolution must be a power of two from 16 to 1024, got 8"):
        march(origins, directions, t_min, t_max, bits, **{**BOX, "resolution": 8})
    with pytest.raises(ValueError, match=r"step must be positive and finite, got 0\.0"):
        march(origins, directions, t_min, t_max, bits, **{**BOX, "step": 0})
    with pytest.raises(ValueError, match="max_step must be at least step"):
        march(origins, directions, t_min, t_max, bits, max_step=0.001, **BOX)
    with pytest.raises(ValueError, match="cone_angle must be 0 or in"):
        march(origins, directions, t_min, t_max, bits, cone_angle=-0.1, **BOX)
    with pytest.raises(ValueError, match="max_samples must be 0 or more"):
        march(origins, directions, t_min, t_max, bits, max_samples=-1, **BOX)


def test_no_rays_give_no_samples() -> None:
    samples = ray_march.ray_march(torch.zeros(0, 3), torch.zeros(0, 3), *_everywhere(0), _grid(1, 0.3, 20), **BOX)
    assert len(samples) == 0 and samples.packed_info.shape == (0, 2) and samples.n_rays_kept == 0


@pytest.mark.parametrize("order", ["row major", "feature major"])
def test_points_and_their_gradients_match_the_reference(order: str, isa: str) -> None:
    n = 70
    (origins, directions), (t_min, t_max) = _rays(n, 21), _everywhere(n)
    samples = ray_march.ray_march(origins, directions, t_min, t_max, _grid(1, 0.3, 22), max_samples=1500, **BOX)
    arrange = (lambda t: t) if order == "row major" else (lambda t: t.T.contiguous().T)
    leaves = [
        arrange(t).detach().clone(memory_format=torch.preserve_format).requires_grad_() for t in (origins, directions)
    ]
    doubles = [t.double().requires_grad_() for t in (origins, directions)]
    got = ray_points(*leaves, samples)
    expected = points_reference.forward(
        *doubles, samples.t_starts.double(), samples.t_ends.double(), samples.ray_indices
    )
    upstream = [torch.randn(len(samples), 3, generator=torch.Generator().manual_seed(s)) for s in (0, 1)]
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=1e-6, rtol=1e-6)
    torch.autograd.backward(got, [arrange(g) for g in upstream])
    torch.autograd.backward(expected, [g.double() for g in upstream])
    for mine, theirs in zip(leaves, doubles, strict=True):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, atol=3e-5, rtol=1e-5)


def test_points_without_one_upstream_gradient() -> None:
    (origins, directions), (t_min, t_max) = _rays(20, 23), _everywhere(20)
    samples = ray_march.ray_march(origins, directions, t_min, t_max, _grid(1, 0.3, 24), **BOX)
    leaf = directions.clone().requires_grad_()
    ray_points(origins, leaf, samples)[1].sum().backward()
    counts = samples.packed_info[:, 1:].float().expand(-1, 3)
    torch.testing.assert_close(leaf.grad, counts)
