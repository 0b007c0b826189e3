"""The rules that let one checkout work installed, editable, on the path, and under type checkers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neural import train

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("encodings", "cuda", "scenes", "viewer")
# What may stand in the root. Everything else has a room.
TOP = {
    "neural", "encodings", "cuda", "scenes", "viewer", "tests", "data", "examples", "docs", ".github", ".ci",
    ".git", ".gitignore", ".gitattributes", ".pre-commit-config.yaml", "pyproject.toml", "constraints.txt",
    "README.md", "LICENSE", "CHANGELOG.md", "Makefile",
}  # fmt: skip
# Parts of NVIDIA's `cuda` namespace package: a file so named in cuda/ shadows them from the root.
NVIDIA = {
    "core", "bindings", "pathfinder", "cccl", "compute", "coop", "tile", "cooperative", "parallel", "nvrtc",
    "cuda", "cudart", "nvjitlink", "nvvm", "cufile",
}  # fmt: skip
SOURCES = {".py", ".cpp", ".h", ".cuh", ".cu", ".js", ".css", ".html"}
MAX_LINES = 600


def tracked() -> list[Path]:
    """Files that git knows or would add, relative to the root; the links count as files."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout")
    paths = [Path(name) for name in listed.stdout.split("\0") if name]
    return [path for path in paths if (ROOT / path).exists() or (ROOT / path).is_symlink()]


@pytest.mark.parametrize("name", LINKED)
def test_the_link_points_to_the_real_folder(name: str) -> None:
    link = ROOT / "neural" / name
    assert link.is_symlink(), f"neural/{name} must be a symbolic link (git config core.symlinks true, then check out)"
    assert os.readlink(link) == f"../{name}"


@pytest.mark.parametrize("name", LINKED)
def test_no_init_in_a_linked_folder(name: str) -> None:
    assert not (ROOT / name / "__init__.py").exists(), f"{name}/__init__.py would replace another package of that name"


def test_pythons_own_encodings_survive_the_root_on_the_path() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import encodings.idna; print('caf\\u00e9.example'.encode('idna').decode())"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "xn--caf-dma.example", done.stderr


def test_no_file_of_ours_shadows_nvidias_cuda_namespace() -> None:
    names = {path.parts[1].split(".")[0] for path in tracked() if path.parts[0] == "cuda" and path.suffix == ".py"}
    assert not names & NVIDIA


def test_the_root_holds_only_what_the_plan_names() -> None:
    assert {path.parts[0] for path in tracked()} <= TOP


def test_nothing_in_train_shadows_one_of_its_calls() -> None:
    names = {path.parts[2].split(".")[0] for path in tracked() if path.parts[:2] == ("neural", "train")}
    assert "tasks" in names
    assert not names & set(train._CALLS), "neural.train.<call> would be that module, once it is imported"


def test_no_source_file_is_too_long() -> None:
    long = {
        str(path): count
        for path in tracked()
        if path.suffix in SOURCES and (count := len((ROOT / path).read_bytes().splitlines())) > MAX_LINES
    }
    assert not long, f"split these (at most {MAX_LINES} lines): {long}"


def test_import_neural_loads_nothing_heavy() -> None:
    script = "import sys, neural; heavy = {'torch', 'numpy', 'tyro'} & set(sys.modules); assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
