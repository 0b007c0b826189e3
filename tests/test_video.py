"""Videos read back as what was written; without PyAV there are PNGs and a sentence saying so."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural import video


def frames(count: int = 5, height: int = 33, width: int = 47):
    ramp = np.linspace(0, 200, width).astype(np.uint8)
    for index in range(count):
        frame = np.zeros((height, width, 3), dtype=np.uint8)
        frame[..., 0] = ramp
        frame[..., 1] = 40 * index
        yield frame


def test_a_video_reads_back_as_what_was_written(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path, said = video.write(tmp_path / "new" / "orbit.mp4", frames(), fps=10)
    assert path == tmp_path / "new" / "orbit.mp4"
    assert "5 frames, 0.5 s" in said
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (46, 32)  # even sides, cropped
        assert stream.average_rate == 10
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 5
    for got, expected in zip(decoded, frames(), strict=True):
        assert np.abs(got.astype(int) - expected[:32, :46]).mean() < 6
    assert [p.name for p in path.parent.iterdir()] == ["orbit.mp4"]


def test_without_pyav_there_are_pngs_and_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "installed", lambda: False)
    path, said = video.write(tmp_path / "orbit.mp4", frames(3))
    assert path == tmp_path / "orbit"
    assert sorted(p.name for p in path.iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert np.array_equal(np.asarray(Image.open(path / "00002.png")), list(frames(3))[2])
    assert said.endswith("for orbit.mp4: pip install 'av>=14'")


def test_a_folder_gets_pngs(tmp_path: Path) -> None:
    path, said = video.write(tmp_path / "pngs", frames(2))
    assert len(list(path.iterdir())) == 2
    assert "pip" not in said


def test_an_error_half_way_leaves_no_video(tmp_path: Path) -> None:
    pytest.importorskip("av")

    def breaking():
        yield from frames(2)
        raise RuntimeError("renderer failed")

    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="renderer failed"):
        video.write(tmp_path / "a.mp4", breaking())
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no frames"):
        video.write(tmp_path / "a.mp4", [])
    with pytest.raises(ValueError, match=r"must end in \.mp4"):
        video.write(tmp_path / "a.gif", frames())
    with pytest.raises(ValueError, match=r"\(4, 4\) uint8"):
        video.write(tmp_path / "a.mp4", [np.zeros((4, 4), dtype=np.uint8)])
    with pytest.raises(ValueError, match=r"frame 1 is \(6, 6, 3\)"):
        video.write(tmp_path / "pngs", [np.zeros((n, n, 3), dtype=np.uint8) for n in (4, 6)])
    assert [p.name for p in tmp_path.iterdir()] == ["pngs"]
