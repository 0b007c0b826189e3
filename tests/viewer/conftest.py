"""A real browser for the tests of viewers: Debian's Chromium without a window, drawing in software."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
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


TIMEOUT = 90_000  # ms: software rendering on a busy machine


class Console(list[str]):
    """What a page complained about: console errors and warnings, exceptions, dialogs, requests that left it."""


@pytest.fixture
def browse(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address and listens: `browse(url, width=, height=, **context)` -> (page, console)."""
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


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Address of a web host of `tmp_path`, ending in a slash."""
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
