"""From a resolved configuration to an encoding and a field: one builder per kind."""

from collections.abc import Callable

import torch
from torch import nn

from neural import memory
from neural.cuda.mlp_spec import Activation
from neural.encodings.frequency import Frequency
from neural.encodings.hash_grid import HashGrid
from neural.encodings.metric_grids import MetricGrids
from neural.encodings.one_blob import OneBlob
from neural.encodings.probed_grid import ProbedHashGrid
from neural.encodings.scalable_hash_grid import ScalableHashGrid
from neural.encodings.simplex import Permutohedral, Simplex
from neural.encodings.triangle_wave import TriangleWave
from neural.fields.field import Field
from neural.fields.metric import MetricField
from neural.train.tasks.field.config import FieldConfig, resolve_network
from neural.train.tasks.field.encoding_config import WAVES, EncodingConfig, of_one_cell

SIMPLICES = ("simplex", "kuhn", "permutohedral")
CELL_OVERLAP = 0.05  # of a cell: the field is continuous across faces, and few points are looked up twice
TRAINED_BYTES = 16  # per value of a table: itself, its gradient, two moments

Builder = Callable[[EncodingConfig, int, int], nn.Module]


def build_encoding(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    """The encoding that a resolved configuration describes, from [0, 1]^n_dims.

    Raises:
        TooLarge: Its table does not fit into memory; nothing has been taken then.
        ValueError: It has no such sizes.
    """
    require_memory(config, n_dims)
    return BUILDERS[config.encoding](config, n_dims, seed)


def build_field(
    config: FieldConfig, n_dims: int, n_out: int, *, output_activation: Activation = "none", seed: int
) -> nn.Module:
    """The field that a resolved configuration describes, from [0, 1]^n_dims to `n_out` values.

    Raises:
        TooLarge: Its table does not fit into memory; nothing has been taken then.
        ValueError: It has no such sizes.
    """
    network = resolve_network(config)
    width, hidden_layers = _known(network.width), _known(network.hidden_layers)
    if config.encoding == "metric":
        require_memory(config, n_dims)
        return MetricField(
            MetricGrids(n_dims, **grid_arguments(config, seed)), n_out, width=width,
            n_hidden_layers=hidden_layers, output_activation=output_activation, seed=seed,
        )  # fmt: skip
    return Field(
        build_encoding(config, n_dims, seed), n_out, width=width, n_hidden_layers=hidden_layers,
        output_activation=output_activation, seed=seed,
    )  # fmt: skip


def require_memory(config: EncodingConfig, n_dims: int, device: str = "cpu") -> None:
    """Refuses a table that does not fit, before it is made; of cells that are made in training, the first.

    Raises:
        TooLarge: Says how large it would be.
    """
    n_values = table_values(of_one_cell(config, n_dims) if config.encoding == "scalable" else config, n_dims)
    hashed = config.encoding not in ("dense", "lowres")
    cure = "choose a smaller --model.log2-hashmap-size" if hashed else "choose a smaller --model.finest-resolution"
    memory.require(
        torch.device(device), n_values, TRAINED_BYTES, "values of the encoding's table",
        f"{cure}; values that fit:",
    )  # fmt: skip


def table_values(config: EncodingConfig, n_dims: int) -> int:
    """At most so many values are in the table of a resolved configuration, logits of codes among them."""
    if config.encoding in WAVES:
        return 0
    if config.encoding == "scalable":
        return config.cells**n_dims * table_values(of_one_cell(config, n_dims), n_dims)
    levels, base, finest = _known(config.n_levels), _known(config.base_resolution), _known(config.finest_resolution)
    growth = (max(finest, base) / base) ** (1 / max(1, levels - 1))
    dense = [int(base * growth**level + 1) ** n_dims for level in range(levels)]
    codes = 0
    if config.encoding == "probed":
        n_hashed = sum(n > 2 ** _known(config.log2_hashmap_size) for n in dense)
        codes = n_hashed * config.n_probes * 2 ** _known(config.log2_codebook_size)
    if config.encoding in SIMPLICES:  # the boxes of their lattices are larger than a grid's
        dense = [2 ** _known(config.log2_hashmap_size)] * levels
    elif config.encoding not in ("dense", "lowres"):
        dense = [min(n, 2 ** _known(config.log2_hashmap_size)) for n in dense]
    return sum(dense) * _known(config.n_features_per_level) + codes


def grid_arguments(config: EncodingConfig, seed: int) -> dict:
    """The keyword arguments that all grids share."""
    return {
        "n_levels": _known(config.n_levels),
        "n_features_per_level": _known(config.n_features_per_level),
        "log2_hashmap_size": _known(config.log2_hashmap_size),
        "base_resolution": _known(config.base_resolution),
        "finest_resolution": _known(config.finest_resolution),
        "precision": config.table_precision,
        "seed": seed,
    }


def _hash(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    return HashGrid(n_dims, **grid_arguments(config, seed))


def _dense(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    return HashGrid(n_dims, kind="dense", **grid_arguments(config, seed))


def _tiled(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    return HashGrid(n_dims, kind="tiled", **grid_arguments(config, seed))


def _metric(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    """Where an ordinary network follows: the form whose features are summed."""
    return MetricGrids(n_dims, metrics="radiance", **grid_arguments(config, seed))


def _simplex(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    return Simplex(n_dims, **grid_arguments(config, seed))


def _kuhn(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    return Simplex(n_dims, lattice="kuhn", **grid_arguments(config, seed))


def _permutohedral(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    return Permutohedral(n_dims, **grid_arguments(config, seed))


def _probed(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    arguments = grid_arguments(config, seed)
    arguments.pop("precision")  # one alone, see `check_encoding`
    return ProbedHashGrid(
        n_dims, n_probes=config.n_probes, log2_codebook_size=_known(config.log2_codebook_size), **arguments
    )


def _scalable(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    """Cells whose reach ends at the faces of [0, 1]^D: no point of it needs a cell beyond."""
    reach = CELL_OVERLAP + 1e-4  # of a cell; rounding must not find a point of a face out of it
    edge = 1 / (config.cells - 2 * reach)
    grid = ScalableHashGrid(
        n_dims, cell_size=edge, axes="all", origin=-reach * edge, overlap=CELL_OVERLAP, missing="nearest",
        max_cells=config.cells**n_dims, **grid_arguments(of_one_cell(config, n_dims), seed),
    )  # fmt: skip
    grid.remedy = "choose a smaller --model.log2-hashmap-size, or more --model.cells, of which each is smaller"
    return grid


def _frequency(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    return Frequency(n_dims, _known(config.n_levels))


def _triangle(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    return TriangleWave(n_dims, _known(config.n_levels))


def _oneblob(config: EncodingConfig, n_dims: int, seed: int) -> nn.Module:
    return OneBlob(n_dims, _known(config.n_levels))


BUILDERS: dict[str, Builder] = {
    "hash": _hash,
    "dense": _dense,
    "lowres": _dense,
    "tiled": _tiled,
    "simplex": _simplex,
    "kuhn": _kuhn,
    "permutohedral": _permutohedral,
    "metric": _metric,
    "probed": _probed,
    "scalable": _scalable,
    "frequency": _frequency,
    "triangle": _triangle,
    "oneblob": _oneblob,
}


def _known(value: int | None) -> int:
    assert value is not None, "the configuration is not resolved"
    return value
