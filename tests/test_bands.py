"""MS-SSIM and scores of pictures that come in bands: those of whole pictures, and what must hold of a similarity."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neural import metrics
from neural.metrics import SCALE_WEIGHTS, BandScores


def pair(height: int = 200, width: int = 190, noise: float = 0.1, channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * width)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    smooth = 0.5 + 0.3 * torch.sin(rows / 9.0) * torch.cos(columns / 13.0)
    target = smooth[..., None] * torch.linspace(0.6, 1.0, channels)
    return (target + noise * torch.randn(height, width, channels, generator=generator)), target


def plain_ms_ssim(image: Tensor, target: Tensor) -> float:
    """By torch's convolution and pooling, as the paper's steps say."""
    x, y = (t.double().clamp(0, 1).permute(2, 0, 1)[:, None] for t in (image, target))
    window = metrics.gaussian_window()
    kernel = (window[:, None] * window[None, :])[None, None]
    product = torch.ones(x.shape[0], dtype=torch.float64)
    for scale, weight in enumerate(SCALE_WEIGHTS):
        mean_x, mean_y, xx, yy, xy = (torch.conv2d(t, kernel) for t in (x, y, x * x, y * y, x * y))
        structure = (2 * (xy - mean_x * mean_y) + 0.03**2) / (xx - mean_x**2 + yy - mean_y**2 + 0.03**2)
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        last = scale == len(SCALE_WEIGHTS) - 1
        product *= (luminance * structure if last else structure).mean((1, 2, 3)).clamp(min=0) ** weight
        x, y = torch.nn.functional.avg_pool2d(x, 2), torch.nn.functional.avg_pool2d(y, 2)
    return float(product.mean())


@pytest.mark.parametrize("size", [(176, 176), (201, 333), (355, 190)])
def test_ms_ssim_is_the_papers(size: tuple[int, int]) -> None:
    image, target = pair(*size)
    assert metrics.ms_ssim(image, target) == pytest.approx(plain_ms_ssim(image, target), abs=1e-12)


def test_ms_ssim_of_equal_pictures_is_one_and_falls_with_noise() -> None:
    values = [metrics.ms_ssim(*pair(noise=noise)) for noise in (0.0, 0.02, 0.1, 0.4)]
    assert values[0] == pytest.approx(1.0, abs=1e-12)
    assert values == sorted(values, reverse=True) and 0 <= values[-1] < 0.8


def test_ms_ssim_is_symmetric_and_forgives_fine_noise_more_than_ssim_does() -> None:
    image, target = pair(noise=0.2)
    assert metrics.ms_ssim(image, target) == pytest.approx(metrics.ms_ssim(target, image), abs=1e-12)
    assert metrics.ms_ssim(image, target) > metrics.ssim(image, target) + 0.1


def test_opposite_structure_is_zero_and_not_nan() -> None:
    _, target = pair()
    assert metrics.ms_ssim(1 - target, target) == 0.0


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 120), min_size=1, max_size=8), st.sampled_from([180, 187]))
def test_bands_give_what_the_whole_gives(heights: list[int], width: int) -> None:
    image, target = pair(max(sum(heights), 11), width)
    bands = BandScores()
    at = 0
    for height in [*heights, image.shape[0] - sum(heights)]:
        if height:
            bands.add(image[at : at + height], target[at : at + height])
            at += height
    assert bands.psnr == pytest.approx(metrics.psnr(image, target), abs=1e-9)
    assert bands.ssim == pytest.approx(metrics.ssim(image, target), abs=1e-12)
    if min(image.shape[:2]) >= metrics.SMALLEST_MS:
        assert bands.ms_ssim == pytest.approx(metrics.ms_ssim(image, target), abs=1e-12)
    else:
        assert bands.ms_ssim is None


def test_small_pictures_have_no_ms_ssim_and_tiny_ones_no_ssim() -> None:
    image, target = pair(175, 300)
    with pytest.raises(ValueError, match=r"at least 176x176 pixels, got \(175, 300, 3\)"):
        metrics.ms_ssim(image, target)
    bands = BandScores()
    bands.add(image[:10, :10], target[:10, :10])
    assert (bands.ssim, bands.ms_ssim) == (None, None)
    assert math.isfinite(bands.psnr)


def test_equal_pictures_have_an_infinite_psnr() -> None:
    bands = BandScores()
    bands.add(*pair(20, 20, noise=0.0))
    assert bands.psnr == math.inf
