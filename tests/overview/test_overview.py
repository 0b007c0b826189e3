"""Overviews: what is drawn where, in which colour, and the page's parts."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural import cli, info
from neural.errors import BadOption, SceneFormatError
from neural.overview import contents, facts, page, plan, unused
from neural.overview.contents import UNUSED, Overview, Photograph
from neural.scenes.files import mesh, ply
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.record import Placement
from neural.scenes.load import load
from tests.scenes import formats as captures
from tests.splat_files import made


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Nine cameras on a ring in the plane of x and y, a split file, and two photographs that have no camera."""
    folder = tmp_path / "capture"
    captures.write_images(folder / "images")
    captures.write_images(folder / "images", ("stray one.png", "übrig.png"))
    flip = np.diag([1.0, -1, -1, 1])
    frames = [
        {"file_path": f"images/{name}", "transform_matrix": (pose @ flip).tolist()}
        for name, pose in zip(captures.NAMES, captures.poses(), strict=True)
    ]
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 40.0, "w": 40, "h": 30, "frames": frames}))
    return folder


def made_of(points: np.ndarray, c2w: np.ndarray, **given: object) -> Overview:
    n = len(c2w)
    values = dict(
        title="made", c2w=c2w, half_views=np.full((n, 2), 0.4), splits=("train",) * n, points=points,
        colors=np.full((len(points), 3), 0, dtype=np.uint8), n_points=len(points), box=None,
        up=np.array([0.0, 0, 1]), notes=(), metres_per_unit=None, rows=(), photographs=(),
    )  # fmt: skip
    return Overview(**(values | given))  # type: ignore[arg-type]


def test_info_says_what_it_found(capture: Path) -> None:
    text = info.describe(capture)
    for said in (
        "format   nerfstudio (transforms.json)",
        "images   9: train 7, test 2",
        "lenses   pinhole, 53.1 degrees across",
        "unused   2 photographs without a camera: stray one.png, übrig.png",
        "scale    unknown",
    ):
        assert said in text


def test_up_is_what_the_files_say(capture: Path, tmp_path: Path) -> None:
    assert "as the cameras are held" in info.describe(capture)
    content = json.loads((capture / "transforms.json").read_text())
    (capture / "transforms.json").write_text(json.dumps({**content, "axes": "URF"}))
    assert re.search(r"up +\+x, as the files say", info.describe(capture))
    overview = Overview.of_scene(load(capture))
    np.testing.assert_allclose(overview.up, [1, 0, 0], atol=1e-12)
    assert "up: +x, as URF axes have it" in overview.notes[0]


def test_a_box_far_from_the_origin_is_shown_with_the_digits_that_matter() -> None:
    box = facts.box([449_998.5, 5_199_000.25, 98.0], [450_001.5, 5_199_003.75, 101.0])
    assert box == "(449998.5, 5199000.25, 98) to (450001.5, 5199003.75, 101)"


def test_info_of_gaussians_says_where_they_lie_and_knows_their_folders(tmp_path: Path) -> None:
    placed = replace(made(50), placement=Placement(0.5, "EPSG:32633", (449_000.0, 0.0, 12.5)))
    (tmp_path / "sog").mkdir()
    formats.write(tmp_path / "sog" / "meta.json", placed)
    text = info.describe(tmp_path / "sog")
    assert text == info.describe(tmp_path / "sog" / "meta.json")
    assert "bytes a Gaussian" not in text  # which the index has none of
    for said in (
        "Gaussians    50",
        "scale        0.5 m per unit",
        "CRS          EPSG:32633",
        "(449000, 0, 12.5), taken",
    ):
        assert said in text
    formats.write(tmp_path / "a.ply", made(50))
    assert "offset" not in info.describe(tmp_path / "a.ply")
    assert "CRS" not in info.describe(tmp_path / "a.ply")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "meta.json").write_text('{"frames": []}')
    with pytest.raises(SceneFormatError, match="no capture of a known format"):
        info.describe(tmp_path / "other")


def test_info_of_meshes_points_and_what_is_none_of_it(tmp_path: Path) -> None:
    corners = np.array([[0.0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 0, 4]])
    mesh.write(tmp_path / "m.obj", corners, np.array([[0, 1, 2], [0, 1, 3]]))
    mesh.write(tmp_path / "m.ply", corners, np.array([[0, 1, 2], [0, 1, 3]]))
    ply.write_points(tmp_path / "p.ply", corners, np.zeros((4, 3), np.uint8))
    for name, first in (("m.obj", "2 triangles, 4 corners"), ("m.ply", "2 triangles, 4 corners"), ("p.ply", "4 (")):
        found = info.find(tmp_path / name)
        assert first in found.text and "(0, 0, 0) to (2, 3, 4)" in found.text
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(SceneFormatError, match=r"notes\.md: no file that is known here: there may be"):
        info.describe(tmp_path / "notes.md")


def test_info_ends_with_what_the_reader_noticed(capture: Path) -> None:
    content = json.loads((capture / "transforms.json").read_text())
    content |= {"ply_file_path": "none.ply", "aabb_scale": 2, "applied_scale": 2.0}
    (capture / "transforms.json").write_text(json.dumps(content))
    text = info.describe(capture)
    assert "format   instant-ngp (transforms.json)" in text
    assert "exports undo it" in text
    assert re.search(r"warning  ply_file_path names .*none\.ply, which is missing", text)


def test_the_picture_shows_cameras_where_they_are(capture: Path, tmp_path: Path) -> None:
    overview = Overview.of_scene(load(capture))
    info.draw(info.find(capture), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        pixels = np.asarray(picture).astype(int)
    views = plan.directions(overview)
    middle, span = plan.framing(overview, overview.points)
    for column, axes in enumerate(views.values()):
        panel = plan._Panel(axes, middle, span)
        left = plan._GAP + column * (plan._SIDE + plan._GAP)
        for place, split in zip(panel.place(overview.c2w[:, :3, 3]) / plan._FINE, overview.splits, strict=True):
            x, y = (int(v) for v in place)
            around = pixels[plan._HEAD + y - 2 : plan._HEAD + y + 3, left + x - 2 : left + x + 3].reshape(-1, 3)
            assert (np.abs(around - plan.SPLIT_COLORS[split]).sum(axis=1) < 40).any(), (column, split)


def test_from_above_and_from_the_side_are_right_handed_views_of_one_scale() -> None:
    points = np.array([[0, 0, 0], [4.0, 0, 0], [0, 2, 0], [0, 0, 1]])
    for up, right, above in (
        ([0, 0, 1], [1, 0, 0], [0, 1, 0]),
        ([0, -1, 0], [1, 0, 0], [0, 0, 1]),
        ([0, 1, 0], [1, 0, 0], [0, 0, -1]),
        ([1, 0, 0], [0, 1, 0], [0, 0, 1]),
        ([0.6, 0, 0.8], None, None),
    ):
        views = plan.directions(made_of(points, np.zeros((0, 4, 4)), up=np.array(up, dtype=float)))
        for axes in views.values():
            np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(axes) > 0
        np.testing.assert_allclose(views["from the side"][1], up, atol=1e-12)
        if right is not None:
            np.testing.assert_array_equal(views["from above"][:2], [right, above])


def test_far_points_do_not_make_the_scene_small(capture: Path) -> None:
    c2w = captures.poses()
    near = np.random.default_rng(0).normal(size=(500, 3))
    far = np.concatenate([near, 1e6 * np.random.default_rng(1).normal(size=(30, 3))])
    _, alone = plan.framing(made_of(near, c2w), near)
    _, span = plan.framing(made_of(far, c2w), far)
    assert alone < 12
    assert span < 40


@pytest.mark.parametrize("offset", [0.0, 5e6])
def test_degenerate_scenes_are_drawn(offset: float) -> None:
    one = captures.poses()[:1] + np.eye(4, k=3) * 0
    one[:, :3, 3] += offset
    for points in (np.zeros((0, 3)), np.full((1, 3), offset), np.full((20, 3), offset + 1.0)):
        plan.picture(made_of(points, one))
        plan.picture(made_of(points, np.repeat(one, 3, axis=0)))
        if len(points):
            plan.picture(made_of(points, one[:0]))


def test_units_are_metres_where_they_are_known() -> None:
    assert [plan.round_length(x) for x in (1.0, 0.99, 4.9, 5.0, 1999.0, 0.0021)] == [1, 0.5, 2, 5, 1000, 0.002]
    points = np.random.default_rng(0).normal(size=(50, 3))
    some, other = (plan.picture(made_of(points, np.zeros((0, 4, 4)), metres_per_unit=m)) for m in (None, 100.0))
    assert np.abs(np.asarray(some).astype(int) - np.asarray(other)).sum() > 0


def test_gaussians_are_points_of_their_colours(tmp_path: Path) -> None:
    formats.write(tmp_path / "a.ply", made(3000, 0))
    info.draw(info.find(tmp_path / "a.ply"), tmp_path / "a.png")
    overview = Overview.of_gaussians("a", formats.read(tmp_path / "a.ply"))
    assert 0 < len(overview.points) < overview.n_points == 3000  # faint ones are not shown
    with Image.open(tmp_path / "a.png") as picture:
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 500


def test_the_page_holds_cameras_points_and_every_photograph(capture: Path, tmp_path: Path) -> None:
    (capture / "images" / captures.NAMES[4]).write_bytes(b"")  # after its header was read, it is gone
    scene = Overview.of_scene
    with pytest.raises(SceneFormatError):
        load(capture)
    captures.write_images(capture / "images")
    overview = scene(load(capture))
    (capture / "images" / captures.NAMES[4]).write_bytes(b"")
    text = page.render(overview)
    data = json.loads(re.search(r'id="scene">(.*?)</script>', text).group(1))  # type: ignore[union-attr]
    assert len(data["cameras"]) == len(data["names"]) == 9
    assert text.count("<figure") == 11
    assert text.count('class="unused"') == 2
    assert "11 photographs, 2 of them without a camera" in text
    assert "class=broken" in text
    assert "http" not in text.replace("http-equiv", "")  # nothing is fetched
    page.write(overview, tmp_path / "x.html")
    assert (tmp_path / "x.html").read_text("utf-8") == text


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    bad = '</script><img src=x onerror="alert(1)">'
    photographs = (Photograph(bad, tmp_path / "none.png", "train"),)
    text = page.render(
        made_of(np.zeros((0, 3)), captures.poses()[:1], title=bad, photographs=photographs, rows=((bad, bad),))
    )
    assert "<img src=x" not in text
    assert text.count("</script>") == 2


def test_what_is_wrong_with_a_photograph_is_only_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad(path: Path, side: int) -> None:
        raise SceneFormatError(path, "is <img src=x> of & nothing")

    monkeypatch.setattr(page.photos, "thumbnail", bad)
    photographs = (Photograph("a", tmp_path / "a.png", "train"),)
    text = page.render(made_of(np.zeros((0, 3)), captures.poses()[:1], photographs=photographs))
    assert "<p class=broken>is &lt;img src=x&gt; of &amp; nothing</p>" in text


def test_boxes_have_no_negative_nought_and_axes_their_sign() -> None:
    assert facts.box([-1e-9, 0.0, -0.0], [1.0, 1.0, 1.0]) == "(0, 0, 0) to (1, 1, 1)"
    assert contents.levelled(np.array([0.01, -0.9999, 0.01])).tolist() == [0, -1, 0]
    assert contents.levelled(np.array([0.0, -0.6, 0.8])).tolist() == [0, -0.6, 0.8]


def test_folders_of_very_many_files_are_not_searched_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(6):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{index}.png")
    assert len(unused.unused([tmp_path / "0.png"])) == 5
    monkeypatch.setattr(unused, "_MOST_FILES", 3)
    assert 2 <= len(unused.unused([tmp_path / "0.png"])) <= 3


def test_of_very_many_photographs_an_even_choice_is_shown() -> None:
    many = [Photograph(str(i), Path(str(i)), "train") for i in range(1000)]
    idle = [Photograph(str(i), Path(str(i)), UNUSED) for i in range(100)]
    shown = page.chosen([*many, *idle], 200)
    assert len(shown) == 200 == len(set(shown))
    assert sum(i >= 1000 for i in shown) == 50
    assert max(np.diff([i for i in shown if i < 1000])) <= 7
    assert page.chosen(many[:5], 200) == [0, 1, 2, 3, 4]
    few = page.chosen([*many[:10], *idle], 60)
    assert len(few) == 60 and few[:10] == list(range(10))


def test_photographs_without_cameras(tmp_path: Path, capsys) -> None:
    captures.write_images(tmp_path / "photos")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8")
    text = info.describe(tmp_path / "photos")
    assert "photographs  10" in text
    assert "neural reconstruct" in text
    assert "1 cannot be read: broken.jpg" in text
    assert cli.main(["info", str(tmp_path / "photos"), "--draw", str(tmp_path / "a.html")]) == 0
    assert (tmp_path / "a.html").read_text("utf-8").count("<figure") == 10
    assert cli.main(["info", str(tmp_path / "photos"), "--draw", str(tmp_path / "a.png")]) == 2
    assert "no cameras and no points" in capsys.readouterr().err


def test_what_cannot_be_drawn_is_refused(capture: Path, tmp_path: Path, capsys) -> None:
    photograph = capture / "images" / captures.NAMES[0]
    before = photograph.read_bytes()
    assert cli.main(["info", str(photograph), "--draw", str(photograph)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert photograph.read_bytes() == before
    assert cli.main(["info", str(photograph), "--draw", str(tmp_path / "x.png")]) == 2
    assert "nothing with cameras or points" in capsys.readouterr().err
    with pytest.raises(BadOption, match="must end in"):
        info.draw(info.find(capture), tmp_path / "x.svg")
    (tmp_path / "file").write_text("")
    assert cli.main(["info", str(capture), "--draw", str(tmp_path / "file" / "x.png")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fox", "lego_400", "drone_caliterra", "alexander_colmap"])
def test_real_captures(name: str, neural_data: Path, tmp_path: Path) -> None:
    found = info.find(neural_data / name)
    info.draw(found, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        pixels = np.asarray(picture).reshape(-1, 3)
    for color in (plan.SPLIT_COLORS["train"], plan.SPLIT_COLORS["test"]):
        assert (np.abs(pixels.astype(int) - color).sum(axis=1) < 30).sum() > 200
    assert found.overview is not None
    overview = found.overview()
    assert overview.up.tolist() == [0, 0, 1] or name == "alexander_colmap"  # whose frame is nobody's
    heights = overview.c2w[:, :3, 3] @ overview.up
    if name == "drone_caliterra":
        assert np.median(overview.points @ overview.up) < np.median(heights)
