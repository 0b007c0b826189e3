"""Edits take coordinates in the axes that people see elsewhere: those of the capture, and those that a file says."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from neural import cli, edit
from neural.scenes.files.gaussians import axes as frames
from neural.scenes.files.gaussians import formats
from tests.edit.pictures import cameras, moved, pictures, psnr, scene

CITY = Path(__file__).parents[2] / "data" / "city"
BOX = ["--box", "20", "20", "-5", "80", "80", "40"]  # on the ground, which is z = 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the bundled city, whose z is up and says so."""
    root = tmp_path_factory.mktemp("upright")
    capture = shutil.copytree(CITY, root / "city") / "transforms.json"
    capture.write_text(json.dumps(json.loads(capture.read_text()) | {"axes": "RFU"}))
    arguments = [
        "train",
        "splats",
        str(capture.parent),
        "--out",
        str(root / "run"),
        "--steps",
        "12",
        "--downscale",
        "8",
    ]
    arguments += ["--downscale", "8", "--model.max-gaussians", "150", "--model.init-gaussians", "150"]
    assert cli.main(arguments) == 0
    return root / "run"


def test_a_run_that_is_z_up_is_cropped_in_its_own_coordinates(folder: Path, tmp_path: Path, capsys) -> None:
    """Of the run and of its export alike; the file that is written has the numbers that were asked for, and says so."""
    assert cli.main(["export", str(folder), str(tmp_path / "all.ply")]) == 0
    for source, name in ((folder, "a.ply"), (tmp_path / "all.ply", "b.ply")):
        assert cli.main(["edit", "crop", str(source), str(tmp_path / name), *BOX]) == 0
    a, b, whole = (formats.read(tmp_path / name) for name in ("a.ply", "b.ply", "all.ply"))
    np.testing.assert_array_equal(a.means, b.means)
    assert 0 < len(a) < len(whole) and a.placement == b.placement == whole.placement
    assert a.placement.axes == "RFU"
    raw = formats.read(tmp_path / "a.ply", axes="RDF").means  # the numbers in the file
    assert (raw >= [20, 20, -5]).all() and (raw <= [80, 80, 40]).all()
    capsys.readouterr()
    assert cli.main(["info", str(tmp_path / "a.ply")]) == 0
    said = capsys.readouterr().out
    assert "RFU: +z is up" in said
    low = [float(x) for x in said.split("box")[1].split("(")[1].split(")")[0].split(",")]
    np.testing.assert_allclose(low, raw.min(axis=0), atol=0.1)


def test_a_run_that_is_z_up_knows_its_photographs(folder: Path, tmp_path: Path) -> None:
    edit.write(edit.read(folder), tmp_path / "a.ply")
    capture = folder.parent / "city"
    for name, source in (("b", [str(folder)]), ("c", [str(tmp_path / "a.ply"), "--capture", str(capture)])):
        arguments = ["edit", "clean", source[0], str(tmp_path / f"{name}.ply"), *source[1:]]
        assert cli.main([*arguments, "--by", "unseen", "contradicted", "--error", "0.3"]) == 0
    b, c = (formats.read(tmp_path / f"{name}.ply") for name in "bc")
    np.testing.assert_array_equal(b.means, c.means)
    assert len(b) > 140  # in front of the cameras that they were trained by: none is unseen


@pytest.mark.parametrize("ending", [".ply", ".compressed.ply", ".sog", ".glb"])
def test_a_file_is_edited_in_the_axes_that_it_says(tmp_path: Path, ending: str) -> None:
    record = scene(400).to_record()
    formats.write(tmp_path / f"a{ending}", record, axes="FLU")
    got = edit.read(tmp_path / f"a{ending}")
    assert got.placement.axes == "FLU"
    middle = np.quantile(got.means.detach().numpy(), 0.5, axis=0)
    wanted = np.quantile(record.means @ frames.change(("RDF", "FLU")).T, 0.5, axis=0)
    np.testing.assert_allclose(middle, wanted, atol=0.02)
    edit.write(got, tmp_path / f"b{ending}")
    again = edit.read(tmp_path / f"b{ending}")
    assert again.placement.axes == ("FLU" if ending != ".glb" else "RDF")  # a .glb has its own, and is shown upright
    np.testing.assert_allclose(
        np.sort(formats.read(tmp_path / f"b{ending}").means, axis=0),
        np.sort(formats.read(tmp_path / f"a{ending}").means, axis=0),
        atol=0.02,
    )


@pytest.mark.parametrize(("ending", "axes"), [(".spz", "RUB"), (".splat", "RDF"), (".ply", "RUF")])
def test_what_says_no_axes_or_mirrors_is_edited_as_rdf(tmp_path: Path, ending: str, axes: str) -> None:
    record = scene(50).to_record()
    formats.write(tmp_path / f"a{ending}", record, axes=axes)
    got = edit.read(tmp_path / f"a{ending}")
    assert got.placement.axes == "RDF"
    np.testing.assert_allclose(
        np.sort(got.means.detach().numpy(), axis=0), np.sort(record.means, axis=0), atol=1e-3
    )  # fmt: skip


def test_a_file_that_cannot_say_its_axes_is_not_left_on_its_side(tmp_path: Path) -> None:
    formats.write(tmp_path / "a.ply", scene(50).to_record(), axes="RFU")
    edit.write(edit.read(tmp_path / "a.ply"), tmp_path / "b.splat")
    a, b = (np.sort(formats.read(tmp_path / name).means, axis=0) for name in ("a.ply", "b.splat"))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_merging_takes_the_axes_of_the_first(tmp_path: Path) -> None:
    record = scene(300).to_record()
    for name in ("RDF", "RFU"):
        formats.write(tmp_path / f"{name}.ply", record, axes=name)
    first, second = (edit.read(tmp_path / f"{name}.ply") for name in ("RFU", "RDF"))
    merged = edit.merge([first, second])
    assert merged.placement.axes == "RFU"
    np.testing.assert_allclose(merged.means[300:].detach(), first.means.detach(), atol=1e-5)
    views = cameras()
    matrix = edit.similarity(axes=("RDF", "RFU"))
    twice = edit.merge([scene(300), scene(300)])
    assert psnr(pictures(merged, moved(views, matrix)), pictures(twice, views)) > 60


def test_transform_acts_in_the_axes_of_the_file_and_keeps_their_name(tmp_path: Path) -> None:
    formats.write(tmp_path / "a.ply", scene(20).to_record(), axes="RFU")
    arguments = ["edit", "transform", str(tmp_path / "a.ply"), str(tmp_path / "b.ply"), "--translate", "0", "0", "7"]
    assert cli.main(arguments) == 0
    before, after = (formats.read(tmp_path / f"{name}.ply", axes="RDF").means for name in "ab")
    np.testing.assert_allclose(after, before + np.array([0, 0, 7]), atol=1e-5)  # the file's own z
    assert formats.read(tmp_path / "b.ply").placement.axes == "RFU"


@pytest.mark.parametrize("name", ["RDF", "RFU", "FLU", "RUB"])
def test_up_is_up(name: str) -> None:
    np.testing.assert_array_equal(frames.change((name, "RDF")) @ frames.up(name), [0, -1, 0])
