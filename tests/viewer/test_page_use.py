"""The static page in use: mouse, touch and keys, addresses, phones, names that mean harm, damage."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural.viewer import bundle
from tests.viewer import pages

pytestmark = pytest.mark.skipif(not bundle.SCRIPT.exists(), reason=f"the viewer was not built; {bundle.remedy()}")
HARM = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'\u202e\udcff\n\x00.jpg"


def _standing(page: Any) -> np.ndarray:
    return np.array(page.evaluate("neural.camera.c2w")).reshape(3, 4)


def _still(page: Any) -> np.ndarray:
    """Where one stands once motion has died away."""
    page.evaluate("neural.settled()")
    return _standing(page)


@pytest.fixture
def small(tmp_path: Path, browse: Any) -> Any:
    """A page of few Gaussians: (page, console, cameras)."""
    cameras = pages.ring()
    page, console = browse(pages.written(tmp_path, pages.generated(300, degree=1), cameras))
    page.evaluate("neural.complete")
    return page, console, cameras


def test_a_page_knows_the_cameras_it_was_given(small: Any) -> None:
    page, _, cameras = small
    page.evaluate("neural.goTo(3)")
    given = page.evaluate("neural.camera")
    np.testing.assert_allclose(_standing(page), cameras.c2w[3, :3].numpy(), atol=1e-9)
    np.testing.assert_allclose(given["intrinsics"], cameras.intrinsics[3].numpy())
    assert given["size"] == cameras.sizes[3].tolist()


def test_mouse_and_keys_move_the_view(small: Any) -> None:
    page, console, cameras = small
    start, frames = _standing(page), page.evaluate("neural.frames")
    page.mouse.move(160, 90)
    page.mouse.down()
    page.mouse.move(220, 80, steps=4)
    page.wait_for_timeout(100)  # so that it does not glide on
    page.mouse.up()
    orbited = _still(page)
    assert np.linalg.norm(orbited[:, 3] - start[:, 3]) > 0.3
    # an orbit keeps the distance from what the camera looked at, and the horizon level
    focus = start[:, 3] + start[:, 2] * page.evaluate("neural.cameras[0].focus")
    assert np.linalg.norm(orbited[:, 3] - focus) == pytest.approx(np.linalg.norm(start[:, 3] - focus), rel=1e-6)
    assert abs(orbited[1, 0]) < 1e-6
    page.mouse.wheel(0, -300)
    nearer = _still(page)
    assert (nearer[:, 3] - orbited[:, 3]) @ orbited[:, 2] > 0.3
    page.keyboard.down("d")
    page.wait_for_timeout(300)
    page.keyboard.up("d")
    walked = _still(page)
    assert (walked[:, 3] - nearer[:, 3]) @ nearer[:, 0] > 0.05
    page.mouse.move(160, 90)
    page.mouse.down(button="right")
    page.mouse.move(160, 120, steps=3)
    page.mouse.up(button="right")
    panned = _still(page)
    assert (panned[:, 3] - walked[:, 3]) @ walked[:, 1] < -0.05  # the scene goes down, the camera up (y is down)
    page.keyboard.press("r")
    np.testing.assert_allclose(_still(page), cameras.c2w[0, :3].numpy(), atol=1e-9)
    assert page.evaluate("neural.frames") > frames + 5
    assert console == []


def test_cameras_are_listed_and_chosen(small: Any) -> None:
    page, _, cameras = small
    page.keyboard.press("c")
    page.click("#list button:nth-child(3)")
    np.testing.assert_allclose(_still(page), cameras.c2w[2, :3].numpy(), atol=1e-9)
    page.keyboard.press("n")
    np.testing.assert_allclose(_still(page), cameras.c2w[3, :3].numpy(), atol=1e-9)
    assert page.inner_text("#list button[aria-current]") == "camera 4"


def test_an_address_holds_a_view(tmp_path: Path, browse: Any) -> None:
    """Also of a scene whose coordinates float32 cannot hold: places are given in its own frame."""
    record, far = pages.generated(300, degree=1), np.array([4.5e5, 5.4e6, 300.0])
    cameras, near = pages.ring(about=tuple(far)), pages.ring()
    address = pages.written(tmp_path, record, cameras, origin=far)
    page, console = browse(address)
    page.evaluate("neural.complete")
    page.evaluate("neural.goTo(1)")
    page.keyboard.press("l")
    hash_ = page.evaluate("location.hash")
    other, _ = browse(f"{address}{hash_}&bare")
    other.evaluate("neural.complete")
    np.testing.assert_allclose(_standing(other), cameras.c2w[1, :3].numpy(), atol=0.01)  # nine digits of 5.4e6
    assert pages.psnr(pages.shown(other), pages.rendered(record, near, 1)) > 25
    assert console == []


def test_a_phone(tmp_path: Path, browse: Any) -> None:
    """Upright, touched with one and two fingers; all buttons are within reach, and the scene fills the width."""
    record, cameras = pages.generated(300, degree=1), pages.ring()
    address = pages.written(tmp_path, record, cameras, background=(1.0, 1.0, 1.0))
    page, console = browse(address, width=360, height=640, is_mobile=True, has_touch=True, device_scale_factor=2)
    page.evaluate("neural.complete")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for box in [button.bounding_box() for button in page.query_selector_all("nav button") if button.is_visible()]:
        assert box["width"] >= 40 and box["height"] >= 40
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["y"] + box["height"] <= 640
    page.tap("#help-button")
    assert page.is_visible("dl.touch") and not page.is_visible("dl.mouse")
    page.tap("#help-button")
    start = _standing(page)
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", (150, 300))
    fingers("touchMove", (190, 300))
    fingers("touchMove", (230, 300))
    fingers("touchEnd")
    orbited = _still(page)
    assert np.degrees(math.acos(np.clip(start[:, 2] @ orbited[:, 2], -1, 1))) > 5
    fingers("touchStart", (160, 300), (200, 300))
    fingers("touchMove", (140, 300), (220, 300))
    fingers("touchMove", (120, 300), (240, 300))
    fingers("touchEnd")
    assert (_still(page)[:, 3] - orbited[:, 3]) @ orbited[:, 2] > 0.5  # pinching comes nearer
    assert console == []


def test_names_that_mean_harm_are_only_shown(tmp_path: Path, browse: Any) -> None:
    path = pages.write_page(
        tmp_path / "a {script} 50% ü.html", pages.generated(50, degree=0), cameras=pages.ring(2),
        names=[HARM, "{levels}"], title=HARM,
    )  # fmt: skip
    page, console = browse(path.as_uri())
    page.evaluate("neural.complete")
    page.keyboard.press("c")
    assert page.inner_text("#title").startswith("</script><script>alert(1)")
    assert [button.inner_text()[:9] for button in page.query_selector_all("#list button")] == ["</script>", "{levels}"]
    assert page.query_selector_all("img") == []
    assert console == []  # no dialog either


def test_a_page_asks_nothing_of_the_network(tmp_path: Path, served: str, browse: Any) -> None:
    pages.written(tmp_path, pages.generated(50, degree=0), pages.ring(2))
    page, console = browse("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{served}page.html")
    page.evaluate("neural.complete")
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [f"{served}page.html"]
    assert console == []
    refused = page.evaluate("fetch('/page.html').then(() => false, () => true)")
    assert refused  # the policy, not the host


def test_a_page_that_is_cut_off_says_so(tmp_path: Path, browse: Any) -> None:
    address = pages.written(tmp_path, pages.generated(3000), pages.ring(2))
    path = tmp_path / "page.html"
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b'<script type="text/plain" id="level-0-0"')])
    page, _ = browse(address)
    page.wait_for_selector("#message:not([hidden])")
    assert "cut off" in page.inner_text("#message")


def test_a_scene_without_cameras_is_seen_as_a_whole(tmp_path: Path, browse: Any) -> None:
    page, console = browse(f"{pages.written(tmp_path, pages.generated(500, degree=0), None)}#bare")
    page.evaluate("neural.complete")
    drawn = pages.shown(page).max(axis=2) > 0.05
    assert drawn[30:-10, 80:-80].mean() > 0.3  # in the middle
    assert drawn[:, :10].mean() < 0.1 and drawn[:4].mean() < 0.1  # and with room around it
    assert console == []


def test_a_browser_without_webgl_is_told(tmp_path: Path, browse: Any) -> None:
    address = pages.written(tmp_path, pages.generated(50, degree=0), None)
    page, _ = browse("about:blank")
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(address)
    assert "WebGL 2" in page.inner_text("#message")


def test_resolution_drops_while_moving_and_comes_back(tmp_path: Path, browse: Any) -> None:
    """Software rendering of 960x540 pixels takes longer than a moving picture may."""
    address = pages.written(tmp_path, pages.generated(1500, degree=1), pages.ring())
    page, console = browse(address, width=960, height=540)
    page.evaluate("neural.complete")
    width = "document.querySelector('#canvas').width"
    assert page.evaluate(width) == 960
    page.keyboard.down("ArrowLeft")
    for _ in range(300):  # the page's policy forbids Playwright's own way to wait
        if page.evaluate(width) < 900:
            break
        page.wait_for_timeout(100)
    assert page.evaluate(width) < 900
    page.keyboard.up("ArrowLeft")
    page.evaluate("neural.settled()")
    assert page.evaluate(width) == 960
    assert console == []
