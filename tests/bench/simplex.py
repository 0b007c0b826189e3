"""Simplex encoding against the hash grid and Dr.Jit's PermutoEncoding, through the public calls.

Tables of equal log2 T and levels of equal longest edge: the arguments of both are the same, their parameter counts are
printed beside each ratio. 16 levels of 2 features; 2^18 points, in 6-D 2^16. Everybody allocates and clears the
gradients that it needs; the loss is the sum of squares of the features. Dr.Jit hashes as in its own hash grid, which is
also ours, so that its values can be compared with ours (Kuhn's form, level sizes of its own) before it is timed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from neural.cuda import levels, native, simplex_levels
from neural.cuda.hash_grid import hash_grid
from neural.cuda.simplex import Lattice, simplex
from tests.bench.harness import Row, Size, Work, instruction_set, interleave, threads, two_threads
from tests.bench.hash_grid import dr_jit


@dataclass(frozen=True)
class Shape:
    """Points and levels of one comparison, and how much faster a simplex must be: forward, forward+backward."""

    n_dims: int
    log2_points: int
    base: int
    finest: int
    bars: tuple[float | None, float | None]


SHAPES = (
    Shape(2, 18, 16, 4096, (None, None)),
    Shape(3, 18, 16, 2048, (1.3, 1.3)),
    Shape(4, 18, 16, 256, (1.8, 1.8)),
    Shape(6, 16, 4, 64, (5.0, 5.0)),
)
DRJIT_BARS = (2.5, 5.5)


@dataclass(frozen=True)
class Contender:
    """An encoding's features as a tensor, its two pieces of work, and its parameters."""

    features: Callable[[], Tensor]
    forward: Work
    both: Work
    n_parameters: int


def run(size: Size) -> list[Row]:
    repeats = 9 if size == "full" else 2
    isas = [isa for isa in ("avx2", "avx512") if isa in native.available_isas()] or [native.active_isa()]
    rows = []
    with threads(1):
        for shape in SHAPES:
            positions, arguments = _problem(shape, size)
            ours, grid = of_simplex(positions, arguments, "skewed"), of_hash_grid(positions, arguments)
            counts = f"{ours.n_parameters:,} parameters, hash grid {grid.n_parameters:,}"
            for isa in isas:
                rows += _against(f"{shape.n_dims}-D", isa, ours, grid, "hash grid", shape.bars, counts, repeats)
        positions, arguments = _problem(SHAPES[1], size)
        rows += _lattices(positions, arguments, repeats)
        rows += _drjit(positions, arguments, repeats)
    ours = of_simplex(positions, arguments, "skewed")
    for kind, work in (("forward", ours.forward), ("forward+backward", ours.both)):
        rows.append(two_threads(f"3-D, {kind}", work, size))
    return rows


def _problem(shape: Shape, size: Size) -> tuple[Tensor, dict]:
    """Points, and what both layouts take."""
    n_levels, log2_size, n = (16, 19, 1 << shape.log2_points) if size == "full" else (3, 10, 256)
    growth = (shape.finest / shape.base) ** (1 / 15)
    positions = torch.rand(n, shape.n_dims, generator=torch.Generator().manual_seed(0))
    return positions, {
        "n_dims": shape.n_dims, "n_levels": n_levels, "base_resolution": [shape.base] * shape.n_dims,
        "per_level_scale": [growth] * shape.n_dims, "log2_hashmap_size": log2_size,
    }  # fmt: skip


def _contender(table: Tensor, look_up: Callable[[Tensor], Tensor]) -> Contender:
    leaf = table.clone().requires_grad_()

    def forward() -> Tensor:
        with torch.no_grad():
            return look_up(leaf)

    def both() -> None:
        leaf.grad = None
        look_up(leaf).square().sum().backward()

    return Contender(forward, forward, both, table.numel())


def _table(entries: int) -> Tensor:
    return torch.rand(entries, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


def of_hash_grid(positions: Tensor, arguments: dict) -> Contender:
    rows, entries = levels.describe(**arguments)
    return _contender(_table(entries), lambda table: hash_grid(positions, table, rows))


def of_simplex(positions: Tensor, arguments: dict, lattice: Lattice) -> Contender:
    rows, entries = simplex_levels.describe(**arguments, lattice=lattice)
    return _contender(_table(entries), lambda table: simplex(positions, table, rows, lattice=lattice))


def _against(
    where: str, isa: str, ours: Contender, other: Contender, name: str, bars: tuple[float | None, float | None],
    note: str, repeats: int,
) -> list[Row]:  # fmt: skip
    rows = []
    with instruction_set(isa):
        for kind, bar in zip(("forward", "forward+backward"), bars, strict=True):
            work = {n: c.forward if kind == "forward" else c.both for n, c in (("ours", ours), ("other", other))}
            times = interleave(work, repeats)
            label = f"{where}, {kind}, {isa}"
            rows.append(Row(label, times.of("ours"), "ms", note="CPU time, 1 thread"))
            rows.append(Row(f"{label}: over {name}", times.ratio("other", "ours"), "x", at_least=bar, note=note))
    return rows


def _lattices(positions: Tensor, arguments: dict, repeats: int) -> list[Row]:
    """What the other lattices cost beside the skewed one."""
    lattices: tuple[Lattice, ...] = simplex_levels.LATTICES
    contenders = {lattice: of_simplex(positions, arguments, lattice) for lattice in lattices}
    times = interleave({lattice: contender.forward for lattice, contender in contenders.items()}, repeats)
    return [
        Row(f"3-D, forward: {lattice} over skewed", times.ratio(lattice, "skewed"), "x",
            note=f"{contenders[lattice].n_parameters:,} parameters")
        for lattice in lattices[1:]
    ]  # fmt: skip


def _drjit(positions: Tensor, arguments: dict, repeats: int) -> list[Row]:
    dr = dr_jit()
    if dr is None:
        kinds = zip(("forward", "forward+backward"), DRJIT_BARS, strict=True)
        return [
            Row(f"3-D, Kuhn, {kind}: over Dr.Jit", None, "x", at_least=bar, note="needs drjit and libLLVM")
            for kind, bar in kinds
        ]
    dr.set_thread_count(1)
    rows, entries = levels.describe(**arguments)  # Kuhn's form at Dr.Jit's scales, which are a hash grid's
    table = _table(entries)
    ours = _contender(table, lambda t: simplex(positions, t, rows, lattice="kuhn"))
    theirs = _permuto(positions, arguments, rows, table)
    apart = ((theirs.features() - ours.features()).abs() > 2e-3).double().mean()
    assert apart < 1e-4, f"{apart:.1e} of the values differ"  # it takes a wrong vertex where two fractions are equal
    note = f"{ours.n_parameters:,} parameters both"
    return _against("3-D, Kuhn", native.active_isa(), ours, theirs, "Dr.Jit (LLVM)", DRJIT_BARS, note, repeats)


def _permuto(positions: Tensor, arguments: dict, rows: Tensor, table: Tensor) -> Contender:
    import drjit as dr
    from drjit.llvm.ad import ArrayXf, Float32
    from drjit.nn import HashGridEncoding, PermutoEncoding

    class Permuto(PermutoEncoding):
        hash, level_offset = HashGridEncoding.hash, HashGridEncoding.level_offset

    encoding = Permuto(
        Float32, 3, n_levels=arguments["n_levels"], n_features_per_level=2,
        hashmap_size=2 ** arguments["log2_hashmap_size"], base_resolution=arguments["base_resolution"][0],
        per_level_scale=arguments["per_level_scale"][0],
    )  # fmt: skip
    offsets = [2 * encoding.level_offset(level) for level in range(arguments["n_levels"] + 1)]
    flat = torch.zeros(offsets[-1])  # our values where it keeps each level: it rounds small ones to other sizes
    for (start, entries), offset, end in zip(rows[0, :, :2].tolist(), offsets, offsets[1:], strict=False):
        length = min(2 * entries, end - offset)
        flat[offset : offset + length] = table[start : start + entries].reshape(-1)[:length]
    values, points = Float32(flat.numpy()), ArrayXf(positions.T.contiguous().numpy())

    def forward() -> None:
        encoding.set_params(values)
        dr.eval(encoding(points))
        dr.sync_thread()

    def features() -> Tensor:
        encoding.set_params(values)
        return torch.stack([torch.from_numpy(column.numpy()) for column in encoding(points)], -1)

    def both() -> None:
        leaf = Float32(values)
        dr.enable_grad(leaf)
        encoding.set_params(leaf)
        dr.backward(dr.sum(dr.squared_norm(encoding(points))))
        dr.eval(dr.grad(leaf))
        dr.sync_thread()

    return Contender(features, forward, both, table.numel())
