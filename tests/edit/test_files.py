"""Files and runs in, files out; an input is never written over, whatever it is called."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neural import cli, edit
from neural.edit.files import require_free
from neural.errors import BadOption, SceneFormatError
from neural.scenes.files.gaussians import formats, tiles
from neural.scenes.files.gaussians.record import Placement
from neural.scenes.files.gaussians.sog import streamed_sog
from tests.edit.pictures import scene
from tests.splat_files import assert_same, made

BOX = ["--box", "-1", "-1", "-1", "1", "1", "1"]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "given.ply"
    formats.write(path, made(500, 3))
    return path


def run(*arguments: object) -> int:
    return cli.main(["edit", *map(str, arguments)])


@pytest.mark.parametrize("ending", [".ply", ".compressed.ply", ".spz", ".sog", ".splat"])
def test_every_format_in_and_out(ending: str, given: Path, tmp_path: Path, capsys) -> None:
    first, second = tmp_path / f"a{ending}", tmp_path / "b.ply"
    assert run("crop", given, first, *BOX) == 0
    assert "of 500 Gaussians" in capsys.readouterr().out
    assert run("transform", first, second, "--scale", 2) == 0
    expected = edit.transform(edit.crop(edit.read(given), edit.Box((-1, -1, -1), (1, 1, 1))), edit.similarity(scale=2))
    got = edit.read(second)
    assert got.n == expected.n
    middle = [np.sort(g.means.detach().numpy()[:, 0]) for g in (got, expected)]
    np.testing.assert_allclose(*middle, atol=0.01)


def test_a_sog_folder_is_read_by_its_name(tmp_path: Path, neural_data: Path) -> None:
    folder = neural_data / "splats" / "playbot_lod3_sog"
    assert edit.read(folder).n == edit.read(folder / "meta.json").n == 31_000


@pytest.mark.parametrize("how", ["same", "dotted", "symlink", "hard link"])
def test_the_input_is_never_written_over(how: str, given: Path, tmp_path: Path, capsys) -> None:
    out = {"same": given, "dotted": tmp_path / "." / "x" / ".." / "given.ply"}.get(how, tmp_path / "other.ply")
    (tmp_path / "x").mkdir()
    if how == "symlink":
        out.symlink_to(given)
    if how == "hard link":
        os.link(given, out)
    before = given.read_bytes()
    assert run("crop", given, out, *BOX, "--overwrite") == 2
    assert "is the input" in capsys.readouterr().err
    with pytest.raises(BadOption, match="is the input"):
        edit.write(scene(3), out, inputs=[given], overwrite=True)
    assert given.read_bytes() == before


@pytest.mark.parametrize("kind", ["levels", "folder of levels", "tiles", "folder"])
def test_no_part_of_an_input_is_written_over(kind: str, tmp_path: Path, capsys) -> None:
    """An index names the files that the scene lies in."""
    record = replace(made(300, 1), placement=Placement())
    if kind == "tiles":
        given = tiles.write(tmp_path / "a.ply", record, 1.0)
        parts = [path for path in tmp_path.iterdir() if path.suffix == ".ply"]
    elif "levels" in kind:
        index = tmp_path / "lod-meta.json"
        streamed_sog.write(index, [record])
        given = index if kind == "levels" else tmp_path
        parts = [index, tmp_path / "0_0" / "meta.json"]
    else:
        given, parts = tmp_path, [tmp_path / "meta.json"]
        formats.write(parts[0], record)
    for part in parts:
        before = part.read_bytes()
        assert run("crop", given, part, *BOX, "--overwrite") == 2
        assert "is the input" in capsys.readouterr().err
        assert part.read_bytes() == before
    other = tmp_path / "other.ply"
    other.write_bytes(b"mine")
    assert run("crop", given, other, *BOX, "--overwrite") == 0, "what lies beside it is no part of it"
    assert edit.read(other).n > 0
    assert run("crop", given, tmp_path / "new.ply", *BOX) == 0


def test_a_file_that_is_there_is_kept_without_overwrite(given: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.spz"
    out.write_bytes(b"mine")
    assert run("crop", given, out, *BOX) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert run("crop", given, out, *BOX, "--overwrite") == 0
    assert edit.read(out).n > 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("crop {in} out.obj --sphere 0 0 0 1", 2, "must end in"),
        ("crop {in} . --sphere 0 0 0 1", 2, "must end in"),
        ("crop none.ply out.ply --sphere 0 0 0 1", 3, "none.ply: there is no such file"),
        ("crop . out.ply --sphere 0 0 0 1", 3, "neither a run"),
        ("crop {in} out.ply", 2, "one of --box, --sphere and --polygon"),
        ("crop {in} out.ply --sphere 0 0 0 1 --box 0 0 0 1 1 1", 2, "one of --box, --sphere and --polygon"),
        ("crop {in} out.ply --sphere 0 0 0 1 --rotate 0 0 1 30", 2, "--rotate turns a --box"),
        ("crop {in} out.ply --sphere 0 0 0 1 --heights 0 1", 2, "--heights belongs to a --polygon"),
        ("crop {in} out.ply --polygon 0 0 1 1 2", 2, "two numbers for each corner, got 5"),
        ("crop {in} out.ply --polygon 0 0 1 1", 2, "three corners"),
        ("crop {in} out.ply --sphere 0 0 0 -1", 2, "radius above 0"),
        ("crop {in} out.ply --sphere 900 0 0 1", 2, "none of the 500 Gaussians"),
        ("crop {in} out.ply --box 1 1 1 0 0 0", 2, "smallest corner first"),
        ("transform {in} out.ply", 2, "say what to do"),
        ("transform {in} out.ply --scale 2 --matrix 1 2 3", 2, "say what to do"),
        ("transform {in} out.ply --matrix 1 2 3", 2, "12 or 16 numbers"),
        ("transform {in} out.ply --matrix 1 0 0 0 0 1 0 0 0 0 -1 0", 2, "uniform positive scale"),
        ("transform {in} out.ply --axes RDF RUF", 2, "mirrored"),
        ("transform {in} out.ply --scale 0", 2, "above 0"),
        ("blur {in} out.ply", 2, "no edit 'blur'"),
        ("", 2, "usage: neural edit"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: str, code: int, message: str, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments.replace("{in}", given.name).split()) == code
    printed = capsys.readouterr()
    assert message in printed.err + printed.out
    assert "Traceback" not in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["given.ply"]


def test_a_damaged_file_is_refused_by_name(given: Path, tmp_path: Path, capsys) -> None:
    given.write_bytes(given.read_bytes()[:-7])
    assert run("crop", given, tmp_path / "out.ply", *BOX) == 3
    assert "given.ply" in capsys.readouterr().err
    assert not (tmp_path / "out.ply").exists()


def test_a_folder_that_may_not_be_written(given: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("no folder")
    assert run("crop", given, tmp_path / "file" / "out.ply", *BOX) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_matrix_of_12_and_of_16_numbers(given: Path, tmp_path: Path) -> None:
    numbers = ["0", "-1", "0", "5", "1", "0", "0", "6", "0", "0", "1", "7"]
    assert run("transform", given, tmp_path / "a.ply", "--matrix", *numbers) == 0
    assert run("transform", given, tmp_path / "b.ply", "--matrix", *numbers, *["0", "0", "0", "1"]) == 0
    assert run("transform", given, tmp_path / "c.ply", *["--rotate", "0", "0", "1", "90"], "--translate", 5, 6, 7) == 0
    first = formats.read(tmp_path / "a.ply")
    assert_same(formats.read(tmp_path / "b.ply"), first)
    np.testing.assert_allclose(formats.read(tmp_path / "c.ply").means, first.means, atol=1e-6)
    old = formats.read(given).means
    np.testing.assert_allclose(first.means, np.stack([5 - old[:, 1], 6 + old[:, 0], 7 + old[:, 2]], axis=1), atol=1e-5)


def test_what_is_no_scene_of_gaussians(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(SceneFormatError, match="must end in"):
        edit.read(tmp_path / "a.txt")
    require_free(tmp_path / "new.ply", inputs=[tmp_path / "a.txt"])
