"""Links lead somewhere; figures of the README are those of the documentation."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, links, pages

GENERATED = "docs/reference/"  # made when the site is built, which checks these


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links_to_files_lead_to_files(page: Path) -> None:
    for target in links(page):
        if target.startswith(("http://", "https://", "mailto:", "#")):
            continue
        path = (ROOT / page.parent / target.partition("#")[0]).resolve().relative_to(ROOT)
        assert (ROOT / path).exists() or str(path).startswith(GENERATED), f"{page}: nothing at {target}"


def test_links_to_the_web_are_encrypted() -> None:
    for page in pages():
        assert not [target for target in links(page) if target.startswith("http://")]


def rows(path: Path) -> set[str]:
    """Of tables with a command in their last column, without links."""
    lines = (ROOT / path).read_text().splitlines()
    return {line.strip() for line in lines if line.startswith("| ") and line.rstrip(" |").endswith("`")}


def test_figures_of_the_readme_are_those_of_the_documentation() -> None:
    measured = {row for row in rows(Path("README.md")) if "`make " in row or "`neural train" in row}
    assert measured
    assert measured <= rows(Path("docs/measured.md"))


def test_every_extra_is_in_the_table_of_the_guide() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "guide" / "install.md").read_text(), flags=re.MULTILINE)
    assert sorted(listed) == sorted(extras)


def test_every_picture_is_small_and_shown() -> None:
    shown = {Path(target).name for page in pages() for target in links(page)}
    for path in (ROOT / ".github" / "images").iterdir():
        assert path.name in shown, f"{path.name} is shown nowhere"
        assert path.stat().st_size < 400_000, f"{path.name} is large for a page"
