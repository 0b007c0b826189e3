"""Captures of the city on disk, and the bundled one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural.scenes.synthetic import City, capture, render
from neural.scenes.synthetic.__main__ import main
from neural.scenes.synthetic.layout import Layout

ROOT = Path(__file__).resolve().parents[3]


def test_a_capture_is_complete_and_its_poses_are_exact(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    arguments = ["--out", str(folder), "--seed", "5", "--blocks", "1", "1", "--orbit", "4"]
    arguments += ["--drone", "0", "--size", "24", "16", "--samples", "1", "--maps", "--layout", "2.0"]
    arguments += ["--test-every", "2"]
    assert main(arguments) == 0
    text = json.loads((folder / "transforms.json").read_text())
    recipe = capture.Recipe.from_json(text["synthetic"])
    built = City(recipe.city, recipe.light)
    rig, names = recipe.rig(built)
    assert len(text["frames"]) == len(names) == 4
    assert sorted(text["train_filenames"] + text["test_filenames"]) == [f["file_path"] for f in text["frames"]]
    assert len(text["test_filenames"]) == 2
    for index, frame in enumerate(text["frames"]):
        c2w = np.array(frame["transform_matrix"]) @ np.diag([1.0, -1.0, -1.0, 1.0])
        assert np.array_equal(c2w, rig.c2w[index])
        picture = np.asarray(Image.open(folder / frame["file_path"]))
        assert np.array_equal(picture, render.image(built, rig, index, samples=1))
        with np.load(folder / frame["maps_file_path"], allow_pickle=False) as stored:
            assert np.array_equal(stored["depth"], render.maps(built, rig, index).depth)
    assert Layout.load(folder).instances == tuple(built.instances)
    assert not folder.with_name("small.tmp").exists()
    assert np.array_equal(np.array(text["aabb"]), built.aabb)


def test_an_existing_folder_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "keep").write_text("mine")
    assert main(["--out", str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err
    assert (tmp_path / "keep").read_text() == "mine"


def test_writing_needs_no_torch() -> None:
    code = "import sys, neural.scenes.synthetic.__main__; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_a_recipe_without_cameras_is_refused() -> None:
    with pytest.raises(ValueError, match="no cameras"):
        capture.Recipe(orbit=0, drone=0.0)


def test_it_is_what_the_command_makes() -> None:
    folder = ROOT / "data" / "city"
    text = json.loads((folder / "transforms.json").read_text())
    recipe = capture.Recipe.from_json(text["synthetic"])
    assert recipe == capture.Recipe()
    built = City(recipe.city, recipe.light)
    rig, names = recipe.rig(built)
    assert [frame["file_path"] for frame in text["frames"]] == [f"images/{name}.png" for name in names]
    stored_c2w = np.array([frame["transform_matrix"] for frame in text["frames"]])
    assert np.allclose(capture.to_opengl(rig.c2w), stored_c2w, atol=1e-9)
    index = 2
    stored = np.asarray(Image.open(folder / text["frames"][index]["file_path"])).astype(int)
    again = render.image(built, rig, index, samples=recipe.samples).astype(int)
    # other vector units round sines and powers differently: a grey level here and there
    assert (np.abs(stored - again) > 1).mean() < 1e-3


def test_it_is_small_and_complete() -> None:
    folder = ROOT / "data" / "city"
    text = json.loads((folder / "transforms.json").read_text())
    assert len(text["train_filenames"]) >= 50
    assert len(text["test_filenames"]) == 8
    on_disk = sorted(path.relative_to(folder).as_posix() for path in folder.glob("images/*"))
    assert on_disk == sorted(text["train_filenames"] + text["test_filenames"])
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 6_000_000
