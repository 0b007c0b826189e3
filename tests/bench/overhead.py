"""What a call costs beside its work: every op's public function on 16 elements, gradients recorded."""

import torch

from neural.cuda import library
from neural.cuda.adam import AdamRule, AdamState, adam
from neural.cuda.compact import compact, visible_samples
from neural.cuda.composite import composite
from neural.cuda.frequency import frequency
from neural.cuda.hash_grid import hash_grid
from neural.cuda.levels import describe
from neural.cuda.spherical_harmonics import spherical_harmonics
from tests.bench.harness import Row, Size, Work, interleave, threads

N = 16
BAR = 15.0  # microseconds


def run(size: Size) -> list[Row]:
    repeats, batch = (15, 500) if size == "full" else (2, 5)
    with threads(1):
        times = interleave(calls(), repeats, batch=batch)
    return [Row(name, times.of(name, 1e6), "us", at_most=BAR) for name in calls()]


def calls() -> dict[str, Work]:
    """One call of every op, by the op's name."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    rows, entries = describe(
        3, n_levels=1, base_resolution=[8] * 3, per_level_scale=[1.5] * 3, log2_hashmap_size=8
    )
    table = rand(entries, 2).requires_grad_()
    positions = rand(N, 3).requires_grad_()
    directions = torch.nn.functional.normalize(rand(N, 3), dim=-1).requires_grad_()
    densities, colors = rand(N).requires_grad_(), rand(3, N).T.requires_grad_()
    t_starts = torch.arange(N) / N
    t_ends = t_starts + 1 / N
    packed_info = torch.tensor([[0, N // 2], [N // 2, N // 2]])
    ray_indices, indices = torch.arange(N) // (N // 2), torch.arange(0, N, 2)
    param, grad = rand(N, 2), rand(N, 2)
    state, rule = AdamState(torch.zeros(N, 2), torch.zeros(N, 2)), AdamRule(1e-3)
    return {
        "hash_grid": lambda: hash_grid(positions, table, rows),
        "spherical_harmonics": lambda: spherical_harmonics(directions, 2),
        "frequency": lambda: frequency(positions, 2),
        "composite": lambda: composite(densities, colors, t_starts, t_ends, packed_info),
        "visible_samples": lambda: visible_samples(densities, t_starts, t_ends, packed_info),
        "compact": lambda: compact(indices, t_starts, t_ends, ray_indices, colors),
        "adam": lambda: adam(param, grad, state, rule, 1),
    }


def uncovered() -> list[str]:
    """Ops that this suite does not call: registered, forward, and not above."""
    forward = {name for name in library.OPS if not name.endswith("_backward")}
    return sorted(forward - set(calls()))
