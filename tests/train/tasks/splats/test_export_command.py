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
    middle = np.median(there.means, 0)
    assert (box[0] < middle).all() and (middle < box[1]).all()
    assert np.allclose(np.ptp(there.means, 0), np.ptp(here.means, 0), rtol=1e-4)


def test_colours_of_a_photograph(folder: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(folder), str(tmp_path / "mean.ply")]) == 0
    assert cli.main(["export", str(folder), str(tmp_path / "first.ply"), "--exposure", FIRST]) == 0
    mean, first = formats.read(tmp_path / "mean.ply"), formats.read(tmp_path / "first.ply")
    assert np.array_equal(mean.means, first.means)
    assert np.abs(mean.sh0 - first.sh0).max() > 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.obj"], "must end in .spz or .sog"),
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
