"""Every CUDA kernel compiles for every supported architecture; no GPU and no driver are needed.

Cubins are kept under build/ by the hash of all that goes into them, so that only what has changed is compiled.
"""

import importlib.util
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from neural.cuda import cubins
from neural.errors import BackendUnavailable

ROOT = Path(__file__).resolve().parents[2]
_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(')


def _table():
    spec = importlib.util.spec_from_file_location("specialisations", Path(__file__).with_name("specialisations.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLE = _table()
SOURCES = sorted(path.stem for path in cubins.FOLDER.glob("*.cu"))


@pytest.fixture(autouse=True)
def cubins_kept_in_the_build_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURAL_CACHE_DIR", str(ROOT / "build" / "compile_gate"))


@pytest.mark.parametrize("source", SOURCES)
def test_every_kernel_is_listed(source: str) -> None:
    text = (cubins.FOLDER / f"{source}.cu").read_text()
    assert text.count("__global__") == len(_KERNEL.findall(text)), 'a kernel is `extern "C" __global__ void name(`'
    listed = {kernel for name, _, kernels in TABLE.SPECIALISATIONS if name == source for kernel in kernels}
    assert listed == set(_KERNEL.findall(text))


def test_every_listed_source_exists() -> None:
    assert {source for source, _, _ in TABLE.SPECIALISATIONS} == set(SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_kernels_include_no_foreign_header(source: str) -> None:
    for name in cubins.source_files(source):
        assert name.endswith((".cu", ".cuh")), f"{source}.cu can include {name}, which a GPU compiler must not read"


def test_every_specialisation_compiles_for_every_architecture() -> None:
    try:
        cubins.version()
    except BackendUnavailable as error:
        pytest.skip(str(error))
    jobs = [(row, arch) for row in TABLE.SPECIALISATIONS for arch in TABLE.ARCHITECTURES]
    with ThreadPoolExecutor(2) as pool:  # NVRTC runs outside Python's lock
        failures = [failure for failure in pool.map(lambda job: _failure(*job), jobs) if failure]
    assert not failures, "\n\n".join(failures)


def _failure(row: tuple[str, dict[str, int | str], list[str]], arch: str) -> str | None:
    source, defines, kernels = row
    try:
        cubin = cubins.compile(source, defines, arch)
    except ValueError as error:
        return str(error)
    missing = [kernel for kernel in kernels if f".text.{kernel}\0".encode() not in cubin]
    return f"{source} {defines} {arch}: no {', '.join(missing)} in the cubin" if missing else None
