"""The hash grid with learned probing in plain torch: the oracle of the tests, in any float dtype, by autograd.

A corner's entry has the value of the one that its code chooses and the derivative of the mean of its block by the
probabilities (a straight-through estimator): soft + (hard - soft) without gradient.
"""

import itertools

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from neural.cuda import levels as layout
from neural.cuda.reference.hash_grid import PRIMES, clamp

CODE_PRIMES = (2246822519, 3266489917, 668265263, 374761393)
FARTHEST_CELL = 2**30
MASK = 0xFFFFFFFF


def forward(
    positions: Float[Tensor, "N D"],
    table: Float[Tensor, "E F"],
    probabilities: Float[Tensor, "B C P"],
    codes: UInt8[Tensor, "B C"],
    levels: Int[Tensor, "1 L W"],
    level_weights: Float[Tensor, " L"] | None = None,
    interpolation: int = 1,
    outside: int = 1,
) -> Float[Tensor, "N K"]:
    """Features of every level; the last B levels are probed."""
    first = levels.shape[1] - codes.shape[0]
    scales, shifts = layout.scales(levels)[0], levels[0, :, -positions.shape[1] :].to(torch.int32).view(torch.float32)
    features = []
    for level, row in enumerate(levels[0].tolist()):
        book = level - first

        def look_up(corner: Tensor, row=row, book=book) -> Tensor:
            offset, size, hashed, key = row[:4]
            if not hashed:
                return table[offset + _dense(corner, size, row[4 : 4 + corner.shape[1]])]
            n_probes = probabilities.shape[2]
            block = offset + _xor(corner, PRIMES, key) % (size // n_probes) * n_probes
            place = _xor(corner, CODE_PRIMES, 0) * codes.shape[1] >> 32
            entries = table[block[:, None] + torch.arange(n_probes, device=block.device)]
            soft = (probabilities[book, place][..., None] * entries).sum(1)
            hard = table[block + codes[book, place].long()]
            return soft + (hard - soft).detach()

        weight = 1.0 if level_weights is None else float(level_weights[level])
        given = scales[level].to(positions), shifts[level].to(positions)
        features.append(weight * _interpolate(positions, *given, interpolation, outside, look_up))
    return torch.cat(features, 1)


def backward(grad, positions, table, probabilities, *grid) -> tuple[Tensor, ...]:
    """Gradients with respect to positions, table and probabilities, by autograd through `forward`."""
    with torch.enable_grad():
        leaves = [v.detach().requires_grad_() for v in (positions, table, probabilities)]
        return _or_zero(torch.autograd.grad(forward(*leaves, *grid), leaves, grad, allow_unused=True), leaves)


def backward_backward(direction, grad, positions, table, probabilities, *grid) -> tuple[Tensor, ...]:
    """Gradients of <grad_positions, direction> with respect to grad, positions, table and probabilities."""
    with torch.enable_grad():
        leaves = [v.detach().requires_grad_() for v in (grad, positions, table, probabilities)]
        if grid[3] == 0:  # nearest is constant in pieces
            return _or_zero([None] * 4, leaves)
        (first,) = torch.autograd.grad(forward(*leaves[1:], *grid), leaves[1], leaves[0], create_graph=True)
        return _or_zero(torch.autograd.grad((first * direction).sum(), leaves, allow_unused=True), leaves)


def _or_zero(grads, like) -> tuple[Tensor, ...]:
    return tuple(torch.zeros_like(v) if g is None else g for g, v in zip(grads, like, strict=True))


def _interpolate(x: Tensor, scale: Tensor, shift: Tensor, interpolation: int, outside: int, look_up) -> Tensor:
    inside = (x >= 0) & (x <= 1)
    if outside == 1:
        x = clamp(x)
    elif outside == 2:
        x = torch.where(inside, x, 0.0)
    p = x * scale + shift
    cell = p.detach().floor()
    f = p - cell
    whole = cell.nan_to_num(FARTHEST_CELL).clamp(-FARTHEST_CELL, FARTHEST_CELL).long()
    s = f * f * (3 - 2 * f) if interpolation == 2 else f
    total: Tensor = torch.zeros((), dtype=x.dtype, device=x.device)
    for corner in itertools.product((0, 1), repeat=x.shape[1]) if interpolation else [(0,) * x.shape[1]]:
        bits = torch.tensor(corner, device=x.device)
        weight = torch.where(bits == 1, s, 1 - s).prod(1) if interpolation else 1 + (s - s).detach().sum(1)
        total = total + weight[:, None] * look_up(whole + bits)
    return total * inside.all(1, keepdim=True) if outside == 2 else total


def _xor(corner: Tensor, primes: tuple[int, ...], key: int) -> Tensor:
    result = torch.full_like(corner[:, 0], key)
    for d in range(corner.shape[1]):
        result = result ^ (((corner[:, d] & MASK) * primes[d]) & MASK)
    return result


def _dense(corner: Tensor, size: int, resolution: list[int]) -> Tensor:
    index, stride = torch.zeros_like(corner[:, 0]), 1
    for d, length in enumerate(resolution):
        if stride > size:
            break
        index = (index + (corner[:, d] & MASK) * stride) & MASK
        stride *= length
    return index % size
