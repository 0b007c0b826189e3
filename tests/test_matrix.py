"""What the matrix of applications measures: stages of a frame, traffic from shapes, equal parameters, its picture."""

from dataclasses import replace

import pytest
import torch

from neural.cuda.native import lib
from neural.encodings.hash_grid import HashGrid
from neural.fields.field import Field
from neural.train.tasks.field.encodings import table_values
from tests.bench import applications, matrix_plot, stages
from tests.bench.application_tasks import ImageApplication


def _field() -> Field:
    return Field(HashGrid(3, n_levels=4, log2_hashmap_size=8, finest_resolution=32), 2, width=16, n_hidden_layers=1)


def test_watching_changes_no_bit_and_leaves_nothing_behind() -> None:
    field, x = _field(), torch.rand(1000, 3)
    before = dict(vars(lib))
    expected = field(x)
    with stages.watched() as seen:
        assert torch.equal(field(x), expected)
    assert vars(lib) == before
    assert seen.calls == {"hash_grid_forward": 1, "mlp_forward": 1}
    assert seen.kernels == 2
    with pytest.raises(KeyError), stages.watched():
        raise KeyError
    assert vars(lib) == before


def test_shares_are_of_the_whole_and_sum_to_it() -> None:
    field, x = _field(), torch.rand(200_000, 3)
    with stages.watched() as seen:
        field(x)
        sum(range(3_000_000))  # work of no kernel
    assert seen.share("encoding") + seen.share("network") + seen.share("rest") == pytest.approx(100)
    assert seen.spent("encoding") == seen.seconds["hash_grid_forward"] > 0
    assert seen.spent("network") == seen.seconds["mlp_forward"] > 0
    assert seen.spent("rest") > 0.01
    assert seen.total >= seen.spent("encoding") + seen.spent("network") + 0.01


def test_what_is_encoding_and_network_in_one_is_refused() -> None:
    assert stages.stage_of("simplex_forward") == "encoding"
    assert stages.stage_of("modulated_sine_forward") == "network"
    assert stages.stage_of("ray_march_count") == "rest"
    with pytest.raises(ValueError, match="render with the ops apart"):
        stages.stage_of("fused_trace")


def test_traffic_is_what_the_shapes_say() -> None:
    field = _field()
    with stages.counted(field) as rows:
        field(torch.rand(1000, 3))
        field(torch.rand(24, 3))
    lookups = 1024 * 4 * (3 * 4 + 8 * 2 * 4 + 2 * 4)  # levels x (position, corners of two floats, features)
    network = 1024 * (8 + 2) * 4 + 2 * 4 * (8 * 16 + 16 * 2)
    assert stages.bytes_moved(rows) == lookups + network
    field.encoding.level_weights = None
    half = HashGrid(3, n_levels=4, log2_hashmap_size=8, finest_resolution=32, precision="float16")
    assert stages.lookup_bytes(half) == lookups // 1024 - 4 * 8 * 2 * 2
    field(torch.rand(5, 3))
    assert sum(rows.rows.values()) == 2 * 1024  # nothing is counted afterwards


def test_grids_of_equal_size_have_no_more_and_hardly_fewer_values() -> None:
    application = ImageApplication("tiny")
    sizes = {
        setting: table_values(application.resolved(model).model, 2)
        for setting, model in applications.models(application, "tiny").items()
    }
    assert sizes.keys() >= {"hash", "metric", "probed", "scalable", "dense", "dense =", "lowres", "lowres ="}
    assert sizes["metric"] == sizes["hash"] and sizes["probed"] > sizes["hash"] and sizes["triangle"] == 0
    for setting in ("dense =", "lowres ="):
        assert 0.75 * sizes["hash"] < sizes[setting] <= sizes["hash"]


def test_the_picture_has_bars_of_the_measured_lengths() -> None:
    cell = applications.Cell(
        "image", "hash", "a part", "hash", 1000, 10, 2, 0.1, ms=20.0, encoding_share=50.0, network_share=25.0,
        rest_share=25.0, kernels=2, megabytes=1.0, quality=30.0, unit="dB",
    )  # fmt: skip
    picture = matrix_plot.draw([cell, replace(cell, setting="dense", ms=10.0)])
    colors = [tuple(bytes.fromhex(color[1:])) for _, color in matrix_plot.STAGES]
    long = matrix_plot.SCALE * matrix_plot.WIDTH
    lengths = []
    for y in range(picture.height):
        row = [picture.getpixel((x, y)) for x in range(picture.width)]
        lengths.append(tuple(row.count(color) for color in colors))
    assert max(lengths) == pytest.approx((long / 2, long / 4, long / 4), abs=3)
    assert any(length == pytest.approx((long / 4, long / 8, long / 8), abs=3) for length in lengths)
