"""Merged scenes: two crops are the whole again, and frames of files are brought together."""

from pathlib import Path

import numpy as np
import pytest
import torch

from neural import cli, edit
from neural.edit import Box, Polygon, crop, joining, merge
from neural.edit.cells import occupied
from neural.gaussians.model import Gaussians
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.record import Placement
from tests.edit.pictures import cameras, pictures, psnr, scene

HALVES = Box((-9, -9, -9), (0.1, 9, 9)), Box((-0.1, -9, -9), (9, 9, 9))  # which overlap


def rows(gaussians: Gaussians) -> list[tuple[float, ...]]:
    return sorted(map(tuple, gaussians.means.tolist()))


def test_two_crops_are_the_whole_in_every_picture() -> None:
    whole, views = scene(), cameras()
    left, right = (crop(whole, Polygon(((-9, -9), (0, -9), (1, 9), (-9, 9))), keep=k) for k in ("inside", "outside"))
    assert min(left.n, right.n) > 100
    assert psnr(pictures(whole, views), pictures(merge([right, left]), views)) > 80


def test_two_crops_of_a_real_file_are_the_whole(neural_data: Path, tmp_path: Path) -> None:
    given = neural_data / "splats" / "playbot_lod3.ply"
    whole = edit.read(given)
    parts = [tmp_path / "in.spz", tmp_path / "out.spz"]
    for path, more in zip(parts, ([], ["--outside"]), strict=True):
        assert cli.main(["edit", "crop", str(given), str(path), *["--sphere", "0.1", "-0.3", "0", "0.6"], *more]) == 0
    assert cli.main(["edit", "merge", *map(str, parts), str(tmp_path / "all.ply")]) == 0
    again = edit.read(tmp_path / "all.ply")
    assert again.n == whole.n
    formats.write(tmp_path / "whole.spz", whole.to_record())  # as coarse as the parts were
    views = cameras(2, radius=2.2, size=200)
    same = psnr(pictures(edit.read(tmp_path / "whole.spz"), views), pictures(again, views))
    assert same > 55, same


def test_twins_of_overlapping_crops_are_dropped() -> None:
    whole = scene()
    parts = [crop(whole, half) for half in HALVES]
    assert sum(part.n for part in parts) > whole.n
    assert merge(parts).n == sum(part.n for part in parts)
    once = merge(parts, overlap="twins")
    assert rows(once) == rows(whole)
    other = scene()
    other.sh0.data[:50] += 1  # elsewhere the same, but of another colour: no twins
    assert merge([whole, other], overlap="twins").n == whole.n + 50
    assert merge([whole, whole, whole], overlap="twins").n == whole.n


def test_where_the_first_is_later_ones_are_not() -> None:
    generator = torch.Generator().manual_seed(1)
    n = 4000

    def block(low: float, high: float) -> Gaussians:
        some = scene(n, degree=0)
        some.means.data[:] = torch.rand(n, 3, generator=generator) * torch.tensor([high - low, 1.0, 1.0])
        some.means.data[:, 0] += low
        return some

    first, second = block(0, 1), block(0.8, 2)
    merged = merge([first, second], overlap="first", cell=0.1)
    assert rows(crop(merged, Box((-9, -9, -9), (0.8, 9, 9)))) == rows(crop(first, Box((-9, -9, -9), (0.8, 9, 9))))
    added = merged.means[n:, 0].detach()
    assert 0.95 < float(added.min()) < 1.25
    assert float(added.max()) > 1.99
    assert abs(merged.n - n - n * 0.8 / 1.2) < 0.1 * n
    assert merge([first, first], overlap="first").n == n  # nothing is left of the second
    assert merge([first, second, second], overlap="first", cell=0.1).n == merged.n  # nor of the third


def test_equal_hashes_alone_make_no_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "_hashes", lambda words: np.zeros(len(words), np.uint64))
    some = scene(20)
    assert merge([some, some.taken(torch.tensor([0, 0, 3]))], overlap="twins").n == 21  # those of the first row


def test_a_scene_that_says_no_crs_is_in_that_of_the_first() -> None:
    a, b = scene(9), scene(9)
    a.placement = Placement(crs="EPSG:1")
    assert merge([a, b]).placement.crs == "EPSG:1" and merge([b, a]).placement.crs is None


def test_what_lies_far_outside_is_in_no_cell_of_a_scene() -> None:
    """Also where numbers of cells begin anew: a million along z is one along y."""
    here = np.array([[0.0, 0, 0], [10, 10, 10]], np.float32)
    points = np.array([[0, 0, 0.9], [1.9, 0, 0], [2.1, 0, 0], [-5, 0, 0], [1e7, 0, 0], [0, -1, 1 << 20], [0, 0, -1e30]])
    assert occupied(here, points, 1.0).tolist() == [True, True, False, False, False, False, False]


def test_degrees_are_lifted() -> None:
    plain, views = scene(degree=0, seed=1), cameras()
    merged = merge([plain, scene(10, degree=2)])
    assert merged.sh_degree == 2
    alone = Gaussians.from_record(merged.to_record().taken(np.arange(plain.n)))
    assert psnr(pictures(plain, views), pictures(alone, views)) > 80


def test_offsets_and_units_are_brought_to_those_of_the_first() -> None:
    a, b = scene(50, seed=1), scene(50, seed=2)
    a.placement = Placement(1.0, "EPSG:32631", (500_000.0, 5_200_000.0, 100.0))
    b.placement = Placement(0.5, "EPSG:32631", (1_000_010.0, 10_400_000.0, 200.0))
    merged = merge([a, b])
    assert merged.placement == a.placement
    np.testing.assert_array_equal(merged.means[:50].detach(), a.means.detach())
    np.testing.assert_allclose(merged.means[50:].detach(), b.means.detach() / 2 + torch.tensor([5.0, 0, 0]), atol=1e-6)
    np.testing.assert_allclose(merged.log_scales[50:].detach(), b.log_scales.detach() - np.log(2), atol=1e-6)


def test_where_a_file_lies_is_kept_by_edits_and_by_files(tmp_path: Path) -> None:
    a = scene(50)
    a.placement = Placement(1.0, "EPSG:32631", (500_000.0, 5_200_000.0, 100.0))
    edit.write(a, tmp_path / "a.ply")
    left = crop(edit.read(tmp_path / "a.ply"), Box((-1, -1, -1), (1, 1, 1)))
    assert left.placement == a.placement
    edit.write(left, tmp_path / "b.sog")
    assert edit.read(tmp_path / "b.sog").placement == a.placement
    with pytest.raises(ValueError, match="cannot say where it lies"):
        edit.write(left, tmp_path / "b.spz")
    moved = edit.transform(left, edit.similarity(scale=4, translate=(1, 0, 0)))
    assert moved.placement.metres_per_unit == pytest.approx(0.25)  # elsewhere now, but still known in metres
    assert moved.placement.crs is None
    assert moved.placement.offset == (0, 0, 0)
    edit.write(moved, tmp_path / "c.spz")


def test_what_does_not_go_together_is_refused(tmp_path: Path, capsys) -> None:
    a, b = scene(9), scene(9)
    b.antialiased = True
    with pytest.raises(ValueError, match="different kinds"):
        merge([a, b])
    a.placement, c = Placement(crs="EPSG:1"), scene(9)
    c.placement = Placement(crs="EPSG:2")
    with pytest.raises(ValueError, match="EPSG:1 and in EPSG:2"):
        merge([a, c])
    with pytest.raises(ValueError, match="at least one"):
        merge([])
    for cell in (0.0, float("nan"), 1e-9):
        with pytest.raises(ValueError, match="cells"):
            merge([scene(9), scene(9)], overlap="first", cell=cell)
    files = [tmp_path / name for name in ("a.ply", "b.ply")]
    for path, gaussians in zip(files, (scene(9), b), strict=True):
        edit.write(gaussians, path)
    for arguments, message in (
        ([files[0], tmp_path / "c.ply"], "two scenes or more"),
        ([*files, tmp_path / "c.ply"], "different kinds"),
        ([*files, files[0], "--overwrite"], "is the input"),
        ([*files, tmp_path / "c.ply", "--cell", 1], "--cell belongs to"),
    ):
        assert cli.main(["edit", "merge", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "c.ply").exists()
