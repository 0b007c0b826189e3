"""`neural doctor`: what this installation is, what it lacks, and the line that brings it."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import neural
from neural.cuda.disk_cache import cache_root
from neural.viewer import bundle

State = Literal["ok", "optional", "broken"]
_MARKS = {"ok": "ok", "optional": "--", "broken": "!!"}
MINIMUM = {"torch": (2, 10), "numpy": (1, 26)}


@dataclass(frozen=True)
class Extra:
    """An optional part: what it is for, the module that tells whether it is there, what brings it."""

    purpose: str
    module: str
    packages: tuple[str, ...]

    @property
    def pip(self) -> str:
        return "pip install " + " ".join(f"'{package}'" for package in self.packages)


# By name rather than as neural[extra], so that the line works wherever neural itself came from; the package's own
# metadata is not there in a plain checkout. A test holds these and MINIMUM equal to pyproject.toml.
EXTRAS = {
    "cuda": Extra(
        "CUDA kernels, compiled for the GPU at hand",
        "cuda.core",
        ("cuda-core>=1.2", "cuda-bindings>=13.0", "nvidia-cuda-nvrtc>=13.0"),
    ),
    "mesh": Extra(
        "meshes: exact distances to them, surfaces of fields", "open3d", ("open3d>=0.19", "scikit-image>=0.24")
    ),
    "splats": Extra("Gaussian scenes as SPZ version 4", "zstandard", ("zstandard>=0.22",)),
    "images": Extra("TIFF pictures", "tifffile", ("tifffile>=2024.8",)),
    "usd": Extra("Gaussian scenes as USD", "pxr", ("usd-core>=26.3",)),
    "photos": Extra("cameras from photographs, HEIC", "pycolmap", ("pycolmap>=4.2", "pillow-heif>=1.1")),
    "video": Extra("mp4 videos (PNG frames without it)", "av", ("av>=14",)),
    "viewer": Extra("the live viewer of runs", "viser", ("viser>=1.1,<1.2",)),
    "log": Extra("TensorBoard beside metrics.jsonl", "tensorboard", ("tensorboard>=2.17",)),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    text: str
    state: State = "ok"
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """All findings; `str()` is the table that is printed."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing that every installation needs is broken; extras may be missing."""
        return all(finding.state != "broken" for finding in self.findings)

    def __str__(self) -> str:
        width = max(len(finding.topic) for finding in self.findings)
        lines = []
        for finding in self.findings:
            lines.append(f"{_MARKS[finding.state]}  {finding.topic:<{width}}  {finding.text}")
            if finding.remedy:
                lines.append(f"{'':{width + 6}}-> {finding.remedy}")
        broken = sum(finding.state == "broken" for finding in self.findings)
        verdict = "everything needed is here" if not broken else f"{broken} of these must be mended (!!)"
        return "\n".join([*lines, "", verdict])


def examine() -> Report:
    """Look at everything; nothing is changed, installed or downloaded."""
    findings = [
        Finding("neural", f"{neural.__version__}  ({Path(neural.__file__).parent})"),
        Finding("python", f"{platform.python_version()}  ({sys.executable})"),
        Finding("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        *(_package(name) for name in MINIMUM),
        _native(),
        _threads(),
        *_gpus(),
        _nvrtc(),
        _cache(),
        _pages(),
        *(_extra(name) for name in EXTRAS),
    ]
    return Report(tuple(findings))


def _package(name: str) -> Finding:
    least = ".".join(map(str, MINIMUM[name]))
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "missing", "broken", f"pip install '{name}>={least}'")
    parts = tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit())
    if parts < MINIMUM[name]:
        return Finding(name, f"{version}, {least} or newer is needed", "broken", f"pip install '{name}>={least}'")
    return Finding(name, version)


def _native() -> Finding:
    try:
        native = importlib.import_module("neural.cuda.native")
    except (neural.NeuralError, ImportError) as error:
        return Finding("native core", f"cannot be loaded: {error}", "broken", "pip install -e . in a checkout")
    chosen = " (by NEURAL_ISA)" if os.environ.get("NEURAL_ISA") else ""
    return Finding(
        "native core", f"{native.active_isa()}{chosen}; this machine has {', '.join(native.available_isas())}"
    )


def _pages() -> Finding:
    if bundle.SCRIPT.exists():
        return Finding("pages", "neural export RUN page.html writes them")
    return Finding("pages", "not built: neural export RUN page.html refuses", "optional", bundle.remedy())


def _threads() -> Finding:
    torch = _torch()
    used = torch.get_num_threads() if torch is not None else "?"
    policy = os.environ.get("OMP_WAIT_POLICY")
    return Finding("threads", f"{used} of {os.cpu_count()}" + (f", OMP_WAIT_POLICY={policy}" if policy else ""))


def _gpus() -> list[Finding]:
    torch = _torch()
    driver = _driver()
    if torch is None:
        return []
    if not torch.cuda.is_available():
        built = "built for CUDA " + torch.version.cuda if torch.version.cuda else "a CPU build"
        remedy = ""
        if driver is not None:
            remedy = "the machine has a driver: install a CUDA build of torch, see pytorch.org"
        return [
            Finding(
                "GPU",
                f"none that torch can use (torch is {built}, driver {driver or 'none'})",
                "optional",
                remedy,
            )
        ]
    findings = [Finding("driver", f"CUDA {driver or 'unknown'}")]
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        size = f"{card.total_memory / 2**30:.1f} GiB"
        findings.append(Finding(f"GPU {index}", f"{card.name}, sm_{card.major}{card.minor}, {size}"))
    return findings


def _driver() -> str | None:
    """The newest CUDA that the installed driver serves, as text."""
    import ctypes

    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        version = ctypes.c_int()
        if library.cuDriverGetVersion(ctypes.byref(version)) == 0:
            return f"{version.value // 1000}.{version.value % 1000 // 10}"
    return None


def _nvrtc() -> Finding:
    remedy = EXTRAS["cuda"].pip
    if not _importable("cuda.bindings"):
        return Finding("NVRTC", "not installed", "optional", remedy)
    try:
        from cuda.bindings import nvrtc

        result, major, minor = nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        return Finding("NVRTC", f"cannot be loaded: {error}", "optional", remedy)
    return Finding("NVRTC", f"{major}.{minor}" if int(result) == 0 else f"error {result}")


def _cache() -> Finding:
    folder = cache_root()
    size = _size(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(
            "cache",
            f"{folder}: not writable ({error.strerror})",
            "broken",
            "set NEURAL_CACHE_DIR to a writable folder",
        )
    return Finding("cache", f"{folder}, {size / 1e6:.1f} MB, writable")


def _size(folder: Path) -> int:
    """Bytes of all files below a folder; what other processes take away meanwhile does not count."""
    size = 0
    for place, _, names in os.walk(folder):  # passes over folders that vanish or may not be read
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size
    return size


def _extra(name: str) -> Finding:
    extra = EXTRAS[name]
    if _importable(extra.module):
        return Finding(f"[{name}]", f"installed: {extra.purpose}")
    return Finding(f"[{name}]", f"missing: {extra.purpose}", "optional", extra.pip)


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package
        return False


def _torch() -> Any:
    """The module, or None if it is missing or broken."""
    try:
        return importlib.import_module("torch")
    except (ImportError, OSError):
        return None
