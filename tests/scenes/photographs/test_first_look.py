"""A picture before the end: from which photographs, how often, and which way up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neural import first_look, reconstruction
from neural.errors import BackendUnavailable, SceneFormatError
from neural.first_look import PHOTOGRAPHS, Improving
from neural.reconstruction import Reconstruction
from neural.scenes.photographs import cameras
from neural.scenes.photographs.settings import CameraSettings
from neural.scenes.photographs.survey import Survey, survey
from neural.train.loop import Moment
from neural.train.tasks.splats.run import SplatRun
from tests.scenes.photographs.conftest import TURNED, Corner
from tests.scenes.photographs.test_survey import picture


@pytest.mark.parametrize(
    ("n", "expected"),
    [(5, range(5)), (24, range(24)), (47, range(0, 47, 2)), (70, range(23, 47)), (1000, range(488, 512))],
)
def test_few_photographs_are_taken_whole_and_of_many_some_neighbours(n: int, expected: range) -> None:
    assert first_look.chosen(range(n)) == list(expected) and len(expected) <= PHOTOGRAPHS


def test_pictures_come_ever_less_often_and_none_at_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown: list[float] = []
    monkeypatch.setattr(first_look, "show", lambda run, folder, say: shown.append(run))
    now = 0.0
    looking = Improving(tmp_path, lambda: now, print)
    for now in np.arange(100, 200, 0.5):  # a training that goes on
        looking.look(Moment(1, None, now, None, lambda: None, lambda now=now: now > 150))
    assert shown == [110, 125, 147.5]


def test_a_look_takes_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown: list[float] = []
    clock = iter(np.arange(0, 1000, 2.0))  # two seconds each
    monkeypatch.setattr(first_look, "show", lambda run, folder, say: shown.append(run))
    monkeypatch.setattr(first_look.time, "perf_counter", lambda: next(clock))
    now = 0.0
    looking = Improving(tmp_path, lambda: now, print)
    for now in range(60):
        looking.look(Moment(1, None, now, None, lambda: None, lambda: False))
    assert shown == [10, 50]


def looked_at(folder: Path, n: int, **settings: Any) -> tuple[Path | None, list[str]]:
    """What comes of some photographs, with a mask beside their folder, and what is said."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for index in range(n):
        picture(index).save(folder / "images" / f"{index}.png")
    Image.new("L", (160, 120), 255).save(folder / "masks" / "0.png")
    (folder / "run").mkdir()
    said: list[str] = []
    made = first_look.first_look(
        survey(folder / "images", progress=False), folder / "run", "photographs", CameraSettings(**settings),
        cache=folder / "run" / "cameras", device="cpu", say=said.append,
    )  # fmt: skip
    return made, said


def test_without_a_first_look_all_else_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    made, said = looked_at(tmp_path, 2)
    assert made is None and "no first look" in said[0] and "2 photographs can be used" in said[0]


@pytest.mark.parametrize(("asked", "side"), [(None, 640), (2000, 640), (300, 300)])
def test_a_first_look_is_quick_and_has_the_masks(
    tmp_path: Path, asked: int | None, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[Survey, CameraSettings, dict[str, Any]]] = []

    def refuse(few: Survey, out: Path, settings: CameraSettings, **options: Any) -> None:
        called.append((few, settings, options))
        raise SceneFormatError(out, "enough")

    monkeypatch.setattr(cameras, "reconstruct", refuse)
    looked_at(tmp_path, 26, max_side=asked, mapping="incremental", share="each", weed=False)
    few, settings, options = called[0]
    assert len(few.photographs) == PHOTOGRAPHS and not options["patient"]
    assert settings == replace(CameraSettings(weed=False), share="each", max_side=side, mapping="global")
    for name in ("photographs/0.png", "masks/0.png"):
        assert (tmp_path / "run" / "preview" / name).is_file()


def test_the_picture_is_from_the_middle_and_upright(reconstructed: Reconstruction, photographs: Corner) -> None:
    """Of telephones held upright, whose photographs lie on their sides."""
    origins = np.array([c2w[:3, 3] for c2w in photographs.c2w.values()])
    middle = int(np.linalg.norm(origins - np.median(origins, axis=0), axis=1).argmin())
    name = list(photographs.c2w)[middle]
    assert middle in TURNED
    drawn = Image.open(reconstructed.folder / "picture.png").convert("L")
    stored = Image.open(photographs.folder / name).convert("L")
    upright = stored.transpose(Image.Transpose.ROTATE_270).resize(drawn.size)
    assert drawn.width > drawn.height
    alike = [np.corrcoef(np.ravel(drawn), np.ravel(upright.rotate(turn)))[0, 1] for turn in (0, 180)]
    assert alike[0] > 0.7 > alike[1]


def test_a_viewer_that_is_not_there_costs_the_page_only(
    reconstructed: Reconstruction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = SplatRun.export

    def without(self: SplatRun, path: Path, *rest: Any, **options: Any) -> Path:
        if path.suffix == ".html":
            raise BackendUnavailable("the viewer was not built")
        return export(self, path, *rest, **options)

    monkeypatch.setattr(SplatRun, "export", without)
    files = reconstruction.export(reconstructed.run, tmp_path, reconstruction.Say(False))
    assert [path.name for path in files] == ["scene.spz", "picture.png"]
