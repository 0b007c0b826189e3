"""The page of a folder: coarse at first, then level by level what is near; from a disk a preview that says so."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural.scenes.files.gaussians.spz import spz
from neural.viewer import bundle, levels
from tests.viewer import pages

pytestmark = pytest.mark.skipif(not bundle.SCRIPT.exists(), reason=f"the viewer was not built; {bundle.remedy()}")


@pytest.fixture
def small_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels of some hundred Gaussians in leaves of some hundred, so that a small scene has several of each."""
    monkeypatch.setattr(levels, "_AT_ONCE", 600)
    written = levels.streamed_sog.write
    monkeypatch.setattr(levels.streamed_sog, "write", lambda path, found: written(path, found, chunk=700))


@pytest.mark.usefixtures("small_levels")
def test_a_folder_streams_to_the_finest(tmp_path: Path, served: str, browse: Any) -> None:
    record, cameras = pages.generated(2000), pages.ring()
    pages.write_page(tmp_path / "index.html", record, cameras=cameras, near=pages.NEAR)
    index = json.loads((tmp_path / "scene" / "lod-meta.json").read_text())
    assert index["lodLevels"] >= 3 and len(index["filenames"]) > 3
    page, console = browse(f"{served}index.html#bare&camera=1")
    page.evaluate("neural.ready")
    coarse = pages.psnr(pages.shown(page), pages.rendered(record, cameras, 1))
    page.evaluate("neural.complete")
    # leaves without a Gaussian of the finest level show the next one
    assert len(record) <= page.evaluate("neural.count") < 1.03 * len(record)
    assert pages.psnr(pages.shown(page), pages.rendered(record, cameras, 1)) > max(30, coarse)
    assert console == []


@pytest.mark.usefixtures("small_levels")
def test_a_smaller_scene_leaves_nothing_of_a_larger_one(tmp_path: Path) -> None:
    """What our own index names goes, and nothing else."""

    def files() -> set[str]:
        return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}

    path = tmp_path / "index.html"
    pages.write_page(path, pages.generated(1400))
    wanted = files()
    pages.write_page(path, pages.generated(4000))
    assert len(files()) > len(wanted)
    (tmp_path / "scene" / "notes.txt").write_text("mine")
    (tmp_path / "scene" / "0_1" / "mine.webp").write_text("mine")
    pages.write_page(path, pages.generated(1400))
    assert files() == {*wanted, "scene/notes.txt", "scene/0_1/mine.webp"}
    (tmp_path / "scene" / "notes.txt").unlink()
    (tmp_path / "scene" / "0_1" / "mine.webp").unlink()
    pages.write_page(path, pages.generated(300))  # all of which is inside the page
    assert files() == {"index.html"}
    assert not (tmp_path / "scene").exists()


@pytest.mark.usefixtures("small_levels")
def test_the_stream_is_the_scene_about_its_origin_and_the_page_holds_the_coarsest(tmp_path: Path) -> None:
    record = pages.generated(2000, degree=0)
    record.means[:] += [50, -20, 10]
    text = pages.write_page(tmp_path / "index.html", record).read_text("utf-8")
    about = json.loads(re.search(r'id="scene">(.*?)</script>', text, re.S)[1])
    finest = levels.streamed_sog.read(tmp_path / about["stream"]["index"])
    places = finest.means + np.array(about["stream"]["origin"])
    assert np.abs(places[:, None] - record.means).max(2).min(0).max() < 0.02
    (tmp_path / "level.spz").write_bytes(base64.b64decode(re.search(r'id="level-0-0">(.*?)</script>', text)[1]))
    assert len(about["levels"]) == 1 and len(spz.read(tmp_path / "level.spz")) == 500


@pytest.mark.usefixtures("small_levels")
def test_a_stream_that_is_no_pages_stays(tmp_path: Path) -> None:
    (tmp_path / "scene").mkdir()
    levels.streamed_sog.write(tmp_path / "scene" / "lod-meta.json", [pages.generated(300)])
    pages.write_page(tmp_path / "index.html", pages.generated(300))
    assert (tmp_path / "scene" / "0_0" / "meta.json").is_file()


@pytest.mark.usefixtures("small_levels")
def test_from_a_disk_it_is_a_preview_and_says_so(tmp_path: Path, browse: Any) -> None:
    record, cameras = pages.generated(2000), pages.ring()
    path = pages.write_page(tmp_path / "index.html", record, cameras=cameras, near=pages.NEAR)
    page, console = browse(path.as_uri())
    page.evaluate("neural.complete")
    assert 0 < page.evaluate("neural.count") <= 600
    assert "web host" in page.inner_text("#note")
    assert console == []


@pytest.mark.usefixtures("small_levels")
def test_a_file_that_is_missing_leaves_its_part_coarse(tmp_path: Path, served: str, browse: Any) -> None:
    record, cameras = pages.generated(2000), pages.ring()
    pages.write_page(tmp_path / "index.html", record, cameras=cameras, near=pages.NEAR)
    (tmp_path / "scene" / "0_0" / "sh0.webp").unlink()
    page, console = browse(f"{served}index.html#bare&camera=1")
    page.evaluate("neural.complete")
    assert page.evaluate("neural.count") > 600
    assert pages.psnr(pages.shown(page), pages.rendered(record, cameras, 1)) > 20
    assert any("sh0.webp: 404" in text for text in console)
