"""Levels that come one after the other: their schedule, what it leaves alone, runs shown as they were trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import neural
from neural import checkpoint
from neural.cli.train_radiance import Radiance
from neural.cli.training import parse
from neural.train.config import BaseRunConfig
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.field import growth
from neural.train.tasks.field.activation import activate, weights
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.field.encoding_config import KINDS, WAVES, EncodingConfig, check_encoding, describe_encoding
from neural.train.tasks.field.encodings import build_encoding, build_field
from neural.train.tasks.image.config import ImageConfig, ImageDataConfig, ImageOptimConfig
from neural.train.tasks.radiance import run as radiance_run
from neural.train.tasks.radiance.config import RadianceConfig

STEP = EncodingConfig(activation="step", activation_steps=30)
COSINE = replace(STEP, activation="cosine")


def picture() -> np.ndarray:
    y, x = np.mgrid[:40, :60]
    waves = [0.5 + 0.4 * np.sin(x / (3 + c) + 2 * c) * np.cos(y / (4 - c / 2)) for c in range(3)]
    return (np.stack(waves, -1) * 255).astype(np.uint8)


def trained(out: Path, steps: int, activation: str, *, ema: float = 0.0, n_steps: int = 20, kind: str = "hash"):
    config = ImageConfig(
        model=FieldConfig(
            encoding=kind, n_levels=6, log2_hashmap_size=12, base_resolution=8, finest_resolution=64,
            activation=activation, activation_steps=n_steps,
        ),
        data=ImageDataConfig(batch=1024), optim=ImageOptimConfig(decay="none", ema=ema),
        run=BaseRunConfig(device="cpu"),
    )  # fmt: skip
    return neural.train.image(picture(), config=config, steps=steps, out=out, progress=False)


def level_rows(encoding: nn.Module, level: int) -> slice:
    offset, size = encoding.levels[0, level, :2].tolist()
    return slice(offset, offset + size)


def test_levels_come_in_equal_steps_until_all_are_there() -> None:
    counts = [int(found.sum()) for step in range(30) if (found := weights(STEP, step, 16)) is not None]
    assert len(counts) == 30 and counts[0] == 4 and sorted(counts) == counts and counts[2] == 5 and counts[-1] == 16
    assert weights(STEP, 30, 16) is None
    assert weights(STEP, 0, 3).tolist() == [1, 1, 1]


def test_the_window_opens_from_three_tenths_and_ends_with_all() -> None:
    first, middle = weights(COSINE, 0, 10), weights(COSINE, 15, 10)
    assert first[:3].tolist() == [1, 1, 1] and not first[3:].any()
    assert bool((middle >= first).all()) and 0 < float(middle[6]) < 1
    assert weights(COSINE, 30, 10) is None and float(weights(COSINE, 29, 10)[8]) == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WAVES])
def test_every_grid_has_levels_to_leave_out(kind: str) -> None:
    config = replace(
        STEP, encoding=kind, n_levels=6, n_features_per_level=2, base_resolution=8, finest_resolution=64,
        log2_hashmap_size=10, log2_codebook_size=8,
    )  # fmt: skip
    field = build_field(FieldConfig(**vars(config)), 2, 1, seed=0)
    activate(field, config, 0)
    assert field.encoding.level_weights.tolist() == [1, 1, 1, 1, 0, 0]
    x = torch.rand(20, 2)
    growth.grow(field, x)
    features = field.encoding(x)
    assert bool(features[:, :8].any(0).all()) and not features[:, 8:].any()
    activate(field, config, 30)
    assert field.encoding.level_weights is None
    assert bool(field.encoding(x).any(0).all())
    field.encoding.set_max_level(2)
    activate(field, replace(config, activation="none"), 0)
    assert int(field.encoding.level_weights.sum()) == 2  # as it was
    plain = build_encoding(config, 2, seed=0)
    activate(plain, config, 29)
    assert int(plain.level_weights.sum()) == 5


@pytest.mark.parametrize("kind", ["hash", "scalable"])
def test_levels_that_are_left_out_are_not_trained(tmp_path: Path, kind: str) -> None:
    run = trained(tmp_path / "run", 6, "step", n_steps=100, kind=kind)
    tensors = checkpoint.load_latest(run.folder).tensors
    moments = tensors["optim/encoding.table/exp_avg_sq"]
    assert moments[level_rows(run.field.encoding, 3)].any()
    assert not moments[level_rows(run.field.encoding, 4)].any()
    assert run.field.encoding.level_weights.tolist() == [1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("activation", ["step", "cosine"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_resumed_run_is_the_run_and_is_shown_with_the_levels_it_had(
    tmp_path: Path, activation: str, ema: float
) -> None:
    whole = trained(tmp_path / "whole", 30, activation, ema=ema)
    early = trained(tmp_path / "parts", 11, activation, ema=ema)
    stored = neural.load_run(early.folder, device="cpu", scene=picture())
    again = trained(tmp_path / "parts", 11, activation, ema=ema)  # nothing is left to do
    assert 0 < float(early.field.encoding.level_weights.sum()) < 6
    x = torch.rand(300, 2)
    for run in (stored, again):
        assert torch.equal(run.field.encoding.level_weights, early.field.encoding.level_weights)
        assert torch.equal(run.field(x), early.field(x))
    parts = trained(tmp_path / "parts", 30, activation, ema=ema)
    one, other = (checkpoint.load_latest(r.folder).tensors for r in (whole, parts))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert parts.field.encoding.level_weights is None and torch.equal(parts.field(x), whole.field(x))


@pytest.mark.parametrize("activation", ["step", "cosine"])
def test_a_picture_is_learnt_all_the_same(tmp_path: Path, activation: str) -> None:
    assert trained(tmp_path / "run", 200, activation, n_steps=60).evaluate(progress=False).psnr > 26


@pytest.mark.parametrize("path", ["fused", "unfused"])
def test_radiance_leaves_levels_out_and_resumes(tmp_path: Path, write_capture, small, path: str) -> None:
    flags = ["--model.n-levels", "6", "--model.activation", "step", "--model.activation-steps", "20"]
    given = parse(Radiance, RadianceConfig, "radiance", ["there", *small, *flags, "--sampling.path", path])
    optim = replace(given.optim, decay="none")
    capture = write_capture(tmp_path / "ball")

    def train(name: str, steps: int) -> radiance_run.RadianceRun:
        config = RadianceConfig(given.model, given.sampling, optim, RunConfig(steps=steps, device="cpu"))
        return radiance_run.train(capture, config, out=tmp_path / name, progress=False)

    early = train("parts", 9)
    assert early.field.encoding.level_weights.tolist() == [1, 1, 1, 1, 0, 0]
    moments = checkpoint.load_latest(early.folder).tensors["optim/encoding.table/exp_avg_sq"]
    assert moments[level_rows(early.field.encoding, 3)].any()
    assert not moments[level_rows(early.field.encoding, 4)].any()
    stored, x = radiance_run.load_radiance(early.folder, device="cpu"), torch.rand(200, 3) - 0.5
    assert torch.equal(stored.field.density(x)[0], early.field.density(x)[0])
    one, other = (checkpoint.load_latest(train(name, 24).folder).tensors for name in ("parts", "whole"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_has_no_levels_is_refused_and_the_rest_is_said() -> None:
    for kind in WAVES:
        with pytest.raises(ValueError, match=rf"--model\.activation step cannot be had with --model\.encoding {kind}"):
            check_encoding(EncodingConfig(encoding=kind, activation="step"))
    with pytest.raises(ValueError, match=r"--model\.activation-steps must be between 1 and"):
        check_encoding(EncodingConfig(activation_steps=0))
    assert describe_encoding(replace(STEP, n_levels=6)).endswith("all by step 30 (step)")
