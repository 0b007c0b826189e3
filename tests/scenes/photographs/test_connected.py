"""Groups of photographs that a mapper has put into one model without tying them together."""

import numpy as np
import pytest

from neural.scenes.photographs.sfm.connected import SHARED, largest_piece
from neural.scenes.photographs.sfm.stages import Model


def model(*seen: list[int]) -> Model:
    """Photograph i sees the points `seen[i]`; every number in it says whose it is."""
    n, n_points = len(seen), 1 + max(max(points) for points in seen)
    w2c = np.tile(np.eye(4), (n, 1, 1))
    w2c[:, 0, 3] = np.arange(n)
    return Model(
        indices=10 + np.arange(n), w2c=w2c, lenses=np.array(["SIMPLE_RADIAL"] * n), params=np.arange(n)[:, None] * 1.0,
        points=np.arange(n_points)[:, None] * np.ones(3), errors=np.arange(n_points) * 1.0,
        point_of=np.concatenate(seen), camera_of=np.repeat(np.arange(n), [len(points) for points in seen]),
        feature_of=np.concatenate([100 * i + np.array(points) for i, points in enumerate(seen)]),
    )  # fmt: skip


def span(first: int, last: int) -> list[int]:
    return list(range(first, last))


def test_a_chain_hangs_together() -> None:
    whole = model(*(span(20 * i, 20 * i + 60) for i in range(7)))
    assert largest_piece(whole) is whole


def test_the_larger_of_two_groups_stays_with_its_points() -> None:
    small, large = [span(100, 150), span(100, 150)], [span(0, 60), span(0, 60), span(20, 60)]
    piece = largest_piece(model(small[0], *large, small[1]))
    assert piece.indices.tolist() == [11, 12, 13] and piece.w2c[:, 0, 3].tolist() == [1, 2, 3]
    assert piece.params[:, 0].tolist() == [1, 2, 3]
    assert piece.points[:, 0].tolist() == piece.errors.tolist() == span(0, 60)
    assert len(piece.point_of) == 160
    for point, camera, feature in zip(piece.point_of, piece.camera_of, piece.feature_of, strict=True):
        assert feature == 100 * (camera + 1) + piece.points[point, 0]


def test_of_two_groups_as_large_that_which_sees_more_stays() -> None:
    found = largest_piece(model(span(100, 150), span(100, 150), span(0, 60), span(0, 60)))
    assert found.indices.tolist() == [12, 13]


@pytest.mark.parametrize(("common", "together"), [(SHARED - 1, False), (SHARED, True)])
def test_a_few_points_in_common_tie_nothing_together(common: int, together: bool) -> None:
    found = largest_piece(model(span(0, 60), span(0, 60), span(60 - common, 120), span(60 - common, 120)))
    assert len(found.indices) == (4 if together else 2)


def test_few_of_many_points_are_wrong_matches() -> None:
    """Thirty of two thousand points: fox, whose groups differed by ten thousand in size."""
    found = largest_piece(model(span(0, 2000), span(0, 2000), span(0, 2000), span(1970, 3970), span(1970, 3970)))
    assert found.indices.tolist() == [10, 11, 12]
    assert len(found.points) == 2000 and found.points[:, 0].max() == 1999


def test_the_first_pair_is_the_one_that_hangs_together_best() -> None:
    """200 of ten thousand points may be wrong matches, 150 of a thousand are none."""
    found = largest_piece(model(span(0, 10_100), span(0, 200) + span(20_000, 29_800), span(9950, 10_950)))
    assert found.indices.tolist() == [10, 12]


def test_points_that_one_other_sees_place_nothing() -> None:
    """They say where it is seen from there, not how far away: castle_P30, a pose 22 metres off in a model of metres."""
    chain = [span(0, 60), span(0, 90), span(30, 90)]
    pairs_only = largest_piece(model(*chain, span(0, 8) + span(90, 150), span(90, 150)))  # 8 placed, 60 of one other
    assert pairs_only.indices.tolist() == [10, 11, 12]
    first = largest_piece(model(span(90, 150), *chain[:1], span(0, 90) + span(90, 150), chain[2]))
    assert first.indices.tolist() == [11, 12, 13]


def test_two_photographs_are_a_group() -> None:
    assert len(largest_piece(model(span(0, 60), span(0, 60), span(60, 80))).indices) == 2


def test_points_that_only_one_of_the_group_sees_go() -> None:
    found = largest_piece(model(span(0, 41), span(0, 40), span(0, 40), span(40, 42)))
    assert len(found.indices) == 3 and len(found.points) == 40 and found.point_of.max() == 39
