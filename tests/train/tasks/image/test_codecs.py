"""Sizes of JPEG and WebP at a PSNR: the lowest quality that reaches it; a mosaic stands for a large picture."""

import io

import numpy as np
import pytest
from PIL import Image

from neural.train.tasks.image import codecs as image_codecs
from tests.train.tasks.image.test_training import pixels


def test_the_lowest_quality_that_is_as_good_is_found() -> None:
    picture = pixels(96, 128)
    jpeg = image_codecs.at_equal_psnr(picture, 34.0, picture.shape[0] * picture.shape[1])[0]
    assert jpeg.quality is not None and jpeg.psnr >= 34.0

    def stored(quality: int) -> tuple[int, float]:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True)
        with Image.open(io.BytesIO(buffer.getvalue())) as image:
            error = np.square((np.asarray(image).astype(float) - picture) / 255).mean()
        return len(buffer.getvalue()), -10 * np.log10(error)

    size, ratio = stored(jpeg.quality)
    assert (jpeg.n_bytes, jpeg.psnr) == (size, pytest.approx(ratio, abs=1e-4))
    assert stored(jpeg.quality - 1)[1] < 34.0


def test_what_no_quality_reaches_is_said() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    jpeg = image_codecs.at_equal_psnr(noise, 80.0, 64 * 64)[0]
    assert jpeg.quality is None and jpeg.psnr < 80


def test_a_mosaic_is_of_evenly_spaced_tiles_and_sizes_are_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_codecs, "MOST_PIXELS", 64)
    monkeypatch.setattr(image_codecs, "TILE", 4)
    picture = pixels(40, 60)
    found = image_codecs.mosaic(lambda top, bottom: picture[top:bottom], 60, 40)
    assert found.shape == (8, 8, 3)
    assert np.array_equal(found[:4, :4], picture[:4, :4]) and np.array_equal(found[4:, 4:], picture[-4:, -4:])
    one, four = (image_codecs.at_equal_psnr(found, 30.0, n)[0].n_bytes for n in (64, 256))
    assert four == 4 * one


def test_a_small_picture_is_its_own_mosaic() -> None:
    picture = pixels(40, 60)
    assert np.array_equal(image_codecs.mosaic(lambda top, bottom: picture[top:bottom], 60, 40), picture)
