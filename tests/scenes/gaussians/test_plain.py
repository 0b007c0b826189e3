"""Gaussian scenes in files: laws of a round trip, real files, and every fault named with its remedy."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.errors import SceneFormatError
from neural.scenes.files import ply
from neural.scenes.files.gaussians import splat
from neural.scenes.files.gaussians.ply import plain_ply
from neural.scenes.files.gaussians.record import SH_C0, SplatRecord
from tests.damage import EDITS, damaged
from tests.splat_files import assert_refused_or_valid, assert_same, made


def _steps(record: SplatRecord) -> dict[str, np.ndarray]:
    """What a .splat file rounds: each quantity in its steps (scales and positions are float32 there)."""
    quats = record.quats / np.linalg.norm(record.quats.astype(np.float64), axis=1, keepdims=True)
    return {
        "colour": ((0.5 + SH_C0 * record.sh0) * 255).clip(0, 255),
        "alpha": 255 / (1 + np.exp(-record.opacity_logits.astype(np.float64))),
        "rotation": quats * 128,
    }


def _order(record: SplatRecord) -> np.ndarray:
    """That of the file: by volume times opacity, largest first."""
    log_alpha = -np.log1p(np.exp(-record.opacity_logits.astype(np.float64)))
    return np.argsort(-(record.log_scales.sum(axis=1, dtype=np.float64) + log_alpha), kind="stable")


def _assert_within_a_step(got: SplatRecord, wanted: SplatRecord) -> None:
    order = _order(wanted)
    np.testing.assert_array_equal(got.means, wanted.means[order])
    np.testing.assert_allclose(got.log_scales, wanted.log_scales[order], atol=2e-6, rtol=2e-6)
    found, expected = _steps(got), _steps(wanted)
    np.testing.assert_allclose(found["colour"], expected["colour"][order], atol=0.5 + 1e-3)
    np.testing.assert_allclose(found["alpha"], expected["alpha"][order], atol=0.5 + 1e-3)
    # both the file's rounding (half a step; a whole one at +1) and its change of length by at most one step
    np.testing.assert_allclose(found["rotation"], expected["rotation"][order], atol=2.0)


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("degree", range(4))
def test_ply_round_trip_is_exact(tmp_path: Path, degree: int, antialiased: bool) -> None:
    record = made(degree=degree, antialiased=antialiased)
    plain_ply.write(tmp_path / "a.ply", record)
    got = plain_ply.read(tmp_path / "a.ply")
    assert_same(got, record)
    assert got.sh_degree == degree
    assert [path.name for path in tmp_path.iterdir()] == ["a.ply"]


def test_the_layout_is_the_common_one(tmp_path: Path) -> None:
    """62 floats; f_rest holds all red coefficients first."""
    record = made(2)
    plain_ply.write(tmp_path / "a.ply", record)
    rows = ply.read(tmp_path / "a.ply", "vertex")
    assert rows.dtype.itemsize == 248
    assert rows["f_rest_1"][1] == record.shN[1, 1, 0]
    assert rows["f_rest_15"][1] == record.shN[1, 0, 1]
    assert rows["rot_0"][1] == record.quats[1, 0]
    assert not rows["nz"].any()


def _write_other(path: Path, source: Path, form: str, extra: bool = False) -> None:
    """The same rows in another encoding, with an element and a property that nobody knows."""
    rows = ply.read(source, "vertex")
    header = ["ply", f"format {form} 1.0", "comment antialiased", "element camera 1", "property uchar id"]
    header += [f"element vertex {len(rows)}", *(f"property float {name}" for name in rows.dtype.names or ())]
    columns = [rows[name] for name in rows.dtype.names or ()]
    if extra:
        header += ["property float confidence"]
        columns += [np.full(len(rows), 9.0, np.float32)]
    table = np.stack(columns, axis=1)
    head = "\n".join([*header, "end_header\n"]).encode()
    if form == "ascii":
        body = "5\n" + "\n".join(" ".join(repr(float(x)) for x in row) for row in table)
        path.write_bytes(head + body.encode())
    else:
        path.write_bytes(head + b"\5" + table.astype(">f4" if "big" in form else "<f4").tobytes())


@pytest.mark.parametrize("form", ["binary_little_endian", "binary_big_endian", "ascii"])
def test_every_encoding_and_unknown_properties(tmp_path: Path, form: str) -> None:
    record = made(5, degree=1)
    plain_ply.write(tmp_path / "a.ply", record)
    _write_other(tmp_path / "b.ply", tmp_path / "a.ply", form, extra=True)
    assert_same(plain_ply.read(tmp_path / "b.ply"), replace(record, antialiased=True))


@pytest.mark.parametrize(
    ("comment", "expected"),
    [("SplatRenderMode: mip", True), ("SplatRenderMode: default", False), ("antialiased", True),
     ("antialiased 0", False), ("made by hand", False)],
)  # fmt: skip
def test_the_antialias_tags_of_others(tmp_path: Path, comment: str, expected: bool) -> None:
    plain_ply.write(tmp_path / "a.ply", made())
    data = (tmp_path / "a.ply").read_bytes().replace(b"SplatRenderMode: default", comment.encode(), 1)
    (tmp_path / "a.ply").write_bytes(data)
    assert plain_ply.read(tmp_path / "a.ply").antialiased is expected


def test_splat_round_trip(tmp_path: Path) -> None:
    record = made(300, degree=0)
    splat.write(tmp_path / "a.splat", record)
    assert (tmp_path / "a.splat").stat().st_size == 300 * 32
    got = splat.read(tmp_path / "a.splat")
    _assert_within_a_step(got, record)
    splat.write(tmp_path / "b.splat", got)  # what is quantised stays: 1 step where the rotation is renormalised
    again = splat.read(tmp_path / "b.splat")
    for name in ("colour", "alpha"):
        a, b = (np.sort(_steps(x)[name].ravel()) for x in (got, again))
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_splat_keeps_extremes_finite(tmp_path: Path) -> None:
    record = made(4, degree=2)
    opacity = np.array([-1e30, 1e30, 0, 5], np.float32)
    extreme = replace(record, opacity_logits=opacity, log_scales=record.log_scales * 0 - 500, sh0=record.sh0 * 1e30)
    splat.write(tmp_path / "a.splat", extreme)
    got = splat.read(tmp_path / "a.splat")
    assert got.sh_degree == 0
    assert sorted(np.rint(_steps(got)["alpha"])) == [0, 128, 253, 255]


@pytest.mark.parametrize("name", ["biker.ply", "playbot_lod3.ply"])
def test_real_scenes(neural_data: Path, tmp_path: Path, name: str) -> None:
    source = neural_data / "splats" / name
    record = plain_ply.read(source)
    assert (len(record), record.sh_degree) == {"biker.ply": (152746, 0), "playbot_lod3.ply": (31000, 2)}[name]
    plain_ply.write(tmp_path / "a.ply", record)
    assert_same(plain_ply.read(tmp_path / "a.ply"), record)
    original, written = ply.read(source, "vertex"), ply.read(tmp_path / "a.ply", "vertex")
    for column in original.dtype.names or ():
        if column == "opacity":  # the biker's is infinite in 198 rows
            original = original.copy()
            original[column] = original[column].clip(-80, 80)
        np.testing.assert_array_equal(written[column], original[column])
    splat.write(tmp_path / "a.splat", record)
    _assert_within_a_step(splat.read(tmp_path / "a.splat"), record)


def test_a_compressed_scene_is_named(neural_data: Path) -> None:
    with pytest.raises(SceneFormatError, match=r"biker.compressed.ply.*compressed PLY"):
        plain_ply.read(neural_data / "splats" / "biker.compressed.ply")


def test_an_infinite_logit_is_a_certain_opacity(tmp_path: Path) -> None:
    plain_ply.write(tmp_path / "a.ply", made())
    rows = ply.read(tmp_path / "a.ply", "vertex").copy()
    rows["opacity"][:2] = np.inf, -np.inf
    ply.write(tmp_path / "a.ply", rows)
    np.testing.assert_array_equal(plain_ply.read(tmp_path / "a.ply").opacity_logits[:2], [80, -80])


def _without(*names: str):
    def change(rows: np.ndarray) -> np.ndarray:
        kept = [name for name in rows.dtype.names or () if name not in names]
        out = np.empty(len(rows), [(name, "<f4") for name in kept])
        for name in kept:
            out[name] = rows[name]
        return out

    return change


def _renamed(old: str, new: str):
    def change(rows: np.ndarray) -> np.ndarray:
        rows.dtype.names = tuple(new if name == old else name for name in rows.dtype.names or ())
        return rows

    return change


def _with(row: int, **values: float):
    def change(rows: np.ndarray) -> np.ndarray:
        for name, value in values.items():
            rows[name][row] = value
        return rows

    return change


FAULTS = {
    "NaN position": (_with(3, y=np.nan), r"property y is nan in row 3.*remove"),
    "NaN opacity": (_with(2, opacity=np.nan), r"property opacity is nan in row 2"),
    "Inf scale": (_with(2, scale_0=-np.inf), r"property scale_0 is -inf in row 2"),
    "NaN colour": (_with(1, f_rest_44=np.nan), r"property f_rest_44 .* row 1"),
    "zero quaternion": (_with(4, rot_0=0, rot_1=0, rot_2=0, rot_3=0), r"quats of row 4 has no direction.*1 0 0 0"),
    "scale that overflows": (_with(5, scale_1=200), r"log_scales of row 5 is above 80.*logarithms"),
    "no opacity": (_without("opacity"), r"no properties opacity.*point cloud"),
    "no rotation": (_without("rot_1", "rot_2"), r"no properties rot_1, rot_2; write the 3DGS layout"),
    "hole in the harmonics": (_without("f_rest_7"), r"44 properties f_rest_\*.*degree 1, 2 or 3"),
    "other degree": (_without(*(f"f_rest_{i}" for i in range(9, 45) if i != 44)), r"10 properties f_rest_\*"),
    "other name of a number": (_renamed("f_rest_0", "f_rest_00"), r"44 properties f_rest_\*"),
    "no rows": (lambda rows: rows[:0], r"no Gaussians"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_ply_faults_are_named(tmp_path: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    plain_ply.write(tmp_path / "a.ply", made())
    rows = change(ply.read(tmp_path / "a.ply", "vertex").copy())
    ply.write(tmp_path / "b.ply", rows)
    with pytest.raises(SceneFormatError, match=rf"b\.ply: .*{message}"):
        plain_ply.read(tmp_path / "b.ply")


def test_a_truncated_or_lying_ply_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    plain_ply.write(path, made())
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(SceneFormatError, match=r"claims 7 rows but the file holds only 6; it is truncated"):
        plain_ply.read(path)
    path.write_bytes(data.replace(b"vertex 7", b"vertex 5", 1))
    with pytest.raises(SceneFormatError, match=r"496 bytes after the 5 rows that its header claims for element vertex"):
        plain_ply.read(path)
    path.write_bytes(data.replace(b"vertex 7", b"vertex 999999999999", 1))
    with pytest.raises(SceneFormatError, match=r"claims 999999999999 rows"):
        plain_ply.read(path)
    path.write_bytes(data.replace(b"Mode: default", b"Mode: other", 1))
    with pytest.raises(SceneFormatError, match=r"SplatRenderMode is 'other', expected one of default, mip, 2dgs"):
        plain_ply.read(path)
    with pytest.raises(SceneFormatError, match=r"gone\.ply: cannot be read"):
        plain_ply.read(tmp_path / "gone.ply")


def test_splat_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.splat"
    splat.write(path, made())
    data = bytearray(path.read_bytes())

    def refused(change: bytes, at: int, message: str) -> None:
        path.write_bytes(data[:at] + change + data[at + len(change) :])
        with pytest.raises(SceneFormatError, match=rf"a\.splat: .*{message}"):
            splat.read(path)

    refused(np.float32(np.nan).tobytes(), 32 + 8, "means of row 1 is not finite")
    refused(np.float32(-1).tobytes(), 64 + 12, "scale of row 2 is not positive")
    refused(np.float32(np.inf).tobytes(), 64 + 12, "scale of row 2 is not positive and finite")
    refused(bytes([128] * 4), 28, "quats of row 0 has no direction")
    path.write_bytes(data[:-1])
    with pytest.raises(SceneFormatError, match="223 bytes, expected a multiple of 32"):
        splat.read(path)
    path.write_bytes(b"")
    with pytest.raises(SceneFormatError, match="no Gaussians"):
        splat.read(path)


def test_a_record_refuses_what_is_no_scene() -> None:
    record = made()
    with pytest.raises(TypeError, match="means must be float32, got float64"):
        replace(record, means=record.means.astype(np.float64))
    with pytest.raises(ValueError, match=r"quats must be \[7, 4\], got \[6, 4\]"):
        replace(record, quats=record.quats[:6])
    with pytest.raises(ValueError, match="shN has 4 coefficients"):
        replace(record, shN=record.shN[:, :4])


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 20), degree=st.integers(0, 3), seed=st.integers(0, 2**32 - 1))
def test_round_trips_by_law(n: int, degree: int, seed: int) -> None:
    record = made(n, degree, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        plain_ply.write(path, record)
        assert_same(plain_ply.read(path), record)
        splat.write(path, record)
        _assert_within_a_step(splat.read(path), record)


def _sources() -> dict[str, bytes]:
    """A small file of each encoding."""
    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder) / "a", Path(folder) / "b"
        plain_ply.write(path, made(3, degree=1, antialiased=True))
        _write_other(other, path, "ascii")
        sources = {"ply": path.read_bytes(), "text": other.read_bytes()}
        _write_other(other, path, "binary_big_endian")
        sources["big"] = other.read_bytes()
        splat.write(path, made(3, degree=0))
        return sources | {"splat": path.read_bytes()}


SOURCES = _sources()


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(sorted(SOURCES)), edits=EDITS)
def test_damage_is_read_cleanly_or_refused(kind: str, edits: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(damaged(SOURCES[kind], edits))
        assert_refused_or_valid((splat if kind == "splat" else plain_ply).read, path)
