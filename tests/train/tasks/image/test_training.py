"""Images: every encoding learns one, a resumed run is the run, draws are even, and what is shown is what was learnt."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import neural
from neural import checkpoint, log
from neural.errors import BadOption, CheckpointError, SceneFormatError
from neural.scenes.pictures.picture import Picture
from neural.train.config import BaseRunConfig
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.field.encoding_config import KINDS, WAVES
from neural.train.tasks.field.encodings import build_field
from neural.train.tasks.image.config import ImageConfig, ImageDataConfig, ImageOptimConfig, resolve
from neural.train.tasks.image.data import ImageData
from neural.train.tasks.image.pictures import part
from neural.train.tasks.image.run import ImageRun
from neural.train.tasks.image.task import ImageTask
from tests.threads import same_bits

SMALL = ImageConfig(
    model=FieldConfig(n_levels=6, log2_hashmap_size=12, finest_resolution=64, width=16, hidden_layers=1),
    data=ImageDataConfig(batch=1024),
    run=BaseRunConfig(steps=150, device="cpu", log_every=5),
)


def pixels(height: int = 40, width: int = 60, channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [0.5 + 0.4 * np.sin(x / (3 + c) + 2 * c) * np.cos(y / (4 - c / 2)) for c in range(channels)]
    return (np.stack(waves, -1) * 255).astype(np.uint8)


def trained(out: Path, picture: object = None, config: ImageConfig = SMALL, **options: object) -> ImageRun:
    shown = pixels() if picture is None else picture
    return neural.train.image(shown, config=config, out=out, progress=False, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ImageRun:
    return trained(tmp_path_factory.mktemp("image") / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_every_encoding_learns(kind: str, tmp_path: Path) -> None:
    waves = kind in WAVES
    sizes = {"n_levels": None, "base_resolution": None} if waves else {"base_resolution": 8}
    model = replace(SMALL.model, encoding=kind, width=32, hidden_layers=2, **sizes)
    config = replace(SMALL, model=model, run=replace(SMALL.run, steps=600 if waves else 250))
    first, last = (log.read(trained(tmp_path / kind, config=config).folder)[i]["psnr"] for i in (0, -1))
    assert last > max(20.0 if waves else 22.0, first + 5)


def test_scores_are_those_of_the_rendering(run: ImageRun, tmp_path: Path) -> None:
    scores = run.evaluate(progress=False)
    assert scores.psnr > 28 and scores.ms_ssim is None and scores.ssim is not None
    assert scores.codecs[0].name == "JPEG"
    with Image.open(run.render(out=tmp_path / "a.png", progress=False)) as image:
        rendered = np.asarray(image).astype(float)
    error = np.square((rendered - pixels()) / 255).mean()
    assert -10 * np.log10(error) == pytest.approx(scores.psnr, abs=0.1)  # rounding to 8 bits
    assert (run.folder / "report.html").exists()
    assert 'summary": "PSNR' in (run.folder / "eval.json").read_text()


def test_a_part_is_rendered_at_any_size(run: ImageRun, tmp_path: Path) -> None:
    with Image.open(run.render(out=tmp_path / "whole.png", progress=False)) as image:
        whole = np.asarray(image)
    with Image.open(run.render(out=tmp_path / "part.png", crop=(10, 5, 20, 30), progress=False)) as image:
        assert np.array_equal(np.asarray(image), whole[5:35, 10:30])
    with Image.open(run.render(out=tmp_path / "large.png", crop=(10, 5, 20, 30), size=90, progress=False)) as image:
        assert image.size == (60, 90)
        assert np.array_equal(np.asarray(image)[1::3, 1::3], whole[5:35, 10:30])  # every third is a pixel's centre


@pytest.mark.parametrize(
    ("options", "message"),
    [({"crop": (50, 0, 20, 5)}, "20 x 5 at 50, 0 is not within 60 x 40"), ({"size": 0}, "--size must be 1 to"),
     ({"out": Path("a.jpg")}, r"must end in \.png")],
)  # fmt: skip
def test_what_cannot_be_rendered_is_refused(run: ImageRun, options: dict, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        run.render(**options)


def test_a_run_is_taken_up_as_it_was(run: ImageRun) -> None:
    again = neural.load_run(run.folder, device="cpu", scene=pixels())
    for one, other in zip(run.field.parameters(), again.field.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(CheckpointError, match="not the picture that was trained"):
        neural.load_run(run.folder, device="cpu", scene=pixels()[::-1])
    with pytest.raises(CheckpointError, match="is not there; put it back"):
        neural.load_run(run.folder, device="cpu")


@pytest.mark.parametrize(("ema", "kind"), [(0.0, "hash"), (0.9, "hash"), (0.0, "probed"), (0.9, "probed")])
def test_a_resumed_run_is_bit_for_bit_the_run(tmp_path: Path, ema: float, kind: str) -> None:
    model = replace(SMALL.model, encoding=kind, log2_hashmap_size=8)
    config = replace(SMALL, model=model, optim=ImageOptimConfig(ema=ema, decay="none"))
    whole = trained(tmp_path / "whole", config=config, steps=30)
    trained(tmp_path / "parts", config=config, steps=11)
    parts = trained(tmp_path / "parts", config=config, steps=30)
    one, other = (checkpoint.load_latest(r.folder).tensors for r in (whole, parts))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.equal(a, b) for a, b in zip(whole.field.parameters(), parts.field.parameters(), strict=True))


def test_a_run_older_than_an_option_goes_on(tmp_path: Path) -> None:
    """One that was stored before there were kinds with options of their own, whatever is chosen for those today."""
    config = replace(SMALL, optim=ImageOptimConfig(decay="none"))
    whole = trained(tmp_path / "whole", config=config, steps=20)
    folder = trained(tmp_path / "old", config=config, steps=10).folder
    stored = json.loads((folder / "config.json").read_text())
    for name in ("activation", "activation_steps", "cells", "n_probes", "log2_codebook_size"):
        del stored["model"][name]
    (folder / "config.json").write_text(json.dumps(stored))
    again = trained(folder, config=config, steps=20)
    assert torch.equal(again.field.encoding.table, whole.field.encoding.table)
    (folder / "config.json").write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match=r'model\.activation: "none" there, "step" here'):
        trained(folder, config=replace(config, model=replace(SMALL.model, activation="step")), steps=20)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_run_that_grows_is_bit_for_bit_the_run_that_was_stopped_between(
    tmp_path: Path, ema: float, precision: str
) -> None:
    """A step looks at 16 pixels, so that there are new cells in most of the first steps."""
    model = replace(SMALL.model, encoding="scalable", cells=8, table_precision=precision)
    config = replace(
        SMALL, model=model, data=ImageDataConfig(batch=16, sampling="uniform"),
        optim=ImageOptimConfig(ema=ema, decay="none"),
    )  # fmt: skip
    whole = trained(tmp_path / "whole", config=config, steps=12)
    trained(tmp_path / "parts", config=config, steps=2)
    early = checkpoint.load_latest(tmp_path / "parts").tensors
    parts = trained(tmp_path / "parts", config=config, steps=12)
    one, other = (checkpoint.load_latest(r.folder).tensors for r in (whole, parts))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    n_early, n_late = len(early["model/encoding.cells"]), len(one["model/encoding.cells"])
    assert 0 < n_early < n_late <= 64
    x = torch.rand(500, 2)
    again = neural.load_run(parts.folder, device="cpu", scene=pixels())
    for field in (parts.field, again.field):
        assert torch.equal(field(x), whole.field(x))


def test_a_task_that_has_made_no_step_is_taken_up_too() -> None:
    config = resolve(replace(SMALL, model=replace(SMALL.model, encoding="scalable")), "cpu", width=60, height=40,
                     linear=False)  # fmt: skip
    data = ImageData(Picture.from_array(pixels()), config.data, 0)

    def task() -> ImageTask:
        return ImageTask(build_field(config.model, 2, 3, seed=0), data, config, torch.device("cpu"))

    one, other = task(), task()
    other.load(one.tensors())
    assert one.step(0, 5).loss == other.step(0, 5).loss and one.step(1, 5).loss == other.step(1, 5).loss
    assert one.optimiser.state_dict()["optim/encoding.table/exp_avg"].shape == one.field.encoding.table.shape


@pytest.mark.parametrize("kind", ["hash", "probed", "scalable", "triangle", "oneblob"])
def test_steps_are_the_same_for_any_number_of_threads(kind: str) -> None:
    model = replace(SMALL.model, encoding=kind, n_levels=12, log2_hashmap_size=10, log2_codebook_size=14)
    asked = replace(SMALL, model=model)
    config = resolve(asked, "cpu", width=60, height=40, linear=False)

    def run():
        data = ImageData(Picture.from_array(pixels()), replace(config.data, batch=30_000), 0)
        task = ImageTask(build_field(config.model, 2, 3, seed=0), data, config, torch.device("cpu"))
        return [torch.tensor([task.step(step, 6).loss for step in range(6)], dtype=torch.float64)]

    same_bits(run)


@pytest.mark.parametrize("sampling", ["stratified", "uniform"])
def test_draws_are_even_and_hold_the_pixels_values(sampling: str) -> None:
    picture = Picture.from_array(pixels())
    data = ImageData(picture, ImageDataConfig(space="srgb", sampling=sampling, batch=600), 7)  # type: ignore[arg-type]
    counts = np.zeros((40, 60))
    for step in range(80):
        positions, values = data.draw(step)
        columns, rows = (positions * 60 - 0.5).round().long().unbind(1)
        np.add.at(counts, (rows.numpy(), columns.numpy()), 1)
        assert torch.equal(values, torch.from_numpy(pixels()[rows, columns]).float() * (1 / 255))
    assert counts.mean() == pytest.approx(20)
    expected = 20 if sampling == "uniform" else 15  # a draw from 4 pixels: variance 80 / 4 (1 - 1 / 4)
    assert counts.var() == pytest.approx(expected, rel=0.12)
    assert all(torch.equal(a, b) for a, b in zip(data.draw(3), data.draw(3), strict=True))
    assert not torch.equal(data.draw(3)[0], data.draw(4)[0])


def test_alpha_is_composited_and_spaces_are_converted() -> None:
    half = np.concatenate([pixels(), np.full((40, 60, 1), 51, np.uint8)], -1)
    config = ImageDataConfig(space="srgb", background="white")
    shown = ImageData(Picture.from_array(half), config, 0).rows(0, 40)
    assert shown.numpy() == pytest.approx(pixels() / 255 * 0.2 + 0.8, abs=1e-6)
    linear = ImageData(Picture.from_array(pixels()), ImageDataConfig(space="linear"), 0)
    assert float(linear.rows(0, 1).max()) < 0.9 * pixels().max() / 255
    torch.testing.assert_close(linear.shown(linear.rows(0, 40)), torch.from_numpy(pixels() / 255).float())


def test_high_dynamic_range_is_learnt_by_its_ratio(tmp_path: Path) -> None:
    bright = (10.0 ** (pixels() / 255.0 * 1.5 - 0.5)).astype(np.float32)
    run = trained(tmp_path / "hdr", bright, replace(SMALL, run=replace(SMALL.run, steps=400)))
    assert (run.config.data.space, run.config.optim.loss) == ("linear", "relative_l2")
    found = part(run.field, run.data, (0, 0, 60, 40)).numpy()
    assert np.median(np.abs(found / bright - 1)) < 0.1


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grey_and_alpha_are_learnt(tmp_path: Path, channels: int) -> None:
    run = trained(tmp_path / "run", pixels(channels=channels), replace(SMALL, run=replace(SMALL.run, steps=20)))
    assert run.field(torch.rand(3, 2)).shape == (3, 1 if channels < 3 else 3)
    assert (run.folder / "report.html").exists()


Damage = Callable[[np.ndarray], None]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.__setitem__((3, 5, 1), np.nan), "the pixel at 5, 3 is NaN or Inf"),
        (lambda p: p.__setitem__((..., 3), 0.0), "fully transparent"),
    ],
)
def test_what_shows_nothing_is_refused_before_a_run_begins(tmp_path: Path, damage: Damage, message: str) -> None:
    picture = np.ones((20, 30, 4), np.float32)
    damage(picture)
    with pytest.raises(SceneFormatError, match=message):
        trained(tmp_path / "run", picture)
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_crop_is_learnt_alone(tmp_path: Path) -> None:
    config = replace(SMALL, data=replace(SMALL.data, crop=(10, 4, 30, 20)))
    run = trained(tmp_path / "run", config=config)
    assert (run.data.picture.width, run.data.picture.height) == (30, 20)
    assert run.evaluate(progress=False).psnr > 28
    with pytest.raises(BadOption, match=r"--data\.crop: a crop of 30 x 20 at 50, 4"):
        trained(tmp_path / "other", config=replace(SMALL, data=replace(SMALL.data, crop=(50, 4, 30, 20))))
