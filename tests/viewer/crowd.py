"""Browsers without pages that come, move and leave, in a process of their own: `python -m tests.viewer.crowd PORT`."""

import argparse
import ctypes
import gc
import json
import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.viewer.raw_client import RawClient

PACE = 1 / 30  # seconds between two moves of a camera
WINDOW = (1280, 720)


def come_and_go(port: int, seconds: float, stay: tuple[float, float], seed: int, counts: dict[str, Any]) -> None:
    """One seat: a browser sits down, moves for a while, leaves, and another comes."""
    chance = random.Random(seed)
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        try:
            _visit(port, min(left, chance.uniform(*stay)), chance, counts)
        except Exception as error:  # of any kind: that is what is counted
            counts["errors"].append(f"{type(error).__name__}: {error}")
            time.sleep(0.5)


def _visit(port: int, seconds: float, chance: random.Random, counts: dict[str, Any]) -> None:
    began = time.perf_counter()
    turn, height = chance.uniform(0, 6.28), chance.uniform(0.2, 0.8)
    with RawClient(port) as client:
        counts["visits"] += 1
        while time.perf_counter() - began < seconds:
            turn += 0.02
            x, y = 2 * math.cos(turn), 2 * math.sin(turn)
            c, s = math.cos((turn + math.pi / 2) / 2), math.sin((turn + math.pi / 2) / 2)
            half = 0.5**0.5  # looks level, towards the middle
            wxyz = (c * half, -c * half, -s * half, s * half)
            client.look((x, y, height), WINDOW, wxyz=wxyz, look_at=(0.0, 0.0, height))
            for message in client.messages(PACE):
                if message.get("rgb_data") is not None:
                    counts["pictures"].append(round(time.perf_counter() - began, 3))


@contextmanager
def crowd(port: int, n: int, seconds: float, stay: tuple[float, float] = (3.0, 15.0)) -> Iterator[Any]:
    """Runs one in a process beside this; gives a function that waits for its end and returns what it counted."""
    command = [sys.executable, "-m", "tests.viewer.crowd", str(port), "-n", str(n), "--seconds", str(seconds)]
    command += ["--stay", str(stay[0]), str(stay[1])]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=None)
    try:
        yield lambda: json.loads(process.communicate(timeout=seconds + 120)[0])
    finally:
        process.kill()
        process.communicate()


def memory() -> int:
    """Bytes that this process holds at rest: the least within some seconds, as the last picture may still be drawn.

    Without what it has given back but not yet to the system.
    """
    return min(_held(pause) for pause in (0, 1, 1, 1, 1, 1))


def _held(pause: float) -> int:
    time.sleep(pause)
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    return psutil.Process().memory_info().rss


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("-n", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--stay", type=float, nargs=2, default=(3.0, 15.0))
    given = parser.parse_args()
    counts: dict[str, Any] = {"visits": 0, "pictures": [], "errors": []}
    seats = [
        threading.Thread(target=come_and_go, args=(given.port, given.seconds, tuple(given.stay), seed, counts))
        for seed in range(given.n)
    ]
    for seat in seats:
        seat.start()
    for seat in seats:
        seat.join()
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
