"""A real browser for the tests of viewers: Debian's Chromium without a window, drawing in software."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A Playwright browser; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which make installs")
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs Chromium: apt install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages in browsers of their own (no cookies in common): `open_page(width=, height=)`."""
    contexts = []

    def opened(width: int = 960, height: int = 540) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, device_scale_factor=1)
        contexts.append(context)
        return context.new_page()

    yield opened
    for context in contexts:
        with closing(context):
            pass
