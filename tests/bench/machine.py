"""What a result was measured on, so that it can be compared or not."""

import os
import platform
import re
from pathlib import Path

import torch

import neural
from neural.cuda import native


def describe() -> dict[str, str]:
    """CPU, instruction set, cores, load, versions."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return {
        "cpu": cpu_model(),
        "instruction set": f"{native.active_isa()} of {', '.join(native.available_isas())}",
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "load average": load,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "neural": neural.__version__,
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "unset"),
        "allocator": "freed blocks are kept (native.retain_heap, as in training; Dr.Jit pools its memory too)",
    }


def cpu_model() -> str:
    """The CPU's name as its maker gives it, with the architecture where there is none."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def slug() -> str:
    """The CPU's name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", cpu_model().lower()).strip("-")
