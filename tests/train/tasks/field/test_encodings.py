"""Encodings by configuration: each kind has defaults and a builder, is built at its sizes, refused if too large."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neural import cli, memory
from neural.cli.train_radiance import Radiance
from neural.cli.training import parse
from neural.encodings.base import Tabled
from neural.encodings.hash_grid import HashGrid
from neural.encodings.metric_grids import MetricGrids
from neural.errors import CheckpointError, TooLarge
from neural.fields.metric import MetricField
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.field import encodings, growth
from neural.train.tasks.field.config import FieldConfig, resolve_network
from neural.train.tasks.field.encoding_config import (
    DEFAULTS,
    KINDS,
    EncodingConfig,
    check_encoding,
    describe_encoding,
    of_one_cell,
    resolve_encoding,
)
from neural.train.tasks.field.groups import field_groups, release_buffers
from neural.train.tasks.field.run import half_precision
from neural.train.tasks.radiance import run as radiance_run
from neural.train.tasks.radiance.config import ModelConfig, RadianceConfig

SMALL = {"log2_hashmap_size": 10, "finest_resolution": 64}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_dims", [2, 3])
def test_every_kind_is_built_and_learns_from_gradients(kind: str, n_dims: int) -> None:
    asked = EncodingConfig(encoding=kind, base_resolution=8, finest_resolution=32, log2_hashmap_size=10)
    config = resolve_encoding(asked, n_dims, **SMALL)
    encoding = encodings.build_encoding(config, n_dims, seed=3)
    x = torch.rand(50, n_dims)
    growth.grow(encoding, x)
    features = encoding(x)
    assert features.shape == (50, encoding.n_output_dims)
    if isinstance(encoding, Tabled):
        features.sum().backward()
        assert encoding.table.grad is not None and encoding.table.grad.abs().sum() > 0
        values = sum(p.numel() for p in encoding.parameters())
        n_grids = config.cells**n_dims if kind == "scalable" else 1
        assert values <= 1.02 * encodings.table_values(config, n_dims) + 64 * config.n_levels * n_grids


def test_kinds_defaults_and_builders_are_the_same() -> None:
    assert set(KINDS) == set(DEFAULTS) == set(encodings.BUILDERS)


def test_dense_and_lowres_have_the_papers_sizes() -> None:
    dense, lowres = (
        resolve_encoding(EncodingConfig(encoding=kind), 3, log2_hashmap_size=19, finest_resolution=2048)
        for kind in ("dense", "lowres")
    )
    assert (dense.n_levels, dense.n_features_per_level, dense.base_resolution) == (8, 2, 16)
    assert (dense.finest_resolution / dense.base_resolution) ** (1 / 7) == pytest.approx(1.405, abs=5e-4)
    assert encodings.table_values(dense, 3) == pytest.approx(16.3e6, rel=0.02)
    assert (lowres.n_levels, lowres.n_features_per_level, lowres.finest_resolution) == (2, 8, 128)
    assert encodings.table_values(lowres, 3) == pytest.approx(33.6e6, rel=0.03)


def test_what_is_asked_for_is_kept() -> None:
    asked = EncodingConfig(encoding="dense", n_levels=3, base_resolution=5, finest_resolution=40)
    resolved = resolve_encoding(asked, 2, **SMALL)
    assert (resolved.n_levels, resolved.base_resolution, resolved.finest_resolution) == (3, 5, 40)
    assert resolve_encoding(resolved, 2, **SMALL) == resolved


def test_a_table_beyond_memory_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 1 << 30)
    config = resolve_encoding(
        EncodingConfig(encoding="dense", finest_resolution=1500), 3, log2_hashmap_size=19, finest_resolution=2048
    )
    with pytest.raises(TooLarge, match=r"table need \d+\.\d GB .* 1\.1 GB are free .*--model\.finest-resolution"):
        encodings.build_encoding(config, 3, seed=0)


def test_cells_that_do_not_fit_are_refused_with_the_settings_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolve_encoding(resolve_network(FieldConfig(encoding="scalable", cells=4)), 2, **SMALL)
    grid = encodings.build_encoding(config, 2, seed=0)
    monkeypatch.setattr(memory, "available", lambda device: 0)
    with pytest.raises(
        TooLarge, match=r"more cells .* are free on cpu: choose .*-hashmap-size, or more --model\.cells"
    ):
        growth.grow(grid, torch.rand(100, 2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoding": "hsh"}, r"--model\.encoding must be one of hash"),
        ({"n_levels": 0}, r"--model\.n-levels must be between 1 and 32, got 0"),
        ({"n_features_per_level": 3}, r"--model\.n-features-per-level must be one of 1, 2, 4, 8, got 3"),
        ({"log2_hashmap_size": 40}, r"--model\.log2-hashmap-size"),
        ({"base_resolution": 64, "finest_resolution": 32}, r"--model\.finest-resolution must be between 64"),
        ({"encoding": "lowres", "finest_resolution": 32}, r"--model\.finest-resolution must be between 128"),
        ({"encoding": "triangle", "n_levels": 33}, r"--model\.n-levels must be between 1 and 32, got 33"),
        ({"encoding": "oneblob", "n_levels": 257}, r"--model\.n-levels must be between 1 and 256, got 257"),
        ({"cells": 65}, r"--model\.cells must be between 1 and 64, got 65"),
        ({"n_probes": 3}, r"--model\.n-probes must be one of 2, 4, 8, 16, got 3"),
        ({"log2_codebook_size": 25}, r"--model\.log2-codebook-size must be between 2 and 24, got 25"),
        ({"encoding": "probed", "table_precision": "float16"}, "float16 cannot be had with --model.encoding probed"),
    ],
)
def test_values_that_no_encoding_has_are_refused(fields, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_encoding(EncodingConfig(**fields))


def test_the_command_line_takes_an_encoding() -> None:
    given = parse(Radiance, RadianceConfig, "radiance", ["there", "--model.encoding", "dense", "--model.n-levels", "5"])
    assert (given.model.encoding, given.model.n_levels) == ("dense", 5)


@pytest.mark.parametrize(
    ("kind", "options", "steps", "least"),  # a field of 7.4 dB is where all of them begin
    [("dense", {}, 200, 15), ("probed", {}, 200, 15), ("oneblob", {"n_levels": 32}, 200, 15),
     ("triangle", {"n_levels": 8, "density_width": 32, "density_layers": 2}, 500, 12)],
)  # fmt: skip
def test_radiance_is_trained_on_another_encoding_and_taken_up_again(
    kind: str, options: dict, steps: int, least: float, tmp_path: Path, write_capture, small
) -> None:
    given = parse(Radiance, RadianceConfig, "radiance", ["there", *small, "--model.encoding", kind])
    model = replace(given.model, **options)
    config = RadianceConfig(model, given.sampling, given.optim, RunConfig(steps=steps, device="cpu"))
    run = radiance_run.train(write_capture(tmp_path / "ball"), config, out=tmp_path / "run", progress=False)
    if kind == "dense":
        assert not bool(run.field.encoding.levels[..., 2].any())  # nothing is hashed
    again = radiance_run.load_radiance(tmp_path / "run", device="cpu")
    for one, other in zip(again.field.parameters(), run.field.parameters(), strict=True):
        assert torch.equal(one, other)
    assert run.evaluate(progress=False).psnr > least


def test_metric_grids_come_with_their_decoder_at_a_tenth_of_the_rate() -> None:
    asked = FieldConfig(encoding="metric", n_levels=4, log2_hashmap_size=10)
    assert (resolve_network(FieldConfig()).hidden_layers, resolve_network(asked).hidden_layers) == (2, 4)
    config = resolve_encoding(asked, 2, log2_hashmap_size=14, finest_resolution=64)
    field = encodings.build_field(config, 2, 3, seed=0)
    assert isinstance(field, MetricField) and field.encoding.metrics == "signal"
    assert field.decoder.spec.n_hidden_layers == 4
    table, decoder = field_groups(field, lr=1e-2, l2=1e-6, ema=None)
    assert (table.lr, decoder.lr) == (1e-2, pytest.approx(1e-3))
    assert (table.l2, decoder.l2) == (0.0, 0.0)
    assert table.buffers["encoding.table"] is field.encoding.gradients
    assert decoder.buffers["decoder.params"] is field.decoder.gradients
    release_buffers(field)
    assert field.encoding.gradients is None and field.decoder.gradients is None
    radiance = encodings.build_encoding(resolve_encoding(replace(asked), 3, **SMALL), 3, seed=0)
    assert isinstance(radiance, MetricGrids) and radiance.metrics == "radiance"


def test_logits_of_a_probed_grid_take_ten_times_their_tables_rate_and_no_penalty() -> None:
    asked = FieldConfig(encoding="probed", n_levels=6, log2_hashmap_size=10, n_probes=8, log2_codebook_size=7)
    config = resolve_encoding(asked, 2, **SMALL)
    assert "8 probes by 2^7 codes" in describe_encoding(config)
    for table_lr, expected in ((None, 1e-1), (3e-2, 3e-1)):
        field = encodings.build_field(config, 2, 3, seed=0)
        groups = {
            name: g for g in field_groups(field, lr=1e-2, l2=1e-6, ema=None, table_lr=table_lr) for name in g.params
        }
        logits, network = groups["encoding.logits"], groups["mlp.params"]
        assert (logits.lr, logits.l2, logits.lazy) == (pytest.approx(expected), 0.0, False)
        assert (network.lr, network.l2) == (1e-2, 1e-6)
        assert groups["encoding.table"].lr == pytest.approx(expected / 10)
    n_hashed = int(field.encoding.levels[0, :, 2].sum())
    assert field.encoding.logits.shape == (n_hashed, 2**7, 8) and n_hashed > 0


def test_there_are_as_many_codes_as_entries_but_no_more_than_65536() -> None:
    asked = EncodingConfig(encoding="probed")
    sizes = [resolve_encoding(asked, 3, log2_hashmap_size=n, finest_resolution=64).log2_codebook_size for n in (12, 19)]
    assert sizes == [12, 16]


def test_a_file_holds_codes_in_their_bits_instead_of_logits() -> None:
    config = resolve_encoding(FieldConfig(encoding="probed", n_levels=6, n_probes=8), 2, **SMALL)
    field = encodings.build_field(config, 2, 3, seed=0)
    n_bytes = len(half_precision(field))
    assert n_bytes == -(-field.encoding.export_bits(16) // 8) + 2 * field.mlp.params.numel()
    codes = np.frombuffer(half_precision(field), np.uint8)[2 * field.encoding.table.numel() :]
    bits = np.unpackbits(codes[: 3 * field.encoding.codes.numel() // 8]).reshape(-1, 3) @ [1, 2, 4]
    assert np.array_equal(bits, field.encoding.codes.flatten().numpy())
    hashed = encodings.build_field(replace(config, encoding="hash"), 2, 3, seed=0)
    assert len(half_precision(hashed)) == 2 * sum(p.numel() for p in hashed.parameters())


def test_a_file_of_cells_says_which_they_are() -> None:
    config = resolve_encoding(resolve_network(FieldConfig(encoding="scalable", cells=64)), 2, **SMALL)
    field = encodings.build_field(config, 2, 3, seed=0)
    growth.grow(field, torch.tensor([[0.995, 0.508], [0.2, 0.005]]))
    data = half_precision(field)
    assert len(data) == 2 * 2 + 2 * sum(p.numel() for p in field.parameters())
    assert sorted(np.frombuffer(data, np.uint8)[:4].reshape(2, 2).tolist()) == [[12, 0], [63, 32]]


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("cells", [1, 4])
def test_a_box_of_cells_has_no_more_of_them_and_faces_in_reach_of_none_beyond(n_dims: int, cells: int) -> None:
    asked = EncodingConfig(encoding="scalable", cells=cells, finest_resolution=64, log2_hashmap_size=16)
    config = resolve_encoding(asked, n_dims, **SMALL)
    encoding = encodings.build_encoding(config, n_dims, seed=0)
    axis = torch.tensor([0.0, 1e-7, 0.3, 0.5, 0.8, 1 - 6e-8, 1.0])
    corners = torch.cartesian_prod(*[axis] * n_dims)
    growth.grow(encoding, corners)
    growth.grow(encoding, torch.rand(3000, n_dims))
    assert len(encoding.cells) == cells**n_dims
    assert int(encoding.cells.min()) == 0 and int(encoding.cells.max()) == cells - 1
    assert growth.grow(encoding, corners - 1e-3) == growth.grow(encoding, corners + 1e-3) == 0  # the box's faces
    assert bool((encoding(corners).abs().sum(1) > 0).all())
    assert f"cells of 1/{cells}" in describe_encoding(config)
    one = encoding.table.shape[0] // cells**n_dims
    assert one == sum(encoding._one_cell[0, :, 1].tolist())
    assert encoding.table.numel() <= 1.1 * encodings.table_values(config, n_dims) + 64 * config.n_levels * cells**n_dims


def test_cells_together_are_about_as_fine_and_large_as_one_grid() -> None:
    sizes = {}
    for kind in ("hash", "scalable"):
        config = resolve_encoding(EncodingConfig(encoding=kind), 3, log2_hashmap_size=17, finest_resolution=512)
        sizes[kind] = encodings.table_values(config, 3)
    assert sizes["scalable"] == pytest.approx(sizes["hash"], rel=0.1)
    cell = of_one_cell(config, 3)
    assert (cell.base_resolution, cell.finest_resolution, cell.log2_hashmap_size) == (4, 128, 11)


def test_a_radiance_field_of_cells_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"--model\.encoding scalable is for image, sdf and volume"):
        RadianceConfig(model=ModelConfig(encoding="scalable"))
    assert cli.main(["train", "radiance", "there", "--model.encoding", "scalable"]) == 2
    assert "choose hash" in capsys.readouterr().err


def test_cells_come_out_of_a_checkpoint_in_their_order() -> None:
    config = resolve_encoding(EncodingConfig(encoding="scalable"), 2, **SMALL)
    one, other = (encodings.build_encoding(config, 2, seed=0) for _ in range(2))
    for x in (torch.tensor([[0.9, 0.9]]), torch.tensor([[0.1, 0.2]])):
        assert growth.grow(one, x) == 1
    saved = growth.cell_tensors(one)
    assert saved["model/cells"].tolist() == [[3, 3], [0, 0]]
    growth.lay_out(other, saved)
    assert torch.equal(other.cells, one.cells) and other.table.shape == one.table.shape
    for wrong, message in (({}, "it has no cells"), ({"model/cells": torch.zeros(3, 1)}, r"int64 \[cells, 2\], got")):
        with pytest.raises(CheckpointError, match=message):
            growth.lay_out(other, wrong)
    assert growth.cell_tensors(HashGrid(2, n_levels=2, log2_hashmap_size=8)) == {}
