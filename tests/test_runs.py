"""When a run folder is created, taken up again, refused or removed; its log; its interruption."""

import json
import os
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

from neural import atomic, log, runs
from neural.errors import CheckpointError
from neural.interrupt import Interrupt, Interrupted, stoppable


def config(**run: object) -> dict:
    return {
        "scene": "data/fox",
        "model": {"lr": 0.01, "widths": (64, 64)},
        "run": {"steps": None, "minutes": None, **run},
    }


def test_default_folder_is_named_by_scene_and_task(tmp_path: Path) -> None:
    assert runs.default_folder("data/fox", "radiance") == Path("runs/fox-radiance")
    assert runs.default_folder("data/fox/", "radiance") == Path("runs/fox-radiance")
    (tmp_path / "v1.5").mkdir()
    assert runs.default_folder(tmp_path / "v1.5", "splats") == Path("runs/v1.5-splats")
    assert runs.default_folder("photos/cat.png", "image") == Path("runs/cat-image")


def test_a_new_run_stores_its_configuration_and_the_same_one_resumes(tmp_path: Path) -> None:
    with runs.opened(tmp_path / "a/b", config(steps=100)) as run:
        assert not run.resumed
    stored = runs.read_config(tmp_path / "a/b")
    assert stored["model"] == {"lr": 0.01, "widths": [64, 64]}
    with runs.opened(tmp_path / "a/b", config(steps=100)) as run:
        assert run.resumed
        assert run.config == stored


def test_another_configuration_is_refused_naming_keys_and_both_values(tmp_path: Path) -> None:
    with runs.opened(tmp_path, config(steps=100)):
        pass
    other = config(steps=100, seed=3)
    other["model"]["lr"] = 0.02
    with pytest.raises(CheckpointError) as refusal, runs.opened(tmp_path, other):
        pass
    assert "model.lr: 0.01 there, 0.02 here" in str(refusal.value)
    assert "run.seed: (absent) there, 3 here" in str(refusal.value)
    assert "widths" not in str(refusal.value)
    assert "--overwrite" in str(refusal.value)


def test_an_option_younger_than_the_run_has_its_default_there(tmp_path: Path) -> None:
    defaults = {"model": {"lr": 5.0, "kind": "plain", "size": None, "shape": "auto", "widths": [1]}}
    with runs.opened(tmp_path, config(steps=100)):
        pass
    younger = config(steps=120)
    younger["model"] |= {"kind": "plain", "size": 7, "shape": "round"}
    with runs.opened(tmp_path, younger, defaults=defaults) as run:
        assert run.resumed and run.config["run"]["steps"] == 120
    assert runs.read_config(tmp_path)["model"]["size"] == 7  # and from here on it is the run's
    for change, message in (({"size": 8}, "model.size: 7 there, 8 here"), ({"lr": 5.0}, "model.lr: 0.01 there, 5.0")):
        other = {**younger, "model": younger["model"] | change}
        with pytest.raises(CheckpointError, match=message), runs.opened(tmp_path, other, defaults=defaults):
            pass
    with runs.opened(tmp_path, config(steps=100), overwrite=True):
        pass
    younger["model"]["kind"] = "new"
    with (
        pytest.raises(CheckpointError, match=r'model\.kind: "plain" there, "new" here'),
        runs.opened(tmp_path, younger, defaults=defaults),
    ):
        pass


def test_steps_may_only_grow(tmp_path: Path) -> None:
    for steps in (100, 100, 250):
        with runs.opened(tmp_path, config(steps=steps)) as run:
            assert run.config["run"]["steps"] == steps
    with (
        pytest.raises(CheckpointError, match="only grow: 250 there, 200 here"),
        runs.opened(tmp_path, config(steps=200)),
    ):
        pass
    assert runs.read_config(tmp_path)["run"]["steps"] == 250


def test_minutes_fix_the_steps_once(tmp_path: Path) -> None:
    with runs.opened(tmp_path, config(minutes=5)) as run:
        run.fix_steps(4321)
    with runs.opened(tmp_path, config(minutes=5)) as run:
        assert run.config["run"] == {"steps": 4321, "minutes": 5}
    with (
        pytest.raises(CheckpointError, match=r"run\.minutes: 5 there, 6 here"),
        runs.opened(tmp_path, config(minutes=6)),
    ):
        pass
    with runs.opened(tmp_path, config(steps=5000)) as run:  # steps by number take the place of minutes
        assert run.config["run"] == {"steps": 5000, "minutes": 5}


def test_overwrite_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    with runs.opened(tmp_path, config(steps=100)):
        (tmp_path / "checkpoints" / "100").mkdir(parents=True)
        (tmp_path / "metrics.jsonl").write_text("{}\n")
        (tmp_path / "my notes.txt").write_text("keep")
    with runs.opened(tmp_path, config(steps=7), overwrite=True) as run:
        assert not run.resumed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "lock", "my notes.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_files_is_never_trained_into(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with (
        pytest.raises(CheckpointError, match=r"thesis\.tex.*choose another --out"),
        runs.opened(tmp_path, config(), overwrite=overwrite),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_not_a_run_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(CheckpointError, match="this is a file"), runs.opened(tmp_path / "out", config()):
        pass


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "\x00"])
def test_an_unreadable_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json.*--overwrite"):
        runs.read_config(tmp_path)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a run"):
        runs.read_config(tmp_path)


def test_two_processes_cannot_train_one_run_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys, time; from neural import runs\n"
        f"with runs.opened({str(tmp_path)!r}, {config(steps=9)!r}):\n"
        "    print('open', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        for overwrite in (False, True):
            with (
                pytest.raises(CheckpointError, match=f"process {other.pid} trains this run now"),
                runs.opened(tmp_path, config(steps=9), overwrite=overwrite),
            ):
                pass
    finally:
        other.kill()
        other.communicate()
    with runs.opened(tmp_path, config(steps=9)) as run:
        assert run.resumed


def test_a_process_killed_at_the_first_file_of_a_run_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    """Killed while config.json was being written: the folder is a run's all the same."""
    left = tmp_path / ".config.json.4711.tmp"
    left.write_text('{"scene": ')
    with runs.opened(tmp_path, config(steps=9)) as run:
        assert not run.resumed
        assert not left.exists()


def test_metrics_are_appended_and_cut_back_on_resume(tmp_path: Path) -> None:
    with log.MetricsLog(tmp_path) as metrics:
        for step in (10, 20, 30):
            metrics.write(step, {"loss": 1 / step, "psnr": float("inf")})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 40, "lo')  # killed here
    assert [line["step"] for line in log.read(tmp_path)] == [10, 20, 30]
    with log.MetricsLog(tmp_path, step=20) as metrics:
        metrics.write(30, {"loss": 0.5})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == [
        {"step": 10, "loss": 0.1, "psnr": None},
        {"step": 20, "loss": 0.05, "psnr": None},
        {"step": 30, "loss": 0.5},
    ]


def test_no_metrics_is_no_error(tmp_path: Path) -> None:
    assert log.read(tmp_path) == []


def test_tensorboard_gets_the_same_scalars_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            written.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def close(self) -> None:
            written.append(("closed",))

    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    monkeypatch.setattr(log.importlib.util, "find_spec", lambda name: object())
    with log.MetricsLog(tmp_path, step=5) as metrics:
        metrics.write(6, {"loss": 0.25, "psnr": float("nan")})
    assert written == [(str(tmp_path / "tensorboard"), 6), ("loss", 0.25, 6), ("closed",)]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_sets_the_flag_and_names_the_exit_code(signum: signal.Signals, code: int) -> None:
    before = signal.getsignal(signum)
    with Interrupt() as interrupt:
        assert not interrupt
        os.kill(os.getpid(), signum)
        assert interrupt
        with pytest.raises(Interrupted) as stop:
            interrupt.leave()
    assert stop.value.exit_code == code
    assert isinstance(stop.value, KeyboardInterrupt)
    assert signal.getsignal(signum) is before


def test_a_second_signal_stops_at_once() -> None:
    with Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted, match="without saving") as stop:
            signal.raise_signal(signal.SIGTERM)
    assert stop.value.exit_code == 143


def test_outside_a_loop_a_signal_stops_a_command_where_it_is() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped by SIGTERM; nothing that was saved is harmed") as stop, stoppable():
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_interrupt_is_inert_outside_the_main_thread_and_without_a_signal() -> None:
    seen = []

    def work() -> None:
        with Interrupt() as interrupt:
            seen.append(bool(interrupt))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
    with pytest.raises(ValueError, match="no signal came"):
        Interrupt().leave()


def test_a_replaced_file_is_the_old_one_until_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def stop_half_way() -> None:
        with atomic.replacing(path, "w") as file:
            file.write("half")
            file.flush()
            assert path.read_text() == "old"
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        stop_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic.write_json(path, {"loss": float("nan")})
    assert path.read_text() == "old"
