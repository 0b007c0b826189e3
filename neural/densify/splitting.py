"""One Gaussian becomes several beside each other, and chance that hands out how many."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.densify.population import Population
from neural.gaussians.order import rotations

SPACING = 2.5  # between neighbours, in their own standard deviations
_UNIT = 1 << 30  # of shares: whole numbers of it add up without rounding


@torch.no_grad()
def split(population: Population, copies: Int[Tensor, "N"]) -> None:
    r"""Puts `copies[i]` Gaussians in the place of Gaussian i, in a row along its longest axis.

    n of them, their centres 2.5 of their own standard deviations apart, have together the spread of the one: with
    a = (1 + 2.5^2 (n^2 - 1) / 12)^{-1/2} each is a times as long, and its opacity is 1 - (1 - o)^{1/(n a)}, so that the
    optical thickness along the axis adds up to what it was. Two are far enough apart to go different ways, and near
    enough (a dip of an eighth between them) to look as the one did; no chance is involved.

    Args:
        population: Rows with more than one copy begin with fresh moments and counters.
        copies: 0 removes, 1 keeps, more splits; on the Gaussians' device.
    """
    gaussians = population.gaussians
    source = torch.repeat_interleave(torch.arange(population.n, device=copies.device), copies)
    siblings = copies[source]
    rank = torch.arange(len(source), device=copies.device) - (copies.cumsum(0) - copies)[source]
    new = siblings > 1
    opacities = population.opacities()
    population.rearrange(source, new)

    rows = new.nonzero()[:, 0]
    n, rank, before = siblings[rows].double(), rank[rows].double(), opacities[source[rows]]
    shorter = (1 + SPACING**2 * (n.square() - 1) / 12).rsqrt()
    log_scales = gaussians.log_scales[rows].double()
    longest, axis = log_scales.max(dim=1)
    directions = rotations(gaussians.quats[rows].double())[torch.arange(len(rows), device=axis.device), :, axis]
    offsets = (rank - (n - 1) / 2) * SPACING * shorter * longest.exp()
    gaussians.means.data[rows] += (offsets[:, None] * directions).float()
    gaussians.log_scales.data[rows, axis] = (longest + shorter.log()).float()
    each = -torch.expm1(torch.log1p(-before.clamp(max=1 - 1e-7)) / (n * shorter))
    gaussians.opacity_logits.data[rows] = torch.logit(each).float()


def spread(weights: Float[Tensor, "N"], total: int, uniform: float) -> Int[Tensor, "N"]:
    """Hands `total` units out by weight: exactly so many, each index as near to its share as whole numbers allow.

    No index has two before each of positive weight has had the chance of one: shares are held at the smallest whole
    number that suffices, and the others take what is over. Then systematic sampling: index i counts the whole numbers
    in its stretch of the cumulated shares, moved by `uniform`.

    Args:
        weights: 0 or more, finite; where all are 0, all count alike.
        total: 0 or more.
        uniform: In [0, 1), the only chance in it.

    Source: Madow 1949, "On the Theory of Systematic Sampling, II".
    """
    rows = (weights > 0).nonzero()[:, 0]
    if len(rows) == 0:
        weights, rows = torch.ones_like(weights), torch.arange(len(weights), device=weights.device)
    counts = torch.zeros(len(weights), dtype=torch.int64, device=weights.device)
    if total == 0 or len(rows) == 0:
        return counts
    shares = _held(weights[rows].double(), total, cap=-(-total // len(rows)))
    edges = (shares.cumsum(0) + int(uniform * _UNIT)).div(_UNIT, rounding_mode="floor")
    counts[rows] = edges.diff(prepend=edges.new_zeros(1))
    return counts


def _held(weights: Float[Tensor, "N"], total: int, cap: int) -> Int[Tensor, "N"]:
    """Shares of `total` by weight in units, none above `cap`: what is cut off goes to the others."""
    ascending, order = weights.sort(stable=True)
    held = torch.arange(len(weights) - 1, -1, -1, device=weights.device)  # those after each in the order
    factors = (total - cap * held) / ascending.cumsum(0)  # if exactly those are held at the cap
    last = int((factors * ascending <= cap).sum()) - 1  # it holds for a first stretch, which is free
    shares = torch.full_like(weights, cap)
    if last >= 0:
        shares[order[: last + 1]] = (factors[last] * ascending[: last + 1]).clamp(0, cap)
    whole = (shares * _UNIT).round().long()
    missing = total * _UNIT - int(whole.sum())
    whole[order[0 if missing > 0 else -1]] += missing  # to the smallest, which has room; off the largest
    return whole
