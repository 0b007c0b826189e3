"""The linear-time distortion loss against its double sum, in value and gradients, for every instruction set."""

import pytest
import torch
from torch import Tensor

from neural.cuda.distortion import distortion
from neural.cuda.reference import distortion as reference


def _scene(counts: tuple[int, ...], offset: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.cat([torch.rand(c, generator=generator, dtype=torch.float64) / max(c, 1) * 2 for c in counts])
    sizes = torch.tensor(counts)
    t_starts = offset + torch.cat([torch.arange(c, dtype=torch.float64) * 0.0625 for c in counts])
    lengths = 0.03125 + 0.03125 * torch.rand(len(t_starts), generator=generator, dtype=torch.float64)
    ends = (t_starts + lengths).float().double()  # what fp32 holds exactly, also far from the origin
    return weights, t_starts, ends, torch.stack([sizes.cumsum(0) - sizes, sizes], 1)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_values_and_gradients_match_the_double_sum(offset: float, isa: str) -> None:
    *arrays, packed_info = _scene((0, 1, 2, 16, 17, 50, 0, 5), offset)
    upstream = torch.linspace(-1, 2, 8, dtype=torch.float64)
    leaves = [x.float().requires_grad_() for x in arrays]
    loss = distortion(*leaves, packed_info)
    torch.testing.assert_close(loss.double(), reference.forward(*arrays, packed_info), atol=1e-6, rtol=1e-5)
    loss.backward(upstream.float())
    for leaf, expected in zip(leaves, reference.backward(upstream, *arrays, packed_info), strict=True):
        assert leaf.grad is not None
        torch.testing.assert_close(leaf.grad.double(), expected, atol=5e-6, rtol=1e-5)


def test_the_reference_agrees_with_finite_differences() -> None:
    *arrays, packed_info = _scene((3, 0, 6))
    leaves = tuple(x.requires_grad_() for x in arrays)
    assert torch.autograd.gradcheck(lambda *a: reference.forward(*a, packed_info), leaves)


def test_one_sample_costs_a_third_of_its_length(isa: str) -> None:
    loss = distortion(torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([1.3]), torch.tensor([[0, 1]]))
    torch.testing.assert_close(loss, torch.tensor([0.25 * 0.3 / 3]))


def test_samples_that_no_ray_owns_get_no_gradient() -> None:
    weights, t_starts, t_ends, packed_info = _scene((4, 4))
    leaf = weights.float().requires_grad_()
    distortion(leaf, t_starts.float(), t_ends.float(), packed_info[1:]).sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad[:4], torch.zeros(4)) and (leaf.grad[4:] != 0).all()


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"t_ends must be \[4\], got \[3\]"):
        distortion(torch.zeros(4), torch.zeros(4), torch.zeros(3), torch.zeros(0, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="outside the 4 samples"):
        distortion(torch.zeros(4), torch.zeros(4), torch.zeros(4), torch.tensor([[2, 3]]))
