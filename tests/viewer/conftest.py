"""A headless Chromium, shared by the tests of both viewers."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]  # WebGL 2 without a GPU
TIMEOUT = 90_000  # ms; SwiftShader on a busy machine


def chromium_path() -> Path:
    """Debian's Chromium, or that of NEURAL_CHROMIUM; skips where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = os.environ.get("NEURAL_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("needs a Chromium (Debian: apt install chromium), or NEURAL_CHROMIUM=/path/to/it")
    return Path(found)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Playwright's `Browser`, software rendering, one for all tests."""
    path = chromium_path()
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Console(list[str]):
    """What a page complained about: console errors and warnings, exceptions, requests that left the page."""


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Any]:
    """`open_page(url, width=, height=, **context)` -> (page, console); closed after the test."""
    contexts = []

    def opened(url: str, *, width: int = 320, height: int = 180, **options: Any) -> tuple[Any, Console]:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT)
        page, console = context.new_page(), Console()
        page.on("console", lambda m: console.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: console.append(str(error)))
        page.on("dialog", lambda dialog: (console.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(url)
        return page, console

    yield opened
    for context in contexts:
        context.close()
