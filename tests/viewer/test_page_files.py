"""What is written into a page, without a browser: exports of runs, frames, policy, what is refused."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neural import doctor
from neural.cameras import Cameras
from neural.errors import BackendUnavailable, BadOption, NotSaved
from neural.gaussians.model import Gaussians
from neural.scenes.files.gaussians.spz import spz
from neural.scenes.load import load
from neural.train.tasks.splats.config import SplatsConfig
from neural.train.tasks.splats.run import SplatRun
from neural.viewer import bundle, page
from neural.viewer.page import write_page
from tests.viewer import pages

CITY = Path(__file__).parents[2] / "data" / "city"


@pytest.fixture(autouse=True)
def small_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script of a line: these tests need no build."""
    path = tmp_path / "built.js"
    path.write_text("'use strict'; // {title} {levels} ümlaut", "utf-8")
    monkeypatch.setattr(bundle, "SCRIPT", path)


@pytest.fixture
def run(tmp_path: Path) -> SplatRun:
    """Gaussians beside a capture that was moved, turned and scaled on its way in."""
    similarity = np.eye(4)
    similarity[:3, :3] = 0.5 * np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    similarity[:3, 3] = [1e6, -3e6, 40.0]
    scene = load(CITY, downscale=8).transformed(similarity)
    config = SplatsConfig(run=replace(SplatsConfig().run, background="white"))
    return SplatRun(tmp_path, scene, config, Gaussians.from_record(pages.generated(60)), scene.aabb.mean(0))


def _described(path: Path) -> dict:
    return json.loads(re.search(r'id="scene">(.*?)</script>', path.read_text("utf-8"), re.S)[1])


def _lying(cameras: Cameras) -> Cameras:
    """The same photographs as telephones store them: each turned by as many quarters as its number says."""
    c2w, intrinsics, sizes = cameras.c2w.clone(), cameras.intrinsics.clone(), cameras.sizes.clone()
    for i in range(len(cameras)):
        for _ in range(i % 4):
            c2w[i, :3, 0], c2w[i, :3, 1] = -c2w[i, :3, 1].clone(), c2w[i, :3, 0].clone()
            fx, fy, cx, cy = intrinsics[i].tolist()
            intrinsics[i] = torch.tensor([fy, fx, float(sizes[i, 1]) - cy, cx])
            sizes[i] = sizes[i].flip(0)
    return Cameras.pinhole(c2w, intrinsics, sizes)


def test_photographs_that_lie_on_their_sides_are_shown_upright(run: SplatRun, tmp_path: Path) -> None:
    straight = pages.ring(8)
    up = np.array([0.0, -1.0, 0.0])
    for name, cameras in (("a.html", straight), ("b.html", _lying(straight))):
        write_page(tmp_path / name, pages.generated(60), cameras=cameras, up=up)
    wanted, got = (_described(tmp_path / name)["cameras"] for name in ("a.html", "b.html"))
    for one, other in zip(wanted, got, strict=True):
        for key in ("c2w", "intrinsics", "size"):
            np.testing.assert_allclose(other[key], one[key], atol=1e-9)
    run.scene = replace(run.scene, cameras=_lying(run.scene.cameras), images=None, masks=None, axes="RFU")
    about = _described(run.export(tmp_path / "run.html"))
    np.testing.assert_allclose(about["up"], [0, 0, 1], atol=1e-9)
    tops = np.array([-np.reshape(camera["c2w"], (3, 4))[2, 1] for camera in about["cameras"]])
    level = -load(CITY, downscale=8).cameras.c2w[:, 2, 1].numpy() > 0.55  # the others look down: no side is up
    assert (tops[level] > 0.5).all() and level.sum() > 30
    film = run._along("orbit", 12, 1)
    assert bool((-film.c2w[:, 2, 1] > 0.2).all())


def test_a_run_is_exported_in_the_frame_of_its_input(run: SplatRun, tmp_path: Path) -> None:
    """Cameras to the last digits of float64, and Gaussians where they are seen from them, at coordinates of 1e6."""
    about = _described(run.export(tmp_path / "out" / "page.html"))
    original = load(CITY, downscale=8)
    for camera, c2w, name in zip(about["cameras"], original.cameras.c2w, original.image_names, strict=True):
        np.testing.assert_allclose(np.reshape(camera["c2w"], (3, 4)), c2w[:3].numpy(), atol=1e-8)
        assert camera["name"] == name
    origin = np.linalg.inv(run.scene.world_to_scene) @ [*run.origin.numpy(), 1.0]
    assert np.linalg.norm(about["centre"] - origin[:3]) < 2 * 2.0  # the ball is within a unit of the origin
    assert about["background"] == [1, 1, 1] and about["start"]["camera"] == 0
    assert "browser" in run.exported(tmp_path / "out" / "page.html")
    trained = _described(run.export(tmp_path / "page.html", frame="scene"))
    np.testing.assert_allclose(np.reshape(trained["cameras"][0]["c2w"], (3, 4)), run.scene.cameras.c2w[0, :3].numpy())
    assert trained["near"] == pytest.approx(about["near"] / 2)


def test_a_page_takes_no_options_of_other_formats(run: SplatRun, tmp_path: Path) -> None:
    for options in ({"frame": "RUB"}, {"tile": 10.0}, {"sh_bits": (8, 8)}):
        with pytest.raises(BadOption, match="a page takes"):
            run.export(tmp_path / "page.html", **options)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotSaved, match="cannot be written"):
        run.export(tmp_path / "file" / "page.html")


def test_the_levels_are_the_scene(tmp_path: Path) -> None:
    record = pages.generated(21_000, degree=1)
    path = tmp_path / "page.html"
    pages.written(tmp_path, record, pages.ring())
    about, text = _described(path), path.read_text("utf-8")
    assert [level["blocks"] for level in about["levels"]] == [1, 1]
    counts = []
    for index, level in enumerate(about["levels"]):
        data = base64.b64decode(re.search(rf'id="level-{index}-0">(.*?)</script>', text)[1])
        assert len(data) == level["bytes"]
        (tmp_path / "level.spz").write_bytes(data)
        counts.append(len(read := spz.read(tmp_path / "level.spz")))
    assert counts == [16_000, 21_000]
    back = read.means / about["scale"] + np.array(about["centre"])
    assert np.abs(back - record.means).max() < 1e-4


def test_a_level_is_in_blocks_that_are_decoded_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_BLOCK", 300)
    pages.written(tmp_path, pages.generated(200, degree=0), None)
    text = (tmp_path / "page.html").read_text("utf-8")
    (level,) = _described(tmp_path / "page.html")["levels"]
    found = re.findall(r'id="level-0-(\d+)">(.*?)</script>', text)
    assert [int(number) for number, _ in found] == list(range(level["blocks"])) and len(found) > 3
    (tmp_path / "level.spz").write_bytes(data := b"".join(base64.b64decode(block) for _, block in found))
    assert len(data) == level["bytes"] and len(spz.read(tmp_path / "level.spz")) == 200


def test_a_page_begins_at_the_camera_that_was_asked_for_and_says_what_is_clear(tmp_path: Path) -> None:
    record = pages.generated(400, degree=0)
    cameras = pages.ring()
    cameras.c2w[2, :3, 3] *= 2
    pages.written(tmp_path, record, cameras, start=2, clear=0.25)
    about = _described(tmp_path / "page.html")
    assert about["start"] == {"camera": 2, "focus": about["cameras"][2]["focus"]}
    assert about["cameras"][2]["focus"] > about["cameras"][0]["focus"] + 1
    assert about["clear"] == 0.25
    record.means[0] = [0, 90, 0]  # far out, and drawn
    pages.written(tmp_path, record, cameras)
    assert _described(tmp_path / "page.html")["far"] > 95
    pages.write_page(tmp_path / "page.html", record)
    small = _described(tmp_path / "page.html")["near"]
    grown = replace(record, means=record.means * 8, log_scales=record.log_scales + np.float32(np.log(8)))
    pages.write_page(tmp_path / "page.html", grown)
    assert _described(tmp_path / "page.html")["near"] == pytest.approx(8 * small)


def test_a_name_of_a_camera_ends_no_script(tmp_path: Path) -> None:
    names = ["</script><script>alert(1)</script>", "<!--", "a\x00\ud800", "x" * 300]
    pages.written(tmp_path, pages.generated(20, degree=0), pages.ring(), names=names)
    found = [camera["name"] for camera in _described(tmp_path / "page.html")["cameras"]]
    assert found == [*names[:2], "a\N{REPLACEMENT CHARACTER}?", "x" * 200]


def test_the_policy_allows_these_texts_and_nothing_else(tmp_path: Path) -> None:
    pages.written(tmp_path, pages.generated(20, degree=0), None, title="{script}")
    text = (tmp_path / "page.html").read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    script = bundle.SCRIPT.read_text("utf-8")
    assert f"<script>{script}</script>" in text  # braces of the script and of the title are not filled in
    assert "<title>{script}</title>" in text
    for body in (script, re.search(r"<style>(.*?)</style>", text, re.S)[1]):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" in policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    hashed = r"'sha256-[A-Za-z0-9+/]{43}='"
    assert re.fullmatch(hashed, rules.pop("style-src"))
    assert re.fullmatch(rf"{hashed} 'wasm-unsafe-eval'", rules.pop("script-src"))
    assert rules == {
        "default-src": "'none'", "worker-src": "blob:", "img-src": "data:", "connect-src": "'none'",
        "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip


def test_a_title_stays_a_title(tmp_path: Path) -> None:
    pages.written(tmp_path, pages.generated(20, degree=0), None, title="</title><img src=x onerror=alert(1)>")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<title>&lt;/title&gt;&lt;img src=x onerror=alert(1)&gt;</title>" in text
    assert "<img" not in text.replace(bundle.SCRIPT.read_text("utf-8"), "")


def test_a_missing_viewer_is_said_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "SCRIPT", tmp_path / "none.js")
    with pytest.raises(BackendUnavailable, match=r"was not built.*npm"):
        pages.written(tmp_path, pages.generated(20), None)
    assert not (tmp_path / "page.html").exists()
    (finding,) = [found for found in doctor.examine().findings if found.topic == "pages"]
    assert finding.state == "optional" and "npm" in finding.remedy


@pytest.mark.parametrize("text", ["let a = 1 // </SCRIPT >", "// </script", "<!-- x"])
def test_a_script_that_cannot_stand_in_a_page_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "SCRIPT", tmp_path / "page.js")
    bundle.SCRIPT.write_text(text)
    with pytest.raises(BackendUnavailable, match="cannot stand inside a page"):
        pages.written(tmp_path, pages.generated(20), None)


def test_a_scene_far_from_the_origin_begins_before_it(tmp_path: Path) -> None:
    """Where float32 knows no centimetres; the nearest depth is the one that was asked for."""
    origin = np.array([4e5, 5e6, 100.0])
    record = pages.generated(50, degree=0)
    pages.write_page(tmp_path / "page.html", record)
    here = _described(tmp_path / "page.html")
    pages.write_page(tmp_path / "page.html", record, origin=origin, near=0.125)
    there = _described(tmp_path / "page.html")
    assert there["near"] == 0.125 != here["near"]
    np.testing.assert_allclose(np.array(there["centre"]) - here["centre"], origin, atol=1e-6)
    start, moved = (np.array(about["start"]["c2w"]).reshape(3, 4) for about in (here, there))
    np.testing.assert_allclose(moved[:, 3] - start[:, 3], origin, atol=1e-6)
    np.testing.assert_allclose(moved[:, :3], start[:, :3])


def test_a_scene_far_from_the_origin_has_the_size_that_it_has(tmp_path: Path) -> None:
    """Its cameras are as far out."""
    origin = np.array([4e5, 5e6, 100.0])
    record, cameras = pages.generated(50, degree=0), pages.ring()
    pages.write_page(tmp_path / "page.html", record, cameras=cameras)
    here = _described(tmp_path / "page.html")
    cameras.c2w[:, :3, 3] += torch.from_numpy(origin)
    pages.write_page(tmp_path / "page.html", record, cameras=cameras, origin=origin)
    there = _described(tmp_path / "page.html")
    for name in ("scale", "extent", "near", "far"):
        assert there[name] == pytest.approx(here[name], rel=1e-6)
    assert there["start"]["focus"] == pytest.approx(here["start"]["focus"], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"names": ["one"]}, "1 names for 4 cameras"), ({"start": 4}, "one of 4 cameras"), ({"start": -1}, "got -1")],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pages.written(tmp_path, pages.generated(20), pages.ring(), **options)


def test_scenes_of_any_size_are_held(tmp_path: Path) -> None:
    """A thimble and a country: the file's steps and ranges are those of the page's own unit."""
    for scale in (1e-4, 1e5):
        record = pages.generated(400, degree=0)
        grown = replace(
            record, means=record.means * np.float32(scale), log_scales=record.log_scales + np.float32(np.log(scale))
        )
        cameras = pages.ring().posed(pages.ring().c2w * torch.tensor([1, 1, 1, scale], dtype=torch.float64))
        pages.written(tmp_path, grown, cameras)
        text = (tmp_path / "page.html").read_text("utf-8")
        (tmp_path / "level.spz").write_bytes(base64.b64decode(re.search(r'id="level-0-0">(.*?)</script>', text)[1]))
        about = _described(tmp_path / "page.html")
        read = spz.read(tmp_path / "level.spz")
        back = read.means / about["scale"] + np.array(about["centre"])
        assert np.abs(back - grown.means).max() < 1e-3 * scale
        assert np.abs(read.log_scales - np.log(about["scale"]) - grown.log_scales).max() <= 1 / 32 + 1e-4
