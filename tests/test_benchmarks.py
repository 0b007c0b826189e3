"""Every benchmark suite runs, at a size that shows no more than that; and the harness judges as it says."""

import importlib
import json
from pathlib import Path

import pytest

from neural.cuda import library
from tests.bench import __main__ as bench
from tests.bench import harness, overhead


@pytest.mark.parametrize("suite", sorted(bench.SUITES))
def test_suite_runs_and_is_kept(
    suite: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    monkeypatch.setattr("neural.cuda.native.retain_heap", lambda: None)  # it would bind this whole process
    assert bench.main([suite, "--size", "tiny", "--save"]) == 0
    (saved,) = (tmp_path / "results").glob("*.json")
    rows = json.loads(saved.read_text())["suites"][suite]
    printed = capsys.readouterr().out
    assert rows
    assert all(row["name"] in printed for row in rows)
    assert all(row["value"]["median"] > 0 for row in rows if row["value"] and row["unit"] != "dB")


def test_unknown_suite_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["speed"])
    assert "choose of applications, core, fused, gaussians" in capsys.readouterr().err


def test_every_op_has_its_overhead_measured() -> None:
    """A row named `op` stands for `op`, `op_backward` and whatever else begins with it."""
    for module in Path(library.__file__).parent.glob("*.py"):
        importlib.import_module(f"neural.cuda.{module.stem}")
    rows = tuple(row.name for row in overhead.run("tiny"))
    assert [name for name in library.OPS if not name.startswith(rows)] == []


def test_verdicts() -> None:
    value = harness.Spread.of([1.0, 2.0, 9.0])
    assert value.median == 2.0
    assert harness.Row("a", value, "x", at_least=2.0).verdict == "pass"
    assert harness.Row("a", value, "x", at_least=2.1).verdict == "FAIL"
    assert harness.Row("a", value, "x", at_most=1.9).verdict == "FAIL"
    assert harness.Row("a", value, "x").verdict == ""
    assert harness.Row("a", None, "x", at_least=2.0).verdict == "not measurable now"


def test_ratio_is_the_median_of_the_rounds() -> None:
    """A round that a neighbour spoils for both contenders does not count more than the others."""
    times = harness.Times({"slow": [2.0, 200.0, 2.0], "fast": [1.0, 100.0, 4.0]})
    assert times.ratio("slow", "fast").median == 2.0
    assert times.fastest(["slow", "fast"]) == "slow"


@pytest.mark.parametrize(("gain", "verdict"), [(1.0, "not measurable now"), (1.6, "pass")])
def test_threads_are_not_judged_where_the_cores_are_busy(
    gain: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "fma_rate", lambda count, iterations: 1.0 if count == 1 else gain)
    assert harness.two_threads("x", lambda: sum(range(20000)), "tiny", at_least=0.0).verdict == verdict
