"""PNG by bands: read back by Pillow as it was, refused if bands do not make up a picture, colours of both spaces."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural import color, png

PIXELS = np.random.default_rng(0).integers(0, 255, (37, 23, 3)).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("rows", [1, 10, 37])
def test_it_reads_back_as_it_was(tmp_path: Path, channels: int, rows: int) -> None:
    pixels = PIXELS[..., :channels]
    png.write(tmp_path / "a.png", 23, 37, (pixels[top : top + rows] for top in range(0, 37, rows)))
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@pytest.mark.parametrize(
    ("bands", "message"),
    [([PIXELS[:30]], "30 rows came, 37 were expected"), ([PIXELS[:, :20]], r"uint8 \[h, 23, 1 or 3\]"), ([], "0 rows")],
)
def test_what_is_no_picture_leaves_nothing(tmp_path: Path, bands: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        png.write(tmp_path / "a.png", 23, 37, bands)
    assert list(tmp_path.iterdir()) == []


def test_colours_go_there_and_back() -> None:
    values = torch.linspace(-0.2, 2.0, 500)
    torch.testing.assert_close(color.to_srgb(color.to_linear(values)), values, atol=2e-6, rtol=1e-5)
    assert float(color.to_linear(torch.tensor(0.5))) == pytest.approx(0.21404, abs=1e-5)
    linear = torch.linspace(0, 1, 300, requires_grad=True)
    color.to_srgb(linear).sum().backward()
    assert linear.grad is not None and bool(torch.isfinite(linear.grad).all())
