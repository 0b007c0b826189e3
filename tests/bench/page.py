"""The static page in headless Chromium with software rendering: first picture, loading, frame time, size, fidelity.

Times count from the navigation, by the page's own clock, to a picture that the GPU has finished (a pixel of it is read
back). Each page is opened anew, from a file; the browser is warm.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neural.viewer import bundle
from tests.bench.harness import Row, Size, Spread
from tests.viewer import pages
from tests.viewer.conftest import FLAGS, NAMES

SMALL, LARGE = 16_000, 250_000  # Gaussians: a coarse level, and 5 MB with harmonics of degree 3
WIDTH, HEIGHT = 320, 180


class Missing(Exception):
    """What keeps pages from being measured here."""


def run(size: Size) -> list[Row]:
    """A page of one level, and a page of 5 MB."""
    small, large, repeats = (SMALL, LARGE, 5) if size == "full" else (500, 21_000, 1)
    try:
        with chromium() as browser, tempfile.TemporaryDirectory() as folder:
            return [*_small(browser, Path(folder), small, repeats), *_large(browser, Path(folder), large, repeats)]
    except Missing as missing:
        return [Row("first picture of a page", None, "s", at_most=3, note=str(missing))]


def _small(browser: Any, folder: Path, n: int, repeats: int) -> list[Row]:
    record, cameras = pages.generated(n), pages.ring()
    address = pages.written(folder, record, cameras)
    firsts, turns, pictures = [], [], []
    for _ in range(repeats):
        with opened(browser, address) as page:
            firsts.append(page.evaluate("neural.ready.then(() => neural.timings.first)") / 1e3)
            page.evaluate("neural.complete")
            pictures.append(pages.shown(page))
            turns += [page.evaluate(_TURN, i % len(cameras)) / 1e3 for i in range(1, 4)]
    fidelity = min(pages.psnr(picture, pages.rendered(record, cameras, 0)) for picture in pictures)
    size = (folder / "page.html").stat().st_size
    shape = f"{n} Gaussians, SH 3, {WIDTH}x{HEIGHT}"
    return [
        Row("first picture", Spread.of(firsts), "s", at_most=3, note=shape),
        Row("another view, sorted and sharp", Spread.of(turns), "s", note=shape),
        Row("against our own rendering", Spread.of([fidelity]), "dB", at_least=25, note="PSNR, the worst"),
        Row("viewer", Spread.of([bundle.SCRIPT.stat().st_size / 1e6]), "MB", note="in every page"),
        Row("page", Spread.of([size / 1e6]), "MB", note=shape),
    ]


def _large(browser: Any, folder: Path, n: int, repeats: int) -> list[Row]:
    address = pages.written(folder, pages.generated(n), pages.ring())
    firsts, loads, wholes = [], [], []
    for _ in range(repeats):
        with opened(browser, address) as page:
            page.evaluate("neural.complete")
            timings = page.evaluate("neural.timings")
            firsts.append(timings["first"] / 1e3)
            loads.append(timings["levels"][-1]["ms"] / 1e3)
            wholes.append(timings["complete"] / 1e3)
    shape = f"{timings['levels'][-1]['bytes'] / 1e6:.1f} MB, {n} Gaussians"
    return [
        Row("first picture of a large page", Spread.of(firsts), "s", at_most=3, note=shape),
        Row("loaded and decoded", Spread.of(loads), "s", at_most=2, note=shape),
        Row("all of it drawn", Spread.of(wholes), "s", note=shape),
    ]


_TURN = """async (camera) => {
  const start = performance.now();
  neural.goTo(camera);
  await neural.settled();
  return performance.now() - start;
}"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser.

    Raises:
        Missing: Says what to install or build.
    """
    if not bundle.SCRIPT.exists():
        raise Missing(f"the viewer was not built; {bundle.remedy()}")
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        raise Missing("needs Chromium: apt install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise Missing("needs playwright: pip install playwright") from None
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, address: str, width: int = WIDTH, height: int = HEIGHT) -> Iterator[Any]:
    """A page in a window of its own, without its controls."""
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.goto(f"{address}#bare")
    yield page
    context.close()
