"""Saves checkpoints in a child process, kills it, and checks that the newest one can be read.

Run by test_checkpoint.

    python checkpoint_crasher.py every-call|random-moments FOLDER

`every-call` lets the child die (without any clean-up) before the 1st, 2nd, 3rd ... call that changes the file
system; `random-moments` sends SIGKILL while it saves in a loop. Prints the number of kills.
"""

import os
import random
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from neural import checkpoint

CHANGING_CALLS = ((os, "fsync"), (os, "rename"), (os, "replace"), (os, "mkdir"), (shutil, "rmtree"))


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {"model/a": torch.full((5000,), float(step)), "optim/a": torch.full((5000,), -float(step))}


def verify(folder: Path, at_least: int) -> None:
    loaded = checkpoint.load_latest(folder)
    assert loaded.step >= at_least, (loaded.step, at_least)
    assert loaded.meta == {"step": loaded.step}
    for name, tensor in tensors(loaded.step).items():
        assert torch.equal(loaded.tensors[name], tensor), name


def dying_before(call: int) -> None:
    """Let this process vanish before the given one of its file-changing calls."""
    left = call

    def guard(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(9)
            return function(*args, **kwargs)

        return wrapped

    for module, name in CHANGING_CALLS:
        setattr(module, name, guard(getattr(module, name)))


def every_call(folder: Path) -> int:
    for call in range(1, 1000):
        for again in (False, True):  # a new step, and the latest one saved once more
            run = folder / f"{call}-{again}"
            for step in (10, 20):
                checkpoint.save(run, step, tensors(step), {"step": step})
            child = os.fork()
            if child == 0:
                dying_before(call)
                step = 20 if again else 30
                checkpoint.save(run, step, tensors(step), {"step": step})
                os._exit(0)
            _, status = os.waitpid(child, 0)
            verify(run, at_least=20)
            checkpoint.save(run, 40, tensors(40), {"step": 40})
            verify(run, at_least=40)
        if os.waitstatus_to_exitcode(status) == 0:
            return 2 * (call - 1)
    raise AssertionError("the child never got through")


def random_moments(folder: Path, kills: int = 25) -> int:
    checkpoint.save(folder, 0, tensors(0), {"step": 0})
    step = 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            while True:
                step += 1
                checkpoint.save(folder, step, tensors(step), {"step": step})
        time.sleep(random.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        verify(folder, at_least=step)
        step = checkpoint.load_latest(folder).step
    assert step > 0
    return kills


if __name__ == "__main__":
    warnings.simplefilter("error", RuntimeWarning)  # "damaged" must never be said
    torch.set_num_threads(1)
    print({"every-call": every_call, "random-moments": random_moments}[sys.argv[1]](Path(sys.argv[2])))
