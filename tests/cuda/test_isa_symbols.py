"""The build's check that no function of one instruction set can stand in for another's (cuda/cmake)."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "cuda" / "cmake" / "check_isa_symbols.cmake"

SAFE = """
typedef float vfloat __attribute__((vector_size(32)));
template <class V> V twice(V v) { return v + v; }
namespace neural { namespace avx2 {
struct Rows { int n; };
void kernel(vfloat* p) { *p = twice(*p); }
} }
"""
SHARED = "template <class T> T twice(T v) { return v + v; }\ntemplate float twice<float>(float);\n"


@pytest.mark.parametrize(("source", "refused"), [(SAFE, False), (SAFE + SHARED.replace("twice", "thrice"), True)])
def test_a_symbol_without_its_instruction_set_stops_the_build(source: str, refused: bool, tmp_path: Path) -> None:
    tools = [shutil.which(name) for name in ("cmake", "nm", "g++")]
    if None in tools:
        pytest.skip("needs cmake, nm and g++")
    cmake, nm, compiler = tools
    (tmp_path / "kernels.cpp").write_text(source)
    built = [compiler, "-O0", "-Wno-psabi", "-mavx2", "-c", "kernels.cpp", "-o", "kernels.o"]
    if subprocess.run(built, cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("this compiler does not build for AVX2")
    check = [cmake, f"-DNM={nm}", "-DISA=avx2", "-DOBJECTS=kernels.o", "-P", str(SCRIPT)]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == refused, done.stderr
    assert ("thrice" in done.stderr) == refused
