"""Python that readers are shown compiles, and every name and argument in it is there (mypy says so)."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Block, blocks, pages

pytest.importorskip("mypy")

# What stands for data of the reader's own in short passages.
HEAD = "import numpy as np\nimport torch\nimport neural\norigins = directions = np.zeros((1, 3))\n"


def shown() -> list[Block]:
    return [
        block for page in pages() for block in blocks(page)
        if block.language in ("python", "py") and "--8<--" not in block.text
    ]  # fmt: skip


def test_passages_type_check(tmp_path: Path) -> None:
    found = shown()
    assert len(found) >= 5
    paths = []
    for number, block in enumerate(found):
        compile(block.text, str(block), "exec")
        path = tmp_path / f"passage_{number}.py"
        path.write_text(f"# {block}\n{HEAD}{block.text}\n")
        paths.append(str(path))
    examples = [str(path) for path in sorted((ROOT / "examples").glob("*.py"))]
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--scripts-are-modules", "--check-untyped-defs"]
    done = subprocess.run([*command, *paths, *examples], cwd=ROOT, capture_output=True, text=True, check=False)
    where = "\n".join(f"{path}: {block}" for path, block in zip(paths, found, strict=True))
    assert done.returncode == 0, done.stdout + where


def test_included_files_exist() -> None:
    for page in pages():
        for line in (ROOT / page).read_text().splitlines():
            if line.strip().startswith("--8<--"):
                name, _, section = line.split('"')[1].partition(":")
                assert (ROOT / name).is_file(), f"{page}: no file {name}"
                assert not section or f"[start:{section}]" in (ROOT / name).read_text(), f"{page}: no part {section}"
