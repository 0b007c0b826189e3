"""Pictures of every kind: values, channels, orientation and type as the file has them; bad files refused by name."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neural import memory
from neural.errors import SceneFormatError
from neural.scenes.pictures import pillow, png16
from neural.scenes.pictures.picture import Picture, open_picture, probe, unit_values

GREY = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], -1)
NOISE = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
ALPHA = np.full((20, 30, 1), 200, np.uint8)


def saved(path: Path, array: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def write_png16(path: Path, values: np.ndarray, kind: int) -> Path:
    """A PNG of 16 bits per channel, by hand."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize(
    ("array", "mode", "channels"),
    [
        (RGB, None, 3),
        (np.concatenate([RGB, ALPHA], -1), None, 4),
        (GREY, None, 1),
        (GREY, "LA", 2),
        (RGB, "P", 3),
        (GREY, "1", 1),
    ],
    ids=["rgb", "rgba", "grey", "grey and alpha", "palette", "black and white"],
)
@pytest.mark.parametrize("cached", [True, False])
def test_eight_bits_come_as_they_are(tmp_path: Path, array, mode, channels: int, cached: bool) -> None:
    path = saved(tmp_path / "a.png", array, mode)
    picture = open_picture(path, tmp_path / "cache" if cached else None)
    with Image.open(path) as image:
        expected = np.asarray(image.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]))
    assert (picture.width, picture.height, picture.pixels.shape[2]) == (30, 20, channels)
    assert picture.pixels.dtype == np.uint8 and not picture.linear
    assert np.array_equal(picture.pixels, expected.reshape(20, 30, channels))
    assert probe(path).n_bytes == picture.pixels.nbytes


def test_a_palette_with_transparency_has_alpha(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", RGB, "P", transparency=0)
    assert open_picture(path).alpha


def test_cmyk_is_converted_and_said(tmp_path: Path) -> None:
    picture = open_picture(saved(tmp_path / "a.jpg", RGB, "CMYK", quality=95))
    assert picture.pixels.shape == (20, 30, 3)
    assert any("CMYK" in warning for warning in picture.warnings)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", RGB, exif=exif)
    upright = {
        1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.swapaxes(0, 1),
        6: np.rot90(RGB, -1), 7: RGB[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(RGB, 1),
    }[orientation]  # fmt: skip
    assert np.array_equal(open_picture(path).pixels, upright)
    assert (probe(path).height, probe(path).width) == upright.shape[:2]


def test_sixteen_bits_of_grey_stay(tmp_path: Path) -> None:
    values = (np.arange(600, dtype=np.uint16) * 109).reshape(20, 30)
    picture = open_picture(saved(tmp_path / "a.png", values))
    assert picture.pixels.dtype == np.uint16
    assert np.array_equal(picture.pixels[..., 0], values)
    assert float(unit_values(np.array([65535], np.uint16))) == 1.0


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_of_colour_stay(tmp_path: Path, kind: int, channels: int) -> None:
    pytest.importorskip("av")
    values = np.random.default_rng(1).integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    path = write_png16(tmp_path / "a.png", values, kind)
    assert png16.applies(path)
    assert np.array_equal(open_picture(path, tmp_path / "cache").pixels, values)


def test_an_array_is_mapped_and_not_copied(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((6, 7, 3), dtype=np.float32)
    np.save(tmp_path / "a.npy", values)
    picture = open_picture(tmp_path / "a.npy", tmp_path / "cache")
    assert picture.linear and np.array_equal(picture.pixels, values)
    assert not (tmp_path / "cache").exists()


def test_a_large_picture_is_converted_band_by_band(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "_BAND", 7)
    assert np.array_equal(open_picture(saved(tmp_path / "a.png", RGB)).pixels, RGB)


def test_the_cache_is_used_again_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = saved(tmp_path / "a.png", RGB), tmp_path / "cache"
    open_picture(path, cache)
    with monkeypatch.context() as patched:
        patched.setattr(pillow.ImageOps, "exif_transpose", lambda *_: pytest.fail("decoded again"))
        assert np.array_equal(open_picture(path, cache).pixels, RGB)
    saved(path, RGB[::-1])
    os.utime(path, ns=(1, 1))
    assert np.array_equal(open_picture(path, cache).pixels, RGB[::-1])


@pytest.mark.parametrize("kind", ["whole", "crop", "flipped", "thinned"])
def test_pixels_are_gathered_without_a_copy_of_the_picture(kind: str) -> None:
    pixels = {"whole": RGB, "crop": RGB[3:11, 5:15], "flipped": RGB[::-1, ::-1], "thinned": RGB[::2, ::3]}[kind]
    picture = Picture.from_array(pixels)
    rows, columns = np.array([0, 7, 3, 7]), np.array([9, 9, 0, 9])
    assert np.array_equal(picture.gather(rows, columns), pixels[rows, columns])
    assert picture.gather(rows[:0], columns[:0]).shape == (0, 3)


def test_a_crop_shares_the_pixels() -> None:
    part = Picture.from_array(RGB).cropped(5, 3, 10, 8)
    assert np.shares_memory(part.pixels, RGB) and np.array_equal(part.pixels, RGB[3:11, 5:15])
    with pytest.raises(ValueError, match="10 x 8 at 25, 3 is not within 30 x 20"):
        Picture.from_array(RGB).cropped(25, 3, 10, 8)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.write_bytes(b"no picture at all, but long enough to be read"), "not a picture"),
        (lambda p: p.write_bytes(saved(p.with_suffix(".ok.png"), NOISE).read_bytes()[:900]), "truncated"),
        (lambda p: p.mkdir(), "a folder"),
        (lambda p: None, "no such file"),
    ],
    ids=["empty", "text", "truncated", "folder", "missing"],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, write, message: str) -> None:
    path = tmp_path / "a.png"
    write(path)
    with pytest.raises(SceneFormatError, match=message) as caught:
        open_picture(path, tmp_path / "cache")
    assert caught.value.path == path
    assert not list(tmp_path.glob("cache/*"))


def test_a_truncated_jpeg_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    path.write_bytes(saved(tmp_path / "ok.jpg", noise).read_bytes()[:9000])
    with pytest.raises(SceneFormatError, match="truncated"):
        open_picture(path, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_a_bomb_is_refused_with_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    idat = zlib.compress(b"")
    body = struct.pack(">I", len(idat)) + b"IDAT" + idat + struct.pack(">I", zlib.crc32(b"IDAT" + idat))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + body)
    monkeypatch.setattr(memory, "available", lambda device: 8 << 30)
    with pytest.raises(SceneFormatError, match=r"60000 x 50000 pixels needs 24\.0 GB of memory, 8\.6 GB are free"):
        open_picture(tmp_path / "bomb.png", tmp_path / "cache")


def test_floats_without_a_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.gif.tiff")
    (tmp_path / "a.gif.tiff").rename(tmp_path / "a.png")
    with pytest.raises(SceneFormatError, match="floating-point values without a range"):
        open_picture(tmp_path / "a.png")


@pytest.mark.parametrize("bad", [np.zeros((3, 3, 5), np.uint8), np.zeros((3, 3, 3)), np.zeros((0, 3, 3), np.uint8)])
def test_arrays_that_are_no_picture_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="picture"):
        Picture.from_array(bad)
