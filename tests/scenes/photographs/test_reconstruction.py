"""What a run is made from, who may write to it, and what is said; cameras are not looked for here."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from neural import reconstruction
from neural.errors import CheckpointError
from neural.reconstruction import Say
from neural.scenes.photographs import cameras
from neural.scenes.photographs.cameras import Found
from neural.scenes.photographs.settings import CameraSettings
from neural.scenes.photographs.survey import Survey
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.splats.config import SplatsConfig
from tests.scenes.photographs.test_survey import picture


class Finder:
    """Finds every camera at once; notes from what."""

    def __init__(self) -> None:
        self.asked: list[tuple[Survey, dict[str, Any]]] = []
        self.reasons: dict[str, str] = {}
        self.warning: str | None = None
        self.frames = [
            {"file_path": "photographs/0.png"}, {"file_path": "photographs/1.png", "mask_path": "masks/1.png"},
        ]  # fmt: skip

    def __call__(self, survey: Survey, out: Path, settings: CameraSettings, **options: Any) -> Found:
        self.asked.append((survey, options))
        said = {"made_from": options["made_from"], "registered": 3, "photographs": 3, "frames": self.frames}
        (out / "cameras.json").write_text(json.dumps(said))
        return Found(out / "cameras.json", 3, 3, self.reasons, ("some points",), self.warning)


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> Finder:
    made = Finder()
    monkeypatch.setattr(cameras, "reconstruct", made)
    return made


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three photographs; the mask of the second lies beside their folder, that of the last in it."""
    folder = tmp_path / "capture" / "images"
    for place in (folder / "masks", folder.parent / "masks"):
        place.mkdir(parents=True)
    for index in range(3):
        picture(index).save(folder / f"{index}.png")
    Image.new("L", (160, 120), 255).save(folder.parent / "masks" / "1.png")
    Image.new("L", (160, 120), 255).save(folder / "masks" / "2.png")
    return folder


def found(images: Path, run: Path, say: Say | None = None, settings: CameraSettings | None = None) -> dict[str, Any]:
    return reconstruction.find_cameras(images, run, settings or CameraSettings(), say or Say(False))


def test_cameras_are_found_again_where_anything_that_they_come_from_has_changed(images: Path, finder: Finder) -> None:
    run = images / "run"
    found(images, run)
    picture(9).save(run / "picture.png")  # of the run itself
    found(images, run)
    assert len(finder.asked) == 1
    times = iter(range(1, 10))
    for place in (images / "1.png", images / "masks" / "2.png", images.parent / "masks" / "1.png"):
        os.utime(place, ns=(1, next(times)))
        found(images, run)
    assert len(finder.asked) == 4
    picture(3).save(images / "3.png")
    found(images, run)
    Image.new("L", (160, 120)).save(images.parent / "masks" / "0.png")
    found(images, run)
    assert len(finder.asked) == 6
    for settings in (CameraSettings(gps=False), CameraSettings(share="each"), CameraSettings()):
        found(images, run, settings=settings)
        found(images, run, settings=settings)
    assert len(finder.asked) == 9
    assert [one.name for one in finder.asked[-1][0].photographs] == [f"{index}.png" for index in range(4)]


@pytest.mark.parametrize("links", [True, False])
def test_the_run_shows_photographs_and_masks_as_they_are_now(
    images: Path, finder: Finder, tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By links, or as files where a system has none."""
    if not links:
        monkeypatch.setattr(Path, "symlink_to", _refused)
    run = tmp_path / "run"
    found(images, run)
    assert (run / "photographs").is_symlink() == links
    assert (run / "masks" / "1.png").is_file() and (run / "photographs" / "masks" / "2.png").is_file()
    new = images.with_name("new.png")
    picture(7, (240, 180)).save(new)
    new.replace(images / "0.png")
    found(images, run)
    assert (run / "photographs" / "0.png").read_bytes() == (images / "0.png").read_bytes()


def test_photographs_that_were_moved_are_shown_from_there_with_the_cameras_that_they_have(
    images: Path, finder: Finder, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    del finder.frames[1]  # that with a mask
    for place in ("capture", "moved", "moved again"):
        found(images.parent.replace(tmp_path / place) / "images", run)
        images = tmp_path / place / "images"
        assert (run / "photographs" / "0.png").samefile(images / "0.png")
        assert (run / "masks" / "1.png").samefile(images.parent / "masks" / "1.png")
    assert len(finder.asked) == 1


def _refused(*_: object, **__: object) -> None:
    raise OSError("no links here")


def test_what_was_left_out_and_why_is_said(images: Path, finder: Finder, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "empty.jpg").touch()
    Image.new("L", (9, 9)).save(images / "masks" / "0.png")
    finder.reasons = {f"{index}.png": "too dark" for index in range(25)}
    finder.warning = "few have a pose"
    found(images, images.parent / "run", Say(True))
    said = capsys.readouterr().out
    assert "  left out: empty.jpg: the file is empty\n" in said
    assert "the mask 0.png is not used: it is 9 x 9" in said
    assert said.count("too dark") == 20 and "  no pose: 5 more\n" in said
    assert "  some points\n" in said and "  WARNING: few have a pose\n" in said


def test_a_first_look_does_not_take_the_place_of_a_later_picture(
    images: Path, finder: Finder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    monkeypatch.setattr(reconstruction, "first_look", lambda *_, **__: looks.append(_))
    for settings in (CameraSettings(), CameraSettings(gps=False)):
        reconstruction.find_cameras(images, tmp_path / "run", settings, Say(False), preview=True)
        (tmp_path / "run" / "picture.png").touch()
    assert len(looks) == 1 and len(finder.asked) == 2


def test_nothing_is_weeded_where_that_is_asked(images: Path, finder: Finder) -> None:
    picture(0).save(images / "0 again.bmp")
    found(images, images.parent / "a")
    found(images, images.parent / "b", settings=CameraSettings(weed=False))
    assert [len(survey.photographs) for survey, _ in finder.asked] == [3, 4]


def test_a_video_is_taken_in_the_order_of_its_frames(finder: Finder, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from tests.scenes.photographs.test_frames import film

    found(film(tmp_path / "film.mp4", 12), tmp_path / "run", settings=CameraSettings(frames=5, weed=False))
    survey, options = finder.asked[0]
    assert survey.root == tmp_path / "run" / "frames" and len(survey.photographs) == 5
    assert options["video"] and options["prefix"] == "frames"


def test_photographs_from_elsewhere_keep_their_run_and_others_get_none(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with reconstruction._opened(run, images):
        (run / "cameras.json").touch()
    moved = images.rename(tmp_path / "moved")
    with reconstruction._opened(run, moved):
        assert json.loads((run / "reconstruct.json").read_text("utf-8")) == {"source": str(moved.resolve())}
    images.mkdir()
    with pytest.raises(CheckpointError, match=r"reconstructed from .*moved, not from .*images; choose another"):
        reconstruction._opened(run, images).__enter__()


def test_two_processes_do_not_write_to_one_run(images: Path, tmp_path: Path) -> None:
    with (
        reconstruction._opened(tmp_path / "run", images),
        pytest.raises(CheckpointError, match="another process reconstructs into it"),
    ):
        reconstruction._opened(tmp_path / "run", images).__enter__()
    with reconstruction._opened(tmp_path / "run", images):
        pass


def test_an_error_that_is_not_of_the_disk_stays_what_it_is(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError), reconstruction._opened(tmp_path / "run", images):
        raise ConnectionError(104, "somebody who looks on has gone")


@pytest.mark.parametrize(("source", "run"), [(".", "capture"), ("images", "images"), ("a film.mp4", "a film")])
def test_a_run_is_named_after_what_it_is_made_from(
    source: str, run: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycolmap")
    opened: list[Path] = []

    def stop(folder: Path, _: Path) -> None:
        opened.append(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(reconstruction, "_opened", stop)
    monkeypatch.chdir(images.parent)
    Path("a film.mp4").touch()
    with pytest.raises(KeyboardInterrupt):
        reconstruction.reconstruct(source, config=SplatsConfig(run=RunConfig(device="cpu")))
    assert opened == [Path("runs") / run]
