"""TIFF, EXR and Radiance pictures, written here by hand or by tifffile; damage is refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from neural.errors import SceneFormatError
from neural.scenes.pictures.picture import open_picture, probe

RNG = np.random.default_rng(2)
HALF, FLOAT = 1, 2


def encode(raw: bytes, compression: int) -> bytes:
    """A chunk's bytes as OpenEXR packs them."""
    if compression == 0:
        return raw
    data = np.frombuffer(raw, np.uint8)
    split = np.concatenate([data[0::2], data[1::2]]).astype(np.int64)
    delta = split.copy()
    delta[1:] = (split[1:] - split[:-1] + 128) & 255
    packed = delta.astype(np.uint8).tobytes()
    if compression == 1:  # runs of what is equal, else bytes as they are
        out, at = bytearray(), 0
        while at < len(packed):
            run = 1
            while at + run < len(packed) and run < 128 and packed[at + run] == packed[at]:
                run += 1
            out += bytes([run - 1, packed[at]]) if run > 2 else bytes([255, packed[at]])
            at += run if run > 2 else 1
        packed = bytes(out)
    else:
        packed = zlib.compress(packed)
    return packed if len(packed) < len(raw) else raw


def write_exr(path: Path, planes: dict[str, np.ndarray], compression: int, kind: int, flags: int = 0) -> Path:
    """An EXR of scan lines; channels in the order of their names."""
    height, width = next(iter(planes.values())).shape
    names, dtype = sorted(planes), {HALF: "<f2", FLOAT: "<f4"}[kind]
    channels = b"".join(n.encode() + b"\0" + struct.pack("<iB3xii", kind, 0, 1, 1) for n in names) + b"\0"
    window = struct.pack("<4i", 3, -2, 3 + width - 1, -2 + height - 1)  # its corner need not be the origin
    attributes = (("channels", "chlist", channels), ("compression", "compression", bytes([compression])),
                  ("dataWindow", "box2i", window))  # fmt: skip
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2 | flags)
    for name, type_, value in attributes:
        head += name.encode() + b"\0" + type_.encode() + b"\0" + struct.pack("<i", len(value)) + value
    head += b"\0"
    lines = 16 if compression == 3 else 1
    chunks = []
    for top in range(0, height, lines):
        rows = range(top, min(top + lines, height))
        raw = b"".join(planes[n][row].astype(dtype).tobytes() for row in rows for n in names)
        data = encode(raw, compression)
        chunks.append(struct.pack("<ii", top - 2, len(data)) + data)
    at = len(head) + 8 * len(chunks)
    offsets = b""
    for chunk in chunks:
        offsets += struct.pack("<Q", at)
        at += len(chunk)
    path.write_bytes(head + offsets + b"".join(chunks))
    return path


@pytest.mark.parametrize("compression", [0, 1, 2, 3], ids=["none", "RLE", "ZIPS", "ZIP"])
@pytest.mark.parametrize("kind", [HALF, FLOAT])
def test_exr_gives_its_values(tmp_path: Path, compression: int, kind: int) -> None:
    smooth = np.linspace(0, 8, 37 * 21).reshape(37, 21).round(1)
    planes = {"R": smooth, "G": smooth * 2, "B": RNG.random((37, 21)), "A": np.ones((37, 21)), "Z": smooth}
    path = write_exr(tmp_path / "a.exr", planes, compression, kind)
    picture = open_picture(path, tmp_path / "cache")
    expected = np.stack([planes[n] for n in "RGBA"], -1).astype({HALF: "<f2", FLOAT: "<f4"}[kind]).astype(np.float32)
    assert picture.linear and picture.alpha and picture.n_colours == 3
    assert np.array_equal(picture.pixels, expected)


def test_a_grey_exr_has_one_channel(tmp_path: Path) -> None:
    values = RNG.random((5, 4)).astype(np.float32)
    assert np.array_equal(open_picture(write_exr(tmp_path / "a.exr", {"Y": values}, 3, FLOAT)).pixels[..., 0], values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-30], "damaged or truncated EXR"),
        (lambda b: b[:60], "header cannot be read"),
        (lambda b: b"\0" * 40 + b, "wrong magic"),
        (lambda b: b.replace(b"compression\0compression\0\1\0\0\0\3", b"compression\0compression\0\1\0\0\0\4"), "PIZ"),
        (lambda b: b[:4] + struct.pack("<I", 2 | 0x200) + b[8:], "tiled"),
        (lambda b: b.replace(b"\0R\0", b"\0Q\0"), "R, G, B or Y are needed"),
    ],
    ids=["cut off", "cut header", "magic", "PIZ", "tiled", "no colours"],
)
def test_a_bad_exr_is_refused(tmp_path: Path, damage, message: str) -> None:
    planes = {name: RNG.random((20, 30)) for name in "RGB"}
    path = write_exr(tmp_path / "a.exr", planes, 3, FLOAT)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SceneFormatError, match=message):
        open_picture(path, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def rgbe(values: np.ndarray) -> np.ndarray:
    """Shared-exponent bytes [H, W, 4]."""
    peak = values.max(-1)
    _, exponent = np.frexp(peak)
    mantissas = np.floor(values * np.ldexp(1.0, 8 - exponent)[..., None])
    return np.concatenate([mantissas, (exponent + 128)[..., None]], -1).astype(np.uint8)


@pytest.mark.parametrize("coded", [True, False])
def test_radiance_gives_its_values(tmp_path: Path, coded: bool) -> None:
    values = RNG.random((6, 40, 3)) * 30
    values[:, :10] = 2.5  # a run
    stored = rgbe(values)
    data = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 6 +X 40\n"
    for row in stored:
        if not coded:
            data += row.tobytes()
            continue
        data += bytes([2, 2, 0, 40])
        for plane in row.T:
            data += (
                bytes([128 + 10, plane[0]]) if (plane[:10] == plane[0]).all() else bytes([10]) + plane[:10].tobytes()
            )
            data += bytes([30]) + plane[10:].tobytes()
    (tmp_path / "a.hdr").write_bytes(data)
    picture = open_picture(tmp_path / "a.hdr")
    exact = stored[..., :3] * np.ldexp(1.0, stored[..., 3:].astype(int) - 136)
    assert np.array_equal(picture.pixels, exact.astype(np.float32))
    assert np.abs(picture.pixels - values).max() < 30 / 256 * 2
    (tmp_path / "a.hdr").write_bytes(data[:-25])
    with pytest.raises(SceneFormatError, match="damaged or truncated"):
        open_picture(tmp_path / "a.hdr")


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"compression": "zlib", "tile": (16, 16)}, {"compression": "zlib", "rowsperstrip": 7},
     {"planarconfig": "separate", "compression": "zlib"}],
    ids=["plain", "strips", "tiles", "short strips", "planes"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_gives_its_values(tmp_path: Path, options: dict, dtype: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = (RNG.random((45, 37, 3)) * 200).astype(dtype)
    given = values.transpose(2, 0, 1) if "planarconfig" in options else values
    tifffile.imwrite(tmp_path / "a.tif", given, photometric="rgb", **options)
    picture = open_picture(tmp_path / "a.tif", tmp_path / "cache")
    assert np.array_equal(picture.pixels, values)
    assert picture.linear == (dtype == "float32")
    assert (tmp_path / "cache").exists() == bool(options)  # what lies plainly in the file is mapped


def test_tiff_of_other_layouts(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    grey = (RNG.random((9, 8)) * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "white.tif", grey, photometric="miniswhite")
    assert np.array_equal(open_picture(tmp_path / "white.tif").pixels[..., 0], 255 - grey)
    many = (RNG.random((9, 8, 6)) * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "many.tif", many, photometric="rgb", extrasamples=[0, 0, 0])
    picture = open_picture(tmp_path / "many.tif")
    assert np.array_equal(picture.pixels, many[..., :3]) and "6 channels" in picture.warnings[0]
    alpha = (RNG.random((9, 8, 4)) * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "alpha.tif", alpha, photometric="rgb", extrasamples=["unassalpha"])
    assert probe(tmp_path / "alpha.tif").alpha
    tifffile.imwrite(tmp_path / "int.tif", grey.astype(np.int32), photometric="minisblack")
    with pytest.raises(SceneFormatError, match="values of type int32"):
        probe(tmp_path / "int.tif")


@pytest.mark.parametrize("keep", [20, 900])
def test_a_bad_tiff_is_refused(tmp_path: Path, keep: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, (RNG.random((45, 37, 3)) * 255).astype(np.uint8), photometric="rgb", compression="zlib")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SceneFormatError, match=r"a\.tif"):
        open_picture(path, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))
