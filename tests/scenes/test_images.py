"""The image stack: pixels survive, the cache is reused exactly while it is valid, area filters are exact."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural.errors import SceneFormatError
from neural.scenes import images as images_module
from neural.scenes import photos
from neural.scenes.images import ImageStack

SIZES = np.array([(20, 12), (7, 9), (16, 16)])


@pytest.fixture
def files(tmp_path):
    paths = []
    for i, (width, height) in enumerate(SIZES):
        pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        paths.append(tmp_path / f"{i}.png")
    return paths


def _pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_images_of_different_sizes_come_back_whole(files):
    stack = ImageStack.from_files(files, SIZES, "rgb")
    for image, file in zip(stack, files, strict=True):
        np.testing.assert_array_equal(image, _pixels(file))
    with pytest.raises(IndexError):
        stack[3]


def test_gather_reads_the_pixels_that_indexing_reads(files):
    stack = ImageStack.from_files(files, SIZES, "rgb").subset([2, 0])
    rng = np.random.default_rng(0)
    which = rng.integers(0, 2, 500)
    rows, cols = rng.integers(0, stack.sizes[which, 1]), rng.integers(0, stack.sizes[which, 0])
    expected = np.stack([stack[i][r, c] for i, r, c in zip(which, rows, cols, strict=True)])
    np.testing.assert_array_equal(stack.gather(which, rows, cols), expected)
    tensors = (torch.from_numpy(x) for x in (which, rows, cols))
    np.testing.assert_array_equal(stack.gather(*tensors), expected)
    with pytest.raises(IndexError, match="outside its image"):
        stack.gather(np.array([1]), np.array([12]), np.array([0]))


def test_the_cache_is_reused_until_a_source_changes(files, tmp_path, monkeypatch):
    cache = tmp_path / "run" / "cache"
    first = np.array(ImageStack.from_files(files, SIZES, "rgb", cache=cache).flat)
    (written,) = cache.iterdir()
    assert written.suffix == ".u8"
    decode = photos.decode
    monkeypatch.setattr(photos, "decode", lambda *_: pytest.fail("decoded again"))
    np.testing.assert_array_equal(ImageStack.from_files(files, SIZES, "rgb", cache=cache).flat, first)
    monkeypatch.setattr(photos, "decode", decode)
    Image.new("RGB", (7, 9), (1, 2, 3)).save(files[1])
    os.utime(files[1], ns=(1, 1))
    assert (ImageStack.from_files(files, SIZES, "rgb", cache=cache)[1] == [1, 2, 3]).all()
    assert ImageStack.from_files(files, SIZES, "rgb", cache=cache, downscale=2)[0].shape == (6, 10, 3)
    assert len(list(cache.iterdir())) == 3


def test_a_failed_decode_leaves_nothing_in_the_cache(files, tmp_path):
    cache = tmp_path / "cache"
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SceneFormatError, match=r"1\.png"):
        _ = ImageStack.from_files(files, SIZES, "rgb", cache=cache).flat
    assert list(cache.iterdir()) == []


def test_what_a_killed_process_left_in_the_cache_is_swept(files, tmp_path):
    """Killed while decoding; what a process that lives is at work on stays."""
    cache = tmp_path / "cache"
    script = (
        "import time\nfrom pathlib import Path\nimport numpy as np\nfrom neural.scenes import photos\n"
        "from neural.scenes.images import ImageStack\n"
        "def stop(*_):\n    print('decoding', flush=True)\n    time.sleep(60)\n"
        "photos.decode = stop\n"
        f"files = {[str(f) for f in files]!r}\n"
        f"ImageStack.from_files([Path(f) for f in files], np.array({SIZES.tolist()!r}), 'rgb', "
        f"cache=Path({str(cache)!r})).flat\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert other.stdout is not None
        assert other.stdout.readline().startswith("decoding")  # two threads may print at once
        _ = ImageStack.from_files(files, SIZES, "rgb", cache=cache, downscale=2).flat
        assert [path.suffix for path in sorted(cache.iterdir())].count(".tmp") == 1
    finally:
        other.kill()
        other.communicate()
    assert list(cache.glob("*.tmp"))
    _ = ImageStack.from_files(files, SIZES, "rgb", cache=cache).flat
    assert {path.suffix for path in cache.iterdir()} == {".u8"}


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space cannot be reserved on this system")
def test_a_full_disk_is_an_error_with_the_remedy(files, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="larger downscale"):
        _ = ImageStack.from_files(files, SIZES, "rgb", cache=tmp_path / "cache").flat
    assert list((tmp_path / "cache").iterdir()) == []


def test_large_stacks_without_a_cache_use_a_nameless_file(files, monkeypatch):
    monkeypatch.setattr(images_module, "_IN_MEMORY", 0)
    stack = ImageStack.from_files(files, SIZES, "rgb")
    np.testing.assert_array_equal(stack[1], _pixels(files[1]))
    assert isinstance(stack.flat.base, np.memmap) or stack.flat.base is not None


@pytest.mark.parametrize("n", [2, 3])
def test_area_filter_averages_whole_blocks(files, n):
    reduced = ImageStack.from_files(files, SIZES, "rgb", downscale=n)
    for image, file in zip(reduced, files, strict=True):
        whole = _pixels(file).astype(np.float64)
        height, width = (side // n for side in whole.shape[:2])
        mean = whole[: height * n, : width * n].reshape(height, n, width, n, 3).mean(axis=(1, 3))
        assert np.abs(image - mean).max() <= 0.6  # Pillow multiplies by a rounded reciprocal
    again = ImageStack.from_files(files, SIZES, "rgb").downscaled(n)
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(again, reduced, strict=True)) <= 1


def test_transparent_colours_do_not_bleed_into_reduced_pixels(tmp_path):
    pixels = np.zeros((2, 2, 4), dtype=np.uint8)
    pixels[0, 0] = (200, 100, 50, 255)
    pixels[1, 1] = (0, 255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert photos.decode(tmp_path / "a.png", "rgba", 2)[0, 0].tolist() == [200, 100, 50, 64]


def test_orientation_tags_do_not_turn_posed_images(tmp_path):
    image = Image.new("RGB", (6, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # "rotate by 90 degrees to view"
    image.save(tmp_path / "a.jpg", exif=exif)
    assert photos.decode(tmp_path / "a.jpg", "rgb").shape == (4, 6, 3)
    assert photos.probe(tmp_path / "a.jpg") == photos.PhotoInfo(6, 4, False)


def test_grey_palette_and_16_bit_images_become_rgb(tmp_path):
    wide = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert photos.decode(tmp_path / "wide.png", "rgb")[0, :, 0].tolist() == [0, 100, 255]
    Image.new("L", (3, 2), 7).save(tmp_path / "grey.png")
    assert (photos.decode(tmp_path / "grey.png", "rgb") == 7).all()
    Image.new("RGB", (3, 2), (1, 2, 3)).quantize(4).save(tmp_path / "palette.png")
    assert photos.decode(tmp_path / "palette.png", "rgb")[0, 0].tolist() == [1, 2, 3]


def test_masks_are_black_and_white_and_absent_ones_white(tmp_path):
    Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8)).save(tmp_path / "m.png")
    stack = ImageStack.from_files([tmp_path / "m.png", None], np.array([(4, 1), (4, 1)]), "mask")
    assert stack[0].tolist() == [[0, 0, 255, 255]]
    assert stack[1].tolist() == [[255] * 4]
