"""Frames by their names: what is turned, what files say of it, and where they lie."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neural.cuda.reference import spherical_harmonics
from neural.errors import SceneFormatError
from neural.poses import rotation_from_quat
from neural.scenes.files import ply
from neural.scenes.files.gaussians import formats, tiles
from neural.scenes.files.gaussians.axes import NAMES, change, flipped, is_mirror
from neural.scenes.files.gaussians.ply import plain_ply
from neural.scenes.files.gaussians.record import Placement, SplatRecord
from tests.splat_files import errors, made

PLACE = Placement(0.25, "EPSG:32631", (431000.0, 4582000.0, 12.0))


def test_names_are_all_frames() -> None:
    assert len(NAMES) == len(set(NAMES)) == 48
    assert sum(is_mirror(("RDF", name)) for name in NAMES) == 24
    assert not any(is_mirror(("RDF", name)) for name in ("RUB", "LUF", "FLU", "RFU"))
    for name in ("RDf", "RLF", "RD", ""):
        with pytest.raises(ValueError, match="three letters such as RDF"):
            change(("RDF", name))
    np.testing.assert_array_equal(change(("RDF", "FLU")) @ [1, 2, 3], [3, -1, -2])  # forward, left, up


@pytest.mark.parametrize("axes", NAMES)
def test_a_scene_looks_the_same_in_every_frame(axes: str) -> None:
    """Colours along directions, and covariances, before and after; mirrors too."""
    record = replace(made(12, 3), placement=PLACE)
    turned, matrix = flipped(record, ("RDF", axes)), change(("RDF", axes))
    np.testing.assert_array_equal(turned.means, record.means @ matrix.T.astype(np.float32))
    np.testing.assert_array_equal(turned.placement.offset, matrix @ PLACE.offset)
    directions = torch.nn.functional.normalize(torch.randn(32, 3, dtype=torch.float64), dim=1)
    before = spherical_harmonics.forward(directions, 4)[:, 1:].numpy()
    after = spherical_harmonics.forward(directions @ torch.from_numpy(matrix.T.copy()), 4)[:, 1:].numpy()
    seen = np.einsum("dk,nkc->dnc", before, record.shN)
    np.testing.assert_allclose(np.einsum("dk,nkc->dnc", after, turned.shN), seen, atol=2e-6)
    for old, new, scales in zip(record.quats, turned.quats, np.exp(record.log_scales), strict=True):
        a, b = (rotation_from_quat(q / np.linalg.norm(q)) * scales for q in (old, new))
        np.testing.assert_allclose(b @ b.T, matrix @ a @ a.T @ matrix.T, rtol=1e-4, atol=1e-4)
    back = flipped(turned, (axes, "RDF"))
    assert back.placement == PLACE
    assert max(error.max() for error in errors(back, record).values()) < 2e-6


@pytest.mark.parametrize("axes", ["RUB", "FLU", "RUF"])
@pytest.mark.parametrize("ending", [".ply", ".compressed.ply", ".sog"])
def test_files_say_where_they_lie(tmp_path: Path, ending: str, axes: str) -> None:
    record = replace(made(300, 1), placement=PLACE, antialiased=True)
    for name, said in (("usual", None), ("turned", axes)):
        formats.write(tmp_path / f"{name}{ending}", record, axes=said)
    usual, turned = (formats.read(tmp_path / f"{name}{ending}") for name in ("usual", "turned"))
    assert usual.placement == PLACE
    assert turned.placement == replace(PLACE, axes="RDF" if is_mirror((axes, "RDF")) else axes)
    assert usual.antialiased and turned.antialiased and not usual.surfels
    raw = formats.read(tmp_path / f"turned{ending}", axes="RDF")  # taken for what it is not
    wanted = np.sort(record.means @ change(("RDF", axes)).T, axis=0)
    np.testing.assert_allclose(np.sort(raw.means, axis=0), wanted, atol=0.02)
    np.testing.assert_allclose(np.sort(turned.means, axis=0), np.sort(usual.means, axis=0), atol=0.02)


@pytest.mark.parametrize("ending", [".ply", ".compressed.ply", ".sog"])
@pytest.mark.parametrize("offset", [(431000.0, 0.0, 0.0), (0.0, 4582123.4567891, 0.0)])
def test_an_offset_along_one_axis_is_said_to_the_last_digit(
    tmp_path: Path, ending: str, offset: tuple[float, float, float]
) -> None:
    formats.write(tmp_path / f"a{ending}", replace(made(20, 0), placement=Placement(offset=offset)))
    assert formats.read(tmp_path / f"a{ending}").placement.offset == offset


@pytest.mark.parametrize("ending", [".ply", ".compressed.ply", ".sog"])
def test_2d_gaussians_stay_what_they_are(tmp_path: Path, ending: str) -> None:
    record = replace(made(50, 0), surfels=True)
    formats.write(tmp_path / f"a{ending}", record)
    assert formats.read(tmp_path / f"a{ending}").surfels


def test_2d_gaussians_without_a_third_scale(tmp_path: Path) -> None:
    """As their authors write them: no property scale_2, and no word about it."""
    record = replace(made(50, 0), surfels=True)
    plain_ply.write(tmp_path / "a.ply", record)
    rows = ply.read(tmp_path / "a.ply", "vertex")
    assert "scale_2" not in (rows.dtype.names or ())
    ply.write(tmp_path / "b.ply", rows)
    got = plain_ply.read(tmp_path / "b.ply")
    assert got.surfels
    np.testing.assert_array_equal(got.log_scales[:, :2], record.log_scales[:, :2])
    np.testing.assert_allclose(got.log_scales[:, 2] - got.log_scales[:, :2].min(axis=1), np.log(1e-3), atol=1e-5)


def test_a_sog_folder(tmp_path: Path) -> None:
    record = made(300, 2)
    formats.write(tmp_path / "a.sog", record)
    formats.write(tmp_path / "meta.json", record)
    one, other = formats.read(tmp_path / "a.sog"), formats.read(tmp_path / "meta.json")
    assert all(error.max() == 0 for error in errors(one, other).values())
    assert {path.name for path in tmp_path.iterdir()} - {"a.sog"} == {
        "meta.json", "means_l.webp", "means_u.webp", "scales.webp", "quats.webp", "sh0.webp", "shN_centroids.webp",
        "shN_labels.webp",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("axes RLF", "has axes 'RLF'"),
        ("metres_per_unit -1", "metres_per_unit must be positive"),
        ("metres_per_unit nan", "has metres_per_unit 'nan'"),
        ("metres_per_unit x", "something else than numbers"),
        ("offset 1 2", "three finite numbers"),
        ("offset 1 2 inf", "has an offset"),
        ("crs " + "x" * 300, "crs must be a line"),
    ],
)
def test_strange_words_are_named(tmp_path: Path, line: str, message: str) -> None:
    plain_ply.write(tmp_path / "a.ply", made())
    data = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(data.replace(b"comment SplatRenderMode: default", f"comment {line}".encode(), 1))
    with pytest.raises(SceneFormatError, match=message):
        formats.read(tmp_path / "a.ply")


def _city() -> SplatRecord:
    record = made(400, 1)
    return replace(record, means=record.means * np.float32(2000), placement=PLACE)


@pytest.mark.parametrize("axes", [None, "FLU"])
@pytest.mark.parametrize("ending", [".ply", ".spz"])
def test_tiles_are_the_whole(tmp_path: Path, ending: str, axes: str | None) -> None:
    """More than a .spz holds at its finest step, in tiles that each hold a millimetre."""
    record = _city()
    assert np.abs(record.means).max() > 5000
    index = tiles.write(tmp_path / f"city{ending}", record, 4000.0, axes=axes)
    assert index == tmp_path / "city.tiles.json" and formats.holds_gaussians(index)
    content = json.loads(index.read_text())
    assert content["crs"] == "EPSG:32631" and content["metres_per_unit"] == 0.25
    assert "offset" not in content, "each tile has its own, which is all of it"
    assert sum(tile["count"] for tile in content["tiles"]) == 400 and len(content["tiles"]) > 8
    whole = formats.read(index)
    assert whole.placement.metres_per_unit == 0.25
    there = record.means.astype(np.float64) + PLACE.offset
    here = whole.means.astype(np.float64) + whole.placement.offset
    np.testing.assert_allclose(np.sort(here, axis=0), np.sort(there, axis=0), atol=2e-3)
    one = formats.read(tmp_path / content["tiles"][0]["file"])
    assert np.abs(one.means).max() <= 2000 + 1e-3
    raw = formats.read(index, axes="RDF")  # taken for what it is not
    own = change(("RDF", axes or formats.module(tmp_path / f"a{ending}").AXES))
    numbers = raw.means.astype(np.float64) + raw.placement.offset
    np.testing.assert_allclose(np.sort(numbers, axis=0), np.sort(there @ own.T, axis=0), atol=2e-3)


@pytest.mark.parametrize("stem", ["Kölner Dom (1)", "a[2]", "-", "\N{CJK UNIFIED IDEOGRAPH-5854}", "x" * 150])
def test_tiles_are_read_whatever_they_are_called(tmp_path: Path, stem: str) -> None:
    index = tiles.write(tmp_path / f"{stem}.ply", _city(), 1e5)
    assert len(formats.read(index)) == 400


def test_what_tiles_refuse(tmp_path: Path) -> None:
    record = _city()
    for side, message in (
        (0.0, "positive and finite"),
        (float("nan"), "positive"),
        (1e-3, "400 tiles|expected at most"),
    ):
        if side == 1e-3:
            record = replace(made(5000, 0), means=made(5000, 0).means * np.float32(1e4))
        with pytest.raises(ValueError, match=message):
            tiles.write(tmp_path / "a.ply", record, side)
    assert not list(tmp_path.iterdir())
    index = tiles.write(tmp_path / "a.ply", _city(), 1e5)
    whole = json.loads(index.read_text())
    first = whole["tiles"][0]
    for change_to, message in (
        ({"format": "other"}, "neural-tiles"),
        ({"tiles": []}, "a list of 1 to"),
        ({"tiles": [7]}, "expected objects"),
        ({"tiles": [first | {"file": "../a_0.ply"}]}, "plain name beside the index"),
        ({"tiles": [first | {"file": "..\\a_0.ply"}]}, "plain name beside the index"),
        ({"tiles": [first | {"file": "C:a_0.ply"}]}, "plain name beside the index"),
        ({"tiles": [first | {"file": ".."}]}, "plain name beside the index"),
        ({"tiles": [first | {"file": "a\0.ply"}]}, "plain name beside the index"),
        ({"tiles": [first | {"file": "a.tiles.json"}]}, "plain name beside the index"),
        ({"tiles": [first | {"file": 3}]}, "plain name"),
        ({"tiles": [first | {"offset": [1, 2]}]}, "offset"),
        ({"tiles": [first | {"offset": [1, 2, 10**400]}]}, "offset"),
        ({"tiles": [first | {"file": "gone.ply"}]}, "gone.ply: cannot be read"),
        ({"axes": "XYZ"}, "has axes"),
    ):
        index.write_text(json.dumps(whole | change_to))
        with pytest.raises(SceneFormatError, match=message):
            formats.read(index)
    for text in ("[" * 100_000, "{", "[]"):
        index.write_text(text)
        with pytest.raises(SceneFormatError):
            formats.read(index)


def test_options_of_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sh_bits means nothing for this format, which takes axes"):
        formats.write(tmp_path / "a.ply", made(), sh_bits=(5, 4))
    with pytest.raises(ValueError, match=r"sh_bits means nothing for this format, which takes axes"):
        tiles.write(tmp_path / "a.ply", made(), 1e5, sh_bits=(5, 4))
    assert not list(tmp_path.iterdir())
