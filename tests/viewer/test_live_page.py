"""The live viewer in a real browser: it shows what we render, follows the mouse, and says nothing on the console."""

import contextlib
import io
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from neural import checkpoint, metrics
from neural.train.loop import Moment, Watcher
from neural.train.tasks.splats.run import splats
from neural.viewer.live.client import Order, Wish
from neural.viewer.live.pictures.painter import Painter
from neural.viewer.live.subjects.choose import subject_of_run
from neural.viewer.live.viewer import Viewer
from neural.viewer.live.watch import watching
from tests import ball, splat_tasks
from tests.viewer import fields
from tests.viewer.shown import served

pytest.importorskip("viser", reason="needs viser, which make installs")
# What viser 1.1 and its libraries say by themselves.
NOISE = (
    "THREE.Clock: This module has been deprecated",
    "GPU stall due to ReadPixels",
    "GL Driver Message",
    "Automatic fallback to software WebGL",
)
NEAR = 25.0  # dB between a screenshot and our own rendering
PATIENCE = 40.0  # seconds
WINDOW = 960, 540
CLEAR = (slice(170, 500), slice(20, 600))  # rows and columns without panels


def watched(page: Any) -> list[str]:
    """Warnings and errors of a page's console, as they come."""
    said: list[str] = []

    def note(message: Any) -> None:
        if message.type in ("warning", "error") and not any(known in message.text for known in NOISE):
            said.append(f"{message.type}: {message.text}")

    page.on("console", note)
    page.on("pageerror", lambda error: said.append(f"page: {error}"))
    return said


def settled(viewer: Viewer, page: Any, wish: Wish | None = None) -> tuple[np.ndarray, float]:
    """What a browser shows once it has its sharp picture, and how near that is to ours, dB.

    It is asked again for a while: a browser that draws in software is late.
    """
    end = time.perf_counter() + PATIENCE
    found: tuple[np.ndarray, float] | None = None
    while time.perf_counter() < end:
        page.wait_for_timeout(200)
        (client,) = viewer.clients or [None]
        given = client.given if client is not None else None
        if client is None or given is None or given.level != "still" or given.version != client.version:
            continue
        shown = screenshot(page)
        found = shown, psnr(shown, our_own(viewer, wish or Wish()))
        if found[1] >= NEAR:
            return found
    assert found is not None, "no sharp picture came"
    return found


def screenshot(page: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())))[..., :3]


def our_own(viewer: Viewer, wish: Wish) -> np.ndarray:
    """What the viewer's one browser should show: a slow one draws fewer pixels than its window has."""
    (client,) = viewer.clients
    assert client.viewpoint is not None
    picture = Painter().paint(viewer.subject, Order(client, client.viewpoint, wish, client.version, "still"))
    assert picture is not None
    return np.asarray(Image.fromarray(picture.rgb).resize(WINDOW, Image.Resampling.BILINEAR))


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    a, b = (torch.from_numpy(image[CLEAR].copy()).float() / 255 for image in (first, second))
    return metrics.psnr(a, b)


def test_the_page_shows_what_we_render_and_follows_the_mouse(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    with served(tmp_path) as viewer:
        viewer.scenery.show(False)
        page = open_page(*WINDOW)
        said = watched(page)
        page.goto(viewer.door.address)
        before, near = settled(viewer, page)
        assert before[CLEAR].std() > 20, "there is something to see"
        assert near >= NEAR
        page.mouse.move(200, 300)
        page.mouse.down()
        page.mouse.move(320, 330, steps=8)
        page.mouse.up()
        after, near = settled(viewer, page)
        assert psnr(before, after) < NEAR, "the picture has changed"
        assert near >= NEAR, "and is right again"
        assert said == []


@pytest.mark.parametrize(
    ("made", "ways", "way"),
    [
        (fields.ball_run, ["colour", "depth", "normal", "mesh", "error"], "normal"),
        pytest.param(fields.cloud_run, ["colour", "depth", "alpha", "grid", "error"], "depth", marks=pytest.mark.slow),
        pytest.param(fields.picture_run, ["colour", "picture", "error"], "picture", marks=pytest.mark.slow),
    ],
)
def test_fields_are_rendered_by_the_server(
    made: Callable[[], Any], ways: list[str], way: str, tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    """A surface, a volume, a picture: what the page shows is ours, before and after it was turned."""
    if made is fields.ball_run:
        pytest.importorskip("open3d", reason="the mesh needs Open3D: pip install 'neural[mesh]'")
    with served(tmp_path, subject_of_run(made())) as viewer:
        page = open_page(*WINDOW)
        said = watched(page)
        page.goto(viewer.door.address)
        before, near = settled(viewer, page)
        assert near >= NEAR
        assert before[CLEAR].std() > 10, "there is something to see"
        page.get_by_label("shows").click()
        assert [option.inner_text() for option in page.get_by_role("option").all()] == ways
        page.get_by_role("option", name=way).click()
        shown, near = settled(viewer, page, Wish(way))
        assert near >= NEAR
        assert (psnr(shown, before) < NEAR) is (way != "picture")
        page.mouse.move(200, 300)
        page.mouse.down()
        page.mouse.move(280, 330, steps=4)
        page.mouse.up()
        turned, near = settled(viewer, page, Wish(way))
        assert near >= NEAR
        assert psnr(turned, shown) < 40
        assert page.get_by_text("crop box").count() == (0 if way == "picture" else 1)
        assert said == []


@pytest.mark.slow
def test_ways_of_looking_are_chosen_in_the_page(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    with served(tmp_path) as viewer:
        viewer.scenery.show(False)
        page = open_page(*WINDOW)
        said = watched(page)
        page.goto(viewer.door.address)
        colour, _ = settled(viewer, page)
        for mode in ("depth", "clusters"):
            page.get_by_label("shows").click()
            page.get_by_role("option", name=mode).click()
            shown, near = settled(viewer, page, Wish(mode))
            assert near >= NEAR
            assert psnr(shown, colour) < NEAR
        assert said == []


def test_a_training_is_paused_stepped_and_saved_in_the_page(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    """With the buttons of the page; the training goes on in a thread of its own."""
    said: list[str] = []
    with watching(port=0) as watch:
        config = splat_tasks.configured(model={"max_gaussians": 500, "init_gaussians": 300})
        options: dict[str, Any] = {"config": config, "steps": 1_000_000, "out": tmp_path / "run", "progress": False}
        scene = ball.scene(size=(96, 72), points=500)
        stopping = threading.Event()

        def train() -> None:
            with contextlib.suppress(Stopped):
                splats(scene, watch=lambda snapshot: Until(watch(snapshot), stopping), **options)

        thread = threading.Thread(target=train)
        thread.start()
        try:
            end = time.perf_counter() + PATIENCE
            while watch.viewer is None and time.perf_counter() < end:
                time.sleep(0.05)
            assert watch.viewer is not None
            page = open_page(*WINDOW)
            said = watched(page)
            page.goto(watch.viewer.viewer.door.address)
            page.get_by_role("tab", name="training").click()
            page.get_by_text(re.compile(r"step [\d,]+ of")).wait_for()
            page.get_by_role("button", name="pause").click()
            page.get_by_text(", paused").wait_for()
            stood = step_shown(page)
            page.get_by_role("button", name="step", exact=True).click()
            page.get_by_text(f"step {stood + 1:,} of").wait_for()
            page.get_by_role("button", name="save").click()
            end = time.perf_counter() + PATIENCE
            while checkpoint.latest_step(tmp_path / "run") != stood + 1 and time.perf_counter() < end:
                time.sleep(0.05)
            assert checkpoint.latest_step(tmp_path / "run") == stood + 1
            page.get_by_role("button", name="resume").click()
            page.get_by_text(", paused").wait_for(state="detached")
        finally:
            stopping.set()
            thread.join()
    assert said == []


class Stopped(Exception):
    """The test has seen enough."""


class Until:
    """A watcher that ends the training when told to."""

    def __init__(self, watcher: Watcher, stopping: threading.Event) -> None:
        self._watcher, self._stopping = watcher, stopping

    def look(self, moment: Moment) -> None:
        if self._stopping.is_set():
            raise Stopped
        self._watcher.look(replace(moment, stopping=self._stopping.is_set))


def step_shown(page: Any) -> int:
    found = re.search(r"step ([\d,]+)", page.get_by_text(", paused").inner_text())
    assert found is not None
    return int(found[1].replace(",", ""))
