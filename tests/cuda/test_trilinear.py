"""Trilinear interpolation against plain torch in float64, and against what it means."""

import pytest
import torch

from neural.cuda import native
from neural.cuda.reference import trilinear as reference
from neural.cuda.trilinear import DTYPES, trilinear
from tests.threads import same_bits


def _voxels(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    values = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    if dtype.is_floating_point:
        return values.to(dtype)
    return (values * (255 if dtype == torch.uint8 else 65535)).to(torch.int32).to(dtype)


def _positions(n: int) -> torch.Tensor:
    """Within [0, 1]^3 and beyond it."""
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(1)) * 1.4 - 0.2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_values_match_in_either_memory_order(channels: int, dtype: torch.dtype, isa: str) -> None:
    voxels, positions = _voxels(7, 5, 9, channels, dtype=dtype), _positions(333)
    expected = reference.forward(positions.double(), voxels, 9.0)
    for points in (positions, positions.T.contiguous().T):
        torch.testing.assert_close(trilinear(points, voxels, scale=9.0).double(), expected, atol=3e-6, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 3), (2, 1, 2), (3, 3, 1)])
def test_an_axis_of_one_voxel_is_constant(shape: tuple[int, int, int], isa: str) -> None:
    voxels, positions = _voxels(*shape, 2), _positions(50)
    expected = reference.forward(positions.double(), voxels, 4.0)
    torch.testing.assert_close(trilinear(positions, voxels, scale=4.0).double(), expected, atol=3e-6, rtol=0)


def test_centres_are_met_and_a_linear_field_is_linear(isa: str) -> None:
    sizes = torch.tensor([4, 6, 5])
    index = torch.cartesian_prod(*(torch.arange(n) for n in sizes)).float()
    centres = (index + 0.5) / 6
    slopes = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.5, 0.25]])
    voxels = (centres @ slopes).reshape(4, 6, 5, 2)
    torch.testing.assert_close(trilinear(centres, voxels, scale=6.0), centres @ slopes, atol=2e-6, rtol=0)
    inside = (torch.rand(200, 3) * (sizes - 1) + 0.5) / 6
    torch.testing.assert_close(trilinear(inside, voxels, scale=6.0), inside @ slopes, atol=2e-6, rtol=0)


def test_any_position_is_safe(isa: str) -> None:
    """NaN and infinities read no memory but the grid's."""
    far = torch.tensor([[float("nan")] * 3, [float("inf")] * 3, [-float("inf")] * 3, [1e30, -1e30, 0.5]])
    voxels = _voxels(3, 3, 3, 1)
    found = trilinear(far, voxels, scale=3.0)[:, 0]
    torch.testing.assert_close(found[:3], torch.stack([voxels[0, 0, 0, 0], voxels[2, 2, 2, 0], voxels[0, 0, 0, 0]]))
    assert found.isfinite().all()


def test_threads_change_no_bit() -> None:
    voxels, positions = _voxels(20, 20, 20, 4), _positions(10_000)

    def run():
        return [trilinear(positions, voxels, scale=20.0)]

    same_bits(run)
    assert native.threads() == torch.get_num_threads()


def test_wrong_arguments_say_what_to_do() -> None:
    points = torch.rand(5, 3)
    with pytest.raises(ValueError, match="C 1 to 4, got"):
        trilinear(points, torch.rand(2, 2, 2, 5), scale=2.0)
    with pytest.raises(ValueError, match="at least 1"):
        trilinear(points, torch.rand(2, 0, 2, 1), scale=2.0)
    with pytest.raises(ValueError, match="scale must be positive"):
        trilinear(points, torch.rand(2, 2, 2, 1), scale=0.0)
    with pytest.raises(TypeError, match="voxels must be float32 or float64"):
        trilinear(points, torch.zeros(2, 2, 2, 1, dtype=torch.int64), scale=2.0)
    assert trilinear(points[:0], torch.rand(2, 2, 2, 3), scale=2.0).shape == (0, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_path(dtype: torch.dtype, cuda_device: torch.device) -> None:
    voxels, positions = _voxels(7, 5, 9, 4, dtype=dtype), _positions(300)
    found = trilinear(positions.to(cuda_device), voxels.to(cuda_device), scale=9.0)
    expected = reference.forward(positions.double(), voxels, 9.0)
    torch.testing.assert_close(found.cpu().double(), expected, atol=3e-6, rtol=0)
