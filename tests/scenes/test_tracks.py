"""tracks.npy beside a transforms.json: which photograph saw which point where."""

import numpy as np
import pytest

import neural
from neural.errors import SceneFormatError

ROWS = np.array([[3, 0, 4.5, 5.25], [10, 8, 0.25, 11.5], [3, 4, 19.0, 0.0]])


def test_observations_are_those_of_the_file(tiny):
    folder = tiny.nerfstudio(tracks_file_path="tracks.npy")
    np.save(folder / "tracks.npy", ROWS)
    seen = neural.load(folder, downscale=2).points.observations
    assert seen.points.tolist() == [3, 10, 3] and seen.cameras.tolist() == [0, 8, 4]
    np.testing.assert_allclose(seen.pixels, ROWS[:, 2:] / 2)


def test_a_missing_photograph_takes_its_observations_along(tiny):
    folder = tiny.nerfstudio(tracks_file_path="tracks.npy")
    np.save(folder / "tracks.npy", ROWS)
    (folder / "images" / tiny.names[0]).unlink()
    seen = neural.load(folder, missing="skip").points.observations
    assert seen.points.tolist() == [10, 3] and seen.cameras.tolist() == [7, 3]


def test_a_missing_file_is_told(tiny):
    scene = neural.load(tiny.nerfstudio(tracks_file_path="tracks.npy"))
    assert scene.points is not None and scene.points.observations is None
    assert any("tracks_file_path names" in warning and "missing" in warning for warning in scene.warnings)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (ROWS[:, :3], r"shape \[3, 3\], expected \[M, 4\]"),
        (np.add(ROWS, [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]), "row 1 names point 11 of 11"),
        (np.subtract(ROWS, [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]), "row 0 names frame -1 of 9"),
        (np.add(ROWS, [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0.5, 0, 0]]), "row 2 names frame 4.5 of 9"),
        (np.where(ROWS == 10, np.nan, ROWS), "row 1 names point nan"),
        (np.where(ROWS == 11.5, np.inf, ROWS), "not finite"),
    ],
)
def test_rows_that_name_what_is_not_there_are_refused(tiny, rows, why):
    folder = tiny.nerfstudio(tracks_file_path="tracks.npy")
    np.save(folder / "tracks.npy", rows)
    with pytest.raises(SceneFormatError, match=why):
        neural.load(folder)


def test_a_damaged_file_is_refused(tiny):
    folder = tiny.nerfstudio(tracks_file_path="tracks.npy")
    np.save(folder / "tracks.npy", ROWS)
    whole = (folder / "tracks.npy").read_bytes()
    for size in (0, 7, 100, len(whole) - 1):
        (folder / "tracks.npy").write_bytes(whole[:size])
        with pytest.raises(SceneFormatError):
            neural.load(folder)
