"""Runs one stage of the worker as a process of its own: shows its progress, gives its answer, says what went wrong."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

import neural
from neural import atomic
from neural.errors import BackendUnavailable, StageFailed

WORKER = "neural.scenes.photographs.sfm.worker"
PIP = "pip install 'neural[photos]'"
_ROOM = 64 << 20  # bytes; a disk with less left is taken to be full


def require_pycolmap() -> None:
    """Raises where the extra is not installed; pycolmap itself is not imported here, or anywhere but in the worker.

    Raises:
        BackendUnavailable: Says what to install.
    """
    import importlib.util

    if importlib.util.find_spec("pycolmap") is None:
        raise BackendUnavailable(f"cameras are found from photographs with pycolmap, which is not installed: {PIP}")


def run(job: Mapping[str, Any], folder: Path, label: str, *, progress: bool = True) -> dict[str, Any]:
    """One stage: gives its result.

    Args:
        job: What the worker is to do; plain values.
        folder: Where the job and what the process logs are written.
        label: Of the stage, in its progress bar and in errors.
        progress: Whether to draw the bar.

    Raises:
        StageFailed: The process ended without a result; what it had finished stays.
    """
    stage = job["stage"]
    file, log = folder / f"{stage}.job.json", folder / f"{stage}.log"
    atomic.write_json(file, job)
    result: dict[str, Any] | None = None
    with open(log, "w+b") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", WORKER, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=_environment(),
            start_new_session=os.name != "nt",  # Ctrl-C reaches this process alone, which then ends that one
        )
        assert process.stdout is not None and process.stdin is not None
        try:
            with tqdm(desc=label, disable=not progress, leave=False, dynamic_ncols=True) as bar:
                for line in process.stdout:
                    message = _message(line)
                    if "of" in message:
                        bar.total = message["of"]
                        bar.update(message["done"] - bar.n)
                    elif "result" in message:
                        result = message["result"]
            code = process.wait()
        finally:
            _end(process)
            process.stdin.close()
            process.stdout.close()
    if code != 0 or result is None:
        raise StageFailed(_why(label, code, log, folder))
    return result


def _message(line: bytes) -> dict[str, Any]:
    """A line of the worker; anything else that C++ prints there is nothing."""
    with contextlib.suppress(ValueError):
        message = json.loads(line)
        if isinstance(message, dict):
            return message
    return {}


def _environment() -> dict[str, str]:
    """The process finds the same `neural`, and leaves cores to others while it waits."""
    root = Path(neural.__file__).absolute().parent.parent
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The process and the children of its pool are gone after this."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if os.name == "nt":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)


def _why(label: str, code: int, log: Path, folder: Path) -> str:
    """What became of a stage, and what to do."""
    tail = log.read_bytes()[-20_000:].decode("utf-8", "replace").strip()
    last = next((line.strip() for line in reversed(tail.splitlines()) if line.strip()), "it said nothing")
    kept = "What was finished before is kept: the same command goes on from there."
    if shutil.disk_usage(folder).free < _ROOM or "disk is full" in tail or "No space left" in tail:
        return f"{label}: the disk of {folder} is full; free space. {kept}"
    if code < 0:
        name = signal.Signals(-code).name
        hint = (
            "memory ran out, most likely: use fewer photographs or --max-side 1000"
            if -code == signal.SIGKILL
            else ("pycolmap failed; try --share one, or leave out the photographs that it names")
        )
        return f"{label}: the process was ended by {name} ({hint}). Its last words, in {log}: {last[:300]}. {kept}"
    return f"{label}: failed with exit code {code}. Its last words, in {log}: {last[:300]}. {kept}"
