"""The report page: complete, self-contained, safe with hostile names, right where it draws numbers."""

import base64
import dataclasses
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from neural import report
from neural.report import charts, page, pictures, stage

VOID = {"meta", "img", "input", "link", "br"}


class Checker(HTMLParser):
    """Every tag is closed, nothing is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("line", "circle", "path")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert all(source.startswith("data:") for source in checker.sources)
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in re.sub(r"data:[^\"']*", "", text)
    return checker


def view(name: str = "r_1.png", seed: int = 0, height: int = 24, width: int = 30, **scores: float) -> report.View:
    rng = np.random.default_rng(seed)
    image, target = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return report.View(name, image, target, **{"psnr": 30.0 + seed, "ssim": 0.9, **scores})


def plot() -> report.CameraPlot:
    c2w = np.tile(np.eye(4), (4, 1, 1))
    c2w[:, :3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # looks along +y, up is +z
    c2w[:, 0, 3] = np.arange(4)
    c2w[:, 1, 3] = -5
    points = np.random.default_rng(0).normal(size=(50, 3))
    return report.CameraPlot.from_c2w(c2w, [1], np.array([[-1.0, -1, -1], [1, 1, 1]]), points=points)


def full(**changes: object) -> report.Report:
    history = [{"step": s, "loss": 1.0 / s, "psnr": 20 + s / 50, "rays_per_second": 5e4} for s in range(1, 200)]
    history[100]["test_psnr"] = 24.0
    contents = report.Report(
        title="fox",
        subtitle="radiance field, 200 steps",
        headline={"PSNR": "30.50 dB", "LPIPS": "not installed"},
        views=[view("a.jpg"), view("b.jpg", 1, 30, 24)],
        protocol="2 images, white, test",
        curves=report.curves_from_history(history),
        cameras=plot(),
        scene={"images": "4"},
        settings={
            "task": "radiance",
            "model": {"n_levels": 16, "betas": [0.9, 0.99], "bias": None, "on": True},
        },
        command="neural train radiance fox",
        environment={"torch": "2.13.0"},
        warnings=["one frame was left out"],
    )
    return dataclasses.replace(contents, **changes)  # type: ignore[arg-type]


def test_the_page_holds_everything_and_fetches_nothing(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"not really a video")
    report.write(tmp_path / "report.html", full(video=tmp_path / "v.mp4"))
    text = (tmp_path / "report.html").read_text("utf-8")
    seen = " ".join(checked(text).text)
    for expected in (
        "fox", "30.50 dB", "not installed", "a.jpg", "2 images, white, test", "mean of 2", "0.9, 0.99",
        "neural train radiance fox", "2.13.0", "one frame was left out", "held out", "Speed",
    ):  # fmt: skip
        assert expected in seen
    assert "data:video/mp4" in text
    assert "prefers-color-scheme" in text
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_bare_report_is_a_page_too(tmp_path: Path) -> None:
    bare = full(views=[], curves=[], cameras=None, scene={}, settings={}, environment={}, warnings=[], headline={})
    checker = checked(page.render(bare))
    assert "Held-out views" not in checker.text
    assert "Do it again" in checker.text


def test_names_from_files_cannot_become_markup() -> None:
    evil = '"><script>alert(1)</script>'
    text = page.render(
        full(
            title=evil,
            views=[view(evil)],
            warnings=[evil],
            command=evil,
            scene={evil: evil},
            settings={evil: {evil: evil}},
        )
    )
    assert checked(text).text.count(evil) >= 6
    assert text.count("<script>") == 1  # ours


def test_settings_are_shown_as_what_they_are() -> None:
    values = {
        "one": 1,
        "zero": 0,
        "on": True,
        "off": False,
        "open": None,
        "rate": 1e-15,
        "list": [1, 0.5],
        "name": "exp",
    }
    cells = re.findall(r"<th>(\w+)</th><td>([^<]*)</td>", page.render(full(settings={"group": values})))
    shown = {key: value for key, value in cells if key in values}
    assert shown == {
        "one": "1", "zero": "0", "on": "yes", "off": "no", "open": "–",
        "rate": "1e-15", "list": "1, 0.5", "name": "exp",
    }  # fmt: skip


def test_the_bars_of_the_scores_start_at_zero() -> None:
    text = page.render(full(views=[view(psnr=20.0), view(psnr=40.0)]))
    assert re.findall(r"--share:([\d.]+)", text) == ["0.5000", "1.0000"]


def test_lpips_is_a_column_only_where_it_was_measured() -> None:
    assert "<th>LPIPS</th>" not in page.render(full())
    text = page.render(full(views=[view(lpips=0.125), view(lpips=0.25, seed=1)]))
    assert "<th>LPIPS</th>" in text
    assert "0.1875" in text


def test_equal_images_are_said_to_be_identical() -> None:
    text = page.render(full(views=[view(psnr=float("inf"), ssim=1.0), view(seed=1)]))
    assert "identical" in text
    checked(text)


def test_many_views_are_shown_by_score_with_best_and_worst() -> None:
    views = [view(f"{i}.png", psnr=float((i * 37) % 100)) for i in range(100)]
    shown = page.chosen(views)
    assert len(shown) == page.MAX_VIEWS
    scores = [v.psnr for v in shown]
    assert {0.0, 99.0} <= set(scores)
    assert [views.index(v) for v in shown] == sorted(views.index(v) for v in shown)
    assert "12 of 100 views" in page.render(full(views=views))


def test_a_picture_survives_the_way_into_the_page() -> None:
    smooth = np.linspace(0, 255, 200 * 300 * 3).reshape(200, 300, 3).astype(np.uint8)
    head, data = pictures.data_uri(smooth).split(",")
    assert head == "data:image/jpeg;base64"
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert np.abs(back.astype(int) - smooth).mean() < 3
    large = np.zeros((3000, 1500, 3), dtype=np.uint8)
    shrunk = Image.open(io.BytesIO(base64.b64decode(pictures.data_uri(large).split(",")[1])))
    assert shrunk.size == (500, 1000)


def test_the_error_map_grows_brighter_with_the_error() -> None:
    target = np.zeros((1, 64, 3), dtype=np.uint8)
    image = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 3, axis=2)
    luminance = pictures.error_map(image, target).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance[0]) >= 0).all()
    assert luminance[0, -1] > luminance[0, 0] + 150
    assert np.array_equal(pictures.error_map(image, target), pictures.error_map(target, image))


def chart_paths(curve: report.Curve) -> tuple[ElementTree.Element, list[np.ndarray]]:
    svg = re.search(r"<svg.*</svg>", charts.chart(curve))
    assert svg is not None
    tree = ElementTree.fromstring(svg[0])
    found = [element.get("d", "") for element in tree.iter("path") if "line" in (element.get("class") or "")]
    return tree, [np.array(re.findall(r"-?[\d.]+", d), dtype=float).reshape(-1, 2) for d in found]


def test_a_chart_puts_values_where_its_axes_say() -> None:
    curve = report.Curve("PSNR", "dB", {"training": [(0, 10.0), (50, 25.0), (100, 40.0)]})
    tree, (path,) = chart_paths(curve)
    at = {float(t.text or ""): float(t.get("y", "")) - 4 for t in tree.iter("text") if t.get("text-anchor") == "end"}
    assert at[10] == pytest.approx(path[0, 1], abs=0.2)
    assert at[40] == pytest.approx(path[2, 1], abs=0.2)
    assert path[1, 1] == pytest.approx((path[0, 1] + path[2, 1]) / 2, abs=0.2)
    assert path[1, 0] == pytest.approx((path[0, 0] + path[2, 0]) / 2, abs=0.2)


def test_a_logarithmic_chart_is_even_in_ratios() -> None:
    _, (path,) = chart_paths(report.Curve("Loss", "", {"training": [(1, 1.0), (2, 0.1), (3, 0.01)]}, log=True))
    assert path[1, 1] - path[0, 1] == pytest.approx(path[2, 1] - path[1, 1], abs=0.2)


@given(
    st.lists(st.floats(1e-8, 1e8), min_size=1, max_size=50),
    st.booleans(),
)
def test_every_chart_stays_inside_its_frame(values: list[float], log: bool) -> None:
    points = [(float(i), v) for i, v in enumerate(values)]
    tree, paths = chart_paths(report.Curve("x", "", {"training": points}, log=log))
    for path in paths:
        assert (path >= 0).all()
        assert (path[:, 0] <= charts.WIDTH).all()
        assert (path[:, 1] <= charts.HEIGHT).all()
    ticks = [t.text for t in tree.iter("text") if t.get("text-anchor") == "end"]
    assert 2 <= len(ticks) <= 20
    assert len(set(ticks)) == len(ticks) or max(values) - min(values) < 0.01 * max(values)


def test_long_lines_are_thinned_by_means_and_smoothed_without_a_shift() -> None:
    points = [(float(s), float(s % 2)) for s in range(10_000)]
    thin = charts.thinned(points)
    assert len(thin) <= charts.MAX_POINTS
    assert all(abs(y - 0.5) < 0.02 for _, y in thin)
    line = [(float(s), 2.0 * s) for s in range(400)]
    assert np.allclose(charts.smoothed(line), line)


def test_history_becomes_charts_and_gaps_do_not_matter() -> None:
    history = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}, {"step": 3, "loss": 0.0, "psnr": 20.0}]
    loss, psnr = report.curves_from_history(history)
    assert loss.lines == {"training": [(1, 0.5)]}
    assert psnr.lines == {"training": [(3, 20.0)]}
    assert report.curves_from_history([]) == []
    json.dumps(charts.chart(psnr))  # a single point is drawn as a dot
    assert "circle" in charts.chart(psnr)


def test_camera_plot_takes_up_and_direction_from_the_poses() -> None:
    cameras = plot()
    assert np.allclose(cameras.up, [0, 0, 1])
    assert np.allclose(cameras.forwards, [[0, 1, 0]] * 4)
    assert cameras.held_out.tolist() == [False, True, False, False]


@given(st.floats(-180, 180), st.floats(-90, 90), st.integers(0, 1000))
def test_view_axes_are_a_right_handed_frame_with_up_upright(azimuth: float, elevation: float, seed: int) -> None:
    up = np.random.default_rng(seed).normal(size=3)
    axes = stage.view_axes(up, azimuth, elevation)
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(axes) == pytest.approx(1)
    on_paper = axes @ up
    assert abs(on_paper[0]) < 1e-9  # the scene's up is never tilted sideways
    assert on_paper[1] >= -1e-9


def test_cameras_on_the_stage_open_towards_what_they_see() -> None:
    cameras = plot()
    axes = stage.view_axes(cameras.up, 0.0, 90.0)
    shown = [part for part in stage.stage(cameras).split("<path") if "camera" in part][4:]  # from above
    forward = (cameras.forwards[0] @ axes.T)[:2] * [1, -1]
    for part in shown:
        numbers = np.array(re.findall(r"-?[\d.]+", part.split('d="')[1].split('"')[0]), dtype=float).reshape(-1, 2)
        square, tip = numbers[:4], numbers[4]
        assert (square.mean(axis=0) - tip) @ forward > 1.0


@pytest.mark.parametrize("direction", [[0, 0, 1], [0, 0, -1]])
def test_a_camera_looking_straight_up_or_down_is_drawn(direction: list[float]) -> None:
    straight = dataclasses.replace(plot(), forwards=np.tile(np.array(direction, dtype=float), (4, 1)))
    assert "nan" not in stage.stage(straight)
