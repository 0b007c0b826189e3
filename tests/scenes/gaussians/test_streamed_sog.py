"""Streamed SOG: every level where the index says, hostile indices, and what another program makes of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from neural.errors import SceneFormatError
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.axes import change
from neural.scenes.files.gaussians.record import Placement, SplatRecord
from neural.scenes.files.gaussians.sog import sog, streamed_sog
from tests.damage import EDITS, damaged
from tests.splat_files import assert_refused_or_valid, made

PLACE = Placement(0.5, "EPSG:25832", (1000.0, -2.0, 3.0))


def _levels(*counts: int, degree: int = 1) -> list[SplatRecord]:
    return [replace(made(n, degree, seed=n, antialiased=True), placement=PLACE) for n in counts]


def _nearest(places: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(places[:, None] - wanted).max(2).min(1).max())


@pytest.mark.parametrize("axes", ["RDF", "RUB"])
def test_levels_come_back(tmp_path: Path, axes: str) -> None:
    levels, path = _levels(900, 300, 90), tmp_path / "lod-meta.json"
    streamed_sog.write(path, levels, chunk=128, axes=axes)
    for number, record in enumerate(levels):
        got = streamed_sog.read(path, level=number)
        # leaves that have no Gaussian of a level show the next coarser one
        assert len(record) <= len(got) <= 1.2 * len(record)
        assert _nearest(record.means, got.means) < 2e-3
        assert got.placement == replace(PLACE, axes=axes) and got.antialiased
    assert len(formats.read(path)) >= 900 and formats.holds_gaussians(path)
    coarsest = streamed_sog.read(path, level=2)  # also of what is coarser than there is
    np.testing.assert_array_equal(streamed_sog.read(path, level=9).means, coarsest.means)


def test_the_index_says_where_everything_is(tmp_path: Path) -> None:
    """Rows of a leaf lie in its box, those of all leaves are each file's once, and leaves are small."""
    streamed_sog.write(tmp_path / "lod-meta.json", _levels(900, 300, 90), chunk=128)
    content = json.loads((tmp_path / "lod-meta.json").read_text())
    assert content["counts"] == [900, 300, 90] and content["count"] == 1290 and content["lodLevels"] == 3
    files = [sog.read(tmp_path / name) for name in content["filenames"]]
    seen = [np.zeros(len(file), dtype=int) for file in files]

    def visit(node: dict) -> None:
        low, high = np.array(node["bound"]["min"]), np.array(node["bound"]["max"])
        for child in node.get("children", ()):
            assert (low <= child["bound"]["min"]).all() and (child["bound"]["max"] <= high).all()
            visit(child)
        for span in node.get("lods", {}).values():
            rows = slice(span["offset"], span["offset"] + span["count"])
            seen[span["file"]][rows] += 1
            means = files[span["file"]].means[rows]
            assert (means >= low - 1e-3).all() and (means <= high + 1e-3).all()
        assert sum(span["count"] for span in node.get("lods", {}).values()) <= 128

    visit(content["tree"])
    assert all((count == 1).all() for count in seen)
    coarsest = [name for name in content["filenames"] if name.startswith("2_")]
    assert coarsest == ["2_0/meta.json"]
    assert all(len(file) < 2 * 128 for file in files), "what is fetched at once is small"


def test_leaves_are_sixteen_metres_at_most(tmp_path: Path) -> None:
    record = replace(made(200, 0), placement=Placement(metres_per_unit=8.0))
    streamed_sog.write(tmp_path / "lod-meta.json", [record])
    tree = json.loads((tmp_path / "lod-meta.json").read_text())["tree"]
    leaves = streamed_sog._leaves(tmp_path, tree, 0)
    assert len(leaves) > 8
    for leaf in leaves:
        span = leaf["0"]
        names = json.loads((tmp_path / "lod-meta.json").read_text())["filenames"]
        rows = slice(span["offset"], span["offset"] + span["count"])
        assert np.ptp(sog.read(tmp_path / names[span["file"]]).means[rows], axis=0).max() <= 2.01


def test_a_few_far_out_do_not_make_leaves_large(tmp_path: Path) -> None:
    record = made(800, 0)
    record.means[:4] *= 1e4
    streamed_sog.write(tmp_path / "lod-meta.json", [record])
    tree = json.loads((tmp_path / "lod-meta.json").read_text())["tree"]
    assert max(leaf["0"]["count"] for leaf in streamed_sog._leaves(tmp_path, tree, 0)) < 100


def test_the_box_holds_an_ellipsoid_however_it_is_turned(tmp_path: Path) -> None:
    """Long along x, then turned by 90 and by 45 degrees about z."""
    record, half = made(2, 0), np.sqrt(0.5)
    record.means[:] = [[0, 0, 0], [100, 0, 0]]
    record.quats[:] = [[half, 0, 0, half], [np.cos(np.pi / 8), 0, 0, np.sin(np.pi / 8)]]
    record.log_scales[:] = np.log([3.0, 0.1, 0.2])
    streamed_sog.write(tmp_path / "lod-meta.json", [record], extent=1.0)
    first, second = json.loads((tmp_path / "lod-meta.json").read_text())["tree"]["children"]
    np.testing.assert_allclose(first["bound"]["max"], [0.1, 3.0, 0.2], rtol=1e-4)
    slant = np.sqrt((9 + 0.01) / 2)
    np.testing.assert_allclose(second["bound"]["min"], [100 - slant, -slant, -0.2], rtol=1e-4)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    streamed_sog.write(tmp_path / "lod-meta.json", _levels(60, 20), chunk=32)
    return tmp_path / "lod-meta.json"


def _leaf(**span: object) -> dict:
    return {"bound": {}, "lods": {"0": {"file": 0, "offset": 0, "count": 1} | span}}


FAULTS = {
    "other version": ({"version": 2}, "no streamed SOG of version 1"),
    "no names": ({"filenames": []}, "filenames: expected a list"),
    "names of other kinds": ({"filenames": [3]}, "filenames: expected a list"),
    "a parent": ({"filenames": ["../meta.json"], "tree": _leaf()}, r"names the chunk '\.\./meta\.json'.*hostile"),
    "a root": ({"filenames": ["/etc/meta.json"], "tree": _leaf()}, "names the chunk '/etc/meta.json'"),
    "a nul": ({"filenames": ["0_0\0/meta.json"], "tree": _leaf()}, "names the chunk"),
    "too deep": ({"filenames": ["a/b/meta.json"], "tree": _leaf()}, "names the chunk"),
    "another file": ({"filenames": ["0_0/x.webp"], "tree": _leaf()}, "names the chunk"),
    "gone": ({"filenames": ["9_9/meta.json"], "tree": _leaf()}, "cannot be read"),
    "a chunk twice": ({"filenames": ["0_0/meta.json"] * 2}, "the same chunk is there twice"),
    "no rows": ({"tree": _leaf(count=0)}, "a tree without Gaussians"),
    "true": ({"tree": _leaf(count=True)}, "a leaf with"),
    "no tree": ({"tree": None}, "a tree with a node 'None'"),
    "a strange node": ({"tree": {"bound": {}}}, "neither children nor lods"),
    "an empty tree": ({"tree": {"bound": {}, "children": []}}, "a tree without Gaussians"),
    "the file behind the last": ({"filenames": ["0_0/meta.json"], "tree": _leaf(file=1)}, "a leaf with"),
    "no file": ({"tree": _leaf(file=99)}, "a leaf with"),
    "before the start": ({"tree": _leaf(offset=-1)}, "a leaf with"),
    "text": ({"tree": _leaf(count="1")}, "a leaf with"),
    "behind the end": ({"tree": _leaf(offset=100)}, "asks for rows to 101 of"),
    "a bomb": ({"tree": {"bound": {}, "children": [_leaf(count=20)] * 5}}, "asks for rows"),
    "level 32": ({"tree": {"lods": {"32": {"file": 0, "offset": 0, "count": 1}}}}, "a leaf with levels"),
    "levels by name": ({"tree": {"lods": {"fine": {}}}}, "a leaf with levels"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(index: Path, fault: str) -> None:
    change_to, message = FAULTS[fault]
    index.write_text(json.dumps(json.loads(index.read_text()) | change_to))
    with pytest.raises(SceneFormatError, match=message):
        formats.read(index)


def test_depth_and_size_are_bounded(index: Path) -> None:
    content = json.loads(index.read_text())
    tree: dict = {"lods": {}}
    for _ in range(100):
        tree = {"children": [tree]}
    index.write_text(json.dumps(content | {"tree": tree}))
    with pytest.raises(SceneFormatError, match="at depth 65"):
        formats.read(index)
    for text in ("[" * 100_000, "{", "[]", ""):
        index.write_text(text)
        with pytest.raises(SceneFormatError):
            formats.read(index)


def test_2d_gaussians_stay_what_they_are(tmp_path: Path) -> None:
    streamed_sog.write(tmp_path / "lod-meta.json", [replace(made(30, 0), surfels=True)])
    assert streamed_sog.read(tmp_path / "lod-meta.json").surfels


def test_levels_that_do_not_go_together(tmp_path: Path) -> None:
    for levels, message in (([], "one level or more"), ([made(4), made(4, antialiased=True)], "different kinds")):
        with pytest.raises(ValueError, match=message):
            streamed_sog.write(tmp_path / "lod-meta.json", levels)
    assert not list(tmp_path.iterdir())


def test_axes_are_told(tmp_path: Path) -> None:
    streamed_sog.write(tmp_path / "lod-meta.json", [made(30, 0)], axes="FLU")
    raw = streamed_sog.read(tmp_path / "lod-meta.json", axes="RDF")
    assert _nearest(made(30, 0).means @ change(("RDF", "FLU")).T, raw.means) < 2e-3


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("streamed") / "lod-meta.json"
    streamed_sog.write(path, _levels(12, 5, degree=0), chunk=8)
    return path, path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(edits=EDITS)
def test_damage_is_read_cleanly_or_refused(written: tuple[Path, bytes], edits: list) -> None:
    path, whole = written
    path.write_bytes(damaged(whole, edits))
    assert_refused_or_valid(streamed_sog.read, path)
