"""The occupancy grid's three moves: points in cells, the thickness follows the field, bits for the march."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from neural.cuda import checks, jit, library, philox
from neural.cuda.native import lib, threads
from neural.cuda.reference import occupancy as reference

CHUNK = 4096  # occupancy::kChunk


def cell_points(
    cells: Int[Tensor, " n"],
    *,
    seed: int,
    step: int,
    resolution: int,
    centre: tuple[float, float, float],
    half_extent: float,
) -> Float[Tensor, "n 3"]:
    """Draws one point in each cell; the same (seed, step, cell) gives the same point on any machine.

    Args:
        cells: int64, cascade * resolution^3 + Morton code (x lowest), from 0.
        seed: The run's seed.
        step: The training step.
        resolution: Cells per side, a power of two up to 1024.
        centre: Centre of all cascades, world units.
        half_extent: Half the side of cascade 0, world units.

    Returns:
        World positions, a transposed view of a [3, n] buffer.
    """
    checks.require("cell_points", "cells", cells, ("n",), torch.int64)
    _check_resolution("cell_points", resolution)
    philox.check_key("cell_points", 0, step)
    op = torch.ops.neural.occupancy_points if torch.compiler.is_compiling() else _points
    x, y, z = (float(c) for c in centre)
    return op(cells, philox.signed(seed), step, resolution, x, y, z, float(half_extent))


def update(
    thickness: Float[Tensor, "K n"], cells: Int[Tensor, " m"] | None, values: Float[Tensor, " m"], decay: float
) -> None:
    """thickness = max(decay thickness, value), in place; cells at -1 stay, NaN values count as none.

    Args:
        thickness: Optical thickness at the minimum step, contiguous.
        cells: int64 cells that `values` belong to, each in [0, K n), in any order, repeats allowed; None: all of them.
        values: New optical thickness, 0 or more.
        decay: Factor of the old values, in [0, 1].
    """
    checks.require("occupancy.update", "thickness", thickness, ("K", "n"))
    if not thickness.is_contiguous():
        raise ValueError("occupancy.update: thickness must be contiguous, because it is written in place")
    if cells is not None:
        checks.require("occupancy.update", "cells", cells, ("m",), torch.int64, thickness.device)
    m = thickness.numel() if cells is None else cells.shape[0]
    checks.require("occupancy.update", "values", values, (m,), device=thickness.device)
    if not 0 <= decay <= 1:
        raise ValueError(f"occupancy.update: decay must be in [0, 1], got {decay}")
    op = torch.ops.neural.occupancy_update if torch.compiler.is_compiling() else _update
    op(thickness, cells, values, decay)


def mean(thickness: Float[Tensor, "K n"]) -> Float[Tensor, ""]:
    """Mean over the cells that are not negative, 0 if there is none; the same for any number of threads."""
    checks.require("occupancy.mean", "thickness", thickness, ("K", "n"))
    return (torch.ops.neural.occupancy_mean if torch.compiler.is_compiling() else _mean)(thickness.contiguous())


def pack(thickness: Float[Tensor, "K n"], threshold: Float[Tensor, ""]) -> UInt8[Tensor, "K b"]:
    """The bitfield of the march: thickness above `threshold`, or over an occupied cell of a finer cascade.

    Args:
        thickness: [n_cascades, resolution^3] in Morton order.
        threshold: A float32 scalar tensor on the same device.

    Returns:
        uint8 [n_cascades, resolution^3 / 8].
    """
    checks.require("occupancy.pack", "thickness", thickness, ("K", "n"))
    checks.require("occupancy.pack", "threshold", threshold, (), device=thickness.device)
    resolution = round(thickness.shape[1] ** (1 / 3))
    _check_resolution("occupancy.pack", resolution)
    if resolution**3 != thickness.shape[1]:
        raise ValueError(f"occupancy.pack: thickness must be [K, resolution^3], got {list(thickness.shape)}")
    op = torch.ops.neural.occupancy_pack if torch.compiler.is_compiling() else _pack
    return op(thickness.contiguous(), threshold, resolution)


def _check_resolution(op: str, resolution: int) -> None:
    if not (16 <= resolution <= 1024 and resolution & (resolution - 1) == 0):
        raise ValueError(f"{op}: resolution must be a power of two from 16 to 1024, got {resolution}")


def _points(
    cells: Tensor, seed: int, step: int, resolution: int, x: float, y: float, z: float, half_extent: float
) -> Tensor:
    n = cells.shape[0]
    backend = checks.backend(cells)
    if backend == "reference":
        return reference.points(cells, seed, step, resolution, (x, y, z), half_extent)
    out = checks.empty_features(n, 3, cells)
    if n == 0:
        return out
    cells = cells.contiguous()
    if backend == "cpu":
        lib.occupancy_points(
            cells.data_ptr(), n, seed % 2**64, step, resolution, x, y, z, half_extent, out.data_ptr(), threads()
        )
    else:
        jit.launch(
            "occupancy", "occupancy_points", {}, n, (cells, n, seed, step, resolution, x, y, z, half_extent, out)
        )  # fmt: skip
    return out


def _update(thickness: Tensor, cells: Tensor | None, values: Tensor, decay: float) -> None:
    backend = checks.backend(thickness)
    if backend == "reference":
        return reference.update(thickness, cells, values, decay)
    n_cells, n = thickness.numel(), values.shape[0]
    values = values.contiguous()
    cells = None if cells is None else cells.contiguous()
    if backend == "cpu":
        lib.occupancy_update(
            thickness.data_ptr(), n_cells, 0 if cells is None else cells.data_ptr(), values.data_ptr(), n, decay,
            threads(),
        )  # fmt: skip
        return None
    jit.launch(
        "occupancy", "occupancy_decay", {}, n_cells, (thickness, n_cells, values if cells is None else None, decay)
    )
    if cells is not None and n > 0:
        jit.launch("occupancy", "occupancy_raise", {}, n, (thickness, cells, values, n))
    return None


def _mean(thickness: Tensor) -> Tensor:
    backend = checks.backend(thickness)
    if backend == "reference":
        return reference.mean(thickness)
    n_cells = thickness.numel()
    if backend == "cpu":
        return thickness.new_tensor(lib.occupancy_mean(thickness.data_ptr(), n_cells, threads()))
    n_chunks = -(-n_cells // CHUNK)
    sums = torch.empty((n_chunks, 2), dtype=torch.float64, device=thickness.device)
    jit.launch("occupancy", "occupancy_sums", {}, n_chunks, (thickness, n_cells, sums))
    total, seen = sums.cumsum(0)[-1].unbind()  # cumsum adds in order; a reduction may split by threads
    return (total / seen.clamp(min=1.0)).float()


def _pack(thickness: Tensor, threshold: Tensor, resolution: int) -> Tensor:
    backend = checks.backend(thickness)
    if backend == "reference":
        return reference.pack(thickness, threshold, resolution)
    k = thickness.shape[0]
    bitfield = _empty_bits(thickness)
    if backend == "cpu":
        lib.occupancy_pack(
            thickness.data_ptr(), threshold.data_ptr(), k, resolution, bitfield.data_ptr(), threads()
        )  # fmt: skip
        return bitfield
    n_bytes = bitfield.numel()
    jit.launch("occupancy", "occupancy_pack", {}, n_bytes, (thickness, threshold, n_bytes, bitfield))
    for cascade in range(k - 1):
        jit.launch("occupancy", "occupancy_pool", {}, n_bytes // k, (bitfield, cascade, resolution))
    return bitfield


def _empty_bits(thickness: Tensor) -> Tensor:
    return torch.empty((thickness.shape[0], thickness.shape[1] // 8), dtype=torch.uint8, device=thickness.device)


library.define(
    "occupancy_points",
    "(Tensor cells, int seed, int step, int resolution, float x, float y, float z, float half_extent) -> Tensor",
    implementation=_points,
    fake=lambda cells, *_: torch.empty((3, cells.shape[0]), dtype=torch.float32, device=cells.device).t(),
)
library.define(
    "occupancy_update",
    "(Tensor(a!) thickness, Tensor? cells, Tensor values, float decay) -> ()",
    implementation=_update,
    fake=lambda *_: None,
)
library.define(
    "occupancy_mean",
    "(Tensor thickness) -> Tensor",
    implementation=_mean,
    fake=lambda thickness: torch.empty((), dtype=torch.float32, device=thickness.device),
)
library.define(
    "occupancy_pack",
    "(Tensor thickness, Tensor threshold, int resolution) -> Tensor",
    implementation=_pack,
    fake=lambda thickness, *_: _empty_bits(thickness),
)
