"""Volumes end to end: a small cloud is learnt, scored, shown, taken up again; what cannot be is refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import neural
from neural import checkpoint, cli, log
from neural.errors import BadOption, CheckpointError
from neural.scenes.synthetic.cloud import CloudRecipe, cloud, write
from neural.scenes.volumes.survey import FAINT, survey
from neural.scenes.volumes.voxels import Voxels, from_arrays, load_voxels
from neural.train.config import BaseRunConfig
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.field.encoding_config import KINDS
from neural.train.tasks.field.encodings import build_field
from neural.train.tasks.volume.config import (
    VolumeConfig,
    VolumeOptimConfig,
    VolumeSamplingConfig,
    VolumeViewConfig,
    resolve,
)
from neural.train.tasks.volume.points import VolumePoints
from neural.train.tasks.volume.run import VolumeRun
from neural.train.tasks.volume.task import VolumeTask
from tests.threads import same_bits

SMALL = {
    "model.n-levels": 6, "model.log2-hashmap-size": 12, "model.base-resolution": 4, "model.finest-resolution": 32,
    "model.width": 32, "sampling.points": 4096, "sampling.occupancy-resolution": 16, "view.views": 2, "view.size": 40,
    "view.steps-per-edge": 48, "view.shadow-resolution": 16, "device": "cpu", "log-every": 1,
}  # fmt: skip
FLAGS = [text for name, value in SMALL.items() for text in (f"--{name}", str(value))]
MODEL = FieldConfig(n_levels=4, log2_hashmap_size=10, base_resolution=4, finest_resolution=16, width=16)
CONFIG = VolumeConfig(
    model=MODEL, sampling=VolumeSamplingConfig(points=2048, occupancy_resolution=16),
    view=VolumeViewConfig(views=1, size=24, steps_per_edge=32, shadow_resolution=8),
    run=BaseRunConfig(steps=4, device="cpu"),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def short_films() -> Iterator[None]:
    """Of the fewest frames: no test here is about the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VolumeRun, "film_patience", 0.0)
        yield


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("volume") / "cloud.npy"
    write(CloudRecipe(resolution=32), path)
    return path


@pytest.fixture(scope="module")
def voxels() -> Voxels:
    return from_arrays(cloud(CloudRecipe(resolution=32)))


def train(grid: Path, out: Path, *flags: str) -> int:
    return cli.main(["train", "volume", str(grid), "--out", str(out), *FLAGS, *flags])


def kept_scene(run: Path) -> str:
    return json.loads((run / "config.json").read_text())["scene"]


def task_of(voxels: Voxels, config: VolumeConfig) -> VolumeTask:
    config = resolve(config, "cpu", max(voxels.sizes))
    field = build_field(config.model, 3, 4, seed=config.run.seed)
    return VolumeTask(
        field, voxels, survey(voxels, config.sampling.occupancy_resolution), config, torch.device("cpu"),
        lambda medium: torch.zeros(1, 1, 3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert train(grid, out, "--steps", "150") == 0
    return out


def test_a_cloud_is_learnt_and_reported(trained: Path) -> None:
    scores = json.loads((trained / "eval.json").read_text())
    assert scores["mean"]["psnr"] > 30
    assert scores["mean"]["psnr"] - 15 < scores["covered_psnr"] < scores["mean"]["psnr"]
    assert scores["density_mae"] < 0.15 * scores["mean_density"]
    assert scores["summary"].startswith("mean PSNR")
    assert len(scores["images"]) == 2
    history = log.read(trained)
    assert history[-1]["loss"] < 0.05 * history[0]["loss"]
    assert any("check_psnr" in line for line in history)
    page = (trained / "report.html").read_text()
    assert "Rendered pictures" in page
    assert "32 x 32 x 16 voxels" in page
    assert (trained / "orbit.mp4").exists() or (trained / "orbit").exists()


def test_commands_on_a_run(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = json.loads((trained / "eval.json").read_text())
    assert cli.main(["eval", str(trained), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith(kept["summary"])
    assert json.loads((trained / "eval.json").read_text()) == kept
    assert cli.main(["info", str(trained)]) == 0
    assert kept["summary"] in capsys.readouterr().out
    assert cli.main(["info", kept_scene(trained)]) == 0
    printed = capsys.readouterr().out
    assert "32 x 32 x 16 voxels, 0.1 MB" in printed
    assert "float16, density and albedo" in printed
    frames = tmp_path / "frames"
    assert cli.main(["render", str(trained), "--frames", "2", "--downscale", "2", "--out", str(frames)]) == 0
    assert len(list(frames.glob("*.png"))) == 2
    assert cli.main(["render", str(trained), "--path", "train"]) == 2
    assert "a volume has no photographs" in capsys.readouterr().err


def test_an_exported_grid_is_what_the_field_shows(trained: Path, grid: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(trained), str(tmp_path / "grid.npy")]) == 0
    exported, original = np.load(tmp_path / "grid.npy"), np.load(grid)
    assert exported.shape == original.shape
    assert exported.dtype == np.float16
    found, density = exported[..., 0].astype(float), original[..., 0].astype(float)
    error = np.abs(found - density).mean()
    assert error < 0.3 * density.mean()
    for axis in range(3):  # and it lies where it lay
        assert error < 0.7 * min(np.abs(np.roll(found, by, axis) - density).mean() for by in (-1, 1))
    run = neural.load_run(trained, device="cpu")
    voxel = torch.tensor([[16, 15, 6], [17, 14, 7]])
    np.testing.assert_allclose(
        exported[tuple(voxel.numpy().T)][:, 0], run.medium((voxel + 0.5) / 32)[:, 0].clamp(min=0), rtol=1e-3, atol=1e-3
    )
    empty = run.survey.peaks[0, 0, 0] == 0
    assert empty
    assert exported[0, 0, 0].tolist() == [0, 0, 0, 0]
    survey(load_voxels(tmp_path / "grid.npy"), 16)
    assert [path.name for path in tmp_path.iterdir()] == ["grid.npy"]
    assert cli.main(["export", str(trained), str(tmp_path / "grid.ply")]) == 2


def test_a_run_taken_up_again_shows_the_same(trained: Path) -> None:
    run = neural.load_run(trained, device="cpu")
    assert isinstance(run, neural.VolumeRun)
    points = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
    again = neural.load_run(trained, device="cpu")
    assert torch.equal(run.medium(points), again.medium(points))
    with pytest.raises(BadOption, match="nothing is left"):
        run.render(downscale=30)


def test_another_grid_in_the_same_place_is_refused(grid: Path, trained: Path) -> None:
    kept = grid.read_bytes()
    try:
        write(CloudRecipe(resolution=32, seed=1), grid, overwrite=True)
        with pytest.raises(CheckpointError, match="is not the grid that was trained on"):
            neural.load_run(trained, device="cpu")
        grid.unlink()
        with pytest.raises(CheckpointError, match=r"is not there; put it back, or pass load_run\(\.\.\., scene=\)"):
            neural.load_run(trained, device="cpu")
    finally:
        grid.write_bytes(kept)


def test_a_run_that_went_on_is_the_run_that_was_never_stopped(grid: Path, tmp_path: Path) -> None:
    def end(out: Path) -> dict[str, torch.Tensor]:
        return checkpoint.load_latest(out).tensors

    flags = [
        "--optim.decay",
        "none",
        "--seed",
        "5",
        "--model.table-precision",
        "float16",
        "--view.views",
        "1",
        "--eval-every",
        "99",
    ]
    assert train(grid, tmp_path / "straight", "--steps", "14", *flags) == 0
    for steps in ("5", "14"):
        assert train(grid, tmp_path / "twice", "--steps", steps, *flags) == 0
    straight, twice = end(tmp_path / "straight"), end(tmp_path / "twice")
    assert straight.keys() == twice.keys()
    assert all(torch.equal(value, twice[name]) for name, value in straight.items())


def test_a_large_step_has_the_same_bits_on_any_number_of_threads(voxels: Voxels) -> None:
    config = VolumeConfig(
        model=MODEL, sampling=VolumeSamplingConfig(points=70_001, occupancy_resolution=16), run=BaseRunConfig(steps=9)
    )

    def run():
        task = task_of(voxels, config)
        results = [task.step(step, 9) for step in range(2)]
        return [*task.tensors().values(), torch.tensor([(r.loss, r.psnr) for r in results], dtype=torch.float64)]

    same_bits(run)


@pytest.mark.parametrize("kind", KINDS)
def test_every_encoding_learns(kind: str, voxels: Voxels) -> None:
    model = FieldConfig(
        encoding=kind, n_levels=3, n_features_per_level=2, log2_hashmap_size=10, base_resolution=4,
        finest_resolution=16, width=16,
    )  # fmt: skip
    config = VolumeConfig(model=model, sampling=CONFIG.sampling, run=BaseRunConfig(steps=1000))
    task = task_of(voxels, config)
    losses = [task.step(step, 1000).loss for step in range(25)]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


def test_points_lie_where_they_should(voxels: Voxels) -> None:
    seen = survey(voxels, 16)
    points = VolumePoints(seen, voxels.box, seed=3)
    drawn = points.draw(7, 1000, 0.75)
    assert drawn.shape == (1000, 3)
    assert torch.equal(drawn, VolumePoints(seen, voxels.box, seed=3).draw(7, 1000, 0.75))
    assert not torch.equal(drawn, points.draw(8, 1000, 0.75))
    assert bool(((drawn >= 0) & (drawn <= voxels.box[1])).all())
    cells = (drawn * 16).long().clamp(max=15)
    occupied = torch.from_numpy(seen.peaks)[cells[:, 0], cells[:, 1], cells[:, 2]] > FAINT
    assert bool(occupied[:750].all())
    assert 0.02 < float(occupied[750:].float().mean()) < 0.9
    assert points.draw(0, 10, 0.0).shape == (10, 3)
    assert points.draw(0, 10, 1.0).shape == (10, 3)


def test_points_of_the_box_are_even(voxels: Voxels) -> None:
    drawn = VolumePoints(survey(voxels, 16), voxels.box, seed=0).evenly(40_000)
    counts = torch.histogramdd(drawn, bins=[4, 4, 2], range=[0, 1, 0, 1, 0, 0.5]).hist
    np.testing.assert_allclose(counts, 40_000 / 32, rtol=0.02)


def test_a_call_from_python_with_arrays(voxels: Voxels, tmp_path: Path) -> None:
    run = neural.train.volume(voxels, config=CONFIG, steps=3, out=tmp_path / "run", progress=False)
    again = neural.load_run(tmp_path / "run", device="cpu", scene=voxels)
    assert str(again.evaluate(progress=False)) == str(run.evaluate(progress=False))
    with pytest.raises(CheckpointError, match="the grid that it was trained on, volume, is not there"):
        neural.load_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sampling.points", "3"], "--sampling.points must be between 64 and"),
        (["--sampling.occupied-share", "1.5"], "--sampling.occupied-share must be between 0"),
        (["--sampling.occupancy-resolution", "100"], "--sampling.occupancy-resolution must be one of 16, 32"),
        (["--sampling.density-scale", "-1"], "--sampling.density-scale must be above 0"),
        (["--view.size", "2"], "--view.size must be between 8 and"),
        (["--model.width", "30"], "--model.width must be one of 16"),
    ],
)
def test_values_that_no_training_can_use_are_refused(
    flags: list[str], message: str, grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(grid, tmp_path / "run", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_bad_grid_begins_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = np.ones((4, 4, 4), np.float32)
    array[1, 2, 3] = np.nan
    np.save(tmp_path / "grid.npy", array)
    assert train(tmp_path / "grid.npy", tmp_path / "run") != 0
    assert "first at [1, 2, 3] is nan" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_weights_are_averaged_or_not(voxels: Voxels) -> None:
    for ema in (0.0, 0.9):
        task = task_of(voxels, VolumeConfig(
            model=MODEL, sampling=CONFIG.sampling, optim=VolumeOptimConfig(ema=ema), run=BaseRunConfig(steps=9)
        ))  # fmt: skip
        task.step(0, 9)
        shown = task.averaged_field()
        assert (shown is task.field) == (ema == 0.0)
