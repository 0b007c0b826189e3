"""What `neural train`, `eval`, `render` and `info` refuse: one message, the right exit code, nothing half-written."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neural import checkpoint, cli
from neural.train.tasks.radiance import run as radiance_run

Damage = Callable[[Path], Any]


def edit(capture: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads((capture / "transforms.json").read_text())
    change(document)
    (capture / "transforms.json").write_text(json.dumps(document))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def refusal(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """Runs a command, which must fail with a code and one message; gives the message."""
    capsys.readouterr()
    assert cli.main([str(a) for a in arguments]) == code
    printed = capsys.readouterr().err
    messages = [line for line in printed.replace("\r", "\n").split("\n") if line.startswith("neural: ")]
    assert len(messages) == 1, printed
    assert "Traceback" not in printed
    return messages[0]


@pytest.fixture
def capture(tmp_path: Path, write_capture) -> Path:
    return write_capture(tmp_path / "ball", n=5, size=(24, 18))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: cut(c / "images" / "002.png"), "002.png"),
        (lambda c: (c / "images" / "003.png").unlink(), "003.png"),
        (lambda c: (c / "images" / "001.png").write_bytes(b"GIF89a not"), "001.png"),
        (lambda c: edit(c, lambda d: d["frames"][1]["transform_matrix"][0].__setitem__(3, float("nan"))), "NaN"),
        (lambda c: edit(c, lambda d: d.update(fl_x=0.0)), "fl_x"),
        (lambda c: edit(c, lambda d: d.update(w=25)), "25 x 18"),
        (lambda c: edit(c, lambda d: d.update(train_filenames=[])), "train"),
        (lambda c: (c / "transforms.json").write_text("{"), "transforms.json"),
        (shutil.rmtree, "ball"),
    ],
    ids=["truncated", "missing", "not a PNG", "NaN pose", "no focal", "size", "empty split", "no JSON", "nothing"],
)
def test_a_bad_capture_exits_with_3_and_the_folder_serves_the_mended_one(
    capture: Path, tmp_path: Path, small: list[str], damage: Damage, message: str, capsys
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(capture, whole)
    damage(capture)
    out = tmp_path / "run"
    assert message in refusal(capsys, 3, "train", "radiance", capture, "--out", out, "--steps", 2, *small)
    left = {path.name for path in out.iterdir()} if out.exists() else set()
    assert left <= {"cache", "lock"}
    assert not list(out.glob("cache/*"))
    assert cli.main(["train", "radiance", str(whole), "--out", str(out), "--steps", "2", "--seed", "5", *small]) == 0


def test_a_bad_capture_does_not_cost_the_run_that_was_to_be_overwritten(
    capture: Path, tmp_path: Path, small: list[str], capsys
) -> None:
    out = tmp_path / "run"
    command = ["train", "radiance", str(capture), "--out", str(out), *small]
    assert cli.main([*command, "--steps", "3"]) == 0
    cut(capture / "images" / "002.png")
    refusal(capsys, 3, *command, "--steps", 2, "--overwrite")
    assert checkpoint.load_latest(out).step == 3
    assert (out / "report.html").exists()


def test_a_run_that_does_not_fit_is_refused_before_anything_is_written(
    capture: Path, tmp_path: Path, small: list[str], capsys
) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("years")
    assert "chapter.tex" in refusal(capsys, 3, "train", "radiance", capture, "--out", thesis, "--steps", 2, *small)
    assert [path.name for path in thesis.iterdir()] == ["chapter.tex"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--downscale", "100"], "vanishes"),
        (["--split-every", "1"], "--split-every"),
        (["--steps", "5", "--minutes", "1"], "exclude each other"),
    ],
)
def test_flags_that_cannot_be_meant(capture: Path, tmp_path: Path, flags: list[str], message: str, capsys) -> None:
    code = 3 if "--downscale" in flags else 2
    assert message in refusal(capsys, code, "train", "radiance", capture, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_scene_without_photographs_is_bad_input(capture: Path, tmp_path: Path, small: list[str], monkeypatch, capsys):
    """No reader gives such a scene today; one that did would end as bad input does."""
    load = radiance_run.load
    monkeypatch.setattr(radiance_run, "load", lambda *a, **options: replace(load(*a, **options), images=None))
    refused = refusal(capsys, 3, "train", "radiance", capture, "--out", tmp_path / "run", "--steps", 2, *small)
    assert "no images to train on" in refused
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_full_disk_is_one_line(capture: Path, tmp_path: Path, small: list[str], monkeypatch, capsys) -> None:
    from neural.scenes import images

    def full(*arguments: object) -> None:
        raise OSError(28, "no room for 1 MB of decoded images")

    monkeypatch.setattr(images.os, "posix_fallocate", full)
    refused = refusal(capsys, 1, "train", "radiance", capture, "--out", tmp_path / "run", "--steps", 2, *small)
    assert "no room for" in refused
    assert not (tmp_path / "run" / "config.json").exists()


def test_what_eval_render_and_info_refuse(capture: Path, tmp_path: Path, small: list[str], capsys) -> None:
    run = tmp_path / "run"
    assert "not a run" in refusal(capsys, 3, "eval", tmp_path / "nothing")
    assert "not a run" in refusal(capsys, 3, "render", capture)
    assert "no such file" in refusal(capsys, 3, "info", tmp_path / "nothing")
    assert cli.main(["train", "radiance", str(capture), "--out", str(run), "--steps", "2", *small]) == 0
    assert "no split 'val'" in refusal(capsys, 2, "eval", run, "--split", "val")
    assert "must be orbit, train or a file" in refusal(capsys, 2, "render", run, "--path", "spiral")
    assert "must be a folder or end in" in refusal(capsys, 2, "render", run, "--out", tmp_path / "film.gif")
    assert "nothing is left" in refusal(capsys, 2, "render", run, "--downscale", 99)
    assert "--frames" in refusal(capsys, 2, "render", run, "--frames", 0)
    poses = tmp_path / "poses.json"
    poses.write_text('{"format": "neural-path", "version": 1, "frames": [{}]}')
    assert "frames[0]" in refusal(capsys, 3, "render", run, "--path", poses)
    shutil.rmtree(run / "checkpoints")
    assert "no checkpoint" in refusal(capsys, 3, "eval", run)
    capsys.readouterr()
    assert cli.main(["info", str(run)]) == 0
    assert "no checkpoint yet" in capsys.readouterr().out


def test_a_capture_is_only_read(capture: Path, tmp_path: Path, small: list[str]) -> None:
    """Decoded pixels and everything else go to the run's folder."""
    before = {path: path.stat().st_mtime_ns for path in capture.rglob("*")}
    run = tmp_path / "run"
    assert cli.main(["train", "radiance", str(capture), "--out", str(run), "--steps", "2", *small]) == 0
    assert cli.main(["eval", str(run)]) == 0
    assert cli.main(["info", str(capture)]) == 0
    assert {path: path.stat().st_mtime_ns for path in capture.rglob("*")} == before
    assert [path.suffix for path in (run / "cache").iterdir()] == [".u8"]


def test_without_held_out_photographs_there_are_no_scores(
    capture: Path, tmp_path: Path, small: list[str], capsys
) -> None:
    edit(capture, lambda d: (d.pop("train_filenames"), d.pop("test_filenames")))
    run = tmp_path / "run"
    command = ["train", "radiance", str(capture), "--out", str(run), "--steps", "2", "--split-every", "0", *small]
    assert cli.main(command) == 0
    assert (run / "report.html").exists()
    assert "the split 'test' of ball has no images" in refusal(capsys, 2, "eval", run)
    assert cli.main(["eval", str(run), "--split", "train"]) == 0


def test_pictures_too_small_for_ssim_end_in_a_report_all_the_same(
    tmp_path: Path, write_capture, small: list[str], capsys
) -> None:
    capture, run = write_capture(tmp_path / "tiny", n=5, size=(12, 9)), tmp_path / "run"
    assert cli.main(["train", "radiance", str(capture), "--out", str(run), "--steps", "2", *small]) == 0
    assert "SSIM needs 11x11 pixels" in capsys.readouterr().out
    assert "SSIM needs 11x11 pixels" in (run / "report.html").read_text()
    assert cli.main(["eval", str(run)]) == 0
    assert cli.main(["info", str(run)]) == 0
    assert "PSNR" in capsys.readouterr().out


def test_eval_render_and_info_of_a_run(capture: Path, tmp_path: Path, small: list[str], capsys) -> None:
    run = tmp_path / "run"
    assert cli.main(["train", "radiance", str(capture), "--out", str(run), "--steps", "2", *small]) == 0
    stored = (run / "eval.json").read_text()
    capsys.readouterr()
    assert cli.main(["eval", str(run)]) == 0
    assert capsys.readouterr().out.startswith("mean PSNR ")
    assert (run / "eval.json").read_text() == stored
    assert cli.main(["render", str(run), "--path", "train", "--frames", "3", "--out", str(tmp_path / "pngs")]) == 0
    assert len(list((tmp_path / "pngs").glob("*.png"))) == 3
    capsys.readouterr()
    assert cli.main(["info", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "2 of 2 steps" in shown
    assert "PSNR" in shown


def test_splats_refuse_a_bad_capture_as_a_field_does(
    capture: Path, tmp_path: Path, smallest: dict[str, list[str]], capsys
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    shutil.copytree(capture, whole)
    cut(capture / "images" / "002.png")
    command = ["--out", str(out), "--steps", "2", *smallest["splats"]]
    assert "002.png" in refusal(capsys, 3, "train", "splats", capture, *command)
    assert {path.name for path in out.iterdir()} <= {"cache", "lock"}
    assert cli.main(["train", "splats", str(whole), *command]) == 0
    other = refusal(capsys, 3, "train", "radiance", whole, "--out", out, "--steps", 2)
    assert "holds a run with another configuration" in other


def test_points_that_a_capture_has_not_are_refused_before_a_run_begins(
    capture: Path, tmp_path: Path, smallest: dict[str, list[str]], capsys
) -> None:
    out = tmp_path / "run"
    command = ["train", "splats", str(capture), "--out", str(out), "--steps", "2", *smallest["splats"]]
    assert "ball: no points to start from; use --model.init random" in refusal(
        capsys, 3, *command, "--model.init", "points"
    )
    assert not (out / "config.json").exists()
    assert cli.main(command) == 0


def test_eval_render_and_info_of_splats(capture: Path, tmp_path: Path, smallest: dict[str, list[str]], capsys) -> None:
    run = tmp_path / "run"
    assert cli.main(["train", "splats", str(capture), "--out", str(run), "--steps", "2", *smallest["splats"]]) == 0
    said = capsys.readouterr().out
    assert "chosen: 150 Gaussians from chance, at most 300" in said
    stored = (run / "eval.json").read_text()
    assert cli.main(["eval", str(run)]) == 0
    assert (run / "eval.json").read_text() == stored
    assert cli.main(["render", str(run), "--path", "train", "--frames", "3", "--out", str(tmp_path / "pngs")]) == 0
    assert len(list((tmp_path / "pngs").glob("*.png"))) == 3
    capsys.readouterr()
    assert cli.main(["info", str(run)]) == 0
    assert "2 of 2 steps" in capsys.readouterr().out
