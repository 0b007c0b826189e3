"""Which way a picture is turned so that it stands upright."""

import numpy as np
import pytest

from neural.poses import look_at, quarter_turns

UP = np.array([0.0, 0.0, 1.0])


def stored(degrees: float, eye: tuple[float, float, float] = (0.0, -5.0, 0.0)) -> np.ndarray:
    """A camera that looks at the origin, turned about its axis."""
    angle = np.radians(degrees)
    roll = np.eye(4)
    roll[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return look_at(np.array(eye), np.zeros(3), UP) @ roll


@pytest.mark.parametrize("degrees", [0, 30, -30, 60, 90, 120, 180, 250, 270, 300])
def test_what_is_above_is_shown_above(degrees: float) -> None:
    """A light above the middle of what is looked at, in a picture of 41 x 41 pixels."""
    c2w = stored(degrees)
    place = np.linalg.inv(c2w) @ [0, 0, 1, 1]
    column, row = np.round(20 + 90 * place[:2] / place[2]).astype(int)
    picture = np.zeros((41, 41))
    picture[row, column] = 1
    turns = quarter_turns(c2w, UP)
    above, beside = np.argwhere(np.rot90(picture, turns))[0] - 20
    assert above < 0 and abs(beside) <= -above
    assert turns == 0 or abs(degrees) > 45


@pytest.mark.parametrize("degrees", [45, -45])
def test_halfway_it_stays(degrees: float) -> None:
    assert quarter_turns(stored(degrees), UP) == 0


def test_from_above_nothing_is_turned() -> None:
    for degrees in (0, 90, 200):
        assert quarter_turns(stored(degrees, (0.0, -0.5, 9.0)), UP) == 0
