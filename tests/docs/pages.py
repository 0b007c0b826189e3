"""The project's prose: every Markdown file, its fenced blocks, its links."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        page: Of the file, relative to the repository's root.
        line: Where it begins.
        language: What follows the fence's first three ticks; empty for none.
        text: Without the indentation of the fence.
    """

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every Markdown file that git knows or would add, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout", allow_module_level=True)
    return sorted({Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).exists()})


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, those in lists and notes among them."""
    found: list[Block] = []
    opened: tuple[int, str, str] | None = None
    lines: list[str] = []
    for number, line in enumerate((ROOT / page).read_text().splitlines(), start=1):
        fence = re.match(r"( *)```(.*)$", line)
        if fence and opened is None:
            opened, lines = (number, fence[1], fence[2].strip()), []
        elif fence and opened is not None:
            found.append(Block(page, opened[0], opened[2], "\n".join(lines)))
            opened = None
        elif opened is not None:
            lines.append(line.removeprefix(opened[1]))
    assert opened is None, f"{page}:{opened[0] if opened else 0}: a block that nothing ends"
    return found


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures, outside of its blocks."""
    text = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)
