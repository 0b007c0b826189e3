"""Compiling kernels: what the key holds, which architecture is chosen, what errors say. No GPU is needed."""

from pathlib import Path

import pytest

from neural.cuda import cubins
from neural.errors import BackendUnavailable

SOURCE = '#include "common/value.cuh"\nextern "C" __global__ void set(int* p) { *p = VALUE + OFFSET; }\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source `set.cu` with one header, and a cache of its own."""
    monkeypatch.setenv("NEURAL_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "kernels"
    (folder / "common").mkdir(parents=True)
    (folder / "set.cu").write_text(SOURCE)
    (folder / "common" / "value.cuh").write_text('#pragma once\n#include "one.cuh"\n#define VALUE ONE\n')
    (folder / "common" / "one.cuh").write_text("#pragma once\n#define ONE 1\n")
    return folder


@pytest.fixture
def compiled(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """`compiled(...)` compiles `set.cu` and says how often NVRTC has run so far."""
    try:
        cubins.version()
    except BackendUnavailable as error:
        pytest.skip(str(error))
    runs = []
    compile_ = cubins._compile
    monkeypatch.setattr(cubins, "_compile", lambda *args: (runs.append(args), compile_(*args))[1])

    def compiled(defines: dict[str, int] | None = None, arch: str = "sm_80") -> int:
        assert cubins.compile("set", defines or {"OFFSET": 1}, arch, folder=folder)
        return len(runs)

    return compiled


def test_the_same_text_and_options_compile_once(compiled) -> None:
    assert [compiled(), compiled()] == [1, 1]


def test_whatever_changes_the_result_compiles_anew(compiled, folder: Path) -> None:
    compiled()
    assert compiled({"OFFSET": 2}) == 2
    assert compiled(arch="sm_90") == 3
    (folder / "common" / "value.cuh").write_text("#pragma once\n#define VALUE 3\n")
    assert compiled() == 4
    (folder / "common" / "one.cuh").write_text("#pragma once\n#define ONE 3\n")
    assert compiled() == 4  # no longer included
    (folder / "set.cu").write_text(SOURCE + "// more\n")
    assert compiled() == 5
    assert compiled({"OFFSET": 2}) == 6


def test_a_damaged_cubin_compiles_anew(compiled, tmp_path: Path) -> None:
    compiled()
    (path,) = (tmp_path / "cache" / "cubin").iterdir()
    path.write_bytes(b"\x7fELF")
    assert [compiled(), compiled()] == [2, 2]


def test_a_failure_shows_the_log_with_file_and_line(compiled, folder: Path) -> None:
    (folder / "common" / "value.cuh").write_text("#pragma once\n\n#define VALUE missing\n")
    with pytest.raises(ValueError, match=r'(?s)set\.cu does not compile .*OFFSET=1.*set\.cu\(2\).*"missing"'):
        compiled()


@pytest.mark.parametrize("line", ["#include <vector>", "#include <cuda_fp16.h>", '#include "absent.cuh"'])
def test_foreign_headers_are_refused(folder: Path, line: str) -> None:
    (folder / "set.cu").write_text(f"{line}\n{SOURCE}")
    with pytest.raises(ValueError, match=r"set\.cu: kernels include only files of"):
        cubins.source_files("set", folder)


def test_an_unknown_architecture_falls_back_within_its_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cubins, "supported_architectures", lambda: (75, 80, 86, 90, 100, 120))
    monkeypatch.setattr(cubins, "version", lambda: "13.0")
    assert cubins.architecture_for((8, 6)) == "sm_86"
    assert cubins.architecture_for((8, 9)) == "sm_86"
    assert cubins.architecture_for((10, 3)) == "sm_100"
    assert cubins.architecture_for((12, 1)) == "sm_120"
    with pytest.raises(BackendUnavailable, match=r"13\.0 does not compile for .*pip install -U nvidia-cuda-nvrtc"):
        cubins.architecture_for((13, 0))
    with pytest.raises(BackendUnavailable, match=r"7\.5 or higher"):
        cubins.architecture_for((7, 0))
