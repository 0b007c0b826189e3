"""Level descriptors of the simplex encoding: rows as in `neural.cuda.levels`, sized for the box that the lattice's map
makes of [0, 1]^D.

At equal arguments a level's longest edge is a hash grid's cell edge. Simplices of the skewed lattice have edges of
squared length m (D + 1 - m) / (D + 1), m = 1 to D, and those of Kuhn's m, where vertices are one unit of p apart along
an axis; scales are multiplied by the longest of them. So the skewed lattice has 1.15 times the vertices of a grid in
2-D, 2 times in 3-D and 3.2 times in 4-D, Kuhn's 2, 5.2 and 16 times.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from neural.cuda import levels as layout

Lattice = Literal["skewed", "kuhn", "permutohedral"]
LATTICES: tuple[Lattice, ...] = ("skewed", "kuhn", "permutohedral")  # the kernels' numbering


def describe(
    n_dims: int,
    *,
    n_levels: int,
    base_resolution: Sequence[int],
    per_level_scale: Sequence[float],
    log2_hashmap_size: int,
    lattice: Lattice = "skewed",
    n_tables: int = 1,
    seed: int = 0,
) -> tuple[Int[Tensor, "T L W"], int]:
    """Lays out all levels of all sub-tables.

    Level l has edges of at most 1 / (base * per_level_scale^l - 1) along axes of equal base and growth. It is dense
    where the box around all vertices has at most 2^log2_hashmap_size of them, hashed otherwise. The box of the skewed
    lattice is (D + 1)^((D - 1) / 2) times larger than what [0, 1]^D needs of it.

    Args:
        n_dims: 1 to 7.
        n_levels: Number of levels.
        base_resolution: One more than the edges along an axis of the first level; one value per axis.
        per_level_scale: Growth from level to level, one value per axis.
        log2_hashmap_size: Bound on a level's entries.
        lattice: `skewed`, `kuhn` or `permutohedral`. The first two lie half a cell off in every level; the last is
            shifted by uniform random numbers of its period.
        n_tables: Number of equal sub-tables, one after the other.
        seed: Of the permutohedral lattice's shifts, equal in all sub-tables.

    Returns:
        The descriptors and the number of entries of the whole table.

    Raises:
        ValueError: A value out of range.
    """
    layout.check(n_dims, n_levels, base_resolution, per_level_scale, log2_hashmap_size)
    if lattice not in LATTICES:
        raise ValueError(f"lattice must be one of {', '.join(LATTICES)}, got {lattice!r}")
    to_lattice = matrix(n_dims, lattice)
    stretch = longest_edge(n_dims, lattice) * axis_factors(n_dims, lattice)
    generator = torch.Generator().manual_seed(seed)
    levels = []
    for level in range(n_levels):
        edges = [base * growth**level - 1.0 for base, growth in zip(base_resolution, per_level_scale, strict=True)]
        scales = (torch.tensor(edges, dtype=torch.float64) * stretch).float().double()
        start = torch.full((n_dims,), 0.5, dtype=torch.float64)  # of the box, in the lattice's coordinates
        if lattice == "permutohedral":
            start = torch.rand(n_dims, dtype=torch.float64, generator=generator)
        shifts = torch.linalg.solve(to_lattice, start).float().double()
        end = to_lattice @ (scales + shifts)
        vertices = [math.floor(q) + 2 for q in (end * (1 + 1e-6) + 1e-5).tolist()]  # kernels round
        levels.append((vertices, scales.tolist(), shifts.tolist()))
    rows, offset = [], 0
    for _ in range(n_tables):
        for vertices, factors, offsets in levels:
            box = -(-math.prod(vertices) // 8) * 8
            size = min(box, 2**log2_hashmap_size)
            rows.append(layout.row(offset, size, size < box, vertices, factors, shifts=offsets))
            offset += size
    return torch.tensor(rows, dtype=torch.int64).reshape(n_tables, n_levels, layout.row_length(n_dims)), offset


def matrix(n_dims: int, lattice: Lattice) -> Tensor:
    """The map from p = x scale + shift to the lattice's coordinates, float64 [D, D]; no element is below 0."""
    one = torch.eye(n_dims, dtype=torch.float64)
    if lattice == "kuhn":
        return one
    if lattice == "skewed":
        return one + (math.sqrt(n_dims + 1) - 1) / n_dims
    return one + (1 / torch.arange(2, n_dims + 2, dtype=torch.float64)).expand(n_dims, n_dims).tril(-1)


def axis_factors(n_dims: int, lattice: Lattice) -> Tensor:
    """What the scales of the axes hold beside the edge length, float64 [D]: it makes the permutohedral map a rotation
    of the skewed one."""
    axes = torch.arange(n_dims, dtype=torch.float64)
    return ((axes + 2) / (axes + 1)).sqrt() if lattice == "permutohedral" else torch.ones_like(axes)


def longest_edge(n_dims: int, lattice: Lattice) -> float:
    """Longest edge of the simplices where the scale is 1."""
    if lattice == "kuhn":
        return math.sqrt(n_dims)
    return math.sqrt(max(m * (n_dims + 1 - m) / (n_dims + 1) for m in range(1, n_dims + 1)))
