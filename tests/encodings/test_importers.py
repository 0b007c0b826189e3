"""Imported grids against small re-implementations, in NumPy, of how each library looks its parameters up.

The tables are made by hand to the libraries' layouts, every value different, so that one wrong index shows.
"""

import itertools
import math
import re

import numpy as np
import pytest
import torch

from neural.cuda import levels as layout
from neural.encodings.importers import (
    from_nerfstudio,
    from_tiny_cuda_nn,
    from_tiny_cuda_nn_with_network,
    from_torch_ngp,
)
from neural.mlp import MLP

PRIMES = np.array([1, 2654435761, 805459861, 3674653429], dtype=np.uint32)


def points(n_dims: int, n: int = 200) -> np.ndarray:
    return np.random.default_rng(0).random((n, n_dims), dtype=np.float32)


def distinct(n: int, n_features: int = 2) -> np.ndarray:
    """n rows of values that differ everywhere and are exact in half precision when few."""
    return (np.random.default_rng(1).permutation(n * n_features).reshape(n, n_features) / n).astype(np.float32)


def prime_hash(corner: np.ndarray) -> np.ndarray:
    result = np.zeros(len(corner), np.uint32)
    for d in range(corner.shape[1]):
        result ^= corner[:, d].astype(np.uint32) * PRIMES[d]
    return result


def interpolate(position: np.ndarray, look_up, smooth: bool = False) -> np.ndarray:
    """Sum over the corners of the cell of weight times entry."""
    cell = np.floor(position).astype(np.int64)
    f = position - cell
    f = f * f * (3 - 2 * f) if smooth else f
    total = 0.0
    for corner in itertools.product((0, 1), repeat=position.shape[1]):
        weight = np.where(np.array(corner), f, 1 - f).prod(1)
        total = total + weight[:, None] * look_up(cell + np.array(corner))
    return total


def tiny_cuda_nn(x: np.ndarray, flat: np.ndarray, *, n_levels, f, log2_size, base, scale, kind, smooth=False):
    features, start = [], 0
    for level in range(n_levels):
        s = 2 ** (level * math.log2(scale)) * base - 1
        side = math.ceil(s) + 1
        n = (side ** x.shape[1] + 7) // 8 * 8
        n = {"hash": min(n, 2**log2_size), "tiled": min(n, base ** x.shape[1]), "dense": n}[kind]
        table = flat[start : start + n * f].reshape(n, f)
        start += n * f

        def look_up(corner, table=table, n=n, side=side):
            stride, index = 1, np.zeros(len(corner), np.int64)
            for d in range(corner.shape[1]):
                if stride > n:
                    break
                index += corner[:, d] * stride
                stride *= side
            if kind == "hash" and n < stride:
                index = prime_hash(corner)
            return table[index % n]

        features.append(interpolate(x * np.float32(s) + np.float32(0.5), look_up, smooth))
    assert start == len(flat)
    return np.concatenate(features, 1)


SIZES = {  # entries of levels at these settings, counted by hand
    ("hash", 2): (4**2 + 8**2 + 128 + 128, {"n_levels": 4, "f": 2, "log2_size": 7, "base": 4, "scale": 2.0}),
    ("hash", 3): (64 + 128 + 128, {"n_levels": 3, "f": 4, "log2_size": 7, "base": 4, "scale": 1.5}),
    ("dense", 3): (32 + 128 + 512, {"n_levels": 3, "f": 2, "log2_size": 19, "base": 3, "scale": 1.6}),
    ("tiled", 2): (9 + 9 + 9, {"n_levels": 3, "f": 2, "log2_size": 19, "base": 3, "scale": 2.0}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("kind", "n_dims"), list(SIZES))
def test_tiny_cuda_nn(kind: str, n_dims: int, dtype: torch.dtype) -> None:
    entries, s = SIZES[kind, n_dims]
    flat = torch.from_numpy(distinct(entries, s["f"]).reshape(-1)).to(dtype)
    config = {
        "otype": "Grid", "type": kind.capitalize(), "n_levels": s["n_levels"], "n_features_per_level": s["f"],
        "log2_hashmap_size": s["log2_size"], "base_resolution": s["base"], "per_level_scale": s["scale"],
    }  # fmt: skip
    for smooth, more in ((False, {}), (True, {"interpolation": "Smoothstep", "otype": f"{kind.capitalize()}Grid"})):
        grid = from_tiny_cuda_nn(flat, n_dims, config | more)
        x = points(n_dims)
        expected = tiny_cuda_nn(x, flat.float().numpy(), kind=kind, smooth=smooth, **s)
        np.testing.assert_allclose(grid(torch.from_numpy(x)).detach().numpy(), expected, atol=3e-5)
    assert grid.table.dtype == torch.float32 and grid.table.requires_grad


def test_instant_ngps_own_grid_has_as_many_parameters_as_we_count() -> None:
    config = {"otype": "HashGrid", "per_level_scale": 1.3819128800, "log2_hashmap_size": 19}
    with pytest.raises(ValueError, match=r"params must be 12196240 \(16 levels\), got 12196239"):
        from_tiny_cuda_nn(torch.zeros(12196239), 3, config)


@pytest.mark.parametrize(("otype", "padded_in", "padded_out"), [("FullyFusedMLP", 16, 16), ("CutlassMLP", 8, 8)])
def test_a_network_and_its_encoding_come_apart(otype: str, padded_in: int, padded_out: int) -> None:
    """Three levels of two features, padded to 8 or 16; three outputs, padded too."""
    rng = np.random.default_rng(3)
    first, middle, last = (
        rng.standard_normal(s).astype(np.float32) for s in ((32, padded_in), (32, 32), (padded_out, 32))
    )
    entries, s = SIZES["tiled", 2]
    flat = distinct(entries, 2).reshape(-1)
    params = torch.from_numpy(np.concatenate([first.ravel(), middle.ravel(), last.ravel(), flat]))
    grid_config = {"otype": "TiledGrid", "n_levels": 3, "base_resolution": 3, "per_level_scale": 2.0}
    network_config = {
        "otype": otype,
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": 32,
        "n_hidden_layers": 2,
    }
    grid, network = from_tiny_cuda_nn_with_network(params, 2, 3, grid_config, network_config)
    x = points(2)
    features = np.zeros((len(x), padded_in), np.float32)
    features[:, :6] = tiny_cuda_nn(x, flat, kind="tiled", **s)
    hidden = np.maximum(np.maximum(features @ first.T, 0) @ middle.T, 0)
    expected = (hidden @ last.T)[:, :3]
    mlp = MLP(6, 3, width=32, n_hidden_layers=2)
    with torch.no_grad():
        for (weight, _), imported in zip(mlp.layers(), network.weights, strict=True):
            weight.copy_(imported)
        got = mlp(grid(torch.from_numpy(x)))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-2, rtol=1e-4)
    with pytest.raises(ValueError, match=rf"of a {padded_in}-32-32-{padded_out} network and 54 of 3 levels\), got 7"):
        from_tiny_cuda_nn_with_network(torch.zeros(7), 2, 3, grid_config, network_config)


def torch_ngp(x, table, offsets, *, base, scale, hashed, align_corners, smooth=False):
    features = []
    for level in range(len(offsets) - 1):
        s = 2 ** (level * math.log2(scale)) * base - 1
        resolution = math.ceil(s) + 1
        n = offsets[level + 1] - offsets[level]
        entries = table[offsets[level] : offsets[level + 1]]

        def look_up(corner, entries=entries, n=n, resolution=resolution):
            stride, index = 1, np.zeros(len(corner), np.int64)
            for d in range(corner.shape[1]):
                if stride > n:
                    break
                index += corner[:, d] * stride
                stride *= resolution if align_corners else resolution + 1
            if hashed and stride > n:
                index = prime_hash(corner)
            return entries[index % n]

        half = np.float32(0.0 if align_corners else 0.5)
        features.append(interpolate(x * np.float32(s) + half, look_up, smooth))
    inside = ((x >= 0) & (x <= 1)).all(1, keepdims=True)
    return np.concatenate(features, 1) * inside


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("rounded", [True, False], ids=["sizes rounded to 8", "as they come"])
@pytest.mark.parametrize(
    ("gridtype", "interpolation"), [("hash", "linear"), ("hash", "smoothstep"), ("tiled", "linear")]
)
def test_torch_ngp(gridtype, interpolation, rounded: bool, align_corners: bool) -> None:
    base, scale, offsets = 4, 1.7, [0]
    for level in range(4):
        side = math.ceil(base * scale**level) + (0 if align_corners else 1)
        n = min(2**8, side**3)
        offsets.append(offsets[-1] + ((n + 7) // 8 * 8 if rounded else n))
    table = distinct(offsets[-1])
    grid = from_torch_ngp(
        torch.from_numpy(table), torch.tensor(offsets, dtype=torch.int32), 3, base_resolution=base,
        per_level_scale=scale, gridtype=gridtype, align_corners=align_corners, interpolation=interpolation,
    )  # fmt: skip
    x = np.concatenate([points(3), points(3, 50) * 3 - 1])
    expected = torch_ngp(
        x, table, offsets, base=base, scale=scale, hashed=gridtype == "hash", align_corners=align_corners,
        smooth=interpolation == "smoothstep",
    )  # fmt: skip
    np.testing.assert_allclose(grid(torch.from_numpy(x)).detach().numpy(), expected, atol=3e-5)


def test_torch_ngps_desired_resolution_gives_the_growth() -> None:
    offsets = [0, 128, 1128]  # (4 + 1)^3 and (9 + 1)^3
    table = torch.from_numpy(distinct(1128))
    one = from_torch_ngp(table, offsets, 3, base_resolution=4, desired_resolution=9)
    other = from_torch_ngp(table, offsets, 3, base_resolution=4, per_level_scale=9 / 4)
    assert torch.equal(one(torch.from_numpy(points(3))), other(torch.from_numpy(points(3))))


def nerfstudio(x: np.ndarray, table: np.ndarray, n_levels: int, min_res: int, max_res: int) -> np.ndarray:
    """Ceil and floor corners, blended axis after axis by the distance from the floor."""
    size = len(table) // n_levels
    growth = np.exp((np.log(max_res) - np.log(min_res)) / (n_levels - 1))
    features = []
    for level in range(n_levels):
        scaled = x * np.floor(np.float32(min_res) * np.float32(growth) ** np.float32(level))
        low, high = np.floor(scaled).astype(np.int64), np.ceil(scaled).astype(np.int64)
        offset = scaled - low
        total = 0.0
        for corner in itertools.product((False, True), repeat=3):
            at = np.where(corner, high, low)
            hashed = at[:, 0] ^ (at[:, 1] * 2654435761) ^ (at[:, 2] * 805459861)
            weight = np.where(corner, offset, 1 - offset).prod(1)
            total = total + weight[:, None] * table[hashed % size + level * size]
        features.append(total)
    return np.concatenate(features, 1)


def test_nerfstudio() -> None:
    table = distinct(3 * 256)
    grid = from_nerfstudio(torch.from_numpy(table), n_levels=3, min_res=5, max_res=40)
    assert layout.scales(grid.levels)[0, :, 0].tolist() == [5.0, 14.0, 39.0]  # 39.999996 in its float32
    corners = np.array(list(itertools.product((0.0, 0.2, 1.0), repeat=3)), np.float32)  # where ceil is floor
    x = np.concatenate([points(3), corners])
    np.testing.assert_allclose(grid(torch.from_numpy(x)).detach().numpy(), nerfstudio(x, table, 3, 5, 40), atol=3e-5)
    assert from_nerfstudio(torch.from_numpy(table).half(), n_levels=3).table.dtype == torch.float32


def test_imported_grids_train_and_copy_what_they_were_given() -> None:
    table = torch.from_numpy(distinct(3 * 256))
    before = table.clone()
    grid = from_nerfstudio(table, n_levels=3)
    grid(torch.from_numpy(points(3))).square().sum().backward()
    assert grid.table.grad is not None and grid.table.grad.any()
    with torch.no_grad():
        grid.table.zero_()
    assert torch.equal(table, before)


BAD = {
    "4 levels of 2^log2_hashmap_size rows, got 768 rows": lambda: from_nerfstudio(torch.zeros(768, 2), n_levels=4),
    "rows must be 200 (the last of the offsets), got 99": lambda: from_torch_ngp(torch.zeros(99, 2), [0, 125, 200], 3),
    "level 0 must have 4913 entries or a power of two, got 200": lambda: from_torch_ngp(
        torch.zeros(200, 2), [0, 200], 3
    ),
    "rise from 0, one more than there are levels, got [9]": lambda: from_torch_ngp(torch.zeros(9, 2), [9], 3),
    "otype must be Grid": lambda: from_tiny_cuda_nn(torch.zeros(4), 3, {"otype": "Frequency"}),
    "unknown keys ['n_level']": lambda: from_tiny_cuda_nn(torch.zeros(4), 3, {"n_level": 3}),
    "hash must be CoherentPrime, got 'Rng'": lambda: from_tiny_cuda_nn(torch.zeros(4), 3, {"hash": "Rng"}),
    "interpolation must be one of": lambda: from_tiny_cuda_nn(
        torch.zeros(16), 1, {"n_levels": 1, "base_resolution": 4, "interpolation": "Cubic"}
    ),
    "must be one of FullyFusedMLP": lambda: from_tiny_cuda_nn_with_network(torch.zeros(4), 3, 1, {}, {"otype": "MLP"}),
}


@pytest.mark.parametrize("message", list(BAD))
def test_wrong_sizes_say_what_was_expected(message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        BAD[message]()
