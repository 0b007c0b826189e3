"""`neural edit decimate`; the merging of pairs itself is tested with `neural.gaussians.decimate`."""

from pathlib import Path

import pytest

from neural import cli, edit
from neural.scenes.files.gaussians.record import Placement
from tests.edit.pictures import cameras, pictures, psnr, scene


@pytest.mark.parametrize(("to", "left"), [("200", 200), ("25%", 150), ("1e3", 600), ("0.01%", 1)])
def test_as_many_are_left_as_were_asked_for(to: str, left: int, tmp_path: Path) -> None:
    given = scene()
    given.placement = Placement(2.0, "EPSG:32631", (5.0, 6.0, 7.0))
    edit.write(given, tmp_path / "a.ply")
    assert cli.main(["edit", "decimate", str(tmp_path / "a.ply"), str(tmp_path / "b.ply"), "--to", to]) == 0
    fewer = edit.read(tmp_path / "b.ply")
    assert fewer.n == left
    assert fewer.placement == given.placement
    if left == 200:
        sharp, views = edit.decimate(given, 200), cameras()
        assert psnr(pictures(sharp, views), pictures(fewer, views)) > 60


@pytest.mark.parametrize("to", ["0", "-5", "2.5", "100%", "0%", "many", "nan", "inf", "%"])
def test_what_is_no_number_is_refused(to: str, tmp_path: Path, capsys) -> None:
    edit.write(scene(9), tmp_path / "a.ply")
    assert cli.main(["edit", "decimate", str(tmp_path / "a.ply"), str(tmp_path / "b.ply"), f"--to={to}"]) == 2
    assert "--to must be a number of Gaussians or a share" in capsys.readouterr().err
    assert not (tmp_path / "b.ply").exists()
