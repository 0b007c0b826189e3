"""What a stage is told, and what of earlier ones it takes: each under what it was made from; no process is started."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural.scenes.photographs.exif import Exif
from neural.scenes.photographs.sfm import process, stages
from neural.scenes.photographs.sfm.stages import CAREFUL, LENIENT, SIFT, Inputs, Stages
from neural.scenes.photographs.survey import Photograph

PAIRS = [(0, 1), (0, 2), (1, 2)]


class Worker:
    """Finds nothing wrong, and two photographs in one model; notes what it was asked."""

    def __init__(self) -> None:
        self.jobs: list[Mapping[str, Any]] = []
        self.failed: dict[str, str] = {}
        self.models = [2]

    def __call__(self, job: Mapping[str, Any], *_: object, **__: object) -> dict[str, Any]:
        self.jobs.append(job)
        for one in job["photographs"] if job["stage"] == "extract" else ():
            if str(one["index"]) not in self.failed:
                Path(one["features"]).touch()
        if job["stage"] == "match":
            Path(job["database"]).touch()
        if job["stage"] == "map" and self.models:
            names = ("w2c", "models", "params", "points", "errors", "point_of", "camera_of", "feature_of")
            np.savez(job["result"], indices=np.arange(2), **{name: np.zeros(2) for name in names})
        return {"failed": self.failed, "partners": {"0": [1]}, "models": self.models}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    made = Worker()
    monkeypatch.setattr(process, "run", made)
    return made


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Three photographs of 4000 x 3000, the last one upright; the second has a mask."""
    shots = []
    for index, size in enumerate([(4000, 3000), (4000, 3000), (3000, 4000)]):
        path = tmp_path / f"{index}.jpg"
        path.write_bytes(b"x")
        shots.append(Photograph(path, path.name, *size, Exif(), None, 1.0))
    mask = tmp_path / "1.png"
    mask.write_bytes(b"mask")
    shots[1] = replace(shots[1], mask=mask)
    return Inputs(shots, [0, 0, 1], [3500.0, None], 1000)


def test_features_are_those_of_a_photograph_its_mask_and_a_size(inputs: Inputs, worker: Worker, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = Stages(inputs, cache).extract(SIFT)
    assert [one["mask"] for one in worker.jobs[0]["photographs"]] == [None, str(tmp_path / "1.png"), None]
    assert Stages(inputs, cache).extract(SIFT) == first and len(worker.jobs) == 1
    (tmp_path / "1.png").write_bytes(b"another mask")
    other = Stages(inputs, cache).extract(SIFT)
    assert [a == b for a, b in zip(first, other, strict=True)] == [True, False, True]
    assert [one["index"] for one in worker.jobs[1]["photographs"]] == [1]
    smaller = Stages(replace(inputs, side=500), cache).extract(SIFT)
    assert not {*smaller} & {*first, *other}
    assert [one["size"] for one in worker.jobs[2]["photographs"]] == [(500, 375), (500, 375), (375, 500)]


def test_a_photograph_that_cannot_be_decoded_is_tried_once_and_left_out(
    inputs: Inputs, worker: Worker, tmp_path: Path
) -> None:
    worker.failed = {"1": "truncated"}
    run = Stages(inputs, tmp_path / "cache")
    files = run.extract(SIFT)
    assert files[1] is None and files[0] is not None and run.failed == {1: "truncated"}
    assert run.extract(SIFT) == files and len(worker.jobs) == 1
    run.match(files, PAIRS)
    assert worker.jobs[1]["pairs"] == [(0, 2)]
    assert [one["index"] for one in worker.jobs[1]["photographs"]] == [0, 2]


def test_matches_are_of_these_features_cameras_and_pairs(inputs: Inputs, worker: Worker, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    files = Stages(inputs, cache).extract(SIFT)
    path, partners = Stages(inputs, cache).match(files, PAIRS)
    assert partners == {0: [1]}
    assert Stages(inputs, cache).match(files, PAIRS) == (path, partners) and len(worker.jobs) == 2
    assert Stages(inputs, cache).match(files, PAIRS[:2])[0] == path, "further pairs go to the same database"
    assert len(worker.jobs) == 3
    finer = Stages(inputs, cache).extract(stages.FINER)
    others = [
        Stages(inputs, cache).match(finer, PAIRS),
        Stages(replace(inputs, focals=[3600.0, None]), cache).match(files, PAIRS),
        Stages(replace(inputs, focals=[None, None]), cache).match(files, PAIRS),
        Stages(replace(inputs, cameras=[0, 1, 1]), cache).match(files, PAIRS),
        Stages(replace(inputs, cameras=[0, 1, 0]), cache).match(files, PAIRS),  # the same lenses, of other photographs
    ]
    assert len({path, *(other for other, _ in others)}) == 6 and len(worker.jobs) == 9
    path.unlink()
    Stages(inputs, cache).match(files, PAIRS)
    assert len(worker.jobs) == 10 and path.exists()


def test_cameras_begin_in_pixels_of_the_reduced_pictures(inputs: Inputs, worker: Worker, tmp_path: Path) -> None:
    """With the focal length of EXIF, or as long as a telephone's, whichever way it was held."""
    run = Stages(inputs, tmp_path / "cache")
    run.match(run.extract(SIFT), PAIRS)
    known, guessed = worker.jobs[1]["cameras"]
    assert (known["focal"], known["known"], known["size"]) == (875.0, True, (1000, 750))
    assert (guessed["focal"], guessed["known"], guessed["size"]) == (1200.0, False, (750, 1000))
    assert [one["camera"] for one in worker.jobs[1]["photographs"]] == [0, 0, 1]


def test_models_are_of_these_matches_pairs_way_and_settings(inputs: Inputs, worker: Worker, tmp_path: Path) -> None:
    run = Stages(inputs, tmp_path)
    one, two = tmp_path / "matches-1.db", tmp_path / "matches-2.db"

    def asked() -> int:
        before = len(worker.jobs)
        for matches, pairs, kind, settings in [
            (one, PAIRS, "global", CAREFUL), (two, PAIRS, "global", CAREFUL), (one, PAIRS[:2], "global", CAREFUL),
            (one, PAIRS, "incremental", CAREFUL), (one, PAIRS, "global", LENIENT),
        ]:  # fmt: skip
            found = run.map(matches, pairs, kind, settings)  # type: ignore[arg-type]
            assert found is not None and found.sizes == (2,)
        return len(worker.jobs) - before

    assert (asked(), asked()) == (5, 0)
    assert len({job["result"] for job in worker.jobs}) == 5
    Path(worker.jobs[3]["result"]).unlink()
    assert asked() == 1, "a file that somebody has removed is made again"


def test_that_nothing_fits_together_is_remembered(inputs: Inputs, worker: Worker, tmp_path: Path) -> None:
    worker.models = []
    for _ in range(2):
        assert Stages(inputs, tmp_path).map(tmp_path / "matches.db", PAIRS, "global", CAREFUL) is None
    assert len(worker.jobs) == 1
