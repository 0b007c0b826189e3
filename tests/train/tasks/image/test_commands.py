"""`neural train image`, `eval`, `render`, `info`: files in, a run and pictures out; refusals by code and name."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural import cli
from tests.train.tasks.image.test_training import pixels
from tests.train.test_bad_runs import refusal

FLAGS = ["--model.n-levels", "4", "--model.log2-hashmap-size", "10", "--model.width", "16", "--data.batch", "512",
         "--device", "cpu", "--log-every", "1"]  # fmt: skip


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(pixels(200, 180)).save(tmp_path / "waves.png")
    return tmp_path / "waves.png"


def test_from_a_file_to_scores_and_pictures(picture: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    assert cli.main(["train", "image", str(picture), "--out", str(run), "--steps", "4", *FLAGS]) == 0
    said = capsys.readouterr().out
    assert "waves: 180 x 200 uint8; 4 steps on cpu" in said and "chosen: hash, table 2^10" in said
    stored = json.loads((run / "config.json").read_text())
    assert (stored["task"], stored["scene"], stored["size"]) == ("image", str(picture), [180, 200])
    assert cli.main(["train", "image", str(picture), "--out", str(run), "--steps", "6", *FLAGS]) == 0
    capsys.readouterr()
    assert cli.main(["eval", str(run)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("PSNR ") and "MS-SSIM 0." in first
    out = tmp_path / "part.png"
    assert cli.main(["render", str(run), "--out", str(out), "--crop", "10", "20", "30", "40", "--size", "80"]) == 0
    with Image.open(out) as image:
        assert image.size == (60, 80)
    capsys.readouterr()
    assert cli.main(["info", str(run)]) == 0
    said = capsys.readouterr().out
    assert "6 of 6 steps" in said and first in said
    assert [path.suffix for path in (run / "cache").iterdir()] == [".raw"]


def test_info_of_a_picture(picture: Path, capsys) -> None:
    assert cli.main(["info", str(picture)]) == 0
    said = capsys.readouterr().out
    assert "180 x 200, 0.0 megapixels" in said and "uint8, sRGB" in said


def test_what_is_refused(picture: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    command = ["train", "image", str(picture), "--out", str(run), *FLAGS]
    assert cli.main([*command, "--steps", "2"]) == 0
    assert "--split means nothing" in refusal(capsys, 2, "eval", run, "--split", "test")
    assert "its options here: --out, --size, --crop" in refusal(capsys, 2, "render", run, "--frames", 3)
    assert "is not exported so far" in refusal(capsys, 2, "export", run, tmp_path / "a.ply")
    assert "--data.crop" in refusal(capsys, 2, *command, "--steps", 2, "--data.crop", 0, 0, 0, 5)
    np.save(tmp_path / "other.npy", pixels(200, 180))
    refused = refusal(capsys, 3, "train", "image", tmp_path / "other.npy", "--out", run, *FLAGS, "--steps", 2)
    assert "scene: " in refused or "another configuration" in refused
    Image.fromarray(pixels(180, 200)).save(picture)
    assert "holds a run with another configuration" in refusal(capsys, 3, *command, "--steps", 2)
    assert "not the picture that was trained" in refusal(capsys, 3, "eval", run)
    picture.unlink()
    assert "is not there; put it back" in refusal(capsys, 3, "eval", run)


def test_nothing_is_decoded_into_a_folder_of_other_files(picture: Path, tmp_path: Path, capsys) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("years")
    assert "chapter.tex" in refusal(capsys, 3, "train", "image", picture, "--out", thesis, "--steps", 2, *FLAGS)
    assert [path.name for path in thesis.iterdir()] == ["chapter.tex"]


@pytest.mark.parametrize("content", [b"", b"no picture at all, whatever its name may say"])
def test_a_bad_file_exits_with_3_and_leaves_no_run(tmp_path: Path, content: bytes, capsys) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    refused = refusal(capsys, 3, "train", "image", tmp_path / "bad.png", "--out", tmp_path / "run", *FLAGS)
    assert "bad.png" in refused
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_table_beyond_memory_is_said_before_it_is_made(picture: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    from neural import memory

    monkeypatch.setattr(memory, "available", lambda device: 1 << 28)
    flags = [*FLAGS, "--model.encoding", "dense", "--model.n-levels", "2", "--model.finest-resolution", "8000"]
    refused = refusal(capsys, 1, "train", "image", picture, "--out", tmp_path / "run", "--steps", 2, *flags)
    assert "GB in training" in refused and "--model.finest-resolution" in refused
