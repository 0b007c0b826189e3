"""Writing over a SOG folder or a streamed SOG: what only the old one needed goes, and nothing else does."""

import json
from pathlib import Path

import pytest

from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.sog import leftovers, streamed_sog
from tests.splat_files import made


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_fewer_harmonics_leave_no_palette(tmp_path: Path) -> None:
    formats.write(tmp_path / "meta.json", made(30, 0))
    wanted = _files(tmp_path)
    formats.write(tmp_path / "meta.json", made(30, 2))
    assert {"shN_centroids.webp", "shN_labels.webp"} == _files(tmp_path) - wanted
    (tmp_path / "photo.webp").write_text("mine")
    formats.write(tmp_path / "meta.json", made(30, 0))
    assert _files(tmp_path) == {*wanted, "photo.webp"}


def test_fewer_levels_leave_no_chunk(tmp_path: Path) -> None:
    path = tmp_path / "lod-meta.json"
    streamed_sog.write(path, [made(60, 0)], chunk=32)
    wanted = _files(tmp_path)
    streamed_sog.write(path, [made(200, 1), made(60, 1)], chunk=32)
    assert {"1_0/meta.json", "0_3/meta.json", "0_0/shN_labels.webp"} < _files(tmp_path)
    streamed_sog.write(path, [made(60, 0)], chunk=32)
    assert _files(tmp_path) == wanted
    assert len(streamed_sog.read(path)) == 60


def test_a_write_that_fails_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lod-meta.json"
    streamed_sog.write(path, [made(200, 0)], chunk=32)
    before = _files(tmp_path)

    def fails(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(streamed_sog.atomic, "write_text", fails)
    with pytest.raises(OSError, match="full"):
        streamed_sog.write(path, [made(20, 0)], chunk=32)
    assert _files(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [
        {"asset": {"generator": "splat-transform"}},
        {"asset": None},
        {"filenames": ["../mine/meta.json", "/mine/meta.json", "mine/meta.json", 3]},
        {"filenames": "0_0/meta.json"},
    ],
)
def test_what_is_not_ours_stays(tmp_path: Path, change: dict) -> None:
    top, mine = tmp_path / "top", tmp_path / "mine"
    for folder in (top, mine, top / "mine"):
        folder.mkdir()
    for folder in (mine, top / "mine"):
        formats.write(folder / "meta.json", made(20, 0))
    path = top / "lod-meta.json"
    streamed_sog.write(path, [made(200, 0)], chunk=32)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    before = _files(tmp_path)
    streamed_sog.write(path, [made(20, 0)], chunk=32)
    assert _files(tmp_path) == before


def test_pictures_that_an_index_claims_are_none_of_others_files(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    formats.write(path, made(20, 1))
    content = json.loads(path.read_text())
    content["shN"]["files"] = ["../a.webp", "a.txt", "b/c.webp", None]
    path.write_text(json.dumps(content))
    assert {file.name for file in leftovers.named(path)} == {
        "meta.json", "means_l.webp", "means_u.webp", "scales.webp", "quats.webp", "sh0.webp"
    }  # fmt: skip


def test_a_chunk_behind_a_link_stays(tmp_path: Path) -> None:
    elsewhere, top = tmp_path / "elsewhere", tmp_path / "top"
    top.mkdir()
    streamed_sog.write(top / "lod-meta.json", [made(200, 0)], chunk=32)
    (top / "0_3").rename(elsewhere)
    (top / "0_3").symlink_to(elsewhere)
    streamed_sog.write(top / "lod-meta.json", [made(20, 0)], chunk=32)
    assert not (top / "0_2").exists()
    assert "meta.json" in _files(elsewhere)


def test_all_of_a_scene_is_removed_with_its_folder_and_nothing_of_another(tmp_path: Path) -> None:
    for name in ("ours", "shared", "empty"):
        (tmp_path / name).mkdir()
    for name in ("ours", "shared"):
        streamed_sog.write(tmp_path / name / "lod-meta.json", [made(200, 0)], chunk=32)
    (tmp_path / "shared" / "0_1" / "mine.txt").write_text("mine")
    for name in ("ours", "shared", "empty"):
        leftovers.remove(tmp_path / name / "lod-meta.json")
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {
        "shared", "shared/0_1", "shared/0_1/mine.txt", "empty"
    }  # fmt: skip
