"""SPZ: steps of a round trip, the layout byte by byte, files of other writers, axes, and every fault by name."""

import gzip
import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.cuda.reference import spherical_harmonics
from neural.errors import SceneFormatError
from neural.poses import rotation_from_quat
from neural.scenes.files.gaussians.axes import flipped
from neural.scenes.files.gaussians.packing import logits
from neural.scenes.files.gaussians.ply import plain_ply
from neural.scenes.files.gaussians.record import SplatRecord
from neural.scenes.files.gaussians.spz import spz
from neural.scenes.files.gaussians.spz import streams as spz_streams
from tests.damage import EDITS, damaged
from tests.splat_files import assert_refused_or_valid, assert_same, errors, made


def _assert_within_a_step(
    got: SplatRecord, wanted: SplatRecord, version: int = 3, bits: int = 12, twice: bool = False
) -> None:
    """Half a step of each quantity, see the module; where it is clipped, not beyond what a file can hold.

    Others round harmonics `twice`, to 1/128 and then to steps.
    """
    kept = replace(
        wanted, log_scales=wanted.log_scales.clip(-10, 5.9375), sh0=wanted.sh0.clip(-0.5 / 0.15, 0.5 / 0.15),
        shN=wanted.shN.clip(-1, 127 / 128),
    )  # fmt: skip
    found = errors(got, kept)
    assert found["means"].max() <= 0.5001 * 2**-bits
    assert found["log_scales"].max() <= 0.50001 / 16
    assert found["sh0"].max() <= 0.5001 / (0.15 * 255)
    assert found["opacities"].max() <= 0.5001 / 255
    assert found["shN"][:, :3].max(initial=0) <= 0.5001 / 16 + twice * 0.5 / 128
    assert found["shN"][:, 3:].max(initial=0) <= 0.5001 / 8 + twice * 0.5 / 128
    if version == 2:  # w follows from the others: a small one takes up their errors
        angles = 2 * np.arccos(np.abs(1 - 0.5 * (found["quats"] ** 2).sum(axis=1)).clip(0, 1))
        assert np.quantile(angles, 0.9) < 0.06 and angles.max() < 0.3
    else:
        assert found["quats"].max() <= 2 * np.sqrt(0.5) / 511
    assert got.antialiased == wanted.antialiased


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("degree", range(4))
def test_round_trip(tmp_path: Path, degree: int, version: int) -> None:
    record = made(400, degree, antialiased=degree % 2 == 1)
    spz.write(tmp_path / "a.spz", record, version=version)
    got = spz.read(tmp_path / "a.spz")
    _assert_within_a_step(got, record, version)
    assert [path.name for path in tmp_path.iterdir()] == ["a.spz"]
    spz.write(tmp_path / "b.spz", got, version=version, fractional_bits=12)  # what is rounded stays
    again = spz.read(tmp_path / "b.spz")
    assert_same(replace(again, quats=got.quats), got)
    assert errors(again, got)["quats"].max() < (0.02 if version == 2 else 1e-3)


def test_the_layout(tmp_path: Path) -> None:
    """Bytes worked out by hand: one Gaussian, degree 1."""
    record = SplatRecord(
        means=np.array([[1.5, -0.25, 2.0]], np.float32),
        quats=np.array([[0.8, 0.6, 0.0, 0.0]], np.float32),
        log_scales=np.array([[-10.0, 0.0, -2.5]], np.float32),
        opacity_logits=np.array([0.0], np.float32),
        sh0=np.array([[0.0, 1.0, -1.0]], np.float32),
        shN=np.array([[[0.5, 0, 0], [0, 0.25, 0], [0, 0, -0.5]]], np.float32),
        antialiased=True,
    )
    spz.write(tmp_path / "a.spz", record)
    raw = gzip.decompress((tmp_path / "a.spz").read_bytes())
    assert raw[:16] == struct.pack("<4sIIBBBB", b"NGSP", 3, 1, 1, 12, 1, 0)
    places = [6144, 1024, -8192]  # y and z turned round, in steps of 1/4096
    assert raw[16:25] == b"".join(struct.pack("<i", p)[:3] for p in places)
    assert raw[25] == 128  # 127.5, to even
    assert list(raw[26:29]) == [128, 166, 89]  # 127.5 + 38.25 sh0
    assert list(raw[29:32]) == [0, 160, 120]
    x = round(0.6 * 511 * np.sqrt(2))
    assert struct.unpack("<I", raw[32:36])[0] == 3 << 30 | x << 20  # w is the largest, then x y z
    harmonics = np.frombuffer(raw[36:], np.uint8).reshape(3, 3)
    assert harmonics.tolist() == [[64, 128, 128], [128, 96, 128], [128, 128, 64]]  # y and z turned, x as it was


def test_version_2_keeps_w_positive(tmp_path: Path) -> None:
    record = replace(made(50, 0), quats=-np.abs(made(50, 0).quats))
    spz.write(tmp_path / "a.spz", record, version=2)
    assert (spz.read(tmp_path / "a.spz").quats[:, 0] >= 0).all()
    raw = gzip.decompress((tmp_path / "a.spz").read_bytes())
    assert struct.unpack_from("<I", raw, 4) == (2,) and len(raw) == 16 + 50 * 19


@pytest.mark.parametrize("axes", ["RUB", "LUF", "RUF", "LDB", "RDB", "LUB", "LDF"])
def test_a_scene_with_other_axes_looks_the_same(axes: str) -> None:
    """Colours along directions, and covariances, before and after; mirrors too."""
    record = made(30, 3)
    turned = flipped(record, ("RDF", axes))
    signs = np.array([1.0 if a == b else -1.0 for a, b in zip("RDF", axes, strict=True)])
    np.testing.assert_array_equal(turned.means, record.means * signs.astype(np.float32))
    directions = torch.nn.functional.normalize(torch.randn(64, 3, dtype=torch.float64), dim=1)
    before = spherical_harmonics.forward(directions, 4)[:, 1:].numpy()
    after = spherical_harmonics.forward(directions * torch.from_numpy(signs), 4)[:, 1:].numpy()
    seen = np.einsum("dk,nkc->dnc", before, record.shN)
    np.testing.assert_allclose(np.einsum("dk,nkc->dnc", after, turned.shN), seen, atol=1e-6)
    for old, new, scales in zip(record.quats, turned.quats, np.exp(record.log_scales), strict=True):
        a, b = (rotation_from_quat(q / np.linalg.norm(q)) * scales for q in (old, new))
        np.testing.assert_allclose(b @ b.T, signs[:, None] * (a @ a.T) * signs, rtol=1e-4, atol=1e-5)
    assert_same(flipped(turned, (axes, "RDF")), record)


def test_axes_of_the_file(tmp_path: Path) -> None:
    record = made(20, 2)
    spz.write(tmp_path / "a.spz", record, axes="RDF")
    _assert_within_a_step(spz.read(tmp_path / "a.spz", axes="RDF"), record)
    np.testing.assert_allclose(spz.read(tmp_path / "a.spz").means, record.means * [1, -1, -1], atol=1e-3)


def test_the_step_follows_the_scene(tmp_path: Path) -> None:
    small = replace(made(40, 0), means=made(40, 0).means * 1e-3, log_scales=made(40, 0).log_scales * 0 - 9)
    spz.write(tmp_path / "a.spz", small)
    bits = gzip.decompress((tmp_path / "a.spz").read_bytes())[13]
    assert 2.0**-bits <= np.exp(-9) / 8 < 2.0 ** (1 - bits)
    _assert_within_a_step(spz.read(tmp_path / "a.spz"), small, bits=bits)
    far = replace(made(40, 0), means=made(40, 0).means + 5000)
    spz.write(tmp_path / "a.spz", far)
    assert gzip.decompress((tmp_path / "a.spz").read_bytes())[13] == 10
    np.testing.assert_allclose(spz.read(tmp_path / "a.spz").means, far.means, atol=0.5 / 2**10)
    with pytest.raises(ValueError, match=r"positions reach 50.* hold less than 2048; write tiles"):
        spz.write(tmp_path / "b.spz", far, fractional_bits=12)
    assert not (tmp_path / "b.spz").exists()


def test_more_bits_of_harmonics(tmp_path: Path) -> None:
    record = made(40, 3)
    spz.write(tmp_path / "a.spz", record, sh_bits=(8, 8))
    assert errors(spz.read(tmp_path / "a.spz"), record)["shN"].max() <= 0.5001 / 128


def test_several_parts_and_members_are_one_stream(tmp_path: Path) -> None:
    record = made(40_000, 3)
    spz.write(tmp_path / "a.spz", record)
    data = (tmp_path / "a.spz").read_bytes()
    raw = gzip.decompress(data)
    assert len(raw) == 16 + 40_000 * 65 > 2 * spz_streams.PART
    (tmp_path / "b.spz").write_bytes(gzip.compress(raw[:1000]) + gzip.compress(raw[1000:]))
    assert_same(spz.read(tmp_path / "b.spz"), spz.read(tmp_path / "a.spz"))


def test_files_of_other_writers(neural_data: Path) -> None:
    """Version 3 by splat-transform, against the scene that it was written from."""
    splats = neural_data / "splats"
    known = plain_ply.read(splats / "playbot_lod3.ply")
    _assert_within_a_step(spz.read(splats / "playbot_lod3_spzv3.spz"), known, twice=True)


def test_sizes_are_those_of_other_writers(neural_data: Path, tmp_path: Path) -> None:
    spz.write(tmp_path / "a.spz", plain_ply.read(neural_data / "splats" / "playbot_lod3.ply"))
    theirs = (neural_data / "splats" / "playbot_lod3_spzv3.spz").stat().st_size
    assert (tmp_path / "a.spz").stat().st_size < 1.02 * theirs


def test_version_4_of_another_writer(neural_data: Path) -> None:
    """The same person in another file, whose scales are clipped at -10 there."""
    pytest.importorskip("zstandard", reason="SPZ of version 4 needs zstandard: pip install 'neural[splats]'")
    splats = neural_data / "splats"
    found = errors(spz.read(splats / "biker.spz"), plain_ply.read(splats / "biker.ply"))
    assert found["means"].max() < 2**-12 and found["quats"].max() < 2e-3 and found["opacities"].max() < 1 / 255
    assert found["sh0"].max() < 1 / 38.25 and np.quantile(found["log_scales"], 0.99) < 1 / 16


def _version_4(raw: bytes, extensions: bytes = b"") -> bytes:
    """The streams of a version 3 file of 7 Gaussians of degree 1 in the container of version 4."""
    zstandard = pytest.importorskip("zstandard", reason="SPZ of version 4 needs zstandard")
    flags = raw[14] | (2 if extensions else 0)
    head = struct.pack("<4sIIBBBBI12x", b"NGSP", 4, 7, 1, raw[13], flags, 6, 32 + len(extensions))
    sizes = [63, 7, 21, 21, 28, 63]
    starts = np.cumsum([16, *sizes])
    packed = [zstandard.compress(raw[a : a + size]) for a, size in zip(starts, sizes, strict=False)]
    table = b"".join(struct.pack("<QQ", len(part), size) for part, size in zip(packed, sizes, strict=True))
    return head + extensions + table + b"".join(packed)


@pytest.fixture
def raw(tmp_path: Path) -> bytes:
    """What is in the gzip stream of 7 Gaussians of degree 1."""
    spz.write(tmp_path / "raw.spz", made(7, 1))
    return gzip.decompress((tmp_path / "raw.spz").read_bytes())


def test_version_4_says_its_axes(tmp_path: Path, raw: bytes) -> None:
    path, known = tmp_path / "a.spz", spz.read(tmp_path / "raw.spz")
    path.write_bytes(_version_4(raw))
    assert_same(spz.read(path), known)
    unknown = struct.pack("<II3s", 0x12340001, 3, b"abc")
    path.write_bytes(_version_4(raw, unknown + struct.pack("<III", 0xADBE0003, 4, 6)))
    assert_same(spz.read(path), flipped(known, ("RDF", "RUB")))
    path.write_bytes(_version_4(raw, struct.pack("<III", 0xADBE0003, 4, 17)))
    with pytest.raises(SceneFormatError, match="axes number 17, expected 1 to 16"):
        spz.read(path)
    path.write_bytes(_version_4(raw, unknown[:-1]))
    with pytest.raises(SceneFormatError, match="extension of 3 bytes in 2"):
        spz.read(path)


def test_certain_opacities_stay_finite(tmp_path: Path) -> None:
    record = replace(made(4, 0), opacity_logits=np.array([-80, 80, 0, 5], np.float32))
    spz.write(tmp_path / "a.spz", record)
    np.testing.assert_array_equal(
        spz.read(tmp_path / "a.spz").opacity_logits, logits(np.array([0, 255, 128, 253], np.uint8))
    )


def _at(start: int, value: bytes):
    return lambda raw: raw[:start] + value + raw[start + len(value) :]


FAULTS = {
    "other magic": (_at(0, b"PLY "), "header does not start with 'NGSP'"),
    "version 1": (_at(4, b"\1"), "of version 1, expected 2, 3 or 4"),
    "version 4 in gzip": (_at(4, b"\4"), "gzip stream that says version 4"),
    "no Gaussians": (_at(8, bytes(4)), "no Gaussians"),
    "too many": (_at(8, b"\x08"), "claims 8 Gaussians, .* but holds .*truncated"),
    "a bomb": (_at(8, b"\xff\xff\xff\xff"), "claims to unpack to .* damaged or hostile"),
    "too few": (_at(8, b"\x06"), "goes on behind the 6 Gaussians"),
    "degree 4": (_at(12, b"\4"), "degree 4, expected 0 to 3"),
    "no room before the point": (_at(13, b"\x18"), "24 fractional bits"),
    "half an extension": (lambda raw: _at(14, b"\2")(raw) + b"abc", "ends within an extension"),
    "cut off": (lambda raw: raw[:10], "ends within its header"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path: Path, raw: bytes, fault: str) -> None:
    change, message = FAULTS[fault]
    path = tmp_path / "b.spz"
    path.write_bytes(gzip.compress(change(raw)))
    with pytest.raises(SceneFormatError, match=rf"b\.spz: .*{message}"):
        spz.read(path)


def test_what_is_no_spz_is_named(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "b.spz"
    data = gzip.compress(raw)
    for content, message in (
        (b"ply\n", "starts neither as a gzip stream nor with 'NGSP'"),
        (b"", "starts neither"),
        (data[:-9], "without its end; it is truncated"),
        (data[:-6] + b"abcdef", "damaged gzip stream .*check"),
        (raw, "says version 3, which is a gzip stream"),
    ):
        path.write_bytes(content)
        with pytest.raises(SceneFormatError, match=message):
            spz.read(path)
    with pytest.raises(SceneFormatError, match=r"gone\.spz: cannot be read"):
        spz.read(tmp_path / "gone.spz")


def test_a_stream_that_unpacks_to_more_is_not_unpacked(tmp_path: Path, raw: bytes) -> None:
    zstandard = pytest.importorskip("zstandard", reason="SPZ of version 4 needs zstandard")
    data = _version_4(raw)
    bomb = zstandard.compress(bytes(1 << 26))
    first = struct.unpack_from("<Q", data, 32)[0]
    start = 32 + 6 * 16
    data = data[:32] + struct.pack("<Q", len(bomb)) + data[40:start] + bomb + data[start + first :]
    (tmp_path / "a.spz").write_bytes(data)
    with pytest.raises(SceneFormatError, match="stream of 64 bytes or more, expected 63"):
        spz.read(tmp_path / "a.spz")
    (tmp_path / "a.spz").write_bytes(gzip.compress(raw + bytes(1 << 26)))
    with pytest.raises(SceneFormatError, match="goes on behind"):
        spz.read(tmp_path / "a.spz")


@settings(max_examples=200, deadline=None)
@given(container=st.sampled_from(["gzip", "inside", "zstd"]), version=st.sampled_from([2, 3]), edits=EDITS)
def test_damage_is_read_cleanly_or_refused(container: str, version: int, edits: list) -> None:
    """Of the file as it is, of what its gzip stream holds, and of version 4."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.spz"
        spz.write(path, made(7, 1), version=3 if container == "zstd" else version)
        data = path.read_bytes()
        if container == "inside":
            data = gzip.compress(damaged(gzip.decompress(data), edits))
        else:
            data = damaged(_version_4(gzip.decompress(data)) if container == "zstd" else data, edits)
        path.write_bytes(data)
        assert_refused_or_valid(spz.read, path)


@pytest.mark.parametrize("axes", ["RUB", "RDF", "RFU"])
@pytest.mark.parametrize("degree", [0, 3])
def test_version_4_is_written(tmp_path: Path, degree: int, axes: str) -> None:
    """As good as version 3 to the bit; it says its axes where they are not RUB."""
    pytest.importorskip("zstandard", reason="SPZ of version 4 needs zstandard: pip install 'neural[splats]'")
    record = made(400, degree, antialiased=True)
    for version in (3, 4):
        spz.write(tmp_path / f"{version}.spz", record, version=version, axes=axes)
    known = spz.read(tmp_path / "3.spz", axes=axes)
    assert max(error.max(initial=0) for error in errors(spz.read(tmp_path / "4.spz"), known).values()) < 1e-6
    assert (tmp_path / "4.spz").read_bytes()[:8] == struct.pack("<4sI", b"NGSP", 4)


def test_options_out_of_range(tmp_path: Path) -> None:
    for options in ({"version": 5}, {"sh_bits": (0, 4)}, {"sh_bits": (5, 9)}, {"version": 4, "axes": "FLU"}):
        with pytest.raises(ValueError, match="spz: "):
            spz.write(tmp_path / "a.spz", made(), **options)
    assert not list(tmp_path.iterdir())
