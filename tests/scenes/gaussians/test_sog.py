"""SOG: steps of a round trip, the files of other writers to the bit, version 1, and hostile archives by name."""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from neural.errors import SceneFormatError
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.ply import plain_ply
from neural.scenes.files.gaussians.sog import sog
from neural.scenes.files.gaussians.sog.files import encoded
from tests.damage import EDITS, damaged
from tests.splat_files import assert_refused_or_valid, assert_same, errors, in_order, made


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("n", [1, 17, 700])
def test_round_trip(tmp_path: Path, degree: int, n: int) -> None:
    """Half a step of what has steps; small errors of what goes to the nearest entry, none where entries suffice."""
    record = made(n, degree, antialiased=degree % 2 == 1)
    sog.write(tmp_path / "a.sog", record)
    got, wanted = sog.read(tmp_path / "a.sog"), in_order(record)
    found = errors(got, wanted)
    curved = np.sign(wanted.means) * np.log1p(np.abs(wanted.means))
    step = np.ptp(curved, axis=0) / 65535 * (1 + np.abs(wanted.means))
    assert (found["means"] <= 0.51 * step + 1e-6).all()
    assert found["quats"].max() <= 2 * np.sqrt(2) / 255
    assert found["opacities"].max() <= 0.5001 / 255
    for name in ("log_scales", "sh0"):
        assert found[name].max() <= (0.0 if 3 * n <= 256 else 0.06)
        assert np.sqrt((found[name] ** 2).mean()) <= 0.01
    spread = np.sqrt((wanted.shN**2).mean()) if degree else 1
    assert np.sqrt((found["shN"] ** 2).mean() if degree else 0) <= 0.6 * spread
    assert (got.sh_degree, got.antialiased) == (degree, record.antialiased)
    assert [path.name for path in tmp_path.iterdir()] == ["a.sog"]


def test_few_colours_are_kept(tmp_path: Path) -> None:
    """Harmonics that repeat go to entries of their own, which differ from them by the codebook's step."""
    record = made(600, 3)
    record = replace(record, shN=record.shN[np.arange(600) % 40])
    sog.write(tmp_path / "a.sog", record)
    assert errors(sog.read(tmp_path / "a.sog"), in_order(record))["shN"].max() < 0.03


def test_what_was_sog_stays_as_it_is(tmp_path: Path) -> None:
    sog.write(tmp_path / "a.sog", made(900, 2))
    got = sog.read(tmp_path / "a.sog")
    sog.write(tmp_path / "b.sog", got)
    found = errors(sog.read(tmp_path / "b.sog"), in_order(got))
    assert all(found[name].max() == 0 for name in ("log_scales", "sh0", "shN"))
    assert found["means"].max() < 1e-5 and found["quats"].max() < 2 / 255  # of two as large the other is left out


def test_the_same_scene_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.sog", "b.sog"):
        sog.write(tmp_path / name, made(100, 1))
    assert (tmp_path / "a.sog").read_bytes() == (tmp_path / "b.sog").read_bytes()


def test_a_folder_of_another_writer(neural_data: Path) -> None:
    """To the bit what another reader makes of it, but for the roots in its rotations."""
    splats = neural_data / "splats"
    got, known = formats.read(splats / "playbot_lod3_sog" / "meta.json"), plain_ply.read(splats / "playbot_lod3.ply")
    assert_same(replace(got, quats=known.quats), known)
    np.testing.assert_allclose(got.quats, known.quats, atol=1e-6)


def test_sizes_are_those_of_other_writers(neural_data: Path, tmp_path: Path) -> None:
    splats = neural_data / "splats"
    record = plain_ply.read(splats / "playbot_lod3.ply")
    sog.write(tmp_path / "a.sog", record)
    theirs = sum(file.stat().st_size for file in (splats / "playbot_lod3_sog").iterdir())
    assert (tmp_path / "a.sog").stat().st_size < 1.02 * theirs
    found = errors(sog.read(tmp_path / "a.sog"), in_order(record))
    assert found["means"].max() < 1e-4 and found["log_scales"].max() == 0 and found["sh0"].max() == 0
    assert found["shN"].max() == 0  # it was a SOG before


def _files(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def _bundle(path: Path, files: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", kind) as bundle:
        for name, data in files.items():
            bundle.writestr(name, data)


def test_a_folder_and_a_deflated_bundle_are_the_same(tmp_path: Path) -> None:
    sog.write(tmp_path / "a.sog", made(30, 1))
    known, files = sog.read(tmp_path / "a.sog"), _files(tmp_path / "a.sog")
    _bundle(tmp_path / "b.sog", files, zipfile.ZIP_DEFLATED)
    assert_same(sog.read(tmp_path / "b.sog"), known)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert_same(formats.read(tmp_path / "meta.json"), known)
    with Image.open(tmp_path / "sh0.webp") as image:
        assert image.size == (8, 4) and image.format == "WEBP"


def test_version_1(tmp_path: Path) -> None:
    """Least and most in place of codebooks; the opacity is a logit."""
    n, random = 10, np.random.default_rng(0)
    steps = {name: random.integers(0, 256, (4, 4, 4), dtype=np.uint8) for name in ("l", "u", "s", "q", "c", "labels")}
    steps["q"][..., 3] = 252 + random.integers(0, 4, (4, 4))
    steps["labels"][..., 0] %= 128
    steps["labels"][..., 1] = 0
    steps["table"] = random.integers(0, 256, (2, 192, 4), dtype=np.uint8)
    meta = {
        "means": {"shape": [n, 3], "mins": [-1, -2, -3], "maxs": [1, 2, 3], "files": ["l.webp", "u.webp"]},
        "scales": {"shape": [n, 3], "mins": [-5, -6, -7], "maxs": [0, 0, 0], "files": ["s.webp"]},
        "quats": {"shape": [n, 4], "encoding": "quaternion_packed", "files": ["q.webp"]},
        "sh0": {"shape": [n, 1, 4], "mins": [-1, -1, -1, -4], "maxs": [1, 1, 1, 6], "files": ["c.webp"]},
        "shN": {"shape": [n, 9], "mins": -0.5, "maxs": 0.75, "files": ["table.webp", "labels.webp"]},
    }
    for name, pixels in steps.items():
        (tmp_path / f"{name}.webp").write_bytes(encoded(pixels))
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    got = sog.read(tmp_path / "meta.json")
    flat = {name: pixels.reshape(-1, 4)[:n].astype(np.float64) for name, pixels in steps.items()}
    curved = np.array([-1, -2, -3]) + np.array([2, 4, 6]) * (flat["l"] + 256 * flat["u"])[:, :3] / 65535
    np.testing.assert_allclose(got.means, np.sign(curved) * np.expm1(np.abs(curved)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.log_scales, [-5, -6, -7] + [5, 6, 7] * flat["s"][:, :3] / 255, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.opacity_logits, -4 + 10 * flat["c"][:, 3] / 255, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.sh0, -1 + 2 * flat["c"][:, :3] / 255, rtol=1e-5, atol=1e-6)
    table = -0.5 + 1.25 * steps["table"][..., :3].reshape(128, 3, 3) / 255
    np.testing.assert_allclose(got.shN, table[steps["labels"].reshape(-1, 4)[:n, 0]], rtol=1e-5, atol=1e-6)
    largest = flat["q"][:, 3].astype(int) - 252
    assert (np.take_along_axis(got.quats, largest[:, None], axis=1) >= 0).all()


def _changed(path: tuple[str, ...], value: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(meta: dict[str, Any]) -> dict[str, Any]:
        part = meta
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = value
        return meta

    return change


FAULTS = {
    "version 3": (_changed(("version",), 3), "meta.json is of version 3, expected 1 or 2"),
    "other kind": (_changed(("model",), "other"), "model of kind 'other', expected one of default, antialiased, 2dgs"),
    "strange kind": (_changed(("model",), []), r"model of kind \[\]"),
    "no count": (_changed(("count",), None), "claims None Gaussians"),
    "negative": (_changed(("count",), -1), "claims -1 Gaussians"),
    "too many": (_changed(("count",), 40), "8 x 4 pixels in means_l.webp, expected a lossless WebP of 40"),
    "a bomb": (_changed(("count",), 1 << 26), "claims to unpack to .* damaged or hostile"),
    "no means": (_changed(("means",), 7), "meta.json has no means.files"),
    "NaN": (_changed(("means", "mins"), [0, float("nan"), 0]), r"has means.mins of 3 values, expected 3 finite"),
    "text": (_changed(("means", "maxs"), ["1", 2, 3]), r"has means.maxs of 3 values, expected 3 finite"),
    "huge": (_changed(("means", "maxs"), [1, 2, 10**400]), r"has means.maxs of 3 values, expected 3 finite"),
    "beyond fp32": (_changed(("means", "maxs"), [1e29, 2, 3]), "means of row .* is not finite"),
    "short codebook": (_changed(("scales", "codebook"), [1.0]), "has scales.codebook of 1 values, expected 256"),
    "a parent": (_changed(("quats", "files"), ["../quats.webp"]), r"names the file '\.\./quats\.webp'.* hostile"),
    "parents": (_changed(("quats", "files"), [".."]), r"names the file '\.\.'"),
    "a root": (_changed(("quats", "files"), ["/etc/passwd"]), "names the file '/etc/passwd'"),
    "a drive": (_changed(("quats", "files"), ["C:x"]), "names the file 'C:x'"),
    "a nul": (_changed(("quats", "files"), ["a\0b"]), "names the file 'a.x00b'"),
    "gone": (_changed(("quats", "files"), ["gone.webp"]), "holds no gone.webp"),
    "two quats": (_changed(("quats", "files"), ["a", "b"]), "no list of 1 names in quats.files"),
    "degree 4": (_changed(("shN", "bands"), 4), "shN.bands 4, expected 1 to 3"),
    "other degree": (_changed(("shN", "bands"), 2), "palette of 16 entries of degree 2, but .* 3 coefficients"),
    "large palette": (_changed(("shN", "count"), 65), "claims a palette of 65 entries"),
    "a palette short by one": (_changed(("shN", "count"), 15), "asks for entry 15 of a palette of 15"),
    "small palette": (_changed(("shN", "count"), 1), "asks for entry .* of a palette of 1"),
    "harmonics as centres": (
        _changed(("shN", "files"), ["sh0.webp", "shN_labels.webp"]),
        "8 x 4 pixels in sh0.webp, expected",
    ),
}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    sog.write(tmp_path / "a.sog", made(30, 1))
    return tmp_path / "a.sog"


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_description_are_named(whole: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    files = _files(whole)
    files["meta.json"] = json.dumps(change(json.loads(files["meta.json"]))).encode()
    _bundle(whole, files)
    with pytest.raises(SceneFormatError, match=rf"a\.sog: .*{message}"):
        sog.read(whole)


def test_faults_of_pictures_are_named(whole: Path) -> None:
    files = _files(whole)
    png = io.BytesIO()
    Image.new("RGBA", (24, 4)).save(png, "PNG")
    lossy = io.BytesIO()
    Image.new("RGB", (24, 4)).save(lossy, "WEBP")
    large = files["quats.webp"][:21] + b"\xff\xff\xff\x1f" + files["quats.webp"][25:]  # 16384 x 16384
    for data, message in (
        (b"", "0 x 0 pixels in quats.webp, expected a lossless WebP"),
        (png.getvalue(), "0 x 0 pixels"),
        (lossy.getvalue(), "0 x 0 pixels"),
        (large, "16384 x 16384 pixels"),
        (files["quats.webp"][:-20], "damaged picture quats.webp"),
        (encoded(np.zeros((4, 24, 4), np.uint8)), "rotation of kind 0 in row 0, expected 252 to 255"),
    ):
        _bundle(whole, files | {"quats.webp": data})
        with pytest.raises(SceneFormatError, match=message):
            sog.read(whole)
    _bundle(whole, files | {"shN_centroids.webp": encoded(np.zeros((2, 100, 4), np.uint8))})
    with pytest.raises(SceneFormatError, match=r"a palette 100 pixels wide .* expected one of 192, 512, 960"):
        sog.read(whole)


def test_hostile_archives_are_named(whole: Path, tmp_path: Path) -> None:
    files, data = _files(whole), whole.read_bytes()
    _bundle(whole, files | {"sh0.webp": bytes(1 << 26)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(SceneFormatError, match="claims to unpack to 67 MB"):
        sog.read(whole)
    _bundle(whole, files, zipfile.ZIP_BZIP2)
    with pytest.raises(SceneFormatError, match=r"packs meta\.json in a way that SOG does not"):
        sog.read(whole)
    for content, message in (
        (b"", "no SOG file"),
        (b"PK\3\4", "no SOG file"),
        (data[: len(data) // 2], "no SOG file or a damaged one"),
        (data.replace(b'"version"', b'"versiom"', 1), "damaged meta.json .*CRC"),
    ):
        whole.write_bytes(content)
        with pytest.raises(SceneFormatError, match=message):
            sog.read(whole)
    for content, message in (
        (b"[" * 100_000, "no JSON"),
        (b"[]", "JSON but no object"),
        (b"\xff{}", "no JSON"),
        (b" " * (1 << 20) + b"{}", "meta.json of 1048578 bytes"),
    ):
        (tmp_path / "meta.json").write_bytes(content)
        with pytest.raises(SceneFormatError, match=message):
            sog.read(tmp_path / "meta.json")
    with pytest.raises(SceneFormatError, match=r"gone\.sog: cannot be read"):
        sog.read(tmp_path / "gone.sog")


with tempfile.TemporaryDirectory() as _folder:
    sog.write(Path(_folder) / "a.sog", made(9, 1))
    WHOLE, FILES = (Path(_folder) / "a.sog").read_bytes(), _files(Path(_folder) / "a.sog")


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(["", *FILES]), edits=EDITS)
def test_damage_is_read_cleanly_or_refused(name: str, edits: list) -> None:
    """Of the archive as it is, and of each file in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.sog"
        if name:
            _bundle(path, FILES | {name: damaged(FILES[name], edits)})
        else:
            path.write_bytes(damaged(WHOLE, edits))
        assert_refused_or_valid(sog.read, path)
