"""Edits of runs: in the frame of the capture's files, with the run's own photographs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import neural
from neural import cli, edit
from neural.edit.files import beside
from neural.errors import CheckpointError, SceneFormatError
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.axes import change
from neural.scenes.near import Near

CITY = Path(__file__).parents[2] / "data" / "city"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the bundled city."""
    out = tmp_path_factory.mktemp("runs") / "city"
    arguments = ["train", "splats", str(CITY), "--out", str(out), "--steps", "12", "--downscale", "8"]
    arguments += ["--model.max-gaussians", "150", "--model.init-gaussians", "150", "--model.clear", "0.25"]
    assert cli.main(arguments) == 0
    return out


def test_a_run_is_read_as_its_export_is(folder: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(folder), str(tmp_path / "a.ply")]) == 0
    exported, got = (edit.read(source).to_record() for source in (tmp_path / "a.ply", folder))
    for name in ("means", "quats", "log_scales", "opacity_logits", "sh0", "shN"):
        np.testing.assert_allclose(getattr(got, name), getattr(exported, name), rtol=1e-6, atol=1e-6)
    assert got.placement == exported.placement


def test_a_run_is_cropped_and_stays_as_it_is(folder: Path, tmp_path: Path, capsys) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    out = folder / "cropped.ply"
    assert cli.main(["edit", "crop", str(folder), str(out), *["--box", "20", "20", "-5", "80", "80", "40"]]) == 0
    assert 0 < edit.read(out).n < 150
    out.unlink()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_knows_its_photographs(folder: Path, tmp_path: Path, capsys) -> None:
    for source in ([str(folder)], [str(tmp_path / "a.ply"), "--capture", str(CITY), "--clear", "0.25"]):
        if len(source) > 1:
            edit.write(edit.read(folder), tmp_path / "a.ply")
        arguments = ["edit", "clean", source[0], str(tmp_path / f"{len(source)}.ply"), *source[1:]]
        assert cli.main([*arguments, "--by", "unseen", "contradicted", "--error", "0.3"]) == 0
        assert "of 56 views" in capsys.readouterr().out
    first, second = (formats.read(tmp_path / f"{n}.ply") for n in (1, 5))
    np.testing.assert_array_equal(first.means, second.means)


def test_a_run_knows_how_much_it_left_clear(folder: Path, tmp_path: Path, monkeypatch) -> None:
    shares, of = [], Near.of
    monkeypatch.setattr(Near, "of", lambda scene, share: shares.append(share) or of(scene, share))
    looking = ["edit", "clean", str(folder), str(tmp_path / "a.ply"), "--dry-run", "--by", "unseen"]
    for options in ([], ["--clear", "0.125"]):
        assert cli.main([*looking, *options]) == 0
    assert shares == [0.25, 0.125]


def test_a_capture_is_brought_beside_its_file(folder: Path) -> None:
    scene = neural.load(CITY)
    gaussians = edit.read(folder)
    gaussians.placement = replace(gaussians.placement, offset=(10.0, 20.0, 30.0))
    moved = beside(scene, gaussians)
    np.testing.assert_allclose(moved.cameras.origins.numpy() + np.array([10.0, 20.0, 30.0]), _world(scene), atol=1e-9)
    turned = scene.normalised(upright=True)
    np.testing.assert_allclose(beside(turned, edit.read(folder)).cameras.origins.numpy(), _world(scene), atol=1e-9)
    gaussians.placement = replace(gaussians.placement, axes="LUF", offset=(10.0, 20.0, 30.0))  # of a file's own
    there = _world(scene) @ change((scene.axes, "LUF")).T - [10, 20, 30]
    np.testing.assert_allclose(beside(turned, gaussians).cameras.origins.numpy(), there, atol=1e-9)


def _world(scene: neural.Scene) -> np.ndarray:
    back = np.linalg.inv(scene.world_to_scene)
    return scene.cameras.origins.numpy() @ back[:3, :3].T + back[:3, 3]


def test_runs_without_gaussians_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"task": "radiance"}')
    with pytest.raises(SceneFormatError, match="which has no Gaussians"):
        edit.read(other)
    (other / "config.json").write_text("{")
    with pytest.raises(CheckpointError):
        edit.read(other)


def test_a_run_is_drawn_as_the_capture_it_was_trained_on(folder: Path, tmp_path: Path, capsys) -> None:
    assert cli.main(["info", str(folder), "--draw", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").stat().st_size > 10_000
