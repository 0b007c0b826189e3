"""`neural export`: files in either frame, with a photograph's colours, and what it says."""

import json
from pathlib import Path

import numpy as np
import pytest

from neural import cli
from neural.scenes.files.gaussians import formats

CITY = Path(__file__).parents[4] / "data" / "city"
FIRST = "images/orbit_000.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the bundled city, whose frame is moved by its file's reader."""
    out = tmp_path_factory.mktemp("runs") / "city"
    arguments = ["train", "splats", str(CITY), "--out", str(out), "--steps", "12", "--downscale", "8"]
    arguments += [
        "--model.max-gaussians",
        "150",
        "--model.init-gaussians",
        "150",
        "--model.antialiased",
        "--optim.exposure",
        "--optim.exposure-lr",
        "0.1",
    ]
    assert cli.main(arguments) == 0
    return out


def test_both_frames_and_what_is_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for frame in ("input", "scene"):
        assert cli.main(["export", str(folder), str(tmp_path / f"{frame}.ply"), "--frame", frame]) == 0
    for name in ("a.splat", "a.spz", "a.sog", "a.compressed.ply"):
        assert cli.main(["export", str(folder), str(tmp_path / name)]) == 0
    said = capsys.readouterr().out
    assert said.count("150 Gaussians") == 6
    assert said.count("the file says that they are antialiased") == 5 and said.count("a .splat cannot say") == 1
    there, here = (formats.read(tmp_path / f"{frame}.ply") for frame in ("input", "scene"))
    assert there.antialiased and len(formats.read(tmp_path / "a.splat").means) == 150
    for name in ("a.spz", "a.sog", "a.compressed.ply"):
        packed = formats.read(tmp_path / name)
        assert packed.antialiased and packed.sh_degree == there.sh_degree
        distances = np.abs(packed.means[:, None] - there.means).max(axis=2)
        assert distances.min(axis=0).max() < 1e-3 * np.ptp(there.means)
    box = np.array(json.loads((CITY / "transforms.json").read_text())["aabb"])
    middle = np.median(formats.read(tmp_path / "input.ply", axes="RDF").means, 0)  # as the numbers of the file are
    assert (box[0] < middle).all() and (middle < box[1]).all()
    assert np.allclose(np.ptp(there.means, 0), np.ptp(here.means, 0), rtol=1e-4)


def test_named_axes_tiles_and_options(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, *options in (["a.ply"], ["b.ply", "--frame", "FLU"], ["a.spz", "--sh-bits", "8", "8"]):
        assert cli.main(["export", str(folder), str(tmp_path / name), *options]) == 0
    assert cli.main(["export", str(folder), str(tmp_path / "t.ply"), "--tile", "3"]) == 0
    assert cli.main(["export", str(folder), str(tmp_path / "sog" / "meta.json"), "--axes", "RUB"]) == 0
    assert "t.tiles.json" in capsys.readouterr().out
    plain = formats.read(tmp_path / "a.ply").means
    there = formats.read(tmp_path / "b.ply", axes="RDF").means
    np.testing.assert_allclose(there, plain[:, [2, 0, 1]] * [1, -1, -1], atol=1e-4)
    whole = formats.read(tmp_path / "t.tiles.json")
    np.testing.assert_allclose(np.sort(whole.means + whole.placement.offset, axis=0), np.sort(plain, axis=0), atol=1e-3)
    assert cli.main(["export", str(folder), str(tmp_path / "lod" / "lod-meta.json")]) == 0
    assert len(formats.read(tmp_path / "lod" / "lod-meta.json")) == 150
    folder_means = formats.read(tmp_path / "sog" / "meta.json").means
    np.testing.assert_allclose(np.sort(folder_means, axis=0), np.sort(plain, axis=0), atol=1e-2)


def test_surfaces_and_maps(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a scene that has hardly been trained: what is asked for is there, whatever it looks like."""
    assert cli.main(["export", str(folder), str(tmp_path / "maps"), "--form", "maps"]) == 0
    content = json.loads((tmp_path / "maps" / "cameras.json").read_text())
    assert len(content["frames"]) > 3 and (tmp_path / "maps" / content["frames"][0]["depth"]).is_file()
    for arguments, message in (
        (["a.stl", "--form", "mesh"], "FILE must end in"),
        (["a.splat", "--form", "mesh"], "mesh are written as .glb or .ply or .obj"),
        (["a.ply", "--form", "mesh", "--tile", "3"], "takes frame, axes, resolution and faces"),
        (["a.ply", "--resolution", "64"], "those of --form mesh or points"),
        (["a.ply", "--form", "mesh", "--frame", "RUF"], "is a mirror of the scene"),
        (["a.ply", "--form", "points", "--resolution", "2"], "must be between 8 and 4096"),
    ):
        assert cli.main(["export", str(folder), str(tmp_path / arguments[0]), *arguments[1:]]) != 0
        assert message in capsys.readouterr().err


def test_colours_of_a_photograph(folder: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(folder), str(tmp_path / "mean.ply")]) == 0
    assert cli.main(["export", str(folder), str(tmp_path / "first.ply"), "--exposure", FIRST]) == 0
    mean, first = formats.read(tmp_path / "mean.ply"), formats.read(tmp_path / "first.ply")
    assert np.array_equal(mean.means, first.means)
    assert np.abs(mean.sh0 - first.sh0).max() > 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.stl"], "must end in .spz or .sog"),
        (["a.ply", "--frame", "world"], "frame must be input, scene or three letters"),
        (["a.ply", "--sh-bits", "5", "4"], "sh_bits means nothing for this format"),
        (["a.ply", "--exposure", "orbit_000"], "no training photograph 'orbit_000'"),
    ],
)
def test_what_it_refuses(
    folder: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = arguments
    assert cli.main(["export", str(folder), str(tmp_path / name), *rest]) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / name).exists()
