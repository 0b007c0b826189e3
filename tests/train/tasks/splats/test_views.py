"""Which photographs a step sees: each once before any comes again, an order of seed and number, coarse before fine."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neural.cameras import Cameras
from neural.scenes.images import ImageStack
from neural.scenes.scene import Scene
from neural.train.tasks.splats.views import Photograph, Views
from tests import ball

SCENE = ball.scene(n=7, size=(16, 12))


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_every_photograph_comes_once_in_an_epoch(seed: int, epoch: int) -> None:
    views = Views(SCENE, seed)
    drawn = [views.draw(epoch * 7 + place, 1).index for place in range(7)]
    assert sorted(drawn) == list(range(7))


def test_the_order_is_a_function_of_seed_and_number() -> None:
    def order(seed: int, numbers: range) -> list[int]:
        return [Views(SCENE, seed).draw(number, 1).index for number in numbers]

    assert order(3, range(70, 140)) == order(3, range(140))[70:]
    assert order(3, range(70)) != order(4, range(70))
    epochs = [tuple(order(3, range(7 * k, 7 * k + 7))) for k in range(10)]
    assert len(set(epochs)) > 5  # not the same order again and again


def test_a_photograph_is_that_of_its_index_at_every_size() -> None:
    assert SCENE.images is not None
    views = Views(ball.scene(n=7, size=(16, 12), masks=True), 0, coarse=4, share=0.5)
    assert views.factors == [4, 2, 1]
    for number in range(7):
        for factor in views.factors:
            taken = views.draw(number, factor)
            images, masks = views.scenes[factor].images, views.scenes[factor].masks
            assert images is not None and masks is not None and taken.mask is not None
            assert taken.pixels.shape == (12 // factor, 16 // factor, 4)
            np.testing.assert_array_equal(taken.pixels, images[taken.index])
            np.testing.assert_array_equal(taken.mask, masks[taken.index].reshape(taken.mask.shape))
        assert views.draw(number, 4).index == views.draw(number, 1).index


def test_what_is_drawn_may_be_written_to() -> None:
    views = Views(SCENE, 0)
    taken = views.draw(0, 1)
    before = taken.pixels.clone()
    taken.pixels.zero_()
    assert torch.equal(views.draw(0, 1).pixels, before)


@given(st.integers(1, 400), st.sampled_from([1, 2, 4, 8]), st.floats(0, 1))
def test_photographs_only_ever_get_larger(steps: int, coarse: int, share: float) -> None:
    large = ball.scene(n=2, size=(16, 16))
    views = Views(large, 0, coarse=coarse, share=share)
    factors = [views.factor(step, steps) for step in range(steps)]
    assert factors == sorted(factors, reverse=True)
    assert set(factors) <= set(views.factors)
    assert all(factors[step] == 1 for step in range(steps) if step >= max(1.0, share * steps))
    assert views.factor(0, None) == views.factors[0] == coarse


def test_transparent_photographs_are_put_on_a_background() -> None:
    pixels = torch.tensor([[[255, 0, 51, 255], [255, 0, 51, 0], [0, 255, 255, 51]]], dtype=torch.uint8)
    shown = Photograph(0, 1, pixels, None).on(torch.tensor([0.5, 1.0, 0.0]))
    torch.testing.assert_close(shown, torch.tensor([[[1.0, 0, 0.2], [0.5, 1, 0], [0.4, 1.0, 0.2]]]))
    opaque = Photograph(0, 1, pixels[..., :3], None)
    assert opaque.on(torch.zeros(3)) is opaque.pixels


def test_backgrounds_are_a_function_of_seed_and_step() -> None:
    colours = torch.stack([Views(SCENE, 5).background(step) for step in range(200)])
    assert torch.equal(colours[70], Views(SCENE, 5).background(70))
    assert not torch.equal(colours[70], Views(SCENE, 6).background(70))
    assert len(colours.unique(dim=0)) == 200
    assert 0 <= float(colours.min()) < 0.1 and 0.9 < float(colours.max()) <= 1
    torch.testing.assert_close(colours.mean(0), torch.full((3,), 0.5), atol=0.1, rtol=0)


def test_no_photographs_are_refused() -> None:
    for empty in (replace(SCENE, images=None), SCENE.subset([])):
        with pytest.raises(ValueError, match="ball: no images to train on; check the scene's train split"):
            Views(empty, 0)


def test_masks_may_stand_for_what_is_not_there() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (4, 6, 3), dtype=np.uint8) for _ in range(2)]
    masks = [np.where(rng.random((4, 6)) < 0.5, 255, 0).astype(np.uint8) for _ in range(2)]
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    cameras = Cameras.pinhole(poses, torch.full((2, 4), 3.0, dtype=torch.float64), torch.tensor([[6, 4]] * 2))
    scene = Scene(
        "masked", None, cameras, ImageStack.from_arrays(images), ImageStack.from_arrays(masks), ("a", "b"),
        {"train": (0, 1), "test": ()}, None, torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64), np.eye(4),
    )  # fmt: skip
    ignoring, emptied = Views(scene, 0), Views(scene, 0, masks_are_alpha=True)
    assert not ignoring.transparent and emptied.transparent
    for number in range(2):
        taken, other = ignoring.draw(number, 1), emptied.draw(number, 1)
        assert other.mask is None and taken.mask is not None and taken.index == other.index
        color = torch.tensor([0.1, 0.5, 0.9])
        on = other.on(color)
        torch.testing.assert_close(on[taken.mask > 0], taken.pixels[taken.mask > 0].float() / 255)
        assert bool((on[taken.mask == 0] == color).all())
