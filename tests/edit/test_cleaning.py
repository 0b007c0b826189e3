"""Floaters put into scenes are found again, little else goes, and pictures are what they were."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neural import cli, edit
from neural.edit import Contradicted, Faint, Islands, Large, Needle, Sparse, Unseen, clean, merge
from neural.edit.cells import contains, keys, require_countable
from neural.edit.criterion import Found
from neural.edit.islands import components
from neural.edit.near import near_distances
from neural.edit.photographs import wrongs
from neural.edit.visibility import look
from neural.gaussians.model import Gaussians
from neural.gaussians.neighbours import nearest_distances
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.record import SH_C0
from neural.scenes.images import ImageStack
from neural.scenes.scene import Scene
from tests.edit.pictures import VIEWS, cameras, floaters, pictures, psnr, scene


@pytest.fixture(scope="module")
def playbot(neural_data: Path) -> Gaussians:
    return Gaussians.from_record(formats.read(neural_data / "splats" / "playbot_lod3.ply"))


def photographed(gaussians: Gaussians) -> Scene:
    """A capture whose photographs are pictures of the scene on black; the last two are held out."""
    shown = pictures(gaussians, VIEWS, grey=0.0).clamp(0, 1).mul(255).round().to(torch.uint8).numpy()
    n = len(VIEWS)
    return Scene(
        name="made", path=None, cameras=VIEWS, images=ImageStack.from_arrays([p.reshape(128, 128, 3) for p in shown]),
        masks=None, image_names=tuple(map(str, range(n))),
        splits={"train": tuple(range(n - 2)), "test": (n - 2, n - 1)}, points=None,
        aabb=torch.tensor([[-1.0, -1, -1], [1, 1, 1]]), world_to_scene=np.eye(4),
    )  # fmt: skip


def judged(cleaned: edit.Cleaned, n_clean: int) -> tuple[float, float]:
    """Precision and recall of what went; the floaters are the last rows."""
    gone, is_floater = ~cleaned.kept, torch.arange(len(cleaned.kept)) >= n_clean
    right = int((gone & is_floater).sum())
    return right / max(1, int(gone.sum())), right / int(is_floater.sum())


def test_floaters_of_a_real_scene_are_found(playbot: Gaussians) -> None:
    """By what lies in the scene alone."""
    dirty = merge([playbot, floaters(playbot, 300)])
    cleaned = clean(dirty)
    precision, recall = judged(cleaned, playbot.n)
    assert precision > 0.75, str(cleaned)
    assert recall > 0.95, str(cleaned)
    truth = pictures(playbot, VIEWS)
    before, after = (psnr(truth, pictures(g, VIEWS)) for g in (dirty, cleaned.gaussians))
    assert before < 25
    assert after > 40
    assert psnr(truth, pictures(clean(playbot).gaussians, VIEWS)) > 40  # and a scene without floaters stays


def test_photographs_tell_floaters_even_where_they_are_many(playbot: Gaussians) -> None:
    """A thousand of them close together are no outliers of density."""
    dirty = merge([playbot, floaters(playbot, 1000)])
    capture = photographed(playbot)
    cleaned = clean(dirty, [Contradicted(capture, background="black")])
    precision, recall = judged(cleaned, playbot.n)
    assert precision > 0.75, (precision, recall)
    assert recall > 0.8, (precision, recall)
    truth = pictures(playbot, VIEWS)
    assert psnr(truth, pictures(cleaned.gaussians, VIEWS)) > psnr(truth, pictures(dirty, VIEWS)) + 5


def test_what_photographs_agree_with_is_not_wrong() -> None:
    true = scene(400, degree=1)
    true.means.data *= 0.3
    true.log_scales.data -= 1
    capture = photographed(true)
    assert float(wrongs(true, capture).max()) < 0.03  # of bytes, and of opacities held below the clamp
    false = scene(400, degree=1)
    false.load_state_dict(true.state_dict())
    false.sh0.data[7] = torch.where(false.sh0[7] > 0, -1.5, 1.5)
    seen = look(false, capture.cameras)
    false.opacity_logits.data[7] = 3.0
    assert float(seen.weights[7]) > 1
    found = wrongs(false, capture)
    assert int(found.argmax()) == 7
    assert float(found[7]) > 0.15
    masks = ImageStack.from_arrays([np.zeros((128, 128), np.uint8)] * len(VIEWS))
    assert float(wrongs(false, replace(capture, masks=masks)).max()) == 0, "what a mask leaves out does not count"


def test_where_photographs_are_transparent_they_show_the_background() -> None:
    black = scene(1, degree=0)
    black.sh0.data[:] = -0.5 / SH_C0
    clear = ImageStack.from_arrays([np.zeros((128, 128, 4), np.uint8)] * len(VIEWS))
    capture = replace(photographed(black), images=clear)
    wrong = float(wrongs(black, capture, background="white"))
    assert wrong == pytest.approx(math.sqrt(float(black.opacity_logits.detach().sigmoid()) / 2), rel=0.05)
    assert float(wrongs(black, capture, background="black")) == 0
    black.log_scales.data -= 4
    black.opacity_logits.data[:] = -4
    assert float(look(black, VIEWS).weights) < 1
    assert float(wrongs(black, capture, background="white")) == 0, "what shows less than a pixel says too little"


def test_groups_of_just_as_many_are_no_islands() -> None:
    group = scene(109, degree=0)
    group.means.data *= 0.3 / group.means.abs().max()
    group.means.data[100:105] += torch.tensor([50.0, 0.0, 0.0])
    group.means.data[105:] += torch.tensor([0.0, 50.0, 0.0])
    found = Islands(fewer=5, cell=1.0).find(group)
    assert found.rows.nonzero()[:, 0].tolist() == [105, 106, 107, 108]
    assert found.said.startswith("1 groups of fewer than 5 ")


class These:
    """A criterion about given rows."""

    name = "these"

    def __init__(self, *rows: int) -> None:
        self.rows = rows

    def find(self, gaussians: Gaussians) -> Found:
        return Found(torch.isin(torch.arange(gaussians.n), torch.tensor(self.rows)), "so it is said")


def test_a_criterion_says_what_it_alone_is_about() -> None:
    cleaned = clean(scene(9), [These(0, 1, 2), These(2, 3), These(3)])
    assert [(removal.found, removal.alone) for removal in cleaned.removals] == [(3, 2), (2, 0), (1, 0)]
    assert cleaned.gaussians.n == 5


def test_what_shows_too_little_in_all_views_is_unseen() -> None:
    some = scene(50)
    assert not bool(Unseen(VIEWS, views=0).find(some).rows.any())
    assert bool(Unseen(VIEWS, views=0, weight=math.inf).find(some).rows.all())


def test_cells_are_counted_up_to_the_border() -> None:
    low = np.zeros(3)
    require_countable(low, np.array([1.0, 1.0, (1 << 20) - 5.0]), 1.0)
    with pytest.raises(ValueError, match="make them larger"):
        require_countable(low, np.array([1.0, 1.0, (1 << 20) - 3.0]), 1.0)


def test_the_first_and_the_last_cell_are_found_too() -> None:
    known = np.array([2, 5, 9])
    assert contains(known, np.arange(11)).nonzero()[0].tolist() == [2, 5, 9]


def test_what_no_camera_shows_goes_without_a_trace(playbot: Gaussians) -> None:
    hidden = playbot.taken(torch.arange(500))
    hidden.means.data[:, 2] += 100  # behind or beyond every view
    cleaned = clean(merge([playbot, hidden]), [Unseen(VIEWS)])
    assert not bool(cleaned.kept[playbot.n :].any())
    assert psnr(pictures(playbot, VIEWS), pictures(cleaned.gaussians, VIEWS)) > 50
    assert clean(playbot, [Unseen(VIEWS, views=4)]).gaussians.n < cleaned.gaussians.n


def test_weights_are_what_each_adds_to_pictures() -> None:
    few = scene(40, degree=0)
    views = cameras(2, size=64)
    weights = look(few, views).weights
    colored = pictures(few, views)
    brighter = scene(40, degree=0)
    for row in (3, 11, 29):
        brighter.sh0.data[:] = few.sh0
        brighter.sh0.data[row] += 1e-2 / 0.28209479177387814
        change = float((pictures(brighter, views) - colored).double().mean(dim=2).sum()) / 1e-2
        shown = float((0.5 + 0.2820948 * few.sh0[row].detach()).min()) > 0  # colours below 0 are cut off
        if shown:
            assert change == pytest.approx(float(weights[row]), rel=1e-2, abs=0.05)


def test_faint_large_and_needles() -> None:
    g = scene(1000)
    g.opacity_logits.data[:] = 2
    g.opacity_logits.data[5] = -6
    g.log_scales.data[:] = -5
    g.log_scales.data[6] = math.log(5.0)
    g.log_scales.data[7, 1] = -5 + math.log(40)
    g.log_scales.data[8, :2] = -5 + math.log(40)  # a disc
    for criterion, rows in ((Faint(), [5]), (Large(), [6]), (Needle(), [7])):
        cleaned = clean(g, [criterion])
        assert (~cleaned.kept).nonzero()[:, 0].tolist() == rows
        assert cleaned.removals[0].found == cleaned.removals[0].alone == 1
    assert clean(g, [Faint(), Large(), Needle()]).gaussians.n == 997
    assert "opacity below 0.00392" in str(clean(g, [Faint()]))


def test_a_large_one_is_not_alone_among_far_neighbours() -> None:
    g = scene(2000)
    g.means.data *= 0.1
    g.log_scales.data[:] = -5
    g.means.data[:2] += torch.tensor([5.0, 0, 0])
    g.log_scales.data[0] = 1.0  # a wall, a sky
    gone = (~clean(g, [Sparse()]).kept).nonzero()[:, 0].tolist()
    assert 1 in gone
    assert 0 not in gone


def test_near_distances_bound_those_to_the_nearest() -> None:
    points = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0))
    points[:1500, 2] *= 0.01
    points[:5] *= 1e5  # far out: the others keep their places in the order
    exact = nearest_distances(points, 8).mean(dim=1)
    ratio = near_distances(points, 8) / exact
    assert float(ratio.min()) > 0.999
    assert float(ratio.quantile(0.9)) < 1.3
    assert near_distances(points[:1], 8).tolist() == [math.inf]
    assert near_distances(points[:4], 8).isfinite().all()
    assert near_distances(torch.full((9, 3), 7e6), 3).tolist() == [0.0] * 9


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=60))
def test_components_are_those_of_a_flood(places: list[tuple[int, int, int]]) -> None:
    points = np.unique(np.array(places, dtype=np.float64), axis=0)
    cells = np.sort(keys(points + 0.5, np.full(3, -2.0), 1.0))
    labels = components(cells)
    order = np.argsort(keys(points + 0.5, np.full(3, -2.0), 1.0))
    points = points[order]
    expected = np.full(len(points), -1)
    for start in range(len(points)):
        front = [start] if expected[start] < 0 else []
        while front:
            at = front.pop()
            if expected[at] < 0:
                expected[at] = start
                front += np.flatnonzero(np.abs(points - points[at]).max(axis=1) <= 1).tolist()
    np.testing.assert_array_equal(labels, expected)


def test_islands_go_and_the_mainland_stays() -> None:
    g = scene(3000, degree=0)
    g.means.data *= 0.2
    g.means.data[:20] = torch.tensor([5.0, 5, 5]) + 0.02 * g.means[:20]
    gone = ~clean(g, [Islands(cell=0.4)]).kept
    assert bool(gone[:20].all())
    assert float(gone[20:].float().mean()) < 0.02
    assert bool(clean(g, [Islands(fewer=15, cell=0.4)]).kept[:20].all())


def test_a_scene_stays_whole_where_nothing_is_found_and_is_refused_where_nothing_is_left() -> None:
    g = scene(50)
    g.opacity_logits.data[:] = 0
    cleaned = clean(g, [Faint()])
    assert cleaned.gaussians.n == 50
    with pytest.raises(ValueError, match="none of the 50 Gaussians would be left"):
        clean(g, [Faint(below=1.0)])
    with pytest.raises(ValueError, match="at least one criterion"):
        clean(g, [])


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (Faint(2.0), "faint"),
        (Large(math.nan), "large"),
        (Needle(0.5), "needle"),
        (Sparse(-1), "sparse"),
        (Sparse(neighbours=0), "neighbours"),
        (Islands(1), "islands"),
        (Islands(cell=-1.0), "cells"),
        (Unseen(VIEWS[:0]), "camera"),
        (Unseen(VIEWS, views=-1), "views"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(criterion: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clean(scene(30), [criterion])  # type: ignore[list-item]


def test_one_gaussian_and_many_at_one_place_are_cleaned_of_nothing() -> None:
    one = scene(1)
    one.opacity_logits.data[:] = 1
    assert clean(one, [Faint(), Large(10)]).gaussians.n == 1
    heap = scene(100)
    heap.means.data[:] = 1e6
    assert clean(heap, [Faint(), Sparse()]).gaussians.n > 0


def test_the_command_says_why_and_writes_what_is_left(playbot: Gaussians, tmp_path: Path, capsys) -> None:
    dirty = merge([playbot, floaters(playbot, 100)])
    given = tmp_path / "dirty.ply"
    edit.write(dirty, given)
    assert cli.main(["edit", "clean", str(given), str(tmp_path / "a.ply"), "--dry-run"]) == 0
    assert not (tmp_path / "a.ply").exists()
    assert "nothing is written" in capsys.readouterr().out
    assert cli.main(["edit", "clean", str(given), str(tmp_path / "a.ply"), "--group", "40"]) == 0
    said = capsys.readouterr().out
    assert "groups of fewer than 40" in said
    assert [line.split()[0] for line in said.splitlines()][:5] == ["criterion", "faint", "large", "sparse", "islands"]
    assert edit.read(tmp_path / "a.ply").n == clean(dirty, [Faint(), Large(), Sparse(), Islands(40)]).gaussians.n
    for arguments, message in (
        (["--by", "unseen"], "needs --capture"),
        (["--by", "contradicted", "--capture", str(tmp_path)], "no capture of a known format"),
        (["--deviations", "-1"], "sparse: the deviations"),
        (["--by"], "criterion"),
        (["--by", "ugly"], "ugly"),
    ):
        assert cli.main(["edit", "clean", str(given), str(tmp_path / "b.ply"), *arguments]) in (2, 3)
        printed = capsys.readouterr()
        assert message in " ".join((printed.out + printed.err).split())
    assert not (tmp_path / "b.ply").exists()
