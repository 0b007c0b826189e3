"""Tile lists against the reference, gsplat's rectangles and the pixels that are drawn, for every instruction set."""

import pytest
import torch

from neural.cuda import gaussian_tiles
from neural.cuda.gaussian_tiles import TILE, Tiles, intersect
from neural.cuda.reference import gaussian_tiles as reference
from neural.errors import TooLarge
from tests.gaussian_scenes import Scene, footprints, layered
from tests.threads import same_bits

SIZES = [(1, 1), (16, 16), (17, 5), (70, 50), (333, 177)]


def _intersect(scene: Scene) -> Tiles:
    return intersect(scene.means2d, scene.conics, scene.opacities, scene.depths, scene.extents, scene.size)


def _expected(scene: Scene) -> Tiles:
    given = scene.means2d, scene.conics, scene.opacities
    starts = reference.starts(*given, scene.extents, scene.size)
    offsets, gaussians, slots = reference.fill(*given, scene.depths, scene.extents, scene.size)
    return Tiles(offsets, gaussians, starts, slots)


def _pairs(tiles: Tiles) -> set[tuple[int, int]]:
    """(tile, Gaussian)."""
    counts = tiles.offsets.diff()
    owners = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return set(zip(owners.tolist(), tiles.gaussians.tolist(), strict=True))


def _equal(left: Tiles, right: Tiles) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("n", [0, 1, 17, 3000])
def test_lists_are_those_of_the_reference(n: int, size: tuple[int, int], isa: str) -> None:
    scene = layered(n, size, radius=3.0)
    assert _equal(_intersect(scene), _expected(scene))


def test_any_number_of_threads_gives_the_same(isa: str) -> None:
    scene = layered(20_000, (333, 177), radius=2.0)  # enough that the sorts are shared
    assert _equal(same_bits(lambda: _intersect(scene)), _expected(scene))


def test_lists_are_near_to_far_and_equal_depths_by_index(isa: str) -> None:
    scene = layered(2000, (64, 64), radius=3.0)
    depths = torch.round(scene.depths) - 6  # few depths, some negative, 0 of either sign
    depths[::3] *= -1
    tiles = intersect(scene.means2d, scene.conics, scene.opacities, depths, scene.extents, scene.size)
    for begin, end in zip(tiles.offsets.tolist(), tiles.offsets.tolist()[1:], strict=False):
        owners = tiles.gaussians[begin:end].long()
        assert torch.equal(owners, owners.sort().values[depths[owners.sort().values].argsort(stable=True)])


def test_slots_order_the_pairs_by_gaussian_then_tile(isa: str) -> None:
    tiles = _intersect(layered(500, (70, 50), radius=4.0))
    counts = tiles.offsets.diff()
    owners = torch.repeat_interleave(torch.arange(len(counts)), counts)
    by_slot = torch.argsort(tiles.slots)
    key = tiles.gaussians[by_slot].long() * len(counts) + owners[by_slot]
    assert (key.diff() > 0).all()
    assert torch.equal(tiles.starts.diff(), torch.bincount(tiles.gaussians, minlength=500))


@pytest.mark.parametrize("radius", [0.5, 1.5, 4.0])
def test_no_pixel_is_missed_and_hardly_a_tile_is_idle(radius: float, isa: str) -> None:
    scene = layered(300, (85, 61), radius=radius)
    n, y, x = torch.from_numpy(footprints(scene)).nonzero().unbind(1)
    tile = y // TILE * -(-scene.size[0] // TILE) + x // TILE
    needed = set(zip(tile.tolist(), n.tolist(), strict=True))
    found = _pairs(_intersect(scene))
    assert needed <= found
    assert len(found) <= 1.1 * len(needed)


def test_lists_are_part_of_gsplats_rectangles(isa: str) -> None:
    torch_impl = pytest.importorskip("gsplat.cuda._torch_impl")
    scene = layered(400, (85, 61), radius=4.0)
    across, down = -(-85 // TILE), -(-61 // TILE)
    _, ids, gaussians = torch_impl._isect_tiles(
        scene.means2d[None], scene.extents[None], scene.depths[None], TILE, across, down
    )
    theirs = set(zip((ids >> 32).tolist(), gaussians.tolist(), strict=True))
    ours = _pairs(_intersect(scene))
    assert ours <= theirs
    assert len(ours) < 0.95 * len(theirs)


def test_what_shows_nowhere_is_in_no_tile(isa: str) -> None:
    scene = layered(8, (40, 30), radius=2.0)
    means2d, opacities, extents = scene.means2d.clone(), scene.opacities.clone(), scene.extents.clone()
    opacities[0] = 0.0
    extents[1] = 0.0
    means2d[2] = torch.tensor([-90.0, 10.0])
    means2d[3] = torch.tensor([10.0, 1e30])
    means2d[4] = float("nan")
    opacities[5] = float("nan")
    extents[6] = torch.tensor([5.0, float("nan")])
    tiles = intersect(means2d, scene.conics, opacities, scene.depths, extents, scene.size)
    assert set(tiles.gaussians.tolist()) == {7}


def test_a_gaussian_larger_than_the_image_is_in_all_tiles(isa: str) -> None:
    flat = torch.tensor([[1e-9, 0.0, 1e-9]])
    tiles = intersect(
        torch.tensor([[-5.0, 700.0]]), flat, torch.tensor([0.5]), torch.ones(1), torch.full((1, 2), 1e5), (100, 60)
    )
    assert tiles.offsets.tolist() == list(range(7 * 4 + 1))


def test_more_pairs_than_can_be_counted_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = layered(100, (70, 50), radius=4.0)
    n_pairs = len(_intersect(scene).gaussians)
    monkeypatch.setattr(gaussian_tiles, "_MOST_PAIRS", n_pairs)
    _intersect(scene)
    monkeypatch.setattr(gaussian_tiles, "_MOST_PAIRS", n_pairs - 1)
    with pytest.raises(TooLarge, match=rf"{n_pairs} pairs of a Gaussian and a tile, more than the {n_pairs - 1}"):
        _intersect(scene)


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (5, 2**21), (5.0, 5), (5,)], ids=str)
def test_no_image_has_such_a_size(size: tuple[int, int]) -> None:
    scene = layered(3, (10, 10))
    with pytest.raises(ValueError, match="size must be"):
        intersect(scene.means2d, scene.conics, scene.opacities, scene.depths, scene.extents, size)


@pytest.mark.parametrize(("n", "size"), [(0, (20, 20)), (1, (1, 1)), (700, (70, 50))])
def test_the_cuda_path(n: int, size: tuple[int, int], cuda_device: torch.device) -> None:
    scene = layered(n, size, radius=3.0)
    given = (scene.means2d, scene.conics, scene.opacities, scene.depths, scene.extents)
    found = intersect(*(x.to(cuda_device) for x in given), size)
    assert _equal(Tiles(*(x.cpu() for x in found)), _expected(scene))
