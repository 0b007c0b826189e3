"""Packed compositing in plain torch, differentiable by autograd: oracle of the tests, in any float dtype."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def forward(
    densities: Float[Tensor, "S"],
    colors: Float[Tensor, "S C"],
    t_starts: Float[Tensor, "S"],
    t_ends: Float[Tensor, "S"],
    packed_info: Int[Tensor, "R 2"],
    early_stop: float,
) -> tuple[Float[Tensor, "R C"], Float[Tensor, "R"], Float[Tensor, "R"], Float[Tensor, "S"]]:
    """rgb, alpha, depth and weights, by padding every ray to the longest."""
    index, valid = padded(packed_info)
    alphas, before = opacity_and_transmittance(densities, t_starts, t_ends, index, valid)
    padded_weights = torch.where(before.detach() >= early_stop, alphas * before, torch.zeros_like(alphas))
    weights = torch.zeros_like(densities).index_put((index[valid],), padded_weights[valid])
    middles = 0.5 * (t_starts + t_ends)
    rgb = (padded_weights[..., None] * torch.where(valid[..., None], pick(colors, index), 0.0)).sum(1)
    depth = (padded_weights * torch.where(valid, pick(middles, index), 0.0)).sum(1)
    return rgb, padded_weights.sum(1), depth, weights


def backward(
    densities: Tensor,
    colors: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    packed_info: Tensor,
    early_stop: float,
    grads: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None],
) -> tuple[Tensor, Tensor]:
    """Gradients to densities and colors, by autograd through `forward`."""
    with torch.enable_grad():
        leaves = densities.detach().requires_grad_(), colors.detach().requires_grad_()
        outputs = forward(*leaves, t_starts, t_ends, packed_info, early_stop)
        used = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if grad is not None]
        found = torch.autograd.grad([out for out, _ in used], leaves, [grad for _, grad in used], allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True))  # type: ignore[return-value]


def visible(
    densities: Float[Tensor, "S"],
    t_starts: Float[Tensor, "S"],
    t_ends: Float[Tensor, "S"],
    packed_info: Int[Tensor, "R 2"],
    early_stop: float,
    min_alpha: float,
) -> tuple[Int[Tensor, "R 2"], Int[Tensor, "M"]]:
    """The compacted (start, count) per ray and the kept samples' indices, ray by ray."""
    index, valid = padded(packed_info)
    alphas, before = opacity_and_transmittance(densities, t_starts, t_ends, index, valid)
    kept = valid & (before >= early_stop) & (alphas >= min_alpha)
    counts = kept.sum(1)
    return torch.stack([counts.cumsum(0) - counts, counts], 1), index[kept]


def padded(packed_info: Int[Tensor, "R 2"]) -> tuple[Int[Tensor, "R P"], Bool[Tensor, "R P"]]:
    """Sample index per (ray, place) and whether the ray has that place; places past the end point at sample 0."""
    starts, counts = packed_info.unbind(1)
    longest = int(counts.max()) if len(counts) else 0
    places = torch.arange(longest, device=packed_info.device)
    valid = places < counts[:, None]
    return torch.where(valid, starts[:, None] + places, 0), valid


def pick(values: Tensor, index: Int[Tensor, "R P"]) -> Tensor:
    """values[index], also where there is no sample at all (then index has no places)."""
    return values[index.flatten()].reshape(*index.shape, *values.shape[1:])


def opacity_and_transmittance(
    densities: Tensor, t_starts: Tensor, t_ends: Tensor, index: Int[Tensor, "R P"], valid: Bool[Tensor, "R P"]
) -> tuple[Float[Tensor, "R P"], Float[Tensor, "R P"]]:
    """alpha_i and T_i of the padded samples; padding is empty space."""
    depths = torch.where(valid, pick(densities * (t_ends - t_starts), index), 0.0)
    return -torch.expm1(-depths), torch.exp(depths - depths.cumsum(1))
