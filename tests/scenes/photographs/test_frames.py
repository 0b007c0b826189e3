"""Frames of a video: sharp ones, spread over the way of the camera; and files that are no video, or hardly one."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural import video
from neural.errors import NotSaved, SceneFormatError
from neural.scenes.photographs import frames
from neural.scenes.photographs.frames import _Look
from tests.scenes.photographs.test_survey import picture

pytest.importorskip("av")


def film(path: Path, n: int, *, step: int = 3) -> Path:
    wide = np.asarray(picture(7, (320 + n * step, 240)))
    video.write(path, (np.ascontiguousarray(wide[:, k * step : k * step + 320]) for k in range(n)), fps=10)
    return path


def test_a_sharp_frame_of_each_stretch_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = film(tmp_path / "a film.mp4", 40)
    folder = frames.picked(source, tmp_path / "frames", 10, progress=False)
    names = sorted(path.name for path in folder.glob("*.jpg"))
    numbers = [int(name[6:12]) for name in names]
    assert len(names) == 10 and numbers[0] < 6 and numbers[-1] > 33
    assert max(np.diff(numbers)) <= 8
    monkeypatch.setattr(frames, "_looked", lambda *_: pytest.fail("the frames were there"))
    frames.picked(source, tmp_path / "frames", 10, progress=False)
    monkeypatch.undo()
    frames.picked(source, tmp_path / "frames", 5, progress=False)
    assert len(list((tmp_path / "frames").glob("*.jpg"))) == 5
    os.utime(source, ns=(1, 1))  # another film of that length
    monkeypatch.setattr(frames, "_looked", lambda *_: [])
    with pytest.raises(SceneFormatError, match="a video of 0 frames"):
        frames.picked(source, tmp_path / "frames", 5, progress=False)


def test_frames_of_a_telephone_held_upright_are_turned(tmp_path: Path) -> None:
    """Its film lies on its side and says so: what is stored at the left belongs to the top."""
    wide = np.full((96, 160, 3), 20, np.uint8)
    wide[:, :80] = 220
    path = tmp_path / "upright.mp4"
    video.write(path, [wide] * 4, fps=10)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44  # ISO 14496-12, 8.3.2: the matrix of the track header
    content[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 96 << 16, 0, 1 << 30)
    path.write_bytes(content)
    folder = frames.picked(path, tmp_path / "frames", 3, progress=False)
    for name in folder.glob("*.jpg"):
        shown = np.asarray(Image.open(name))
        assert shown.shape == (160, 96, 3) and shown[:70].min() > 190 and shown[90:].max() < 50


def test_a_look_says_how_much_has_changed_since_the_frame_before(tmp_path: Path) -> None:
    wide = np.asarray(picture(7, (420, 240)))
    steps = [*range(0, 80, 8), *[80] * 10]  # moves, then rests
    video.write(tmp_path / "film.mp4", (np.ascontiguousarray(wide[:, k : k + 320]) for k in steps), fps=10)
    looks = frames._looked(tmp_path / "film.mp4", False)
    changes = [look.change for look in looks]
    assert len(looks) == 20 and changes[0] == 0
    assert min(changes[1:10]) > 4 * max(changes[12:])
    assert [look.time for look in looks] == pytest.approx([0.1 * k for k in range(20)], abs=0.02)


@pytest.mark.parametrize(("seconds", "wanted"), [(5, 40), (30, 60), (30.2, 61), (1000, 300)])
def test_two_frames_a_second_are_wanted(seconds: float, wanted: int) -> None:
    assert frames._wanted([_Look(100, 1, 1), _Look(100 + seconds, 1, 1)]) == wanted


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "mine.jpg").write_text("mine")
    with pytest.raises(SceneFormatError, match="holds no frames picked"):
        frames.picked(film(tmp_path / "film.mp4", 12), tmp_path / "frames", 4, progress=False)
    assert (tmp_path / "frames" / "mine.jpg").is_file()


def test_the_sharpest_is_taken_and_a_camera_that_rests_gives_few() -> None:
    moving = [_Look(0.1 * k, 2.0 if k % 5 == 2 else 1.0, 4.0) for k in range(50)]
    resting = [_Look(5 + 0.1 * k, 1.0, 0.0) for k in range(50)]
    picked = frames.choose(moving + resting, 10)
    assert sum(index < 50 for index in picked) >= 7
    assert all(index % 5 == 2 for index in picked[:6])
    assert frames.choose(moving[:4], 10) == [0, 1, 2, 3]


def test_a_full_disk_leaves_no_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(video: Path, chosen: set[int], folder: Path, progress: bool) -> None:
        (folder / "frame_000000.jpg").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    source = film(tmp_path / "film.mp4", 12)
    monkeypatch.setattr(frames, "_write", full)
    with pytest.raises(NotSaved, match="No space left"):
        frames.picked(source, tmp_path / "frames", 4, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize("n", [1, 2])
def test_a_video_of_hardly_a_frame_is_refused(tmp_path: Path, n: int) -> None:
    with pytest.raises(SceneFormatError, match=rf"a video of {n} frame"):
        frames.picked(film(tmp_path / "short.mp4", n), tmp_path / "frames", progress=False)
    assert not (tmp_path / "frames").exists()


def test_what_is_no_video_is_refused_and_what_breaks_off_is_used_up_to_there(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a film")
    with pytest.raises(SceneFormatError, match=r"not a video that can be read \(Invalid data.*copy it again"):
        frames.picked(tmp_path / "text.mp4", tmp_path / "frames", progress=False)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(SceneFormatError, match="the file is empty; copy it again"):
        frames.picked(tmp_path / "empty.mp4", tmp_path / "frames", progress=False)
    whole = film(tmp_path / "whole.mkv", 150, step=1)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    folder = frames.picked(cut, tmp_path / "frames", 8, progress=False)
    assert 3 <= len(list(folder.glob("*.jpg"))) <= 8
