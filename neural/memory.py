"""How much memory is left to a run, and what it needs, before it begins: a run must not end for the lack of it."""

from pathlib import Path

import psutil
import torch

from neural.errors import TooLarge

_CGROUP = Path("/sys/fs/cgroup")  # of a container: limits that the machine's own figures do not show


def available(device: torch.device) -> int:
    """Bytes that this process can still take on a device.

    On a CPU what the machine has without swapping, or less where the container has a limit (cgroup v2), files that are
    cached counted as free; on a GPU what its driver has left and what torch keeps for itself unused.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    left = int(psutil.virtual_memory().available)
    limit, used = (_cgroup(f"memory.{name}") for name in ("max", "current"))
    return left if limit is None or used is None else max(0, min(left, limit - used + _cached()))


def require(device: torch.device, count: int, each: int, what: str, cure: str) -> None:
    """Refuses what does not fit.

    Args:
        device: Where it would be.
        count: Of them.
        each: Bytes of one at the peak.
        what: Their name in the message.
        cure: What to make smaller; ends in an option, whose value follows.

    Raises:
        TooLarge: They need more than there is; says how many fit.
    """
    left = available(device)
    if count * each > left:
        raise TooLarge(
            f"{count:,} {what} need {count * each / 1e9:.1f} GB in training, and {left / 1e9:.1f} GB are free on "
            f"{device.type}; {cure} {left // each}"
        )


def _cgroup(name: str) -> int | None:
    """A figure of this process's container; None where there is no limit."""
    try:
        text = (_CGROUP / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _cached() -> int:
    """Bytes of files that the container's kernel would let go of first; they count as used."""
    try:
        rows = (_CGROUP / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(row.split()[1]) for row in rows if row.startswith("inactive_file "))
