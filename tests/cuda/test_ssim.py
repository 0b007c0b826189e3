"""The photometric loss against plain torch in double and against the metric, for every instruction set."""

import pytest
import torch
from torch import Tensor

from neural import metrics
from neural.cuda.reference import ssim as reference
from neural.cuda.ssim import ssim_loss
from tests.threads import same_bits

SIZES = [(11, 11, 1), (12, 37, 3), (40, 19, 4), (29, 300, 3), (33, 505, 1)]  # one window; several strips


def _pair(height: int, width: int, channels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth images, float64, near enough that similarity varies between the windows."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    waves = torch.stack([torch.sin(x / (3 + c)) * torch.cos(y / (5 - c)) for c in range(channels)], dim=-1)
    noise = torch.rand(2, height, width, channels, generator=generator, dtype=torch.float64)
    target = (0.5 + 0.3 * waves + 0.1 * noise[0]).clamp(0, 1).float().double()
    return (target + 0.3 * (noise[1] - 0.5)).float().double(), target


def _mask(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (x + 2 * y) % 23 < 15


def _loss(image: Tensor, target: Tensor, **options: object) -> tuple[Tensor, Tensor]:
    """Value and gradient."""
    leaf = image.clone().requires_grad_()
    loss = ssim_loss(leaf, target, **options)  # type: ignore[arg-type]
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("ssim_weight", [0.0, 0.2, 1.0])
def test_value_and_gradient_match_the_reference(
    size: tuple[int, int, int], ssim_weight: float, masked: bool, isa: str
) -> None:
    image, target = _pair(*size)
    mask = _mask(*size[:2]) if masked else None
    loss, gradient = _loss(image.float(), target.float(), ssim_weight=ssim_weight, mask=mask)
    expected = reference.forward(image, target, mask, ssim_weight)
    torch.testing.assert_close(loss.double(), expected, atol=2e-6, rtol=2e-6)
    wanted = reference.backward(image, target, mask, ssim_weight)
    scale = float(wanted.abs().max())
    torch.testing.assert_close(gradient.double(), wanted, atol=2e-5 * scale, rtol=0)


def test_similarity_is_that_of_the_metric(isa: str) -> None:
    image, target = (x.clamp(0, 1) for x in _pair(60, 300, 3))
    loss = ssim_loss(image.float(), target.float(), ssim_weight=1.0)
    torch.testing.assert_close(1 - float(loss), metrics.ssim(image, target), atol=2e-6, rtol=0)


def test_bytes_count_as_255ths(isa: str) -> None:
    image, target = _pair(30, 50, 3)
    target = (target * 255).round().to(torch.uint8)
    for options in ({}, {"mask": _mask(30, 50)}, {"mask": _mask(30, 50).to(torch.uint8) * 255}):
        loss, gradient = _loss(image.float(), target, **options)
        expected, wanted = _loss(image.float(), target.float() / 255, **options)
        torch.testing.assert_close(loss, expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(gradient, wanted, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_any_order_of_axes_gives_the_same(order: tuple[int, int, int], isa: str) -> None:
    image, target = (x.float() for x in _pair(20, 45, 3))
    expected = _loss(image, target)
    back = [order.index(axis) for axis in range(3)]
    moved = [x.permute(order).contiguous().permute(back) for x in (image, target)]
    leaf = moved[0].requires_grad_()
    loss = ssim_loss(leaf, moved[1])
    loss.backward()
    assert torch.equal(loss, expected[0]) and leaf.grad is not None
    assert torch.equal(leaf.grad, expected[1])


def test_the_number_of_threads_changes_nothing(isa: str) -> None:
    image, target = (x.float() for x in _pair(40, 700, 3))

    def run():
        return _loss(image, target)

    same_bits(run)


def test_without_a_gradient_the_value_is_the_same(isa: str) -> None:
    image, target = (x.float() for x in _pair(40, 300, 3))
    assert torch.equal(ssim_loss(image, target), _loss(image, target)[0])


@pytest.mark.parametrize("masked", [False, True])
def test_the_reference_agrees_with_finite_differences(masked: bool) -> None:
    image, target = _pair(14, 13, 2)
    mask = _mask(14, 13) if masked else None
    leaf = image.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: reference.forward(x, target, mask, 0.3), leaf)


def test_outside_the_mask_nothing_counts(isa: str) -> None:
    image, target = (x.float() for x in _pair(30, 40, 3))
    mask = _mask(30, 40)
    expected, gradient = _loss(image, target, mask=mask)
    assert not gradient[~mask].any() and gradient[mask].all()
    spoiled = torch.where(mask[..., None], image, torch.rand_like(image) * 9)
    loss, again = _loss(spoiled, target, mask=mask)
    assert torch.equal(loss, expected) and torch.equal(again, gradient)
    spoiled[~mask] = float("nan")
    assert torch.equal(_loss(spoiled, target, mask=mask)[1], gradient)


def test_an_empty_mask_is_no_loss_and_a_full_one_is_none(isa: str) -> None:
    image, target = (x.float() for x in _pair(20, 30, 3))
    loss, gradient = _loss(image, target, mask=torch.zeros(20, 30, dtype=torch.bool))
    assert loss == 0 and not gradient.any()
    full = _loss(image, target, mask=torch.ones(20, 30, dtype=torch.bool))
    for got, expected in zip(full, _loss(image, target), strict=True):
        assert torch.equal(got, expected)
    edge = torch.zeros(20, 30, dtype=torch.bool)
    edge[:3] = True  # no window has its centre there
    loss, _ = _loss(image, target, mask=edge)
    torch.testing.assert_close(loss, 0.8 * (image - target)[:3].abs().mean())


def test_equal_images_have_no_loss_and_no_slope(isa: str) -> None:
    image = torch.rand(25, 300, 3)
    image[:, :100] = 1.0  # flat parts, where variances vanish
    loss, gradient = _loss(image, image.clone())
    assert abs(float(loss)) < 1e-6
    assert gradient.abs().max() * gradient.numel() < 1e-3


def test_the_gradient_scales_with_what_comes_from_above() -> None:
    image, target = (x.float() for x in _pair(20, 30, 3))
    leaf = image.clone().requires_grad_()
    (3 * ssim_loss(leaf, target)).backward()
    expected = _loss(image, target)[1]
    torch.testing.assert_close(leaf.grad, 3 * expected)
    loss = ssim_loss(leaf, target)
    for times in (4, 5):  # a graph that is kept gives the same again, and what was handed out is not its own
        loss.backward(retain_graph=True)
        torch.testing.assert_close(leaf.grad, times * expected)


def test_wrong_arguments_say_what_to_do() -> None:
    image = torch.rand(20, 30, 3)
    with pytest.raises(ValueError, match=r"target must be \[20, 30, 3\], got \[20, 31, 3\]"):
        ssim_loss(image, torch.rand(20, 31, 3))
    with pytest.raises(TypeError, match="target must be float32 or uint8, got float64"):
        ssim_loss(image, image.double())
    with pytest.raises(ValueError, match=r"at least 11x11 pixels and a channel, got \[10, 30, 3\]; use an absolute"):
        ssim_loss(image[:10], image[:10])
    with pytest.raises(ValueError, match=r"mask must be \[20, 30\], got \[30, 20\]; transpose"):
        ssim_loss(image, image, mask=torch.ones(30, 20, dtype=torch.bool))
    with pytest.raises(ValueError, match="ssim_weight must be between 0 and 1"):
        ssim_loss(image, image, ssim_weight=1.5)


CUDA_CASES = [((12, 37, 3), 0.2, False, False), ((33, 16, 1), 1.0, True, True), ((17, 20, 2), 0.0, False, True)]


@pytest.mark.parametrize(("size", "ssim_weight", "masked", "as_bytes"), CUDA_CASES)
def test_the_cuda_path(
    size: tuple[int, int, int], ssim_weight: float, masked: bool, as_bytes: bool, cuda_device: torch.device
) -> None:
    image, target = _pair(*size)
    if as_bytes:
        target = (target * 255).round() / 255
    mask = _mask(*size[:2]) if masked else None
    given = (target * 255).round().to(torch.uint8) if as_bytes else target.float()
    single = image.float().to(cuda_device), given.to(cuda_device)
    options = {"ssim_weight": ssim_weight, "mask": None if mask is None else mask.to(cuda_device)}
    loss, gradient = _loss(*single, **options)
    expected = reference.forward(image, target, mask, ssim_weight)
    torch.testing.assert_close(loss.double().cpu(), expected, atol=2e-6, rtol=2e-6)
    assert torch.equal(ssim_loss(*single, **options), loss)  # type: ignore[arg-type]
    wanted = reference.backward(image, target, mask, ssim_weight)
    scale = float(wanted.abs().max())
    torch.testing.assert_close(gradient.double().cpu(), wanted, atol=2e-5 * scale, rtol=0)
    nothing = torch.zeros(size[:2], dtype=torch.bool, device=cuda_device)
    assert ssim_loss(*single, mask=nothing) == 0
