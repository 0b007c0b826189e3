"""Simplex encoding in plain torch: the oracle of the tests, in any float dtype, differentiable by autograd.

Written from the definition: a simplex' vertices are found by sorting fractions, one by one; nothing here is shared with
the kernels but the layout of the descriptors.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda.reference.hash_grid import FARTHEST_CELL, each_level, entry_index, placed


def forward(
    positions: Float[Tensor, "N D"],
    table: Float[Tensor, "E F"],
    levels: Int[Tensor, "T L W"],
    segments: Int[Tensor, " T1"] | None = None,
    level_weights: Float[Tensor, " L"] | None = None,
    lattice: int = 0,
    outside: int = 0,
) -> Float[Tensor, "N K"]:
    """Features of every level; lattice 0 skewed, 1 Kuhn, 2 permutohedral; outside 0 wrap, 1 clamp, 2 zero."""
    return each_level(
        lambda x, row: _level(x, table, row, lattice, outside), positions, levels, segments, level_weights
    )


def backward(grad, positions, table, *grid) -> tuple[Tensor, Tensor]:
    """Gradients with respect to positions and table, by autograd through `forward`."""
    with torch.enable_grad():
        x, t = positions.detach().requires_grad_(), table.detach().requires_grad_()
        gx, gt = torch.autograd.grad(forward(x, t, *grid), (x, t), grad)
    return gx, gt


def backward_backward(direction, grad, positions, table, *grid) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of <grad_positions, direction> with respect to grad, positions (zero) and table."""
    with torch.enable_grad():
        g, x, t = (v.detach().requires_grad_() for v in (grad, positions, table))
        gx = torch.autograd.grad(forward(x, t, *grid), x, g, create_graph=True)[0]
        gg, gt = torch.autograd.grad((gx * direction).sum(), (g, t))
    return gg, torch.zeros_like(x), gt


def to_lattice(p: Float[Tensor, "N D"], lattice: int) -> Float[Tensor, "N D"]:
    """The lattice's coordinates of scaled and shifted positions."""
    n_dims = p.shape[1]
    if lattice == 0:
        return p + (math.sqrt(n_dims + 1) - 1) / n_dims * p.sum(1, keepdim=True)
    if lattice == 1:
        return p
    # Adams et al. 2010, section 3.1: elevate into the plane of D + 1 coordinates whose sum is 0. The lattice there is
    # spanned by the projections of the unit vectors, e_j - (1, ..., 1) / (D + 1), j = 1 to D, so that a point's
    # coordinates in it are the differences of its own to the one numbered 0 (scales hold sqrt((d + 2) / (d + 1))).
    axes = torch.arange(1, n_dims + 1, dtype=p.dtype, device=p.device)
    scaled = p / (axes + 1)
    after = scaled.flip(1).cumsum(1).flip(1) - scaled
    elevated = torch.cat([scaled.sum(1, keepdim=True), after - axes * scaled], 1)
    return elevated[:, :1] - elevated[:, 1:]


def _level(x: Tensor, table: Tensor, row: list[int], lattice: int, outside: int) -> Tensor:
    n_dims = x.shape[1]
    p, inside = placed(x, row, outside)
    q = to_lattice(p, lattice)
    cell = q.detach().floor()
    f = q - cell
    f = torch.where(f.isnan(), torch.zeros_like(f), f)
    vertex = cell.nan_to_num(FARTHEST_CELL, FARTHEST_CELL, -FARTHEST_CELL)
    vertex = vertex.clamp(-FARTHEST_CELL, FARTHEST_CELL).to(torch.int64)
    f, order = f.sort(dim=1, descending=True, stable=True)
    bounds = torch.cat([torch.ones_like(f[:, :1]), f, torch.zeros_like(f[:, :1])], 1)
    weights = bounds[:, :-1] - bounds[:, 1:]
    total = torch.zeros(x.shape[0], table.shape[1], dtype=x.dtype, device=x.device)
    for k in range(n_dims + 1):
        if k > 0:
            vertex = vertex + torch.nn.functional.one_hot(order[:, k - 1], n_dims)
        index = entry_index(vertex, row)
        total = total + weights[:, k : k + 1] * table[index].to(x.dtype)
    total = total * (1 + 0 * p.detach().sum(1, keepdim=True))  # NaN where a coordinate is not finite
    return total * inside.all(-1, keepdim=True) if outside == 2 else total
