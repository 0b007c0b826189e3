"""Colour corrections per photograph: none at first, none on average, gradients right and the same on any threads."""

import pytest
import torch
from torch import Tensor

from neural.train.tasks.splats.exposure import Exposure
from tests.threads import same_bits


def changed(n_images: int, dtype: torch.dtype = torch.float32) -> Exposure:
    """With corrections as learning might leave them."""
    exposure = Exposure(n_images).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        exposure.change.copy_(0.2 * torch.randn(exposure.change.shape, generator=generator))
    return exposure


def image(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Planar in memory, as the renderer's are."""
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(2)).to(dtype).permute(1, 2, 0)


def test_at_first_a_photograph_is_the_scene() -> None:
    shown = image(6, 5)
    for index in range(4):
        assert torch.equal(Exposure(4)(shown, index), shown)


def test_the_mean_of_all_corrections_is_the_identity() -> None:
    exposure = changed(5)
    mean = torch.stack([exposure.matrix(i) for i in range(5)]).mean(0)
    torch.testing.assert_close(mean, torch.eye(3, 4), atol=1e-6, rtol=0)


def test_one_photograph_has_no_correction_to_learn() -> None:
    exposure = changed(1)
    torch.testing.assert_close(exposure.matrix(0), torch.eye(3, 4))
    exposure(image(6, 5), 0).square().sum().backward()
    assert exposure.change.grad is not None
    assert not exposure.change.grad.any()


def test_colours_are_mixed_by_the_matrix() -> None:
    exposure, shown = changed(3), image(6, 5)
    for index in range(3):
        matrix = exposure.matrix(index)
        torch.testing.assert_close(exposure(shown, index), shown @ matrix[:, :3].T + matrix[:, 3])


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (40, 41)], ids=str)  # 1640 pixels: a whole chunk, and a rest
def test_gradients_are_those_of_a_matrix_product_in_double(size: tuple[int, int]) -> None:
    shown = image(*size, dtype=torch.float64)
    upstream = torch.randn(*size, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = []
    for plain in (False, True):
        exposure, pixels = changed(3, torch.float64), shown.clone().requires_grad_()
        matrix = exposure.matrix(1)
        result = pixels @ matrix[:, :3].T + matrix[:, 3] if plain else exposure(pixels, 1)
        (result * upstream).sum().backward()
        assert pixels.grad is not None and exposure.change.grad is not None
        found.append((pixels.grad, exposure.change.grad))
    torch.testing.assert_close(found[0], found[1], atol=1e-12, rtol=1e-12)


def test_finite_differences_agree() -> None:
    exposure = changed(2, torch.float64)
    pixels = image(3, 4, dtype=torch.float64).contiguous().requires_grad_()

    def corrected(pixels: Tensor, change: Tensor) -> Tensor:
        return torch.func.functional_call(exposure, {"change": change}, (pixels, 1))

    assert torch.autograd.gradcheck(corrected, (pixels, exposure.change.detach().clone().requires_grad_()))


def test_a_large_photograph_gives_the_same_bits_on_any_number_of_threads() -> None:
    shown = image(301, 307)

    def run():
        exposure, pixels = changed(4), shown.clone().requires_grad_()
        (exposure(pixels, 2) * shown).sum().backward()
        return pixels.grad, exposure.change.grad

    same_bits(run)
