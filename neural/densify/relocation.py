"""Relocation of MCMC densification: dead Gaussians move onto live ones, and the picture stays what it was."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural.densify.population import Population

MAX_SHARERS = 51  # beyond it nobody sees the difference, and the sum below would cancel
MIN_OPACITY = 0.005
MAX_OPACITY = 1 - 1e-7


def shared(
    opacities: Float[Tensor, "N"], scales: Float[Tensor, "N 3"], sharers: Int[Tensor, "N"]
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
    r"""What each of `sharers` equal Gaussians in one place must be to look as the one that stood there.

    o' = 1 - (1 - o)^(1/n) and s' = s o / \sum_{j=1}^{n} C(n, j) (-1)^(j-1) o'^j / \sqrt{j}: along a line through the
    middle the n of them let as much light through as the one did. (The paper's double sum over C(i, k) adds up to
    C(n, j) by the hockey-stick identity.)

    Args:
        opacities: o, in (0, 1).
        scales: s, scene units.
        sharers: n, how many stand there afterwards, 1 (alone, unchanged) or more; counted up to 51.

    Returns:
        o' in [0.005, 1) and s', float32; where o' meets its lower bound, s' stays the formula's.

    Source: Kheradmand et al. 2024, arXiv:2404.09591, eq. 9.
    """
    n = sharers.clamp(1, MAX_SHARERS).double()
    o = opacities.double().clamp(max=MAX_OPACITY)
    each = -torch.expm1(torch.log1p(-o) / n)
    total = torch.zeros_like(o)
    for j in range(1, int(n.max()) + 1 if n.numel() else 1):
        ways = torch.exp(torch.lgamma(n + 1) - math.lgamma(j + 1) - torch.lgamma((n - j + 1).clamp(min=1)))
        term = ways * each**j / math.sqrt(j)
        total += torch.where(j <= n, term if j % 2 else -term, 0.0)
    alone = sharers <= 1
    grown = torch.where(alone, 1.0, o / total)
    shrunk = torch.where(alone, opacities.double(), each.clamp(MIN_OPACITY, MAX_OPACITY))
    return shrunk.float(), (scales.double() * grown[:, None]).float()


@torch.no_grad()
def stack(population: Population, copies: Int[Tensor, "N"]) -> None:
    """Puts `copies[i]` Gaussians in the very place of Gaussian i, which share its light by eq. 9 (`shared`).

    Args:
        population: Rows with more than one copy begin with fresh moments and counters.
        copies: 0 removes, 1 keeps, more stack; on the Gaussians' device.
    """
    gaussians, opacities = population.gaussians, population.opacities()
    source = torch.repeat_interleave(torch.arange(population.n, device=copies.device), copies)
    sharers = copies[source]
    population.rearrange(source, sharers > 1)
    rows = (sharers > 1).nonzero()[:, 0]
    scales = gaussians.log_scales[rows].double().exp().float()
    lower, scales = shared(opacities[source[rows]], scales, sharers[rows])
    gaussians.opacity_logits.data[rows] = torch.logit(lower.double()).float()
    gaussians.log_scales.data[rows] = scales.double().log().float()


def dead(opacities: Float[Tensor, "N"]) -> Bool[Tensor, "N"]:
    """Gaussians that hardly show: opacity at most 0.005."""
    return opacities <= MIN_OPACITY
