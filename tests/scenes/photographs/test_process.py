"""A stage in a process of its own: it may die in any way, and takes neither this process nor finished work with it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import neural
from neural.errors import BackendUnavailable, StageFailed
from neural.scenes.photographs.sfm import process

ROOT = Path(neural.__file__).parent.parent


def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A worker that does something else."""
    (tmp_path / "strange_worker.py").write_text(body)
    monkeypatch.setattr(process, "WORKER", "strange_worker")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))


def test_progress_and_the_result_come_back_whatever_else_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path, monkeypatch, "import json\nprint('I2026 C++ says')\nprint(json.dumps({'done': 1, 'of': 2}))\n"
           "print('[1, 2]')\nprint(json.dumps({'result': {'a': [1]}}))\n")  # fmt: skip
    assert process.run({"stage": "map"}, tmp_path, "cameras", progress=False) == {"a": [1]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import os; os.abort()", "SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "memory ran out"),
        ("raise OSError('oops')", "exit code 1.*oops"),
        ("print('{}')", "exit code 0"),
        ("import sys; sys.exit('database or disk is full')", "is full; free space"),
    ],
)
def test_a_process_that_dies_is_an_error_with_stage_cause_and_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    script(tmp_path, monkeypatch, body)
    with pytest.raises(StageFailed, match=f"matches: .*{words}.*is kept"):
        process.run({"stage": "match"}, tmp_path, "matches", progress=False)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupted_stage_leaves_no_process_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
time.sleep(60)
"""
    script(tmp_path, monkeypatch, body)
    pids = tmp_path / "pids"

    def stop() -> None:
        while not (pids.is_file() and len(pids.read_text().split()) == 2):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        process.run({"stage": "map"}, tmp_path, "cameras", progress=False)
    for pid in map(int, pids.read_text().split()):
        assert gone(pid)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_the_worker_goes_when_its_parent_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    from neural.scenes.photographs.sfm import worker

    job = tmp_path / "job.json"  # extraction of a pipe: it waits for ever
    os.mkfifo(tmp_path / "pipe.png")
    one = {
        "index": 0,
        "file": str(tmp_path / "pipe.png"),
        "mask": None,
        "size": [9, 9],
        "features": str(tmp_path / "f"),
    }
    job.write_text(json.dumps({"stage": "extract", "photographs": [one], "settings": {"sift": {}}, "threads": 1}))
    child = subprocess.Popen(
        [sys.executable, "-m", worker.__name__, str(job)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    time.sleep(1.0)
    assert child.poll() is None and child.stdin is not None
    child.stdin.close()  # as the system does for a process that is gone
    assert child.wait(20) != 0


def test_without_pycolmap_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'neural\[photos\]'"):
        process.require_pycolmap()


def gone(pid: int) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(300):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False
