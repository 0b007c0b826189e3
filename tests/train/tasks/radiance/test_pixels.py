"""Which pixels a step sees: a function of seed and step, uniform over all pixels of all images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.cameras import Cameras
from neural.scenes.images import ImageStack
from neural.scenes.scene import Scene
from neural.train.draws import step_generator
from neural.train.tasks.radiance.pixels import PixelSampler

SIZES = ((7, 5), (3, 11), (16, 2))  # width, height


def scene(*, channels: int = 3, masked: bool = False) -> Scene:
    """Three images of different sizes; a pixel's colour tells where it is: red column, green row, blue image."""
    images, masks = [], []
    for index, (width, height) in enumerate(SIZES):
        rows, cols = np.indices((height, width))
        values = [cols, rows, np.full_like(rows, index), 10 * (cols + 1)][:channels]
        images.append(np.stack(values, -1).astype(np.uint8))
        masks.append(np.where(cols % 2 == 0, 255, 0).astype(np.uint8))
    n = len(SIZES)
    cameras = Cameras.pinhole(
        torch.eye(4, dtype=torch.float64).repeat(n, 1, 1),
        torch.tensor([[9.0, 9.0, w / 2, h / 2] for w, h in SIZES], dtype=torch.float64), torch.tensor(SIZES),
    )  # fmt: skip
    return Scene(
        name="tiny", path=None, cameras=cameras, images=ImageStack.from_arrays(images),
        masks=ImageStack.from_arrays(masks) if masked else None, image_names=("a", "b", "c"),
        splits={"train": (0, 1, 2), "test": ()}, points=None,
        aabb=torch.tensor([[-1.0, -1, -1], [1, 1, 1]], dtype=torch.float64), world_to_scene=np.eye(4),
    )  # fmt: skip


seeds = st.integers(0, 2**63 - 1)
steps = st.integers(0, 2**31)


@settings(deadline=None)
@given(seeds, steps, st.integers(0, 5))
def test_a_generator_is_a_function_of_its_key(seed: int, step: int, stream: int) -> None:
    def draw(*key: int) -> torch.Tensor:
        return torch.randint(1 << 40, (4,), generator=step_generator(*key))

    assert torch.equal(draw(seed, step, stream), draw(seed, step, stream))
    for other in ((seed ^ 1, step, stream), (seed, step + 1, stream), (seed, step, stream + 1)):
        assert not torch.equal(draw(*other), draw(seed, step, stream))


def test_neighbouring_keys_give_unrelated_numbers() -> None:
    """Means over steps and over seeds are those of uniform numbers (5 standard deviations)."""
    for keys in ([(0, step) for step in range(4000)], [(seed, 0) for seed in range(4000)]):
        first = torch.stack([torch.rand(2, generator=step_generator(*key)) for key in keys])
        assert float((first.mean(0) - 0.5).abs().max()) < 5 * (1 / 12 / len(keys)) ** 0.5
        products = (first[1:] - 0.5) * (first[:-1] - 0.5)  # neighbours are not correlated
        assert float(products.mean(0).abs().max()) < 5 * (1 / 144 / len(keys)) ** 0.5


def test_a_pixel_comes_with_its_colour_image_and_centre() -> None:
    pixels = PixelSampler(scene(channels=4), seed=3).draw(7, 500)
    cols, rows = (pixels.centres - 0.5).unbind(-1)
    torch.testing.assert_close(pixels.rgb * 255, torch.stack([cols, rows, pixels.image_indices.float()], -1))
    torch.testing.assert_close(pixels.alpha * 255, 10 * (cols + 1))
    widths, heights = torch.tensor(SIZES)[pixels.image_indices].unbind(-1)
    assert bool(((cols >= 0) & (cols < widths) & (rows >= 0) & (rows < heights)).all())
    assert torch.equal(pixels.weights, torch.ones(500))


def test_photographs_without_alpha_are_opaque() -> None:
    assert torch.equal(PixelSampler(scene(), seed=3).draw(7, 50).alpha, torch.ones(50))


def test_every_pixel_of_every_image_is_as_likely() -> None:
    sampler = PixelSampler(scene(), seed=1)
    assert sampler.n_pixels == sum(w * h for w, h in SIZES)
    n = 200 * sampler.n_pixels
    pixels = sampler.draw(0, n)
    cols, rows = (pixels.centres - 0.5).long().unbind(-1)
    starts = torch.tensor([0, 35, 68])
    widths = torch.tensor([w for w, _ in SIZES])
    counts = torch.bincount(
        starts[pixels.image_indices] + rows * widths[pixels.image_indices] + cols, minlength=sampler.n_pixels
    )
    chi_squared = float(((counts - 200.0) ** 2 / 200).sum())
    freedom = sampler.n_pixels - 1
    assert abs(chi_squared - freedom) < 5 * (2 * freedom) ** 0.5


def test_masked_pixels_have_no_weight() -> None:
    pixels = PixelSampler(scene(masked=True), seed=1).draw(0, 300)
    even = (pixels.centres[:, 0] - 0.5).long() % 2 == 0
    assert torch.equal(pixels.weights, even.float())


def test_a_step_draws_the_same_pixels_whatever_came_before() -> None:
    straight, resumed = PixelSampler(scene(), seed=1), PixelSampler(scene(), seed=1)
    for step in range(3):
        straight.draw(step, 100)
    torch.rand(5)
    one, other = straight.draw(3, 64), resumed.draw(3, 64)
    assert torch.equal(one.centres, other.centres)
    assert not torch.equal(one.centres, straight.draw(4, 64).centres)
    assert not torch.equal(one.centres, PixelSampler(scene(), seed=2).draw(3, 64).centres)


def test_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match="no images to train on"):
        PixelSampler(replace(scene(), images=None), seed=0)
