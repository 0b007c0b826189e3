"""Tiles of projected Gaussians in plain torch, by their boxes: what other devices use."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TILE = 16


def intersect(
    means2d: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    depths: Float[Tensor, "N"],
    extents: Float[Tensor, "N 2"],
    width: int,
    height: int,
) -> tuple[Int[Tensor, "T+1"], Int[Tensor, "P"], Int[Tensor, "P"], Int[Tensor, "P"], Int[Tensor, "N+1"]]:
    """offsets, gaussians, masks (all blocks), slots, starts; every tile that the Gaussian's box meets."""
    wide, tall = -(-width // TILE), -(-height // TILE)
    seen = opacities > 0
    limit = torch.tensor([wide, tall], device=means2d.device)
    first = ((means2d - extents) / TILE).floor().clamp_min(0).minimum(limit).long()
    last = ((means2d + extents) / TILE).floor().clamp_min(-1).minimum(limit - 1).long()
    spans = torch.where(seen[:, None], (last - first + 1).clamp_min(0), 0)
    counts = spans.prod(1)
    starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    gaussians = torch.repeat_interleave(torch.arange(len(means2d), device=means2d.device), counts)
    slots = torch.arange(len(gaussians), device=means2d.device)
    place = slots - starts[gaussians]
    rows = first[gaussians, 1] + place // spans[gaussians, 0].clamp_min(1)
    columns = first[gaussians, 0] + place % spans[gaussians, 0].clamp_min(1)
    tiles = rows * wide + columns
    order = depths[gaussians].argsort(stable=True)
    order = order[tiles[order].argsort(stable=True)]
    offsets = torch.searchsorted(tiles[order], torch.arange(wide * tall + 1, device=tiles.device))
    masks = torch.full_like(gaussians, -1).short()
    return offsets, gaussians[order].int(), masks, slots[order].int(), starts.int()


def reaches(
    means2d: Float[Tensor, "N 2"], conics: Float[Tensor, "N 3"], opacities: Float[Tensor, "N"], size: tuple[int, int]
) -> Bool[Tensor, "N H W"]:
    """Pixels in which each Gaussian's alpha is at least 1/255, by looking at all of them."""
    x = torch.arange(size[0], device=means2d.device, dtype=means2d.dtype) + 0.5 - means2d[:, :1]
    y = torch.arange(size[1], device=means2d.device, dtype=means2d.dtype) + 0.5 - means2d[:, 1:]
    a, b, c = (conics[:, k, None, None] for k in range(3))
    dx, dy = x[:, None, :], y[:, :, None]
    power = -0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy
    return opacities[:, None, None] * power.clamp_max(0).exp() >= 1 / 255
