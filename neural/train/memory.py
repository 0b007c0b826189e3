"""How many Gaussians fit: what is free on a device, over what one of them takes in training."""

from pathlib import Path

import torch

from neural.errors import TooLarge
from neural.train.splats_config import STATE_BYTES

STEP_BYTES = 320  # of a Gaussian in view, beside its state: `make bench SUITES=splats` measures it


def refuse_too_many(n: int, sh_degree: int, device: torch.device) -> None:
    """Raises where `n` Gaussians would not fit: a run that runs out of memory is killed without a word.

    Args:
        n: Gaussians at most.
        sh_degree: Of their colours.
        device: Where they are trained.

    Raises:
        TooLarge: Says how many fit.
    """
    each, free = STATE_BYTES[sh_degree] + STEP_BYTES, free_bytes(device)
    if free is not None and n * each > free:
        raise TooLarge(
            f"{n:,} Gaussians take {n * each / 1e9:.1f} GB in training and {free / 1e9:.1f} GB are free on this "
            f"{device.type}, enough for {free // each:,}; lower --model.max-gaussians, --model.target or "
            "--model.sh-degree"
        )


def free_bytes(device: torch.device) -> int | None:
    """Memory that a process can have now; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [_machine(Path("/proc/meminfo")), _container(Path("/sys/fs/cgroup"))]
    return min((free for free in found if free is not None), default=None)


def _machine(meminfo: Path) -> int | None:
    """Linux's own estimate, in which caches count as free."""
    if not meminfo.is_file():
        return None
    for line in meminfo.read_text("ascii", "replace").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _container(cgroup: Path) -> int | None:
    """What the limit of a container (control groups, version 2) leaves; caches that can go count as free."""
    limit, used, stat = (cgroup / f"memory.{name}" for name in ("max", "current", "stat"))
    if not (limit.is_file() and used.is_file() and stat.is_file()):
        return None
    most = limit.read_text("ascii").strip()
    if most == "max":
        return None
    caches = dict(line.split() for line in stat.read_text("ascii").splitlines()).get("inactive_file", "0")
    return max(0, int(most) - int(used.read_text("ascii")) + int(caches))
