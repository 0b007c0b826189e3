"""The hash grid's public call against Dr.Jit's and plain torch's: 3D, 16 levels of 2 features, 2^18 points.

Same points, same values, same loss; everybody allocates and clears the gradients that it needs. The loss is the sum of
squares of the features: torch's mean would expand its gradient into the other memory order, 66 ms of torch's own at
this size. Peers agree with ours in value before they are timed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from neural.cuda import levels, native
from neural.cuda.hash_grid import hash_grid
from tests.bench.harness import Row, Size, Work, instruction_set, interleave, threads, two_threads
from tests.bench.peers import TorchHashGrid


@dataclass(frozen=True)
class Problem:
    """What all contenders compute."""

    n_levels: int
    log2_size: int
    growth: float
    base: int
    positions: Tensor
    rows: Tensor
    table: Tensor

    @staticmethod
    def of(size: Size) -> "Problem":
        n_levels, log2_size, n = (16, 19, 2**18) if size == "full" else (4, 12, 512)
        base, growth = 16, (2048 / 16) ** (1 / 15)
        rows, entries = levels.describe(
            3, n_levels=n_levels, base_resolution=[base] * 3, per_level_scale=[growth] * 3, log2_hashmap_size=log2_size
        )
        generator = torch.Generator().manual_seed(0)
        table = torch.rand(entries, 2, generator=generator) * 2 - 1
        return Problem(n_levels, log2_size, growth, base, torch.rand(n, 3, generator=generator), rows, table)


@dataclass(frozen=True)
class Contender:
    """A grid's features as a tensor, to compare; and its two pieces of work."""

    features: Callable[[], Tensor]
    forward: Work
    both: Work


def run(size: Size) -> list[Row]:
    problem = Problem.of(size)
    repeats = 9 if size == "full" else 2
    us = ours(problem)
    vectorised, per_corner = plain_torch(problem)
    peers = {"torch, vectorised corners": vectorised, "torch, per corner": per_corner}
    dr = dr_jit()
    if dr is not None:
        dr.set_thread_count(1)
        peers["Dr.Jit"] = drjit(problem)
    for name, peer in peers.items():
        torch.testing.assert_close(peer.features(), us.features(), atol=2e-3, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
    rows = []
    with threads(1):
        for kind, bars in (("forward", (2.5, None)), ("forward+backward", (5.5, 12.0))):
            work = {n: c.forward if kind == "forward" else c.both for n, c in {"neural": us, **peers}.items()}
            rows += _against(kind, work, repeats, *bars)
        rows += _instruction_sets(us, repeats)
    for kind, work in (("forward", us.forward), ("forward+backward", us.both)):
        rows.append(two_threads(kind, work, size))
    return rows


def _against(
    kind: str, work: dict[str, Work], repeats: int, drjit_bar: float | None, torch_bar: float | None
) -> list[Row]:
    quick = interleave({name: w for name, w in work.items() if not name.startswith("torch")}, repeats)
    slow = interleave({name: w for name, w in work.items() if name != "Dr.Jit"}, max(2, repeats // 3))
    fastest = slow.fastest([name for name in work if name.startswith("torch")])
    rows = [Row(f"{kind}, neural", quick.of("neural"), "ms", note="CPU time, 1 thread")]
    if "Dr.Jit" in work:
        rows.append(Row(f"{kind}, Dr.Jit (LLVM)", quick.of("Dr.Jit"), "ms"))
        rows.append(Row(f"{kind}: over Dr.Jit", quick.ratio("Dr.Jit", "neural"), "x", at_least=drjit_bar))
    else:
        rows.append(Row(f"{kind}: over Dr.Jit", None, "x", at_least=drjit_bar, note="needs drjit and libLLVM"))
    rows.append(Row(f"{kind}, {fastest}", slow.of(fastest), "ms", note="the faster of two forms"))
    rows.append(Row(f"{kind}: over plain torch", slow.ratio(fastest, "neural"), "x", at_least=torch_bar))
    return rows


def _instruction_sets(us: Contender, repeats: int) -> list[Row]:
    if not {"avx2", "avx512"} <= set(native.available_isas()):
        return []

    def within(isa: str, work: Work) -> Work:
        def run_it() -> None:
            with instruction_set(isa):
                work()

        return run_it

    rows = []
    for kind, work in (("forward", us.forward), ("forward+backward", us.both)):
        times = interleave({isa: within(isa, work) for isa in ("avx2", "avx512")}, repeats)
        rows.append(Row(f"{kind}: AVX2 over AVX-512", times.ratio("avx2", "avx512"), "x", at_most=2.2))
    return rows


def ours(problem: Problem) -> Contender:
    """The public call, as a module would make it."""
    table = problem.table.clone().requires_grad_()

    def forward() -> Tensor:
        with torch.no_grad():
            return hash_grid(problem.positions, table, problem.rows)

    def both() -> None:
        table.grad = None
        hash_grid(problem.positions, table, problem.rows).square().sum().backward()

    return Contender(forward, forward, both)


def plain_torch(problem: Problem) -> tuple[Contender, Contender]:
    """The vectorised-corner and the per-corner form."""
    rows = problem.rows[0]
    tables = [problem.table[offset : offset + size] for offset, size in rows[:, :2].tolist()]
    scales = levels.scales(rows)[:, 0].tolist()
    grid = TorchHashGrid(tables, scales, levels.resolutions(rows)[:, 0].tolist())

    def contender(form: Callable[[Tensor], Tensor]) -> Contender:
        def forward() -> Tensor:
            with torch.no_grad():
                return form(problem.positions)

        def both() -> None:
            grid.clear()
            form(problem.positions).square().sum().backward()

        return Contender(forward, forward, both)

    return contender(grid.vectorised), contender(grid.per_corner)


def drjit(problem: Problem) -> Contender:
    """Dr.Jit's encoding in the mode that indexes as tiny-cuda-nn does, on its LLVM backend."""
    import drjit as dr
    from drjit.llvm.ad import ArrayXf, Float32
    from drjit.nn import HashGridEncoding

    encoding = HashGridEncoding(
        Float32, 3, n_levels=problem.n_levels, n_features_per_level=2, hashmap_size=2**problem.log2_size,
        base_resolution=problem.base, per_level_scale=problem.growth, torchngp_compat=True,
    )  # fmt: skip
    offsets = [2 * encoding.level_offset(level) for level in range(problem.n_levels + 1)]
    table = Float32(_at_offsets(problem, offsets).numpy())
    positions = ArrayXf(problem.positions.T.contiguous().numpy())

    def forward() -> None:
        encoding.set_params(table)
        dr.eval(encoding(positions))
        dr.sync_thread()

    def features() -> Tensor:
        encoding.set_params(table)
        return torch.stack([torch.from_numpy(column.numpy()) for column in encoding(positions)], -1)

    def both() -> None:
        leaf = Float32(table)
        dr.enable_grad(leaf)
        encoding.set_params(leaf)
        dr.backward(dr.sum(dr.squared_norm(encoding(positions))))
        dr.eval(dr.grad(leaf))
        dr.sync_thread()

    return Contender(features, forward, both)


def _at_offsets(problem: Problem, offsets: list[int]) -> Tensor:
    """Our table's values where Dr.Jit keeps each level; it rounds small levels to other sizes than 8 entries."""
    flat = torch.zeros(offsets[-1])
    for (start, size), offset, end in zip(problem.rows[0, :, :2].tolist(), offsets, offsets[1:], strict=False):
        length = min(2 * size, end - offset)
        flat[offset : offset + length] = problem.table[start : start + size].reshape(-1)[:length]
    return flat


def dr_jit() -> ModuleType | None:
    """Dr.Jit, if it and the LLVM library that it loads are there."""
    try:
        import drjit as dr
    except ImportError:
        return None
    return dr if dr.has_backend(dr.JitBackend.LLVM) else None
