"""What is done again, and what is tried next: stages without their process, and the ladder without its stages."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from neural.scenes.photographs import survey
from neural.scenes.photographs.sfm import ladder, pairs, process, stages
from neural.scenes.photographs.sfm.stages import Inputs, Model, Stages
from tests.scenes.photographs.test_survey import picture


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    (tmp_path / "in").mkdir()
    for index in range(4):
        picture(index).save(tmp_path / "in" / f"{index}.png")
    return Inputs(survey.survey(tmp_path / "in", progress=False).photographs, [0] * 4, [None], 100)


def test_only_features_that_are_missing_are_looked_for(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def worker(job: dict[str, Any], *_: object, **__: object) -> dict[str, Any]:
        asked.append([one["index"] for one in job["photographs"]])
        for one in job["photographs"][:2]:  # it is killed after two
            np.savez(one["features"], places=np.zeros((0, 4)))
        if len(asked) == 1:
            raise KeyboardInterrupt
        return {"failed": {str(one["index"]): "broken" for one in job["photographs"][2:]}}

    monkeypatch.setattr(process, "run", worker)
    with pytest.raises(KeyboardInterrupt):
        Stages(inputs, tmp_path / "cache").extract(stages.SIFT)
    files = Stages(inputs, tmp_path / "cache").extract(stages.SIFT)
    assert asked == [[0, 1, 2, 3], [2, 3]] and all(files)
    os.utime(inputs.photographs[1].path, ns=(1, 1))  # another photograph under the same name
    Stages(inputs, tmp_path / "cache").extract(stages.SIFT)
    Stages(inputs, tmp_path / "cache").extract(stages.FINER)
    assert asked[2:] == [[1], [0, 1, 2, 3]]


def test_photographs_are_looked_at_in_a_size_that_keeps_their_shape(inputs: Inputs) -> None:
    assert inputs.size(0) == (100, 75)
    assert Inputs(inputs.photographs, [0] * 4, [None], 5000).size(0) == (160, 120)


class Pretended:
    """Stages whose mappings find what they are told to."""

    def __init__(self, n: int, finds: dict[str, int], folder: Path, torn: dict[str, int] | None = None) -> None:
        self.torn = torn or {}
        self.inputs = SimpleNamespace(photographs=[SimpleNamespace(name=str(i)) for i in range(n)])
        self.failed = {n - 1: "cannot be decoded"}
        self.finds, self.folder, self.tried = finds, folder, list[str]()
        self.pairs, self.settings = list[int](), list[Any]()

    def extract(self, sift: dict[str, Any]) -> list[Path | None]:
        self.finer = sift is stages.FINER
        path, blurred = (self.folder / f"{name}{' finer' * self.finer}.npz" for name in ("features", "blurred"))
        np.savez(path, places=np.zeros((500, 4)))
        np.savez(blurred, places=np.zeros((99, 4)))
        n = len(self.inputs.photographs)
        return [None if i in self.failed else blurred if i == 5 else path for i in range(n)]

    def match(self, files: Any, pairs: Any) -> tuple[Path, dict[int, list[int]]]:
        self.pairs.append(len(pairs))
        return self.folder, {0: [1], 8: [7], 7: [8], 6: []}

    def map(self, matches: Path, pairs: Any, kind: str, settings: Any) -> Any:
        self.tried.append(kind + " finer" * self.finer)
        self.settings.append(settings)
        n = self.finds[self.tried[-1]]
        if n == 0:
            return None
        torn = self.torn.get(self.tried[-1], 0)  # so many of them see points of their own
        point = np.tile(np.arange(60), n) + 60 * np.repeat(np.arange(n) < torn, 60)
        arrays = {name: np.zeros((n, 4, 4)) for name in ("w2c", "lenses", "params")}
        return Model(
            indices=np.arange(n), **arrays, points=np.zeros((120, 3)), errors=np.zeros(120), point_of=point,
            camera_of=np.repeat(np.arange(n), 60), feature_of=point,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("finds", "tried", "best"),
    [
        ({"global": 10}, ["global"], "global"),
        ({"global": 6, "incremental": 10}, ["global", "incremental"], "incremental"),
        ({"global": 0, "incremental": 4, "incremental finer": 3}, ["global", "incremental", "incremental finer"],
         "incremental"),
        ({"global": 2, "incremental": 2, "incremental finer": 7}, ["global", "incremental", "incremental finer"],
         "incremental finer"),
        ({"global": 4, "incremental": 4, "incremental finer": 4}, ["global", "incremental", "incremental finer"],
         "global"),
    ],
)  # fmt: skip
def test_the_next_way_is_tried_until_nearly_all_have_a_pose_and_the_best_counts(
    finds: dict[str, int], tried: list[str], best: str, tmp_path: Path
) -> None:
    run: Any = Pretended(10, finds, tmp_path)
    outcome = ladder.climb(run, "exhaustive", "auto", [(np.nan, np.nan)] * 10)
    assert run.tried == tried
    assert outcome.way == f"exhaustive matching, {best.split()[0]} mapping" + ", finer features" * ("finer" in best)
    assert outcome.reasons.keys() == set(range(finds[best], 10))
    assert outcome.features[0] == tmp_path / f"features{' finer' * ('finer' in best)}.npz", "which its points count in"


def test_nineteen_of_twenty_are_enough(tmp_path: Path) -> None:
    run: Any = Pretended(20, {"global": 19, "incremental": 20}, tmp_path)
    assert ladder.climb(run, "exhaustive", "auto", []).way == "exhaustive matching, global mapping"


def test_the_last_way_is_patient_and_compares_all_with_all_where_they_are_not_too_many(tmp_path: Path) -> None:
    few: Any = Pretended(60, {"global": 3, "incremental": 4, "incremental finer": 5}, tmp_path)
    assert ladder.climb(few, "sequential", "auto", []).way == "exhaustive matching, incremental mapping, finer features"
    assert few.pairs[0] == few.pairs[1] < few.pairs[2] == 60 * 59 // 2
    assert few.settings == [stages.CAREFUL, stages.CAREFUL, stages.LENIENT]
    many: Any = Pretended(401, {"global": 3, "incremental": 4, "incremental finer": 5}, tmp_path)
    assert ladder.climb(many, "sequential", "auto", []).way.startswith("sequential")


def test_a_model_in_two_pieces_counts_for_the_larger_one(tmp_path: Path) -> None:
    """A global mapper may say that all have a pose, of which some have another unit."""
    run: Any = Pretended(10, {"global": 10, "incremental": 9, "incremental finer": 9}, tmp_path, torn={"global": 3})
    outcome = ladder.climb(run, "exhaustive", "auto", [(np.nan, np.nan)] * 10)
    assert outcome.model is not None and outcome.model.indices.tolist() == list(range(9))
    assert "incremental" in outcome.way and outcome.reasons.keys() == {9}


@pytest.mark.parametrize(
    ("mapping", "tried", "posed"), [("auto", ["global", "incremental"], 40), ("global", ["global"], 39)]
)
def test_one_photograph_that_is_cut_off_is_placed_the_other_way(
    mapping: Any, tried: list[str], posed: int, tmp_path: Path
) -> None:
    """castle_P30: a pose 22 metres off, held by points that only one other photograph sees."""
    run: Any = Pretended(40, {"global": 40, "incremental": 40}, tmp_path, torn={"global": 1})
    run.failed = {}
    outcome = ladder.climb(run, "exhaustive", mapping, [(np.nan, np.nan)] * 40)
    assert run.tried == tried
    assert outcome.model is not None and len(outcome.model.indices) == posed


def test_one_that_is_cut_off_after_both_ways_is_left_where_it_is(tmp_path: Path) -> None:
    run: Any = Pretended(40, {"global": 20, "incremental": 40}, tmp_path, torn={"incremental": 1})
    outcome = ladder.climb(run, "exhaustive", "auto", [])
    assert run.tried == ["global", "incremental"] and outcome.reasons.keys() == {0}


def test_neighbours_on_the_ground_are_those_of_their_places(tmp_path: Path) -> None:
    run: Any = Pretended(100, {"global": 100}, tmp_path)
    places = [(10.0 * i, 0.0) for i in range(100)]
    ladder.climb(run, "spatial", "auto", places)
    assert run.pairs == [len(pairs.spatial(np.array(places)))]


def test_every_photograph_without_a_pose_has_its_own_reason(tmp_path: Path) -> None:
    run: Any = Pretended(10, {"global": 5}, tmp_path)
    reasons = ladder.climb(run, "exhaustive", "global", [(np.nan, np.nan)] * 10, patient=False).reasons
    assert reasons[9] == "cannot be decoded"
    assert reasons[5].startswith("only 99 features")
    assert "too little overlap" in reasons[6]
    assert "no pose either" in reasons[8]
    assert ladder.climb(run, "exhaustive", "global", [], patient=False).reasons.keys() == {5, 6, 7, 8, 9}


def test_nothing_found_is_no_model_and_a_reason_for_each(tmp_path: Path) -> None:
    run: Any = Pretended(10, {"global": 0, "incremental": 0, "incremental finer": 0}, tmp_path)
    outcome = ladder.climb(run, "exhaustive", "auto", [(np.nan, np.nan)] * 10)
    assert outcome.model is None and len(outcome.reasons) == 10
