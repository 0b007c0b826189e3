"""Grids trained elsewhere: tiny-cuda-nn (instant-ngp), torch-ngp and nerfstudio parameters as a `HashGrid`.

Each library lays its levels out by rules of its own; here they become descriptors (`neural.cuda.levels`) over the table
as it is, so that lookups give that library's values. Positions are in [0, 1], as theirs are after scaling.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from neural.cuda import levels as layout
from neural.cuda.hash_grid import Interpolation, Outside
from neural.encodings.hash_grid import HashGrid

_TYPES: dict[str, layout.Kind] = {"hash": "hash", "dense": "dense", "tiled": "tiled"}
_GRID_KEYS = {
    "otype", "type", "n_levels", "n_features", "n_features_per_level", "log2_hashmap_size", "base_resolution",
    "per_level_scale", "interpolation", "hash", "stochastic_interpolation",
}  # fmt: skip
_ALIGNMENT = {"FullyFusedMLP": 16, "CutlassMLP": 8}  # what tiny-cuda-nn pads a network's inputs and outputs to


@dataclass(frozen=True)
class Network:
    """A network of tiny-cuda-nn: layers without biases, W [outputs, inputs], padding taken off."""

    weights: tuple[Float[Tensor, "O I"], ...]


def from_tiny_cuda_nn(params: Shaped[Tensor, " P"], n_dims: int, config: Mapping[str, Any]) -> HashGrid:
    """A grid from the flat parameters of `tinycudann.Encoding`.

    Args:
        params: All levels, float32 or float16.
        n_dims: D, of its input.
        config: The encoding's configuration, with the library's keys and defaults.

    Raises:
        ValueError: Another kind of encoding, an unknown key, or another number of parameters than it describes.

    Source: tiny-cuda-nn, include/tiny-cuda-nn/encodings/grid.h.
    """
    rows, n_entries, n_features = _tiny_cuda_nn_levels(n_dims, config)
    _require_count("from_tiny_cuda_nn", "params", params.numel(), n_entries * n_features, f"{len(rows)} levels")
    names: dict[str, Interpolation] = {"nearest": "nearest", "linear": "linear", "smoothstep": "smoothstep"}
    interpolation = str(config.get("interpolation", "Linear")).lower()
    if interpolation not in names:
        raise ValueError(f"from_tiny_cuda_nn: interpolation must be one of {', '.join(names)}, got {interpolation!r}")
    return _grid(params.reshape(n_entries, n_features), rows, n_dims, names[interpolation], "wrap")


def from_tiny_cuda_nn_with_network(
    params: Shaped[Tensor, " P"], n_dims: int, n_output_dims: int, config: Mapping[str, Any], network: Mapping[str, Any]
) -> tuple[HashGrid, Network]:
    """A grid and a network from the flat parameters of `tinycudann.NetworkWithInputEncoding`: the network's come first.

    Its matrices are padded: outputs, and the features that they read, up to a multiple of 16 (FullyFusedMLP) or 8
    (CutlassMLP). A grid's padding is zero, so that what multiplies it is dropped.

    Args:
        params: All parameters, float32 or float16.
        n_dims: D, of the encoding's input.
        n_output_dims: Of the network.
        config: The encoding's configuration.
        network: The network's configuration: `otype`, `n_neurons`, `n_hidden_layers` (activations are not looked at).

    Raises:
        ValueError: An unknown network, or another number of parameters than both describe.

    Source: tiny-cuda-nn, include/tiny-cuda-nn/network_with_input_encoding.h and fully_fused_mlp.h.
    """
    op = "from_tiny_cuda_nn_with_network"
    otype = network.get("otype", "FullyFusedMLP")
    if otype not in _ALIGNMENT:
        raise ValueError(f"{op}: network otype must be one of {', '.join(_ALIGNMENT)}, got {otype!r}")
    rows, n_entries, n_features = _tiny_cuda_nn_levels(n_dims, config)
    width, n_hidden = int(network.get("n_neurons", 128)), int(network.get("n_hidden_layers", 5))
    n_in = len(rows) * n_features
    padded_in, padded_out = (_round_up(n, _ALIGNMENT[otype]) for n in (n_in, n_output_dims))
    shapes = [(width, padded_in), *[(width, width)] * (n_hidden - 1), (padded_out, width)]
    n_network = sum(out * into for out, into in shapes)
    _require_count(
        op, "params", params.numel(), n_network + n_entries * n_features,
        f"{n_network} of a {padded_in}-{'-'.join([str(width)] * n_hidden)}-{padded_out} network and "
        f"{n_entries * n_features} of {len(rows)} levels",
    )  # fmt: skip
    matrices = params[:n_network].float().split([out * into for out, into in shapes])
    weights = [m.reshape(shape) for m, shape in zip(matrices, shapes, strict=True)]
    weights[0], weights[-1] = weights[0][:, :n_in], weights[-1][:n_output_dims]
    return from_tiny_cuda_nn(params[n_network:], n_dims, config), Network(tuple(w.clone() for w in weights))


def from_torch_ngp(
    embeddings: Shaped[Tensor, "E F"],
    offsets: Int[Tensor, " L1"] | Sequence[int],
    n_dims: int,
    *,
    base_resolution: int = 16,
    per_level_scale: float = 2.0,
    desired_resolution: int | None = None,
    gridtype: Literal["hash", "tiled"] = "hash",
    align_corners: bool = False,
    interpolation: Literal["linear", "smoothstep"] = "linear",
) -> HashGrid:
    """A grid from torch-ngp's `GridEncoder`, whose levels have one corner more an axis than tiny-cuda-nn's.

    Points outside of [0, 1] get zeros, as there.

    Args:
        embeddings: All levels, float32 or float16.
        offsets: First entry of each level, and the number of all; sizes rounded to 8 or not.
        n_dims: D.
        base_resolution: As it was built.
        per_level_scale: As it was built.
        desired_resolution: Of the last level, instead of `per_level_scale`.
        gridtype: `hash` or `tiled`.
        align_corners: Corners on the faces of the box (no half cell, one corner less an axis).
        interpolation: `linear` or `smoothstep`.

    Raises:
        ValueError: Offsets that do not fit the embeddings or the resolutions.

    Source: torch-ngp, gridencoder/grid.py and gridencoder/src/gridencoder.cu.
    """
    op = "from_torch_ngp"
    starts = [int(o) for o in offsets]
    n_levels = len(starts) - 1
    if n_levels < 1 or starts[0] != 0 or starts != sorted(starts):
        raise ValueError(f"{op}: offsets must rise from 0, one more than there are levels, got {starts}")
    _require_count(op, "embeddings rows", len(embeddings), starts[-1], "the last of the offsets")
    if desired_resolution is not None:
        per_level_scale = float(np.exp2(np.log2(desired_resolution / base_resolution) / max(1, n_levels - 1)))
    rows = []
    for level in range(n_levels):
        size = starts[level + 1] - starts[level]
        scale = _level_scale(level, per_level_scale, base_resolution)
        side = math.ceil(scale) + (1 if align_corners else 2)
        hashed = gridtype == "hash" and side**n_dims > size
        if hashed and size & (size - 1):
            raise ValueError(
                f"{op}: level {level} must have {side**n_dims} entries or a power of two, got {size}; "
                "check base_resolution, per_level_scale and align_corners"
            )
        shifts = [0.0 if align_corners else 0.5] * n_dims
        rows.append(layout.row(starts[level], size, hashed, [side] * n_dims, [scale] * n_dims, shifts=shifts))
    return _grid(embeddings, rows, n_dims, interpolation, "zero")


def from_nerfstudio(
    hash_table: Shaped[Tensor, "E F"], *, n_levels: int = 16, min_res: int = 16, max_res: int = 1024
) -> HashGrid:
    """A grid from nerfstudio's `HashEncoding(implementation="torch")`, in three dimensions.

    Every level is hashed into a part of its own of equal size, and its corners lie on the faces of the box. What its
    tiny-cuda-nn implementation trained is for `from_tiny_cuda_nn`.

    Args:
        hash_table: `hash_table`, all levels, float32 or float16.
        n_levels: `num_levels`.
        min_res: As it was built.
        max_res: As it was built.

    Raises:
        ValueError: A table that does not divide into n_levels powers of two.

    Source: nerfstudio, nerfstudio/field_components/encodings.py, `HashEncoding.pytorch_fwd`.
    """
    size = len(hash_table) // n_levels
    if size * n_levels != len(hash_table) or size < 8 or size & (size - 1):
        raise ValueError(
            f"from_nerfstudio: hash_table must have {n_levels} levels of 2^log2_hashmap_size rows, "
            f"got {len(hash_table)} rows; give the num_levels that it was built with"
        )
    growth = float(np.exp((np.log(max_res) - np.log(min_res)) / (n_levels - 1))) if n_levels > 1 else 1.0
    scales = torch.floor(min_res * growth ** torch.arange(n_levels)).tolist()  # float32, as there
    rows = [
        layout.row(level * size, size, True, [int(scale) + 1] * 3, [scale] * 3, shifts=[0.0] * 3)
        for level, scale in enumerate(scales)
    ]
    return _grid(hash_table, rows, 3, "linear", "wrap")


def _tiny_cuda_nn_levels(n_dims: int, config: Mapping[str, Any]) -> tuple[list[list[int]], int, int]:
    """Descriptor rows, entries, features per level."""
    op = "from_tiny_cuda_nn"
    if unknown := set(config) - _GRID_KEYS:
        raise ValueError(f"{op}: unknown keys {sorted(unknown)} of a grid's configuration")
    otype = str(config.get("otype", "Grid")).lower()
    kind = str(config.get("type", "hash") if otype == "grid" else otype.removesuffix("grid")).lower()
    if kind not in _TYPES or not otype.endswith("grid"):
        raise ValueError(f"{op}: otype must be Grid, HashGrid, DenseGrid or TiledGrid, got {config.get('otype')!r}")
    if config.get("hash", "CoherentPrime").lower() != "coherentprime":
        raise ValueError(f"{op}: hash must be CoherentPrime, got {config['hash']!r}")
    n_features = int(config.get("n_features_per_level", 2))
    n_levels = int(config["n_features"]) // n_features if "n_features" in config else int(config.get("n_levels", 16))
    base, log2_size = int(config.get("base_resolution", 16)), int(config.get("log2_hashmap_size", 19))
    default = math.exp(math.log(256 / base) / max(1, n_levels - 1)) if kind == "dense" else 2.0
    growth = float(config.get("per_level_scale", default))
    rows, offset = [], 0
    for level in range(n_levels):
        scale = _level_scale(level, growth, base)
        side = math.ceil(scale) + 1
        size = _round_up(side**n_dims, 8)
        if kind == "tiled":
            size = min(size, base**n_dims)  # not rounded
        elif kind == "hash":
            size = min(size, 2**log2_size)
        hashed = kind == "hash" and side**n_dims > size
        rows.append(layout.row(offset, size, hashed, [side] * n_dims, [scale] * n_dims))
        offset += size
    return rows, offset, n_features


def _grid(
    table: Tensor, rows: list[list[int]], n_dims: int, interpolation: Interpolation, outside: Outside
) -> HashGrid:
    """A HashGrid over these descriptors and a float32 copy of this table."""
    grid = HashGrid(
        n_dims, n_levels=len(rows), n_features_per_level=table.shape[1], base_resolution=1, per_level_scale=1.0,
        log2_hashmap_size=3, interpolation=interpolation, outside=outside,
    )  # fmt: skip
    grid.levels = torch.tensor([rows], dtype=torch.int64)
    grid.table = nn.Parameter(table.detach().to("cpu", torch.float32, copy=True).contiguous())
    return grid


def _level_scale(level: int, growth: float, base: int) -> float:
    """2^(level log2 growth) base - 1 in float32, as all of them compute it on the GPU."""
    power = np.exp2(np.float32(level) * np.float32(np.log2(growth)))
    return float(np.float32(power) * np.float32(base) - np.float32(1))


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _require_count(op: str, name: str, got: int, expected: int, what: str) -> None:
    if got != expected:
        raise ValueError(f"{op}: {name} must be {expected} ({what}), got {got}; check the configuration")
